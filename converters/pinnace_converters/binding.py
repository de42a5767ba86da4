"""Finds which tensor of one file carries which tensor of another, and how the axes lie, from names and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pinnace_contract.latest import Binding
from pinnace_converters.errors import ModelRefused
from pinnace_runtime.adapters import Tensor
from pinnace_runtime.arrays import as_text

# Same, channels last from channels first, channels first from channels last; the batch stays in front.
_PERMUTATIONS: Final = {
    3: ((), (0, 2, 1)),
    4: ((), (0, 2, 3, 1), (0, 3, 1, 2)),
    5: ((), (0, 2, 3, 4, 1), (0, 4, 1, 2, 3)),
}


def same_names(tensors: Sequence[Tensor], side: str) -> tuple[Binding, ...]:
    """Bind each tensor to its own name; some TFLite files have a tensor without one."""
    return tuple(Binding(name=tensor.name or f"{side}_{i}", tensor=tensor.name) for i, tensor in enumerate(tensors))


def match_inputs(tensors: Sequence[Tensor], source: Sequence[Tensor], bound: Sequence[Binding]) -> tuple[Binding, ...]:
    """Bind a file's inputs to what feeds the source's inputs.

    Raises:
        ModelRefused: another number of inputs, or shapes that no known order of axes explains.
    """
    found = []
    for tensor, like, name in _pairs("input", tensors, source, bound):
        permutation = next((p for p in _orders(like) if _fits(tensor.shape, like.shape, p)), None)
        found.append(_binding("input", name, tensor, like, permutation))
    return tuple(found)


def match_outputs(tensors: Sequence[Tensor], source: Sequence[Tensor], bound: Sequence[Binding]) -> tuple[Binding, ...]:
    """Bind a file's outputs to the names that the source's outputs have.

    Raises:
        ModelRefused: another number of outputs, or shapes that no known order of axes explains.
    """
    found = []
    for tensor, like, name in _pairs("output", tensors, source, bound):
        permutation = next((p for p in _orders(like) if _fits(like.shape, tensor.shape, p)), None)
        found.append(_binding("output", name, tensor, like, permutation))
    return tuple(found)


def _pairs(
    side: str, tensors: Sequence[Tensor], source: Sequence[Tensor], bound: Sequence[Binding]
) -> list[tuple[Tensor, Tensor, str]]:
    """Pair by name where all names are the same, else by place."""
    if len(tensors) != len(source):
        raise ModelRefused(f"expected {len(source)} {side}s as the source has, found {len(tensors)}")
    names = {binding.tensor: binding.name for binding in bound}
    by_name = {tensor.name: tensor for tensor in tensors}
    ordered = [by_name[like.name] for like in source] if by_name.keys() == names.keys() else list(tensors)
    return [(tensor, like, names[like.name]) for tensor, like in zip(ordered, source, strict=True)]


def _orders(like: Tensor) -> tuple[tuple[int, ...], ...]:
    return _PERMUTATIONS.get(len(like.shape), ((),))


def _fits(target: tuple[int, ...], origin: tuple[int, ...], permutation: tuple[int, ...]) -> bool:
    """Tell whether ``origin`` with its axes permuted can be ``target``, the batch left aside."""
    moved = tuple(origin[axis] for axis in permutation) if permutation else origin
    return len(moved) == len(target) and all(
        a == b or a < 0 or b < 0 for a, b in zip(moved[1:], target[1:], strict=True)
    )


def _binding(side: str, name: str, tensor: Tensor, like: Tensor, permutation: tuple[int, ...] | None) -> Binding:
    if permutation is None:
        raise ModelRefused(
            f"{side} {tensor.name!r} is {as_text(tensor.datatype, tensor.shape)}, which no order of axes makes of the "
            f"source's {as_text(like.datatype, like.shape)}"
        )
    return Binding(name=name, tensor=tensor.name, permutation=permutation)
