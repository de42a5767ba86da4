"""Looks at a source file inside the sandbox: checks it, runs it on held-out data, works out the I/O contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pinnace_contract.latest import Binding, Datatype, Graph, IoContract, Runtime, Step, TensorSpec
from pinnace_converters import asking, binding, data, jobs, onnx_file, pipeline, tflite_file
from pinnace_converters.declaration import Declaration, TensorNote
from pinnace_converters.errors import DataInvalid, DeclarationInvalid, ModelRefused
from pinnace_converters.passes.checker import Checker
from pinnace_converters.passes.model_pass import ModelBytes
from pinnace_converters.passes.static_check import StaticCheck
from pinnace_converters.terms import Bound, Terms
from pinnace_runtime import adapters, array_file
from pinnace_runtime.adapters import LoadedModel, Tensor
from pinnace_runtime.arrays import Array, as_text, datatype_of, fits
from pinnace_runtime.errors import BadInput, ContractMismatch, StepUnsupported
from pinnace_runtime.pipeline import Pipeline

_SINGLE = 1


def inspect(job: jobs.Inspect, folder: Path, say: Callable[[str], None]) -> jobs.Inspected:
    """Do the job.

    Raises:
        ConversionError: says what was expected and found.
    """
    census = _census(job, folder, say)
    assets = checked_assets(job.assets, folder)
    say("load")
    model = adapters.load(job.runtime, folder / jobs.SOURCE)
    heldout = data.from_bytes((folder / jobs.HELDOUT).read_bytes())
    bound = _bindings(job, model, heldout)
    inputs = _inputs(job.declaration, model, bound, heldout)
    say("run")
    try:
        source = Pipeline(_provisional(job, bound, inputs), bound, model, assets)
        batches = asking.takes_batches(source.values, heldout)
        first = source.values(asking.rows(heldout, 0, 1))
        outputs = _outputs(job.declaration, bound, first, batches)
        contract = IoContract(inputs=inputs if batches else _one_row(inputs), outputs=outputs)
        checked = Pipeline(Terms(contract=contract, processing=job.declaration.processing), bound, model, assets)
        asking.check_repeatable(checked.infer, heldout)
        answers = asking.all_answers(checked.infer, heldout, asking.ROWS_AT_ONCE if batches else _SINGLE)
    except (BadInput, ContractMismatch, StepUnsupported) as error:
        raise DeclarationInvalid(f"data, declared steps and model do not fit together: {error}") from error
    (folder / jobs.ANSWERS).write_bytes(array_file.write(answers))
    notes = () if batches else ("takes one row at a time",)
    return jobs.Inspected(contract=contract, census=census, inputs=bound.inputs, outputs=bound.outputs, notes=notes)


def checked_assets(names: Sequence[str], folder: Path) -> dict[str, Path]:
    """Return the assets' files by name; ONNX graphs among them are looked at as the model is.

    Raises:
        ModelRefused
    """
    return {name: folder / f"{jobs.ASSET}{i}" for i, name in enumerate(names)}


def _census(job: jobs.Inspect, folder: Path, say: Callable[[str], None]) -> jobs.Census:
    content = (folder / jobs.SOURCE).read_bytes()
    _check_graph_assets(job, folder, say)
    if job.runtime is Runtime.TFLITE:
        say("static-check")
        return tflite_file.inspect(content)
    pipeline.run([StaticCheck(), Checker()], ModelBytes(content=content), say)
    return onnx_file.census(onnx_file.parse(content))


def _check_graph_assets(job: jobs.Inspect, folder: Path, say: Callable[[str], None]) -> None:
    steps = (*job.declaration.before, *job.declaration.after)
    named = {step.asset for step in steps if isinstance(step, Graph)}
    for name, path in checked_assets(job.assets, folder).items():
        if name in named:
            pipeline.run([StaticCheck(), Checker()], ModelBytes(content=path.read_bytes()), say)


def _bindings(job: jobs.Inspect, model: LoadedModel, heldout: dict[str, Array]) -> Bound:
    """Bind names to tensors; TFLite exporters make up names, so there a single tensor may be called otherwise."""
    inputs, outputs = binding.same_names(model.inputs, "input"), binding.same_names(model.outputs, "output")
    if job.runtime is Runtime.TFLITE:
        if len(inputs) == 1 and len(heldout) == 1 and not _has_graph(job.declaration.before):
            inputs = (Binding(name=next(iter(heldout)), tensor=inputs[0].tensor),)
        notes, known = job.declaration.outputs, {each.name for each in outputs}
        if len(notes) == len(outputs) and not any(note.name in known for note in notes):
            outputs = tuple(
                Binding(name=note.name, tensor=each.tensor) for note, each in zip(notes, outputs, strict=True)
            )
    return Bound(inputs=inputs, outputs=outputs)


def _inputs(
    declared: Declaration, model: LoadedModel, bound: Bound, heldout: dict[str, Array]
) -> tuple[TensorSpec, ...]:
    """Return the raw inputs of the contract, which the data shows."""
    tensors = {each.name: _tensor(model.inputs, each) for each in bound.inputs}
    if not _has_graph(declared.before) and set(heldout) != set(tensors):
        wanted = ", ".join(f"{name!r} as {as_text(t.datatype, (-1, *t.shape[1:]))}" for name, t in tensors.items())
        raise DataInvalid(f"expected an array for each of the model's inputs ({wanted}), found {sorted(heldout)}")
    touched = {getattr(step, "tensor", "") for step in declared.before}
    notes = {note.name: note for note in declared.inputs}
    _refuse_unknown("input", notes, heldout)
    specs = []
    for name, array in sorted(heldout.items()):
        shape = (-1, *array.shape[1:])
        if name in tensors and name not in touched and not _has_graph(declared.before):
            shape = _untouched(name, array, tensors[name])
        specs.append(_spec(name, datatype_of(array.dtype), shape, notes.get(name)))
    return tuple(specs)


def _untouched(name: str, array: Array, tensor: Tensor) -> tuple[int, ...]:
    """Check an input that goes to the model as it is; sizes that the model leaves free stay free."""
    stored = tensor.quantization is not None and array.dtype.kind == "f"
    wanted = Datatype.FP32 if stored else tensor.datatype
    shape = (-1, *tensor.shape[1:])
    found = datatype_of(array.dtype)
    if found is not wanted or not fits(array.shape, shape):
        raise DataInvalid(
            f"input {name!r}: expected {as_text(wanted, shape)} as the model takes it, found "
            f"{as_text(found, array.shape)}; if applications send it so, declare the steps in between"
        )
    return shape


def _provisional(job: jobs.Inspect, bound: Bound, inputs: tuple[TensorSpec, ...]) -> Terms:
    """Return terms to find the answers' types and shapes with."""
    notes = {note.name: note for note in job.declaration.outputs}
    names = [] if _has_graph(job.declaration.after) else [each.name for each in bound.outputs]
    outputs = tuple(
        TensorSpec(
            name=name, datatype=notes[name].datatype or Datatype.FP32 if name in notes else Datatype.FP32, shape=()
        )
        for name in (names or list(notes))
    )
    if not outputs:
        raise DeclarationInvalid("with a graph after the model, name the contract's outputs in the declaration")
    return Terms(contract=IoContract(inputs=inputs, outputs=outputs), processing=job.declaration.processing)


def _outputs(declared: Declaration, bound: Bound, values: dict[str, Array], batches: bool) -> tuple[TensorSpec, ...]:
    notes = {note.name: note for note in declared.outputs}
    names = list(notes) if _has_graph(declared.after) else [each.name for each in bound.outputs]
    _refuse_unknown("output", notes, {name: values[name] for name in names if name in values})
    specs = []
    for name in names:
        value = values.get(name)
        if value is None or value.ndim == 0 or len(value) != 1:
            found = "nothing" if value is None else as_text(datatype_of(value.dtype), value.shape)
            raise ModelRefused(f"output {name!r}: expected one row per input row, found {found}")
        shape = (-1 if batches else 1, *value.shape[1:])
        spec = _spec(name, datatype_of(value.dtype), shape, notes.get(name))
        if spec.classes and shape[-1] != len(spec.classes) and len(shape) == 2 and shape[1] > 1:
            raise DeclarationInvalid(
                f"output {name!r} has {shape[1]} values and {len(spec.classes)} classes are declared"
            )
        specs.append(spec)
    return tuple(specs)


def _spec(name: str, datatype: Datatype, shape: tuple[int, ...], note: TensorNote | None) -> TensorSpec:
    if datatype is Datatype.UNKNOWN:
        raise DataInvalid(f"tensor {name!r} is of a type that no contract has")
    if note is None:
        return TensorSpec(name=name, datatype=datatype, shape=shape)
    if note.datatype not in (None, datatype):
        raise DeclarationInvalid(f"tensor {name!r} is declared {note.datatype} and is {datatype}")
    return TensorSpec(
        name=name, datatype=datatype, shape=shape, layout=note.layout, unit=note.unit, classes=note.classes
    )


def _one_row(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=spec.name,
            datatype=spec.datatype,
            shape=(1, *spec.shape[1:]),
            layout=spec.layout,
            unit=spec.unit,
            classes=spec.classes,
        )
        for spec in specs
    )


def _tensor(tensors: Sequence[Tensor], bound: Binding) -> Tensor:
    return next(tensor for tensor in tensors if tensor.name == bound.tensor)


def _has_graph(steps: Sequence[Step]) -> bool:
    return any(isinstance(step, Graph) for step in steps)


def _refuse_unknown(side: str, notes: dict[str, TensorNote], there: dict[str, Array]) -> None:
    unknown = sorted(set(notes) - set(there))
    if unknown:
        raise DeclarationInvalid(f"the declaration describes the {side} {unknown[0]!r}; there are {sorted(there)}")
