"""Arrays as the Open Inference Protocol describes them: a request's JSON, and the arrays of an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from pinnace_agent.client.errors import BadAnswer, Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.generic]
else:  # numpy.typing costs every application 1.7 MiB
    Array = np.ndarray


_DTYPES: Final[dict[str, np.dtype[np.generic]]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
}
_DATATYPES: Final = {dtype: name for name, dtype in _DTYPES.items()}
_DESCRIPTIONS_MAX: Final = 64  # an application asks in a few shapes, over and over
_KEPT_BYTES_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An answer, what gave it, and the id under which its truth can be told later (``Client.label``)."""

    outputs: Mapping[str, Array]
    version: str
    release: str
    variant: str
    request: str


class Descriptions:
    """The JSON of requests; the same arrays' shapes give the same bytes, which are kept."""

    def __init__(self) -> None:
        self._known: dict[object, bytes] = {}

    def of(self, arrays: Mapping[str, Array], outputs: Sequence[str] | None, preprocessed: bool) -> bytes:
        """Return the JSON that goes before the tensors.

        Raises:
            Refused: an array of a type that models here do not take.
        """
        key = (
            tuple((name, array.dtype, array.shape) for name, array in arrays.items()),
            None if outputs is None else tuple(outputs),
            preprocessed,
        )
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _DESCRIPTIONS_MAX:
                self._known.clear()
            known = self._known[key] = _described(arrays, outputs, preprocessed)
        return known


def contiguous(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays in the order of memory in which they travel, uncopied where they are already."""
    return {name: np.asarray(array, order="C") for name, array in inputs.items()}


def content(array: Array) -> memoryview:
    """Return a contiguous array's bytes."""
    return array.reshape(-1).view(np.uint8).data


class Answers:
    """Reads answers. Two answers to the same question differ in the request's id alone, so the rest is kept."""

    def __init__(self) -> None:
        self._before, self._after = b"", b""
        self._like: Mapping[str, Any] = {}

    def read(self, body: memoryview, json_bytes: int | None) -> Result:
        """Read an answer; its arrays are views of ``body``.

        Raises:
            BadAnswer
        """
        end = len(body) if json_bytes is None else json_bytes
        words = bytes(body[:end])
        try:
            request = self._only_request(words)
            tree = self._like
            if request is None:
                tree = json.loads(words)
                request = str(tree["parameters"]["pinnace_request"])
                self._keep(words, tree, request)
            return Result(
                outputs=_outputs(tree["outputs"], body[end:]),
                version=str(tree["model_version"]),
                release=str(tree["parameters"]["pinnace_release"]),
                variant=str(tree["parameters"]["pinnace_variant"]),
                request=request,
            )
        except (ValueError, KeyError, TypeError) as error:
            why = f"{type(error).__name__}: {error}"
            raise BadAnswer(f"the answer is not of the Open Inference Protocol: {why}") from error

    def _only_request(self, words: bytes) -> str | None:
        """Return the request's id if all else is as it was last time."""
        if not self._before or not words.startswith(self._before) or not words.endswith(self._after):
            return None
        found = words[len(self._before) : len(words) - len(self._after)]
        return found.decode() if found.replace(b"-", b"").isalnum() else None

    def _keep(self, words: bytes, tree: Mapping[str, Any], request: str) -> None:
        before, mark, after = words.partition(f'"pinnace_request":"{request}"'.encode())
        if mark and len(words) <= _KEPT_BYTES_MAX and all("data" not in each for each in tree["outputs"]):
            self._before, self._after, self._like = before + b'"pinnace_request":"', b'"' + after, tree


def _outputs(described: Sequence[Mapping[str, Any]], tail: memoryview) -> dict[str, Array]:
    outputs: dict[str, Array] = {}
    place = 0
    for each in described:
        dtype, shape = _DTYPES[each["datatype"]], tuple(each["shape"])
        size = each.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[each["name"]] = np.array(each["data"], dtype).reshape(shape)
        else:
            outputs[each["name"]] = np.frombuffer(tail[place : place + size], dtype).reshape(shape)
            place += size
    return outputs


def _described(arrays: Mapping[str, Array], outputs: Sequence[str] | None, preprocessed: bool) -> bytes:
    for name, array in arrays.items():
        if array.dtype not in _DATATYPES:
            raise Refused(f"input {name!r}: expected an array of {', '.join(_DTYPES)}, found {array.dtype}", 400)
    tree: dict[str, object] = {
        "inputs": [
            {
                "name": name,
                "shape": array.shape,
                "datatype": _DATATYPES[array.dtype],
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in arrays.items()
        ],
        "parameters": {"binary_data_output": True, **({"preprocessed": True} if preprocessed else {})},
    }
    if outputs is not None:
        tree["outputs"] = [{"name": name} for name in outputs]
    return json.dumps(tree, separators=(",", ":")).encode()
