"""One variant behind the contract that applications see: declared steps before, bindings, the model, steps after.

Owns the order, the fit of names, types and axes, and the quantizing at the border of a variant whose tensors are
integers where the contract has real numbers. The steps themselves are in ``steps.py``, the runtimes in ``adapters``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from pinnace_contract.latest import Binding, Graph, IoContract, Processing, Step, TensorSpec
from pinnace_runtime import steps
from pinnace_runtime.adapters.model import LoadedModel, Quantization, Tensor
from pinnace_runtime.arrays import Array, as_text, datatype_of, dtype_of, fits
from pinnace_runtime.errors import BadInput, ContractMismatch


class Terms(Protocol):
    """What a pipeline needs of a release."""

    @property
    def contract(self) -> IoContract:
        """What applications send and get back."""
        ...

    @property
    def processing(self) -> Processing:
        """The declared steps."""
        ...


class Bindings(Protocol):
    """What a pipeline needs of a variant."""

    @property
    def inputs(self) -> tuple[Binding, ...]:
        """Which of the file's inputs carries which tensor; empty: the same names."""
        ...

    @property
    def outputs(self) -> tuple[Binding, ...]:
        """The same for its outputs."""
        ...


class Pipeline:
    """Answers in the terms of a release's I/O contract. Used by one thread at a time."""

    def __init__(self, release: Terms, variant: Bindings, model: LoadedModel, assets: Mapping[str, Path]) -> None:
        """Prepare everything that can be refused before there is data.

        Raises:
            StepUnsupported: a declared step cannot be done here.
            ContractMismatch: names of steps, bindings, variant and contract do not fit together.
        """
        self.contract, self.model = release.contract, model
        self._before = steps.prepare(release.processing.before, assets)
        self._after = steps.prepare(release.processing.after, assets)
        self._inputs = _bound(model.inputs, variant.inputs, "input")
        self._outputs = _bound(model.outputs, variant.outputs, "output")
        self._check_names(release)
        touched = {name for step in release.processing.after for name in _tensors_of(step, self._outputs)}
        # Only where nothing comes after the model can the contract ask for its stored integers.
        self._stored = {
            spec.name: dtype_of(spec.datatype) for spec in release.contract.outputs if spec.name not in touched
        }
        self._single = bool(model.inputs) and all(tensor.shape[:1] == (1,) for tensor in model.inputs)

    def infer(self, inputs: Mapping[str, Array], raw: bool = True) -> dict[str, Array]:
        """Return the outputs of the contract; with ``raw=False`` those of the model, for inputs already prepared.

        Raises:
            BadInput: the inputs are not what the contract (or, with ``raw=False``, the model) says.
            ContractMismatch: the release contradicts itself on this input.
            RunFailed: the model did not answer.
        """
        if not raw:
            return self._run(self._checked_prepared(inputs))
        return self._answer(self.values(inputs))

    def feeds(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return what the model is fed for raw inputs, under the model's own names.

        Raises:
            BadInput, ContractMismatch: as ``infer``.
        """
        check(inputs, self.contract.inputs)
        values = dict(inputs)
        for step in self._before:
            step(values)
        return self._fed(values)

    def values(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return every tensor that there is after the last step, in the contract or not, for raw inputs.

        Raises:
            BadInput, ContractMismatch, RunFailed: as ``infer``.
        """
        values = self._run(self.feeds(inputs))
        for step in self._after:
            step(values)
        return values

    def _fed(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return what the model is fed, under the model's own names."""
        feeds = {}
        for name, (tensor, permutation) in self._inputs.items():
            if name not in values:
                raise ContractMismatch(f"the variant's {tensor.name!r} is bound to {name!r}, which no step has made")
            value = values[name].transpose(permutation) if permutation else values[name]
            feeds[tensor.name] = _to_tensor(value, tensor)
        return feeds

    def _checked_prepared(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        wanted = []
        for name, (tensor, permutation) in self._inputs.items():
            value = inputs.get(name)
            real = tensor.quantization is not None and value is not None and value.dtype == np.float32
            datatype = datatype_of(np.float32) if real else tensor.datatype
            shape = tuple(tensor.shape[permutation.index(axis)] for axis in range(len(permutation))) or tensor.shape
            free = (-1, *shape[1:]) if self._single else shape
            wanted.append(TensorSpec(name=name, datatype=datatype, shape=free))
        check(inputs, tuple(wanted))
        return self._fed(inputs)

    def _run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run the model; its outputs come under the contract's names, as real numbers where they stand for such."""
        rows = {len(value) for value in feeds.values()} if self._single else {1}
        if rows == {1}:
            answers = self.model.run(feeds)
        elif len(rows) != 1 or rows == {0}:
            raise BadInput(next(iter(feeds)), "the same batch of at least one in every input", f"batches of {rows}")
        else:
            # A file made for a batch of one is asked row by row: resizing it is not safe for every operator.
            each = [self.model.run({name: x[i : i + 1] for name, x in feeds.items()}) for i in range(rows.pop())]
            answers = {name: np.concatenate([answer[name] for answer in each]) for name in each[0]}
        values = {}
        for name, (tensor, permutation) in self._outputs.items():
            value = _from_tensor(answers[tensor.name], tensor, self._stored.get(name))
            values[name] = value.transpose(permutation) if permutation else value
        return values

    def _answer(self, values: Mapping[str, Array]) -> dict[str, Array]:
        answer = {}
        for spec in self.contract.outputs:
            value = values.get(spec.name)
            if value is None:
                raise ContractMismatch(f"the contract has an output {spec.name!r}, which no step or variant makes")
            found = datatype_of(value.dtype)
            if found is not spec.datatype or not fits(value.shape, spec.shape):
                raise ContractMismatch(
                    f"output {spec.name!r}: the contract says {as_text(spec.datatype, spec.shape)}, "
                    f"the variant and its steps give {as_text(found, value.shape)}"
                )
            answer[spec.name] = value
        return answer

    def _check_names(self, release: Terms) -> None:
        """Refuse names that cannot fit; with a graph among the steps only data shows which tensors there will be."""
        if not any(isinstance(step, Graph) for step in release.processing.before):
            _same_names("input", {spec.name for spec in self.contract.inputs}, set(self._inputs))
        if not any(isinstance(step, Graph) for step in release.processing.after):
            missing = {spec.name for spec in self.contract.outputs} - set(self._outputs)
            if missing:
                _same_names("output", {spec.name for spec in self.contract.outputs}, set(self._outputs))


def check(inputs: Mapping[str, Array], specs: tuple[TensorSpec, ...]) -> None:
    """Check names, types and shapes.

    Raises:
        BadInput: says what was expected and what was found.
    """
    for spec in specs:
        value = inputs.get(spec.name)
        if value is None:
            raise BadInput(spec.name, as_text(spec.datatype, spec.shape), f"no such input among {sorted(inputs)}")
        found = datatype_of(value.dtype)
        if found is not spec.datatype or not fits(value.shape, spec.shape):
            raise BadInput(spec.name, as_text(spec.datatype, spec.shape), as_text(found, value.shape))
    if len(inputs) > len(specs):
        unknown = sorted(set(inputs) - {spec.name for spec in specs})
        raise BadInput(unknown[0], f"only {', '.join(repr(spec.name) for spec in specs)}", "an input of that name")


_Bound = dict[str, tuple[Tensor, tuple[int, ...]]]


def _bound(tensors: tuple[Tensor, ...], bindings: tuple[Binding, ...], side: str) -> _Bound:
    """Return the contract's name → (the file's tensor, its permutation); no bindings mean the same names."""
    if not bindings:
        return {tensor.name: (tensor, ()) for tensor in tensors}
    by_name = {tensor.name: tensor for tensor in tensors}
    bound: _Bound = {}
    for binding in bindings:
        tensor = by_name.get(binding.tensor)
        if tensor is None:
            raise ContractMismatch(
                f"{side} {binding.name!r} is bound to {binding.tensor!r}; the file has {list(by_name)}"
            )
        if binding.permutation and sorted(binding.permutation) != list(range(len(tensor.shape))):
            raise ContractMismatch(
                f"{side} {binding.name!r}: {binding.permutation} permutes no {len(tensor.shape)} axes"
            )
        bound[binding.name] = (tensor, binding.permutation)
    unbound = set(by_name) - {tensor.name for tensor, _ in bound.values()}
    if side == "input" and unbound:
        raise ContractMismatch(f"the file's input {sorted(unbound)[0]!r} is bound to nothing")
    return bound


def _same_names(side: str, contract: set[str], variant: set[str]) -> None:
    if contract != variant:
        raise ContractMismatch(f"the contract's {side}s are {sorted(contract)}, the variant's are {sorted(variant)}")


def _tensors_of(step: Step, outputs: _Bound) -> set[str]:
    if isinstance(step, Graph):
        return set(outputs)
    tensor = getattr(step, "tensor", None)
    return {tensor} if isinstance(tensor, str) else set()


def _to_tensor(value: Array, tensor: Tensor) -> Array:
    wanted = dtype_of(tensor.datatype)
    if value.dtype == wanted:
        return np.asarray(value, order="C")  # and not ascontiguousarray, which gives a scalar an axis
    if tensor.quantization is not None:
        return quantize(value, tensor.quantization, wanted)
    if value.dtype.kind == "f" and wanted.kind == "f":
        return np.asarray(value, wanted, order="C")
    raise ContractMismatch(
        f"the steps give {datatype_of(value.dtype)} for {tensor.name!r}, which takes {tensor.datatype}; "
        "a cast step is missing in the release"
    )


def _from_tensor(value: Array, tensor: Tensor, stored: np.dtype[np.generic] | None) -> Array:
    if tensor.quantization is not None and value.dtype != stored:
        return dequantize(value, tensor.quantization)
    return value


def quantize(value: Array, by: Quantization, dtype: np.dtype[np.generic]) -> Array:
    """Return the stored integers nearest to real numbers; those out of range are clipped, NaN is the real 0."""
    info = np.iinfo(dtype.name)
    stored = np.rint(np.nan_to_num(value.astype(np.float32), nan=0.0) / np.float32(by.scale)) + by.zero_point
    clipped: Array = np.clip(stored, info.min, info.max).astype(dtype)
    return clipped


def dequantize(value: Array, by: Quantization) -> Array:
    """Return the real numbers, float32, that stored integers stand for."""
    return (value.astype(np.float32) - np.float32(by.zero_point)) * np.float32(by.scale)
