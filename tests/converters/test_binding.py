"""Which tensor carries which, and how the axes lie."""

import numpy as np
import pytest

from pinnace_contract.latest import Binding, Datatype
from pinnace_converters import binding
from pinnace_converters.errors import ModelRefused
from pinnace_runtime.adapters import Tensor


def tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name=name, datatype=Datatype.FP32, shape=shape)


def own(*tensors: Tensor) -> tuple[Binding, ...]:
    return binding.same_names(tensors, "input")


@pytest.mark.parametrize(
    ("target", "source", "permutation"),
    [
        ((1, 8, 8, 3), (-1, 8, 8, 3), ()),
        ((1, 8, 8, 3), (-1, 3, 8, 8), (0, 2, 3, 1)),
        ((1, 3, 8, 8), (-1, 8, 8, 3), (0, 3, 1, 2)),
        ((1, 9, 4), (-1, 4, 9), (0, 2, 1)),
        ((1, 640), (-1, 640), ()),
        ((1, 8, 8, 1), (-1, 1, 8, 8), (0, 2, 3, 1)),
        ((1, 5, 5, 3), (-1, 3, -1, -1), (0, 2, 3, 1)),
    ],
)
def test_axes_are_found_by_shape(
    target: tuple[int, ...], source: tuple[int, ...], permutation: tuple[int, ...]
) -> None:
    like = tensor("x", *source)

    bound = binding.match_inputs([tensor("serving_x:0", *target)], [like], own(like))

    assert bound == (Binding(name="x", tensor="serving_x:0", permutation=permutation),)
    if -1 not in source[1:]:
        assert (
            np.zeros((1, *source[1:])).transpose(permutation or None if permutation else range(len(source))).shape
            == target
        )


def test_outputs_go_the_other_way() -> None:
    like = tensor("y", -1, 3, 4, 5)

    bound = binding.match_outputs([tensor("out", 1, 4, 5, 3)], [like], own(like))

    assert np.zeros((1, 4, 5, 3)).transpose(bound[0].permutation).shape == (1, 3, 4, 5)


def test_the_same_names_pair_in_any_order_and_others_by_place() -> None:
    a, b = tensor("a", -1, 2), tensor("b", -1, 3)

    same = binding.match_inputs([tensor("b", 1, 3), tensor("a", 1, 2)], [a, b], own(a, b))
    others = binding.match_inputs([tensor("p", 1, 2), tensor("q", 1, 3)], [a, b], own(a, b))

    assert [(each.name, each.tensor) for each in same] == [("a", "a"), ("b", "b")]
    assert [(each.name, each.tensor) for each in others] == [("a", "p"), ("b", "q")]


@pytest.mark.parametrize(
    ("tensors", "says"),
    [([tensor("x", 1, 7)], "no order of axes"), ([tensor("x", 1, 4), tensor("z", 1, 4)], "expected 1 inputs")],
)
def test_what_cannot_be_bound_is_refused(tensors: list[Tensor], says: str) -> None:
    like = tensor("x", -1, 4)

    with pytest.raises(ModelRefused, match=says):
        binding.match_inputs(tensors, [like], own(like))


def test_a_tensor_without_a_name_gets_one() -> None:
    assert own(tensor("", 1)) == (Binding(name="input_0", tensor=""),)
