"""What applications do with the client, against real workers and a supervisor's socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from pinnace_agent.adapters.local_socket import LocalSocket
from pinnace_agent.client import BadAnswer, Client, InferenceFailed, NotReachable, Refused, Unavailable
from pinnace_agent.client.shared import SharedConnection
from pinnace_agent.client.tensors import Answers, Descriptions
from pinnace_agent.outcomes import Outcome, Outcomes, Weighed
from pinnace_agent.shared_layout import NOTICE
from pinnace_agent.worker import events
from pinnace_agent.worker.protocol import Truth
from pinnace_contract.ids import Digest, ModelName
from pinnace_contract.latest import Block, Datatype, GroupCounts, IoContract, Labels, OutcomeCounts, TensorSpec
from pinnace_contract.merging import merge_all
from tests.agent.worker.building import (
    MODEL,
    NO_STEPS,
    Hosted,
    OnDisk,
    copies,
    expected,
    fails_on_full,
    linear,
    put_release,
    rows,
)
from tests.agent.worker.conftest import host as host
from tests.agent.worker.conftest import host_with as host_with
from tests.agent.worker.conftest import release as release
from tests.agent.worker.conftest import run_dir as run_dir

BOTH_WAYS = pytest.mark.parametrize("shared_memory", [False, True], ids=["http", "shared memory"])


class Desk:
    """Stands for the daemon: hands labels to the host, remembers the rest."""

    def __init__(self, host: Hosted) -> None:
        self.host, self.told = host, [("nothing",)]
        self.outcomes = Outcomes(
            host.host.who_answered, lambda _: [] if self.serving is None else [self.serving], time.monotonic
        )
        self.serving: events.WorkerRef | None = None
        self.blocks: list[Block] = []

    def label(self, model: ModelName, truths: tuple[Truth, ...]) -> bool:
        self.host.host.label(model, truths)
        return model == MODEL

    def outcome(self, model: ModelName, outcomes: Sequence[Outcome]) -> Weighed:
        weighed = self.outcomes.weigh(model, outcomes)
        self.outcomes.keep(model, outcomes, weighed)
        self.blocks += weighed.blocks
        return weighed

    def veto(self, model: ModelName, seconds: float, reason: str) -> bool:
        self.told.append(("veto", model, seconds, reason))  # type: ignore[arg-type]  # what it was told
        return True

    def lift_veto(self, model: ModelName) -> bool:
        self.told.append(("lift", model))  # type: ignore[arg-type]
        return True

    def accept(self, model: ModelName, contracts: tuple[Digest, ...]) -> bool:
        self.told.append(("accept", model, contracts))  # type: ignore[arg-type]
        return True

    def status(self) -> Mapping[str, object]:
        return {"models": [MODEL]}


@pytest.fixture
def desk(host: Hosted) -> Iterator[Desk]:
    made = Desk(host)
    served = LocalSocket(host.run_dir, "pinnace", made)
    yield made
    served.close()


@BOTH_WAYS
def test_answers_of_any_batch_are_right(host: Hosted, release: OnDisk, shared_memory: bool) -> None:
    host.serving(release)
    with Client(host.run_dir, shared_memory=shared_memory) as client:
        for n in (1, 3, 20_000, 2):
            answer = client.infer(MODEL, {"x": rows(n)})
            np.testing.assert_allclose(answer.outputs["y"], expected(rows(n)), rtol=1e-4)
            assert (answer.release, answer.variant) == (release.id, release.start.variant)


def test_texts_without_bytes_are_refused_and_end_nobody(host: Hosted, desk: Desk, release: OnDisk) -> None:
    """JSON can say a lone surrogate; what would carry it on cannot."""
    worker = host.serving(release)
    lone = "\ud800"
    with Client(host.run_dir) as client:
        answer = client.infer(MODEL, {"x": rows(1)})
        tag = answer.request.rpartition("-")[0]
        for tell in (
            lambda: client.label(MODEL, answer.request, correct=True, group=lone),
            lambda: client.label(MODEL, f"{tag}-s{lone}", correct=True),
            lambda: client.outcome(MODEL, lone, True),
            lambda: client.outcome(MODEL, "accepted", True, request=f"{tag}-s{lone}"),
            lambda: client.veto(MODEL, 5, lone),
        ):
            with pytest.raises(Refused, match="found a lone surrogate"):
                tell()
        for ask in (lambda: client.infer(lone, {"x": rows(1)}), lambda: client.veto(lone, 5)):
            with pytest.raises(Refused, match=r"a model's name .*, found '\\ud800'"):
                ask()
        client.label(MODEL, answer.request, correct=True)
        host.host.collect(worker)
        assert host.wait_for(events.Collected, worker).block.labels == Labels(n=1)


def test_client_that_spoils_what_it_shares_ends_nobody(host: Hosted, release: OnDisk) -> None:
    """Descriptors that travel keep their flags in common: a client could have the worker wait on one for ever."""
    worker = host.serving(release)
    with Client(host.run_dir, shared_memory=True) as hostile, Client(host.run_dir) as client:
        for spoil in ("waits", "floods", "hears nothing", "says nothing"):
            hostile.infer(MODEL, {"x": rows(1)})
            shared = hostile._models[MODEL]
            assert isinstance(shared, SharedConnection)
            session = shared._session
            assert session is not None
            if spoil == "waits":
                for each in (session._asked, session._answered):
                    os.set_blocking(each, True)
            elif spoil == "floods":
                for _ in range(20):
                    os.write(session._asked, b"x" * 1000)
            else:
                with Path(os.devnull).open("rb+") as nothing:  # in the place of the one that is closed
                    os.dup2(nothing.fileno(), session._answered if spoil == "hears nothing" else session._asked)
            if spoil == "hears nothing":
                os.write(session._asked, NOTICE)
            assert client.infer(MODEL, {"x": rows(1)}).release == release.id
            shared.close()
            assert client.infer(MODEL, {"x": rows(1)}).release == release.id
    host.host.collect(worker)
    assert host.wait_for(events.Collected, worker).block.n >= 12


@BOTH_WAYS
def test_array_in_another_order_of_memory_is_sent_in_the_right_one(
    host: Hosted, release: OnDisk, shared_memory: bool
) -> None:
    host.serving(release)
    turned = np.asfortranarray(rows(5))
    with Client(host.run_dir, shared_memory=shared_memory) as client:
        answer = client.infer(MODEL, {"x": turned})
        sliced = client.infer(MODEL, {"x": rows(10)[::2]})
    np.testing.assert_allclose(answer.outputs["y"], expected(rows(5)), rtol=1e-5)
    np.testing.assert_allclose(sliced.outputs["y"], expected(rows(10)[::2]), rtol=1e-5)


@BOTH_WAYS
def test_errors_are_told_apart(host: Hosted, tmp_path: Path, shared_memory: bool) -> None:
    host.serving(put_release(tmp_path / "store", fails_on_full()))
    with Client(host.run_dir, shared_memory=shared_memory) as client:
        with pytest.raises(Refused, match=r"input 'x': expected FP32 \[\?, 4\], found FP32 \[1, 5\]"):
            client.infer(MODEL, {"x": np.zeros((1, 5), np.float32)})
        with pytest.raises(Refused, match="no output 'z'"):
            client.infer(MODEL, {"x": rows(1)}, outputs=["z"])
        with pytest.raises(Refused, match="found complex128"):
            client.infer(MODEL, {"x": np.zeros((1, 4), np.complex128)})
        with pytest.raises(InferenceFailed, match="onnxruntime failed"):
            client.infer(MODEL, {"x": np.full((1, 4), 255, np.float32)})
        assert client.infer(MODEL, {"x": rows(1)}).outputs["y"].shape == (1, 3)


@BOTH_WAYS
def test_prepared_input_skips_the_declared_steps(host: Hosted, release: OnDisk, shared_memory: bool) -> None:
    host.serving(release)
    with Client(host.run_dir, shared_memory=shared_memory) as client:
        raw = client.infer(MODEL, {"x": np.ones((1, 4), np.float32)}).outputs["y"]
        prepared = client.infer(MODEL, {"x": np.ones((1, 4), np.float32)}, preprocessed=True).outputs["y"]
    assert raw.sum() == pytest.approx(1)
    np.testing.assert_allclose(prepared, [[0.75, 0.0, 2.75]], rtol=1e-5)


@BOTH_WAYS
def test_large_tensors_come_and_go(host: Hosted, tmp_path: Path, shared_memory: bool) -> None:
    contract = IoContract(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1,)),),
        outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1,)),),
    )
    given = np.zeros(1, np.float32)
    host.serving(
        put_release(
            tmp_path / "store",
            copies(),
            contract=contract,
            processing=NO_STEPS,
            vectors=(given, given),
            baseline=None,
        )
    )
    with Client(host.run_dir, shared_memory=shared_memory) as client:
        for size in (10, 3_000_000, 10, 100_000):
            asked = np.arange(size, dtype=np.float32)
            np.testing.assert_array_equal(client.infer(MODEL, {"x": asked}).outputs["y"], asked)


def test_request_over_the_shared_memory_of_a_worker_is_told_to_use_http(host: Hosted, release: OnDisk) -> None:
    host.serving(release)
    with Client(host.run_dir, shared_memory=True) as client, pytest.raises(Unavailable, match="use HTTP"):
        client.infer(MODEL, {"x": np.zeros((3_000_000, 4), np.float32)})


@BOTH_WAYS
def test_client_outlives_a_swap_of_workers(host: Hosted, release: OnDisk, tmp_path: Path, shared_memory: bool) -> None:
    old = host.serving(release)
    with Client(host.run_dir, shared_memory=shared_memory) as client:
        assert client.infer(MODEL, {"x": rows(1)}).version == "1"
        new = host.serving(put_release(tmp_path / "new", linear(), version="2"))
        host.wait_for(events.StoppedServing, old)
        assert client.infer(MODEL, {"x": rows(1)}).version == "2"
        host.host.stop(new)
        host.wait_for(events.WorkerExited, new)
        with pytest.raises(Unavailable):
            client.infer(MODEL, {"x": rows(1)})


def test_many_threads_each_with_a_client_get_their_own_answers(host: Hosted, release: OnDisk) -> None:
    host.serving(release)
    wrong: list[object] = []

    def ask(seed: int) -> None:
        asked = rows(3, seed)
        with Client(host.run_dir, shared_memory=seed % 2 == 0) as client:
            for _ in range(30):
                found = client.infer(MODEL, {"x": asked}).outputs["y"]
                if not np.allclose(found, expected(asked), rtol=1e-4):
                    wrong.append((seed, found))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_labels_join_the_answers_that_they_are_about(host: Hosted, release: OnDisk, desk: Desk) -> None:
    worker = host.serving(release)
    asked = rows(4)
    right = expected(asked).argmax(axis=1).tolist()
    with Client(host.run_dir) as client:
        whole = client.infer(MODEL, {"x": asked})
        single = client.infer(MODEL, {"x": asked[:1]})
        judged = client.infer(MODEL, {"x": asked[:1]})
        client.label(MODEL, whole.request, [right[0], right[1], (right[2] + 1) % 3, right[3]])
        client.labels(
            MODEL,
            [
                {"request": single.request, "label": right[0]},
                {"request": single.request, "label": right[0]},  # twice: it counts once
                {"request": judged.request, "correct": False},
                {"request": "another-run-s1", "correct": False},
                {"request": f"{judged.request}0000", "correct": False},
            ],
        )
        client.status()  # answered after the labels were handed on
    host.host.collect(worker)
    assert host.wait_for(events.Collected, worker).block.labels == Labels(n=6, errors=2)


def test_labels_of_declared_groups_are_counted_apart(host: Hosted, release: OnDisk, desk: Desk) -> None:
    worker = host.serving(release)
    asked = rows(2)
    right = expected(asked).argmax(axis=1).tolist()
    with Client(host.run_dir) as client:
        first = client.infer(MODEL, {"x": asked})
        client.label(MODEL, first.request, [right[0], (right[1] + 1) % 3], group="night")
        for n in range(20):  # more groups than a report has
            answer = client.infer(MODEL, {"x": asked[:1]})
            client.label(MODEL, answer.request, correct=n > 0, group=f"group {n}")
        plain = client.infer(MODEL, {"x": asked[:1]})
        client.label(MODEL, plain.request, correct=True)
        client.status()
    host.host.collect(worker)
    block = host.wait_for(events.Collected, worker).block
    positive = [int(each > 0) for each in right]
    assert block.groups[:2] == (
        GroupCounts(name="night", n=2, errors=1, positives=sum(positive)),
        GroupCounts(name="group 0", n=1, errors=1, positives=positive[0]),
    )
    assert len(block.groups) == 16
    assert (block.groups[-1].name, block.groups[-1].n) == ("other", 6)
    assert block.labels == Labels(n=23, errors=2), "with those of no group"


def test_outcomes_count_for_whoever_answered_after_it_has_ended(
    host: Hosted, release: OnDisk, tmp_path: Path, desk: Desk
) -> None:
    old = host.serving(release)
    with Client(host.run_dir) as client:
        answers = [client.infer(MODEL, {"x": rows(1)}).request for _ in range(3)]
        new = host.serving(put_release(tmp_path / "new", linear(), version="2"))
        desk.serving = new
        host.host.stop(old)
        host.wait_for(events.WorkerExited, old)
        later = client.infer(MODEL, {"x": rows(1)}).request
        assert client.outcome(MODEL, "accepted", True, request=answers[0])
        assert client.outcome(MODEL, "accepted", False, request=answers[1])
        assert not client.outcome(MODEL, "accepted", True, request=answers[1]), "an answer has one outcome"
        assert client.outcome(MODEL, "accepted", True, request=later)
        assert not client.outcome(MODEL, "accepted", True, request="0000-1-s1")
        assert not client.outcome(MODEL, "accepted", True, request="nonsense")
        more = [{"metric": "accepted", "trials": 10, "successes": 4}, {"metric": "accepted", "success": True}]
        assert client.outcomes(MODEL, more) == {"counted": 2, "unknown": 0, "repeated": 0}
        with pytest.raises(Refused, match="one metric"):
            client.outcome(MODEL, "returned", True)
        desk.serving = None
        with pytest.raises(Unavailable, match="nothing serves"):
            client.outcome(MODEL, "accepted", True)
    told = merge_all(desk.blocks)
    assert {(block.release, block.variant): block.outcome for block in told} == {
        (old.release, old.variant): OutcomeCounts(metric="accepted", trials=2, successes=1),
        (new.release, new.variant): OutcomeCounts(metric="accepted", trials=12, successes=6),
    }


def test_flood_of_labels_is_not_taken_for_a_hang(host: Hosted, release: OnDisk, desk: Desk) -> None:
    worker = host.serving(release)
    with Client(host.run_dir) as client:
        request = client.infer(MODEL, {"x": rows(1)}).request
        tag = request.rpartition("-")[0]
        for i in range(100):
            client.labels(MODEL, [{"request": f"{tag}-s{i * 1000 + j:x}", "correct": True} for j in range(1000)])
        host.host.collect(worker)
        assert host.wait_for(events.Collected, worker).block.n == 1
        assert client.infer(MODEL, {"x": rows(1)}).version == "1"


def test_vetoes_contracts_and_status(host: Hosted, desk: Desk) -> None:
    with Client(host.run_dir) as client:
        client.veto(MODEL, 600, "the line is running")
        client.lift_veto(MODEL)
        client.accepts(MODEL, ["a" * 64])
        assert client.status() == {"models": ["digits"]}
        with pytest.raises(Refused, match="this device has no model 'other'"):
            client.label("other", "x-1", 3)
    assert desk.told[1:] == [
        ("veto", "digits", 600.0, "the line is running"),
        ("lift", "digits"),
        ("accept", "digits", ("a" * 64,)),
    ]


def test_socket_of_one_model_is_enough(host: Hosted, release: OnDisk) -> None:
    host.serving(release)
    with Client(host.socket) as client:
        assert client.infer(MODEL, {"x": rows(1)}).version == "1"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda path: None, "there is no socket", id="no agent"),
        pytest.param(lambda path: path.write_text(""), "nobody listens", id="a file in its place"),
        pytest.param(lambda path: _bound(path), "nobody listens", id="an agent that is gone"),
    ],
)
def test_missing_agent_is_told_as_what_it_is(run_dir: Path, make: Callable[[Path], object], says: str) -> None:
    kept = make(run_dir / "digits.sock")
    with Client(run_dir) as client, pytest.raises(NotReachable, match=says):
        client.infer(MODEL, {"x": rows(1)})
    if isinstance(kept, socket.socket):
        kept.close()


def _bound(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    return made


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", BadAnswer, id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", BadAnswer, id="no length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", BadAnswer, id="an endless length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", BadAnswer, id="cut off"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", BadAnswer, id="not the protocol's JSON"),
        pytest.param(b"x" * 20_000, BadAnswer, id="no end of the head"),
        pytest.param(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", InferenceFailed, id="an error without words"),
        pytest.param(b"", Unavailable, id="nothing at all"),
    ],
)
def test_other_end_that_is_no_agent_is_a_clear_error(run_dir: Path, answer: bytes, error: type[Exception]) -> None:
    listening = _bound(run_dir / "digits.sock")
    listening.listen()

    def serve() -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            while b"\r\n\r\n" not in accepted.recv(1 << 16):
                pass
            accepted.sendall(answer)
            accepted.shutdown(socket.SHUT_WR)
            accepted.recv(1)
            accepted.close()

    served = threading.Thread(target=serve, daemon=True)
    served.start()
    with Client(run_dir) as client, pytest.raises(error):
        client.infer(MODEL, {"x": rows(1)})
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    served.join()


@BOTH_WAYS
def test_worker_that_does_not_answer_in_time_is_not_waited_for(
    host: Hosted, release: OnDisk, shared_memory: bool
) -> None:
    worker = host.serving(release)
    with Client(host.run_dir, shared_memory=shared_memory, timeout_s=0.2) as client:
        client.infer(MODEL, {"x": rows(1)})
        pid = host.host.status()[0].pid
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(Unavailable, match=r"within 0\.2 s"):
            client.infer(MODEL, {"x": rows(1)})
        os.kill(pid, signal.SIGCONT)
    with Client(host.run_dir, shared_memory=shared_memory) as client:
        client.infer(MODEL, {"x": rows(1)})
    host.host.collect(worker)
    assert host.wait_for(events.Collected, worker).block.n >= 2


def test_descriptions_are_kept_for_the_same_question_and_not_mixed_up() -> None:
    descriptions = Descriptions()
    first = descriptions.of({"x": rows(1)}, None, False)
    assert descriptions.of({"x": rows(1, seed=5)}, None, False) is first
    others = [
        descriptions.of({"x": rows(2)}, None, False),
        descriptions.of({"y": rows(1)}, None, False),
        descriptions.of({"x": rows(1).astype(np.float64)}, None, False),
        descriptions.of({"x": rows(1)}, ["y"], False),
        descriptions.of({"x": rows(1)}, None, True),
    ]
    assert len({first, *others}) == 6
    for n in range(200):
        descriptions.of({"x": rows(n + 1)}, None, False)
    assert descriptions.of({"x": rows(1)}, None, False) == first


def answer_of(request: str, values: int = 3, version: str = "1") -> tuple[memoryview, int]:
    tree = {
        "model_version": version,
        "parameters": {"pinnace_release": "r", "pinnace_variant": "v", "pinnace_request": request},
        "outputs": [{"name": "y", "datatype": "UINT8", "shape": [values], "parameters": {"binary_data_size": values}}],
    }
    words = json.dumps(tree, separators=(",", ":")).encode()
    return memoryview(words + bytes(range(values))), len(words)


def test_answers_that_differ_in_their_request_alone_are_read_like_all_others() -> None:
    answers = Answers()
    for request, values, version in (
        *(("cafe-1-1", 3, "1"), ("cafe-1-2", 3, "1"), ("cafe-1-ff", 3, "1")),
        *(("cafe-1-3", 4, "1"), ("cafe-1-4", 3, "2"), ("cafe-1-5", 3, "2")),
    ):
        found = answers.read(*answer_of(request, values, version))
        assert (found.request, found.version) == (request, version)
        assert found.outputs["y"].tolist() == list(range(values))


def test_answer_cut_off_after_a_good_one_is_no_answer() -> None:
    answers = Answers()
    answers.read(*answer_of("cafe-1-1"))
    body, json_bytes = answer_of("cafe-1-2")
    for end in range(json_bytes):
        with pytest.raises(BadAnswer):
            answers.read(body[:end], end)
    with pytest.raises(BadAnswer):
        answers.read(body[: json_bytes + 1], json_bytes)


def test_client_loads_numpy_and_nothing_of_the_supervisor() -> None:
    program = "import sys, pinnace_agent.client; print(sorted(m for m in sys.modules if m.startswith('pinnace')))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert set(eval(found)) == {
        "pinnace_agent",
        "pinnace_agent.client",
        "pinnace_agent.client.errors",
        "pinnace_agent.client.http",
        "pinnace_agent.client.shared",
        "pinnace_agent.client.tensors",
        "pinnace_agent.shared_layout",
    }
