"""Element types and shapes: between the contract's names and numpy's, and how both are shown to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from pinnace_contract.latest import Datatype

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.generic]
else:  # numpy.typing costs every worker 1.7 MiB
    Array = np.ndarray


_DTYPES: Final[dict[Datatype, np.dtype[np.generic]]] = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.UINT8: np.dtype(np.uint8),
    Datatype.UINT16: np.dtype(np.uint16),
    Datatype.UINT32: np.dtype(np.uint32),
    Datatype.UINT64: np.dtype(np.uint64),
    Datatype.INT8: np.dtype(np.int8),
    Datatype.INT16: np.dtype(np.int16),
    Datatype.INT32: np.dtype(np.int32),
    Datatype.INT64: np.dtype(np.int64),
    Datatype.FP16: np.dtype(np.float16),
    Datatype.FP32: np.dtype(np.float32),
    Datatype.FP64: np.dtype(np.float64),
}
_DATATYPES: Final = {dtype: datatype for datatype, dtype in _DTYPES.items()}


def dtype_of(datatype: Datatype) -> np.dtype[np.generic]:
    """Return numpy's type.

    Raises:
        KeyError: ``UNKNOWN``, which no array can have.
    """
    return _DTYPES[datatype]


def datatype_of(dtype: object) -> Datatype:
    """Return the contract's name; ``UNKNOWN`` for a type that the contract has no name for (text, objects)."""
    return _DATATYPES.get(np.dtype(dtype), Datatype.UNKNOWN)  # type: ignore[call-overload]  # adapters give classes


def as_text(datatype: Datatype, shape: Sequence[int]) -> str:
    """Return a type and shape as people read them, ``FP32 [?, 3]``."""
    return f"{datatype} [{', '.join('?' if size < 0 else str(size) for size in shape)}]"


def fits(shape: Sequence[int], declared: Sequence[int]) -> bool:
    """Tell whether a shape is one that ``declared`` allows; a negative size allows any."""
    return len(shape) == len(declared) and all(
        want < 0 or size == want for size, want in zip(shape, declared, strict=True)
    )
