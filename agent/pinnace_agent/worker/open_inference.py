"""The Open Inference Protocol v2 (KServe's REST form) with the binary tensor data extension: bytes to tensors and back.

Owns the form of requests and answers. Whether the tensors fit the model is the pipeline's business, how bytes arrive
(HTTP or shared memory) the loop's. Source: "Open Inference Protocol (V2 Inference Protocol)", and "Binary Tensor Data
Extension" of the Triton Inference Server's protocol documents.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from pinnace_contract.latest import Datatype, IoContract, TensorSpec
from pinnace_runtime.arrays import Array, datatype_of, dtype_of

# Numbers in JSON take ten times their size in memory, and lists in lists more: what an application sends must not look
# like a model that eats memory. An image of 224 x 224 x 3 has 50,000 lists in 1.5 MiB; binary has no such limits.
JSON_BYTES_MAX: Final = 4 * 1024 * 1024
LISTS_MAX: Final = 200_000
TENSORS_MAX: Final = 64
AXES_MAX: Final = 8
VALUES_MAX: Final = 2**31  # of a tensor, empty axes left out: numpy refuses shapes that could never be, empty or not
ID_CHARS_MAX: Final = 256
ALIGNMENT: Final = 64  # of the first binary tensor: what vector instructions like best
WORDS_KEPT_BYTES_MAX: Final = 4096
WORDS_KEPT_MAX: Final = 32
_MARK: Final = "pinnace-request-goes-here"

_DATATYPES: Final = {str(each): dtype_of(each) for each in Datatype if each is not Datatype.UNKNOWN}

# Parameters that ask for something that is not done here. Left out in silence, the answer would be a wrong one.
_UNSUPPORTED: Final = ("shared_memory_region", "sequence_id", "classification")


class BadRequest(Exception):
    """The request is not of this protocol; says what was expected."""


class TooLargeToRead(Exception):
    """There is no memory for the numbers of a request in JSON. The request's fault, and not the model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryTensor:
    """Where a tensor lies behind the JSON."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    values: int
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request's JSON says. ``wanted`` are the outputs to answer, each with whether in binary; None means all."""

    binary_tensors: tuple[BinaryTensor, ...] = ()
    binary_bytes: int = 0
    numbers: Mapping[str, Array]
    id: str = ""
    preprocessed: bool = False
    binary: bool = False
    wanted: Mapping[str, bool] | None = None


def room_for(length: int, json_bytes: int) -> memoryview:
    """Return a buffer for a request in which the first binary tensor will be aligned."""
    room = np.empty(length + ALIGNMENT, np.uint8)
    start = -(room.ctypes.data + json_bytes) % ALIGNMENT
    return room.data[start : start + length]


class Reader:
    """Reads requests. Clients ask in the same words over and over, so what short JSON said is kept."""

    def __init__(self, contract: IoContract) -> None:
        self._contract = contract
        self._known: dict[bytes, Asked] = {}

    def read(self, body: memoryview, json_bytes: int | None) -> tuple[Asked, dict[str, Array]]:
        """Read ``json_bytes`` of JSON, then binary tensors; None: JSON only; 0: one bare tensor.

        Tensors are views of ``body`` where they are aligned.

        Raises:
            BadRequest
        """
        if json_bytes == 0:
            asked, end = _ask_bare(len(body), self._contract), 0
        else:
            end = len(body) if json_bytes is None else json_bytes
            if not 0 < end <= len(body):
                raise BadRequest(f"Inference-Header-Content-Length is {end}; the body has {len(body)} bytes")
            if end > JSON_BYTES_MAX:
                raise BadRequest(
                    f"the JSON has {end} bytes; the limit is {JSON_BYTES_MAX}: send large tensors in binary"
                )
            asked = self._asked(bytes(body[:end]))
        if end + asked.binary_bytes != len(body):
            raise BadRequest(f"{asked.binary_bytes} bytes of tensors announced, {len(body) - end} are in the body")
        inputs = dict(asked.numbers)
        for tensor in asked.binary_tensors:
            inputs[tensor.name] = _taken(body, end, tensor)
        return asked, inputs

    def _asked(self, words: bytes) -> Asked:
        known = self._known.get(words)
        if known is not None:
            return known
        if words.count(b"[") + words.count(b"{") > LISTS_MAX:
            raise BadRequest(f"the JSON has more than {LISTS_MAX} lists: send large tensors in binary")
        try:
            asked = _ask(words, self._contract)
        except MemoryError as error:
            raise TooLargeToRead("no memory for this many numbers in JSON: send tensors in binary") from error
        if not asked.numbers and len(words) <= WORDS_KEPT_BYTES_MAX:
            if len(self._known) >= WORDS_KEPT_MAX:
                self._known.clear()
            self._known[words] = asked
        return asked


class Writer:
    """Writes answers of one release's variant. The JSON around the request's number is kept for each form of answer."""

    def __init__(self, *, model: str, version: str, parameters: Mapping[str, str]) -> None:
        self._model, self._version, self._parameters = model, version, parameters
        self._known: dict[object, tuple[bytes, bytes]] = {}

    def write(self, asked: Asked, outputs: Mapping[str, Array], request: str) -> tuple[bytes, list[memoryview]]:
        """Return the answer: its JSON, and the binary tensors that follow it."""
        if asked.wanted is not None:
            outputs = {name: array for name, array in outputs.items() if name in asked.wanted}
        if not asked.binary or asked.wanted is not None:
            return self._write(asked, outputs, request)
        tensors = [content(array) for array in outputs.values()]
        key = (asked.id, *((name, array.dtype, array.shape) for name, array in outputs.items()))
        around = self._known.get(key)
        if around is None:
            if len(self._known) >= WORDS_KEPT_MAX:
                self._known.clear()
            before, mark, after = self._write(asked, outputs, _MARK)[0].partition(_MARK.encode())
            if _MARK in asked.id or not mark:
                return self._write(asked, outputs, request)
            around = self._known[key] = before, after
        return around[0] + request.encode() + around[1], tensors

    def _write(self, asked: Asked, outputs: Mapping[str, Array], request: str) -> tuple[bytes, list[memoryview]]:
        described, tensors = [], []
        for name, array in outputs.items():
            entry: dict[str, object] = {"name": name, "datatype": datatype_of(array.dtype), "shape": array.shape}
            if asked.binary if asked.wanted is None else asked.wanted[name]:
                entry["parameters"] = {"binary_data_size": array.nbytes}
                tensors.append(content(array))
            else:
                entry["data"] = _numbers(array)
            described.append(entry)
        tree: dict[str, object] = {"model_name": self._model, "model_version": self._version}
        if asked.id:
            tree["id"] = asked.id
        tree["parameters"] = {**self._parameters, "pinnace_request": request}
        tree["outputs"] = described
        return json.dumps(tree, separators=(",", ":")).encode(), tensors


def content(array: Array) -> memoryview:
    """Return an array's bytes in the order in which they travel."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def metadata(contract: IoContract, *, model: str, version: str, platform: str) -> dict[str, object]:
    """Return a model's metadata: what applications send and get, outside pre- and post-processing."""
    return {
        "name": model,
        "versions": [version],
        "platform": platform,
        "inputs": [_described(spec) for spec in contract.inputs],
        "outputs": [_described(spec) for spec in contract.outputs],
    }


def _described(spec: TensorSpec) -> dict[str, object]:
    parameters = {
        name: value
        for name, value in (("layout", spec.layout), ("unit", spec.unit), ("classes", ",".join(spec.classes)))
        if value
    }
    described: dict[str, object] = {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}
    return described | {"parameters": parameters} if parameters else described


# --- reading ------------------------------------------------------------------------------------------------------


def _ask_bare(size_bytes: int, contract: IoContract) -> Asked:
    if len(contract.inputs) != 1:
        names = ", ".join(repr(spec.name) for spec in contract.inputs)
        raise BadRequest(f"a bare tensor needs a model with one input; this one has {names}: describe them in JSON")
    spec = contract.inputs[0]
    dtype = dtype_of(spec.datatype)
    free = sum(size < 0 for size in spec.shape)
    known = math.prod(size for size in spec.shape if size >= 0) * dtype.itemsize
    if free > 1 or not known or (size_bytes % known if free else size_bytes != known):
        raise BadRequest(f"{size_bytes} bytes are no {spec.datatype} {list(spec.shape)}, the input {spec.name!r}")
    shape = tuple(size_bytes // known if size < 0 else size for size in spec.shape)
    tensor = BinaryTensor(name=spec.name, dtype=dtype, shape=shape, values=math.prod(shape), place=0)
    return Asked(binary_tensors=(tensor,), binary_bytes=size_bytes, numbers={})


def _ask(words: bytes, contract: IoContract) -> Asked:
    tree = _object(_parsed(words), "the request")
    entries = tree.get("inputs")
    if not isinstance(entries, list) or not 1 <= len(entries) <= TENSORS_MAX:
        raise BadRequest(f'expected "inputs": a list of 1 to {TENSORS_MAX} tensors')
    numbers: dict[str, Array] = {}
    binary: dict[str, BinaryTensor] = {}
    place = 0
    for entry in entries:
        tensor = _object(entry, "an input")
        name = tensor.get("name")
        if not isinstance(name, str) or name in numbers or name in binary:
            raise BadRequest(f'every input needs a "name" of its own, found {_shown(name)}')
        shape, dtype = _shape(name, tensor.get("shape")), _dtype(name, tensor.get("datatype"))
        size = _parameters(tensor).get("binary_data_size")
        if size is None:
            numbers[name] = _from_numbers(name, tensor.get("data"), dtype, shape)
            continue
        expected = math.prod(shape) * dtype.itemsize
        if isinstance(size, bool) or size != expected or "data" in tensor:
            raise BadRequest(
                f'input {name!r}: expected "binary_data_size": {expected} and no "data", found {_shown(size)}'
            )
        binary[name] = BinaryTensor(name=name, dtype=dtype, shape=shape, values=math.prod(shape), place=place)
        place += expected
    parameters = _parameters(tree)
    binary_output = _flag(parameters, "binary_data_output")
    return Asked(
        binary_tensors=tuple(binary.values()),
        binary_bytes=place,
        numbers=numbers,
        id=_read_id(tree),
        preprocessed=_flag(parameters, "preprocessed"),
        binary=binary_output,
        wanted=_read_wanted(tree, contract, binary_output),
    )


def _read_wanted(tree: Mapping[str, object], contract: IoContract, binary: bool) -> dict[str, bool] | None:
    entries = tree.get("outputs")
    if entries is None or entries == []:
        return None
    if not isinstance(entries, list) or len(entries) > TENSORS_MAX:
        raise BadRequest(f'expected "outputs": a list of at most {TENSORS_MAX} names')
    known = {spec.name for spec in contract.outputs}
    wanted: dict[str, bool] = {}
    for entry in entries:
        output = _object(entry, "an output")
        name = output.get("name")
        if not isinstance(name, str) or name not in known:
            raise BadRequest(f"this model has no output {_shown(name)}; it has {', '.join(map(repr, sorted(known)))}")
        wanted[name] = _flag(_parameters(output), "binary_data", binary)
    return wanted


def _read_id(tree: Mapping[str, object]) -> str:
    given = tree.get("id", "")
    if not isinstance(given, str) or len(given) > ID_CHARS_MAX:
        raise BadRequest(f'expected "id": a text of at most {ID_CHARS_MAX} characters')
    return given


def _parsed(data: bytes) -> object:
    try:
        return cast(object, json.loads(data))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the request is not JSON: {_shown(str(error))}") from error


def _object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise BadRequest(f"{what} must be a JSON object, found {_shown(value)}")
    return value


def _parameters(tree: Mapping[str, object]) -> Mapping[str, object]:
    parameters = tree.get("parameters")
    if parameters is None:
        return {}
    found = _object(parameters, '"parameters"')
    for name in _UNSUPPORTED:
        if name in found:
            raise BadRequest(f"parameter {name!r} is not supported here")
    return found


def _flag(parameters: Mapping[str, object], name: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadRequest(f"parameter {name!r} must be true or false, found {_shown(value)}")
    return value


def _shape(name: str, shape: object) -> tuple[int, ...]:
    if (
        not isinstance(shape, list)
        or len(shape) > AXES_MAX
        or not all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**31 for size in shape)
    ):
        raise BadRequest(f'input {name!r}: expected "shape": at most {AXES_MAX} whole numbers, found {_shown(shape)}')
    if math.prod(size for size in shape if size) > VALUES_MAX:
        raise BadRequest(f'input {name!r}: expected "shape" of at most {VALUES_MAX} values, found {_shown(shape)}')
    return tuple(shape)


def _dtype(name: str, datatype: object) -> np.dtype[np.generic]:
    if datatype == "BYTES":
        raise BadRequest(f"input {name!r}: BYTES tensors (texts) are not supported; models here take numbers")
    known = _DATATYPES.get(datatype) if isinstance(datatype, str) else None
    if known is None:
        raise BadRequest(
            f'input {name!r}: expected "datatype": one of {", ".join(_DATATYPES)}, found {_shown(datatype)}'
        )
    return known


def _taken(body: memoryview, end: int, tensor: BinaryTensor) -> Array:
    if tensor.dtype.kind == "b":
        stored = np.frombuffer(body, np.uint8, tensor.values, end + tensor.place)
        return stored.astype(np.bool_).reshape(tensor.shape)  # any byte but 0 is true; numpy itself trusts the byte
    array = np.frombuffer(body, tensor.dtype, tensor.values, end + tensor.place).reshape(tensor.shape)
    return array if array.flags.aligned else np.array(array)


def _from_numbers(name: str, data: object, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Array:
    if not isinstance(data, list):
        raise BadRequest(f'input {name!r}: expected "data": a list of numbers, or "binary_data_size" in its parameters')
    if _holds_text(data):
        raise BadRequest(f"input {name!r}: the data is not {datatype_of(dtype)}: there are texts in it")
    try:
        found = np.array(data) if data else np.empty(0, dtype)
    except (ValueError, RecursionError, OverflowError) as error:
        raise BadRequest(f"input {name!r}: the data is no array of numbers: {_shown(str(error))}") from error
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[dtype.kind]
    if found.size and found.dtype.kind not in kinds:
        raise BadRequest(f"input {name!r}: the data is not {datatype_of(dtype)}")
    if found.size != math.prod(shape):
        raise BadRequest(f"input {name!r}: shape {list(shape)} has {math.prod(shape)} values, the data {found.size}")
    if dtype.kind in "iu" and found.size:
        info = np.iinfo(dtype.name)
        if int(found.min()) < info.min or int(found.max()) > info.max:
            raise BadRequest(f"input {name!r}: {datatype_of(dtype)} holds {info.min} to {info.max}")
    return found.astype(dtype).reshape(shape)


def _holds_text(data: list[object]) -> bool:
    """Tell whether a text is among the numbers: numpy would give each number the room of the longest one."""
    level = data
    while level:
        kinds = set(map(type, level))
        if str in kinds:
            return True
        level = [value for each in level if isinstance(each, list) for value in each] if list in kinds else []
    return False


# --- writing ------------------------------------------------------------------------------------------------------


def _numbers(array: Array) -> list[object]:
    """Return a flat list; what JSON has no number for (NaN, infinity) becomes null: ask for binary to see it."""
    flat = cast(list[object], array.reshape(-1).tolist())
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [value if isinstance(value, float) and math.isfinite(value) else None for value in flat]
    return flat


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:79] + "…"
