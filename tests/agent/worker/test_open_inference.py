"""The Open Inference Protocol v2 as an independent client sees it: one worker, plain HTTP, a table of requests."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import tempfile
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from pinnace_agent.worker.hosting import HostSettings
from pinnace_agent.worker.open_inference import BadRequest, Reader
from pinnace_agent.worker.protocol import ServingLimits
from pinnace_contract.latest import Datatype, IoContract, TensorSpec
from pinnace_runtime.arrays import dtype_of
from tests.agent.worker.building import (
    CONTRACT,
    MODEL,
    NO_STEPS,
    Hosted,
    OnDisk,
    expected,
    hosted,
    linear,
    put_release,
    rows,
)

INFER = f"/v2/models/{MODEL}/infer"
TOKEN = "a-local-token"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="pw-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def release(folder: Path) -> OnDisk:
    return put_release(folder / "store", linear(), version="2.1")


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def worker(folder: Path, release: OnDisk, port: int) -> Iterator[Hosted]:
    made = hosted(folder, HostSettings(run_dir=folder, tcp_ports={MODEL: port}, token=TOKEN))
    made.host.open(MODEL)
    made.serving(release)
    yield made
    made.host.close()


class Answer:
    def __init__(self, got: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = got.status, got.headers, got.read()

    @property
    def json(self) -> dict[str, object]:
        length = self.headers.get("Inference-Header-Content-Length")
        tree = json.loads(self.body[: int(length)] if length else self.body)
        assert isinstance(tree, dict)
        return tree

    @property
    def tail(self) -> bytes:
        return self.body[int(self.headers["Inference-Header-Content-Length"]) :]


def ask(
    worker: Hosted,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port or 0, timeout=60)
    if port is None:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(worker.socket))
    content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    connection.request(method, path, content, dict(headers or {}))
    answer = Answer(connection.getresponse())
    connection.close()
    return answer


def tensor(data: object = None, **changes: object) -> dict[str, object]:
    """A good input, changed."""
    whole = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [10, 20, 30, 40] if data is None else data}
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


def with_binary(tree: Mapping[str, object], tail: bytes) -> tuple[bytes, dict[str, str]]:
    words = json.dumps(tree).encode()
    return words + tail, {"Inference-Header-Content-Length": str(len(words))}


# --- health and metadata --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected_tree"),
    [
        ("/v2", {"name": "pinnace", "version": "2", "extensions": ["binary_tensor_data"]}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        (f"/v2/models/{MODEL}/ready", {"name": "digits", "ready": True}),
        (f"/v2/models/{MODEL}/versions/2.1/ready", {"name": "digits", "ready": True}),
    ],
)
def test_health(worker: Hosted, path: str, expected_tree: object) -> None:
    answer = ask(worker, "GET", path)
    assert (answer.status, answer.json) == (200, expected_tree)
    assert answer.headers["Content-Type"] == "application/json"
    assert ask(worker, "HEAD", path).body == b""


@pytest.mark.parametrize("path", [f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/versions/2.1"])
def test_metadata_is_the_contract_that_applications_see(worker: Hosted, release: OnDisk, path: str) -> None:
    tree = ask(worker, "GET", path).json
    assert (tree["name"], tree["versions"], tree["platform"]) == ("digits", ["2.1"], "onnx_onnxv1")
    assert tree["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 4], "parameters": {"unit": "grey level 0..255"}}
    ]
    assert tree["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [-1, 3], "parameters": {"classes": "zero,one,two"}}
    ]
    assert tree["parameters"] == {"pinnace_release": release.id, "pinnace_variant": release.start.variant}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/models/digits", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/other", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", f"/v2/models/{MODEL}/versions/1", 404),
        ("POST", f"/v2/models/{MODEL}/versions/1/infer", 404),
        ("GET", f"/v2/models/{MODEL}/versions", 404),
        ("GET", f"/v2/models/{MODEL}/nothing", 404),
        ("GET", INFER, 405),
        ("POST", "/v2", 405),
        ("DELETE", f"/v2/models/{MODEL}", 405),
    ],
)
def test_other_addresses_and_methods_are_refused(worker: Hosted, method: str, path: str, status: int) -> None:
    answer = ask(worker, method, path, {} if method == "POST" else None)
    assert answer.status == status
    assert set(answer.json) == {"error"}


# --- inference ------------------------------------------------------------------------------------------------------


def test_json_in_json_out(worker: Hosted, release: OnDisk) -> None:
    asked = rows(2)
    tree = {"id": "my-1", "inputs": [tensor(asked.tolist(), shape=[2, 4])]}
    answer = ask(worker, "POST", INFER, tree)
    assert answer.status == 200
    found = answer.json
    assert (found["model_name"], found["model_version"], found["id"]) == ("digits", "2.1", "my-1")
    parameters = found["parameters"]
    assert isinstance(parameters, dict)
    assert parameters["pinnace_release"] == release.id
    assert parameters["pinnace_variant"] == release.start.variant
    assert parameters["pinnace_request"]
    (output,) = found["outputs"]  # type: ignore[misc]  # a list of one
    assert (output["name"], output["datatype"], output["shape"]) == ("y", "FP32", [2, 3])
    np.testing.assert_allclose(np.array(output["data"]).reshape(2, 3), expected(asked), rtol=1e-5)


def test_answer_without_an_id_has_none_and_requests_are_numbered(worker: Hosted) -> None:
    first, second = (ask(worker, "POST", INFER, {"inputs": [tensor()]}).json for _ in range(2))
    assert "id" not in first
    assert first["parameters"]["pinnace_request"] != second["parameters"]["pinnace_request"]  # type: ignore[index]


@pytest.mark.parametrize("offset", [0, 1, 2, 3], ids=lambda n: f"JSON of {n} more bytes")
def test_binary_in_binary_out_at_any_alignment(worker: Hosted, offset: int) -> None:
    asked = rows(5)
    tree = {
        "id": "i" * offset,
        "inputs": [tensor(..., shape=[5, 4], parameters={"binary_data_size": asked.nbytes})],
        "parameters": {"binary_data_output": True},
    }
    body, headers = with_binary(tree, asked.tobytes())
    for _ in range(2):  # the second time its words are known
        answer = ask(worker, "POST", INFER, body, headers)
        assert answer.status == 200
        assert answer.json["outputs"] == [
            {"name": "y", "datatype": "FP32", "shape": [5, 3], "parameters": {"binary_data_size": 60}}
        ]
        np.testing.assert_allclose(np.frombuffer(answer.tail, np.float32).reshape(5, 3), expected(asked), rtol=1e-5)


@pytest.mark.parametrize(
    ("outputs", "binary_by_default", "binary"),
    [
        ([{"name": "y"}], False, False),
        ([{"name": "y"}], True, True),
        ([{"name": "y", "parameters": {"binary_data": True}}], False, True),
        ([{"name": "y", "parameters": {"binary_data": False}}], True, False),
        ([], True, True),
    ],
)
def test_each_output_is_binary_as_it_was_asked_for(
    worker: Hosted, outputs: object, binary_by_default: bool, binary: bool
) -> None:
    tree = {"inputs": [tensor()], "outputs": outputs, "parameters": {"binary_data_output": binary_by_default}}
    answer = ask(worker, "POST", INFER, tree)
    (output,) = answer.json["outputs"]  # type: ignore[misc]  # a list of one
    assert ("data" in output) is not binary
    assert ("Inference-Header-Content-Length" in answer.headers) is binary


def test_bare_tensor_needs_no_json(worker: Hosted) -> None:
    asked = rows(3)
    answer = ask(worker, "POST", INFER, asked.tobytes(), {"Inference-Header-Content-Length": "0"})
    (output,) = answer.json["outputs"]  # type: ignore[misc]  # a list of one
    np.testing.assert_allclose(np.array(output["data"]).reshape(3, 3), expected(asked), rtol=1e-5)


def test_preprocessed_input_skips_the_declared_steps(worker: Hosted) -> None:
    asked = {"inputs": [tensor([[0.1, 0.2, 0.3, 0.4]])], "parameters": {"preprocessed": True}}
    (output,) = ask(worker, "POST", INFER, asked).json["outputs"]  # type: ignore[misc]  # a list of one
    plain = np.array([0.1, 0.2, 0.3, 0.4]) @ np.array([[1, -1, 2], [0, 0.5, -0.25], [-0.5, 0.5, 0], [0.25, 0, 1]])
    np.testing.assert_allclose(output["data"], plain, rtol=1e-5)


GOOD_SIZE = {"parameters": {"binary_data_size": 16}}

BAD_REQUESTS = {
    "not JSON": (b"{", "not JSON"),
    "JSON in another encoding": ('{"inputs": "ü"}'.encode("latin-1"), "not JSON"),
    "nested without end": (b"[" * 200_000, "not JSON"),
    "a list": ([1], "JSON object"),
    "no inputs": ({}, '"inputs"'),
    "empty inputs": ({"inputs": []}, '"inputs"'),
    "too many inputs": ({"inputs": [tensor(name=f"x{i}") for i in range(65)]}, '"inputs"'),
    "an input that is a number": ({"inputs": [1]}, "JSON object"),
    "no name": ({"inputs": [tensor(name=...)]}, '"name"'),
    "the same name twice": ({"inputs": [tensor(), tensor()]}, '"name"'),
    "another name": ({"inputs": [tensor(name="z")]}, "input 'x': expected FP32 [?, 4]"),
    "an input too many": ({"inputs": [tensor(), tensor(name="z")]}, "'z'"),
    "no shape": ({"inputs": [tensor(shape=...)]}, '"shape"'),
    "a negative size": ({"inputs": [tensor(shape=[-1, 4])]}, '"shape"'),
    "a fraction as size": ({"inputs": [tensor(shape=[1.0, 4])]}, '"shape"'),
    "a truth value as size": ({"inputs": [tensor(shape=[True, 4])]}, '"shape"'),
    "a huge size": ({"inputs": [tensor(shape=[2**40, 4])]}, '"shape"'),
    "an empty axis beside huge ones": (
        {"inputs": [tensor([], shape=[0, *[2**31 - 1] * 3])]},
        "at most 2147483648 values",
    ),
    "the same in binary": (
        {"inputs": [tensor(..., shape=[0, *[2**31 - 1] * 3], parameters={"binary_data_size": 0})]},
        "at most 2147483648 values",
    ),
    "too many axes": ({"inputs": [tensor(shape=[1] * 9)]}, '"shape"'),
    "another shape": ({"inputs": [tensor(shape=[4, 1])]}, "expected FP32 [?, 4], found FP32 [4, 1]"),
    "another rank": ({"inputs": [tensor(shape=[4])]}, "expected FP32 [?, 4]"),
    "no datatype": ({"inputs": [tensor(datatype=...)]}, '"datatype"'),
    "an unknown datatype": ({"inputs": [tensor(datatype="BF16")]}, '"datatype"'),
    "texts": ({"inputs": [tensor(["a"] * 4, datatype="BYTES")]}, "BYTES tensors (texts) are not supported"),
    "another datatype": ({"inputs": [tensor(datatype="INT32")]}, "expected FP32 [?, 4], found INT32"),
    "no data": ({"inputs": [tensor(...)]}, '"data"'),
    "data that is a text": ({"inputs": [tensor("1234")]}, '"data"'),
    "data with texts in it": ({"inputs": [tensor([1, 2, 3, "4"])]}, "FP32"),
    "data with null in it": ({"inputs": [tensor([1, 2, 3, None])]}, "FP32"),
    "data with truth values": ({"inputs": [tensor([True] * 4)]}, "FP32"),
    "ragged data": ({"inputs": [tensor([[1, 2], [3]])]}, "no array of numbers"),
    "too little data": ({"inputs": [tensor([1, 2, 3])]}, "has 4 values, the data 3"),
    "a fraction for a whole number": ({"inputs": [tensor([0.5] * 4, datatype="INT8")]}, "not INT8"),
    "a number too large": ({"inputs": [tensor([128] * 4, datatype="INT8")]}, "INT8 holds -128 to 127"),
    "a number beyond all": ({"inputs": [tensor([10**400] * 4, datatype="UINT64")]}, "UINT64"),
    "an id that is a number": ({"id": 1, "inputs": [tensor()]}, '"id"'),
    "an endless id": ({"id": "x" * 300, "inputs": [tensor()]}, '"id"'),
    "parameters that are a list": ({"inputs": [tensor()], "parameters": []}, '"parameters"'),
    "a flag that is a text": ({"inputs": [tensor()], "parameters": {"preprocessed": "yes"}}, "true or false"),
    "a sequence": ({"inputs": [tensor()], "parameters": {"sequence_id": 1}}, "'sequence_id' is not supported"),
    "system shared memory": (
        {"inputs": [tensor(..., parameters={"shared_memory_region": "a"})]},
        "'shared_memory_region' is not supported",
    ),
    "a classification": (
        {"inputs": [tensor()], "outputs": [{"name": "y", "parameters": {"classification": 2}}]},
        "'classification' is not supported",
    ),
    "an unknown output": ({"inputs": [tensor()], "outputs": [{"name": "q"}]}, "no output 'q'; it has 'y'"),
    "outputs that are a text": ({"inputs": [tensor()], "outputs": "y"}, '"outputs"'),
    "both data and binary": ({"inputs": [tensor(**GOOD_SIZE)]}, 'no "data"'),
    "another binary size": (
        {"inputs": [tensor(..., parameters={"binary_data_size": 15})]},
        'expected "binary_data_size": 16',
    ),
    "a binary size that is a text": ({"inputs": [tensor(..., parameters={"binary_data_size": "16"})]}, "16"),
    "binary that did not come": ({"inputs": [tensor(..., **GOOD_SIZE)]}, "16 bytes of tensors announced, 0 are in"),
}


@pytest.mark.parametrize("what", BAD_REQUESTS)
def test_bad_request_says_what_was_expected(worker: Hosted, what: str) -> None:
    body, says = BAD_REQUESTS[what]
    answer = ask(worker, "POST", INFER, body)
    assert (answer.status, set(answer.json)) == (400, {"error"})
    assert says in str(answer.json["error"])


@pytest.mark.parametrize(
    ("length", "tail", "status", "says"),
    [
        pytest.param("99999", b"", 400, "at most the body's", id="more JSON than body"),
        pytest.param("-1", b"", 400, "at most the body's", id="a negative length"),
        pytest.param("x", b"", 400, "at most the body's", id="no number"),
        pytest.param("1" * 40, b"", 400, "at most the body's", id="an endless number"),
        pytest.param("0" * 5000, b"", 400, "at most the body's", id="more digits than Python reads"),
        pytest.param(None, b"\0" * 12, 400, "16 bytes of tensors announced, 12", id="too little binary"),
        pytest.param(None, b"\0" * 20, 400, "16 bytes of tensors announced, 20", id="too much binary"),
        pytest.param("0", b"", 400, "no FP32 [-1, 4]", id="a bare tensor of another size"),
    ],
)
def test_bad_binary_request_says_what_was_expected(
    worker: Hosted, length: str | None, tail: bytes, status: int, says: str
) -> None:
    body, headers = with_binary({"inputs": [tensor(..., **GOOD_SIZE)]}, tail)
    if length is not None:
        headers["Inference-Header-Content-Length"] = length
    answer = ask(worker, "POST", INFER, body, headers)
    assert answer.status == status
    assert says in str(answer.json["error"])


def test_texts_among_the_numbers_are_refused_before_they_take_memory() -> None:
    """numpy gives every text the room of the longest; 1 MiB of JSON took 1 GiB, and the worker was killed for it."""
    tree = {"inputs": [tensor(["x" * 2**20, *[""] * 63])]}
    body = memoryview(json.dumps(tree).encode())
    reader = Reader(CONTRACT)
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest, match="the data is not FP32: there are texts in it"):
            reader.read(body, None)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_bad_requests_leave_the_worker_as_it_was(worker: Hosted) -> None:
    assert ask(worker, "POST", INFER, {"inputs": [tensor()]}).status == 200
    assert [each.serving for each in worker.host.status()] == [True]


# --- loopback -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Authorization": f"Bearer {TOKEN}"}, 200, id="the token"),
        pytest.param({"Authorization": f"bearer {TOKEN}", "Host": "localhost"}, 200, id="by name"),
        pytest.param({"Authorization": f"Bearer {TOKEN}", "Host": "[::1]:80"}, 200, id="by its IPv6 name"),
        pytest.param({}, 401, id="no token"),
        pytest.param({"Authorization": "Bearer wrong"}, 401, id="another token"),
        pytest.param({"Authorization": f"Basic {TOKEN}"}, 401, id="another scheme"),
        pytest.param({"Authorization": f"Bearer {TOKEN}", "Host": "evil.example"}, 403, id="a page's own name"),
        pytest.param(
            {"Authorization": f"Bearer {TOKEN}", "Host": "localhost.evil.example:1"}, 403, id="a similar name"
        ),
        pytest.param({"Authorization": f"Bearer {TOKEN}", "Host": ""}, 403, id="no name"),
    ],
)
def test_loopback_takes_the_token_under_its_own_name_only(
    worker: Hosted, port: int, headers: Mapping[str, str], status: int
) -> None:
    answer = ask(worker, "POST", INFER, {"inputs": [tensor()]}, headers, port=port)
    assert answer.status == status
    again = ask(worker, "POST", INFER, {"inputs": [tensor()]}, headers, port=port)
    assert again.status == status  # a head that is known is not let in for that


def test_unix_socket_needs_no_token_and_loopback_gives_no_shared_memory(worker: Hosted, port: int) -> None:
    path, body = f"/v2/models/{MODEL}/shared_memory", {"request_bytes": 4096, "answer_bytes": 4096}
    assert ask(worker, "POST", path, body).status == 200
    assert ask(worker, "POST", path, body, {"Authorization": f"Bearer {TOKEN}"}, port=port).status == 404


# --- shared memory, asked wrongly -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        ({"request_bytes": 0, "answer_bytes": 1}, 400),
        ({"request_bytes": 2**60, "answer_bytes": 1}, 400),
        ({"request_bytes": "4096", "answer_bytes": 1}, 400),
        ({"request_bytes": 2**30, "answer_bytes": 4096}, 503),
    ],
)
def test_shared_memory_is_bounded(worker: Hosted, body: object, status: int) -> None:
    answer = ask(worker, "POST", f"/v2/models/{MODEL}/shared_memory", body)
    assert answer.status == status
    assert "error" in answer.json


def test_shared_memory_leaves_connections_for_those_who_have_none(worker: Hosted) -> None:
    """A session may last for ever; 64 of them, and nobody else had an answer."""
    path, body = f"/v2/models/{MODEL}/shared_memory", {"request_bytes": 4096, "answer_bytes": 4096}
    places = ServingLimits().connections // 2
    held = []
    try:
        for expected_status in [200] * places + [503]:
            connection = http.client.HTTPConnection("device", timeout=30)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(worker.socket))
            connection.request("POST", path, json.dumps(body))
            held.append(connection)
            assert connection.getresponse().status == expected_status
        assert ask(worker, "POST", INFER, {"inputs": [tensor()]}).status == 200
    finally:
        for connection in held:
            connection.close()
    assert ask(worker, "POST", path, body).status == 200


# --- numbers of every kind ------------------------------------------------------------------------------------------

KINDS = [each for each in Datatype if each is not Datatype.UNKNOWN]
_ONNX = {
    Datatype.BOOL: TensorProto.BOOL,
    Datatype.FP16: TensorProto.FLOAT16,
    Datatype.FP32: TensorProto.FLOAT,
    Datatype.FP64: TensorProto.DOUBLE,
    **{each: getattr(TensorProto, each) for each in KINDS if "INT" in each},
}


def _copies_of_every_kind() -> tuple[bytes, IoContract]:
    """A model with an input and an output of every datatype."""
    shape = [3]
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{kind}-in"], [f"{kind}-out"]) for kind in KINDS],
        "g",
        [helper.make_tensor_value_info(f"{kind}-in", _ONNX[kind], shape) for kind in KINDS],
        [helper.make_tensor_value_info(f"{kind}-out", _ONNX[kind], shape) for kind in KINDS],
    )
    contract = IoContract(
        inputs=tuple(TensorSpec(name=f"{kind}-in", datatype=kind, shape=(3,)) for kind in KINDS),
        outputs=tuple(TensorSpec(name=f"{kind}-out", datatype=kind, shape=(3,)) for kind in KINDS),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString()), contract


@pytest.fixture(scope="module")
def kinds() -> Iterator[Hosted]:
    folder = Path(tempfile.mkdtemp(prefix="pw-"))
    file, contract = _copies_of_every_kind()
    given = np.zeros(3, np.bool_)
    made = hosted(folder)
    made.host.open(MODEL)
    made.serving(
        put_release(
            folder / "store", file, contract=contract, processing=NO_STEPS, vectors=(given, given), baseline=None
        )
    )
    yield made
    made.host.close()
    shutil.rmtree(folder)


def of_kind(kind: Datatype, data: list[int] | None = None, binary_bytes: int | None = None) -> dict[str, object]:
    """One input of the model that copies every kind: numbers in JSON, or so many bytes behind it."""
    described: dict[str, object] = {"name": f"{kind}-in", "shape": [3], "datatype": kind}
    if binary_bytes is not None:
        return described | {"parameters": {"binary_data_size": binary_bytes}}
    numbers = data or [0, 0, 0]
    return described | {"data": [bool(each) for each in numbers] if kind is Datatype.BOOL else numbers}


def test_every_datatype_goes_in_and_out_in_json(kinds: Hosted) -> None:
    outputs = ask(kinds, "POST", INFER, {"inputs": [of_kind(kind, [0, 1, 1]) for kind in KINDS]}).json["outputs"]
    assert isinstance(outputs, list)
    assert [(each["name"], each["datatype"], each["data"]) for each in outputs] == [
        (f"{kind}-out", kind, [0, 1, 1]) for kind in KINDS
    ]


def test_every_datatype_goes_in_and_out_in_binary(kinds: Hosted) -> None:
    arrays = {kind: np.array([0, 1, 1], dtype_of(kind)) for kind in KINDS}  # odd sizes: most of them lie unaligned
    inputs = [of_kind(kind, binary_bytes=array.nbytes) for kind, array in arrays.items()]
    content = b"".join(array.tobytes() for array in arrays.values())
    body, headers = with_binary({"inputs": inputs, "parameters": {"binary_data_output": True}}, content)
    assert ask(kinds, "POST", INFER, body, headers).tail == content


def test_any_byte_but_zero_is_true(kinds: Hosted) -> None:
    inputs = [of_kind(kind, binary_bytes=3 if kind is Datatype.BOOL else None) for kind in KINDS]
    body, headers = with_binary({"inputs": inputs, "outputs": [{"name": "BOOL-out"}]}, b"\x00\x02\xff")
    (output,) = ask(kinds, "POST", INFER, body, headers).json["outputs"]  # type: ignore[misc]  # a list of one
    assert output["data"] == [False, True, True]


def test_what_json_has_no_number_for_is_null_and_binary_keeps_it(kinds: Hosted) -> None:
    given = np.array([np.nan, np.inf, 1], np.float32)
    inputs = [of_kind(kind, binary_bytes=12 if kind is Datatype.FP32 else None) for kind in KINDS]
    tree = {"inputs": inputs, "outputs": [{"name": "FP32-out"}]}
    body, headers = with_binary(tree, given.tobytes())
    (output,) = ask(kinds, "POST", INFER, body, headers).json["outputs"]  # type: ignore[misc]  # a list of one
    assert output["data"] == [None, None, 1.0]
    body, headers = with_binary({**tree, "parameters": {"binary_data_output": True}}, given.tobytes())
    assert ask(kinds, "POST", INFER, body, headers).tail == given.tobytes()
