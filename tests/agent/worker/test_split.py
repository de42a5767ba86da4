"""Two workers of one model that both answer: each its share, counted apart, and one for the other when it is gone."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pinnace_agent.client import Client
from pinnace_agent.reactor import Reactor
from pinnace_agent.worker import events, protocol
from pinnace_agent.worker.copies import chosen
from pinnace_agent.worker.events import ExitCause, WorkerRef
from pinnace_agent.worker.joining import JOINS_MAX
from pinnace_agent.worker.protocol import NO_ANSWER
from pinnace_agent.worker.reply import Reply
from pinnace_agent.worker.split import ANSWER_BYTES_MAX, ANSWER_S_MAX, PASS_ON_S_MAX, Answering, Split
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import Digest, ReleaseId
from pinnace_contract.latest import Arm, Block, ErrorCount, Labels
from pinnace_contract.merging import merge_blocks
from tests.agent.worker.building import (
    MODEL,
    WEIGHTS,
    Hosted,
    OnDisk,
    endless,
    expected,
    fails_on_full,
    linear,
    put_release,
    rows,
)

FULL = np.full((1, 4), 255, np.float32)
SHARE = 20


def second(tmp_path: Path, model: bytes | None = None) -> OnDisk:
    return put_release(tmp_path / "second", model or linear(WEIGHTS * 2), version="2", tolerance=1.0)


def split(
    host: Hosted, control: OnDisk, candidate: OnDisk, *, front_is_control: bool = True
) -> tuple[WorkerRef, WorkerRef]:
    """Let both answer; return control and candidate."""
    front = host.serving(control if front_is_control else candidate)
    beside = host.loaded(candidate if front_is_control else control)
    host.host.split(front, beside, control_percent=SHARE, beside_is_control=not front_is_control)
    host.wait_for(events.NowAnswering, beside)
    host.host.collect(front)  # it obeys in turn, so it has heard of the split
    host.wait_for(events.Collected, front)
    return (front, beside) if front_is_control else (beside, front)


def ask(host: Hosted, n: int, *, shared: bool = False, rows_each: int = 2) -> Counter[str]:
    """Ask so many times; return how often which variant answered."""
    answered: Counter[str] = Counter()
    with Client(host.run_dir, shared_memory=shared) as client:
        for i in range(n):
            asked = rows(rows_each, seed=i)
            answer = client.infer(MODEL, {"x": asked})
            assert answer.outputs["y"].shape == (rows_each, 3)
            answered[str(answer.variant)] += 1
    return answered


def block_of(host: Hosted, worker: WorkerRef) -> Block:
    host.host.collect(worker)
    return host.wait_for(events.Collected, worker).block


def pid_of(host: Hosted, worker: WorkerRef) -> int:
    return next(each.pid for each in host.host.status() if each.worker == worker)


@pytest.mark.parametrize("shared", [False, True], ids=["http", "shared memory"])
@pytest.mark.parametrize("front_is_control", [True, False])
def test_each_arm_answers_its_share_and_counts_it(
    host: Hosted, release: OnDisk, tmp_path: Path, *, shared: bool, front_is_control: bool
) -> None:
    other = second(tmp_path)
    control, candidate = split(host, release, other, front_is_control=front_is_control)
    answered = ask(host, 200, shared=shared)
    ours = sum(chosen(number, SHARE) for number in range(1, 201))
    assert answered == {control.variant: ours, candidate.variant: 200 - ours}
    assert 30 <= ours <= 50
    for worker, arm, n in ((control, Arm.CONTROL, ours), (candidate, Arm.CANDIDATE, 200 - ours)):
        block = block_of(host, worker)
        assert (block.release, block.variant, block.arm, block.n) == (worker.release, worker.variant, arm, n)
        assert block.errors == ()
        assert Histogram.from_wire(block.latency).n == n  # timed at the runtime, on either side of the hop


def test_answers_are_those_of_the_arm_that_gave_them(host: Hosted, release: OnDisk, tmp_path: Path) -> None:
    control, _ = split(host, release, second(tmp_path))
    with Client(host.run_dir) as client:
        for i in range(20):
            asked = rows(2, seed=i)
            answer = client.infer(MODEL, {"x": asked})
            right = expected(asked) if answer.variant == control.variant else None
            if right is not None:
                np.testing.assert_allclose(answer.outputs["y"], right, rtol=1e-4)
            else:
                assert not np.allclose(answer.outputs["y"], expected(asked), rtol=1e-4)


def test_labels_reach_the_arm_that_answered(host: Hosted, release: OnDisk, tmp_path: Path) -> None:
    control, candidate = split(host, release, second(tmp_path))
    answered: Counter[str] = Counter()
    with Client(host.run_dir) as client:
        for i in range(40):
            answer = client.infer(MODEL, {"x": rows(1, seed=i)})
            answered[str(answer.variant)] += 1
            host.host.label(MODEL, (protocol.Truth(request=str(answer.request), correct=False),))
    for worker in (control, candidate):
        labels = block_of(host, worker).labels
        assert labels is not None
        assert (labels.n, labels.errors) == (answered[worker.variant], answered[worker.variant])


def test_an_error_of_one_arm_is_that_arms(host: Hosted, release: OnDisk, tmp_path: Path) -> None:
    control, candidate = split(host, release, second(tmp_path, fails_on_full()))
    refused = 0
    with Client(host.run_dir) as client:
        for _ in range(50):
            try:
                client.infer(MODEL, {"x": FULL})
            except Exception:
                refused += 1
    theirs = 50 - sum(chosen(number, SHARE) for number in range(1, 51))
    assert refused == theirs
    assert block_of(host, candidate).errors == (ErrorCount(name="runtime", n=theirs),)
    assert block_of(host, control).errors == ()


@pytest.mark.parametrize("shared", [False, True], ids=["http", "shared memory"])
def test_a_request_whose_arm_is_gone_is_answered_by_the_other_and_counted_as_its_failure(
    host: Hosted, release: OnDisk, tmp_path: Path, *, shared: bool
) -> None:
    control, candidate = split(host, release, second(tmp_path))
    ask(host, 10, shared=shared)
    os.kill(pid_of(host, candidate), signal.SIGKILL)
    host.wait_for(events.WorkerExited, candidate)
    assert ask(host, 20, shared=shared) == {control.variant: 20}
    host.host.collect(control)
    own, lost = (host.wait_for(events.Collected, control).block for _ in range(2))
    assert (own.arm, own.errors) == (Arm.CONTROL, ())
    assert (lost.release, lost.variant, lost.arm) == (candidate.release, candidate.variant, Arm.CANDIDATE)
    assert (lost.n, lost.errors) == (1, (ErrorCount(name=NO_ANSWER, n=1),))


def test_what_takes_the_candidate_down_is_answered_all_the_same(
    host_with: Callable[..., Hosted], release: OnDisk, tmp_path: Path
) -> None:
    host = host_with(hang_s=1.0, watch_every_s=0.1)
    control, candidate = split(host, release, second(tmp_path, endless()))
    with Client(host.run_dir) as client:
        answers = [client.infer(MODEL, {"x": FULL}).variant for _ in range(10)]
    assert set(answers) == {control.variant}
    assert host.wait_for(events.WorkerExited, candidate).cause is ExitCause.HUNG
    host.host.collect(control)
    blocks = [host.wait_for(events.Collected, control).block for _ in range(2)]
    assert blocks[1].errors == (ErrorCount(name=NO_ANSWER, n=1),)


@pytest.mark.parametrize("front_is_control", [True, False])
def test_whoever_gave_an_answer_is_known_in_either_place(
    host: Hosted, release: OnDisk, tmp_path: Path, front_is_control: bool
) -> None:
    """What comes of an answer, by whoever gave it, is what an A/B comparison is about."""
    control, candidate = split(host, release, second(tmp_path), front_is_control=front_is_control)
    told: Counter[tuple[str, Arm]] = Counter()
    with Client(host.run_dir) as client:
        for i in range(40):
            answer = client.infer(MODEL, {"x": rows(1, seed=i)})
            by = host.host.who_answered(answer.request)
            assert by is not None
            assert by.worker.variant == answer.variant
            told[by.worker.variant, by.arm] += 1
    assert set(told) == {(control.variant, Arm.CONTROL), (candidate.variant, Arm.CANDIDATE)}


@pytest.mark.parametrize("stays", ["control", "candidate"])
def test_truth_and_outcome_that_come_late_count_for_the_arm_that_answered(
    host: Hosted, release: OnDisk, tmp_path: Path, stays: str
) -> None:
    """With a business metric that is the rule: the split is over before the customer has paid."""
    control, candidate = split(host, release, second(tmp_path))
    with Client(host.run_dir) as client:
        answers = [client.infer(MODEL, {"x": rows(1, seed=i)}) for i in range(20)]
        kept, arm = (control, Arm.CONTROL) if stays == "control" else (candidate, Arm.CANDIDATE)
        host.host.serve(kept)
        host.wait_for(events.NowServing, kept)
        if kept is candidate:
            host.wait_for(events.StoppedServing, control)
        answers.append(client.infer(MODEL, {"x": rows(1)}))
    told = [host.host.who_answered(answer.request) for answer in answers]
    assert {by.arm for by in told[:-1] if by is not None} == {Arm.CONTROL, Arm.CANDIDATE}
    assert told[-1] is not None
    assert (told[-1].worker, told[-1].arm) == (kept, Arm.SERVING)
    theirs = sum(answer.variant == kept.variant for answer in answers[:-1])
    host.host.label(MODEL, tuple(protocol.Truth(request=answer.request, correct=False) for answer in answers))
    host.host.collect(kept)
    labelled = {}
    while len(labelled) < 2:
        block = host.wait_for(events.Collected, kept).block
        if block.labels is not None:
            labelled[block.arm] = block.labels
            assert (block.release, block.variant) == (kept.release, kept.variant)
    assert labelled == {Arm.SERVING: Labels(n=1, errors=1), arm: Labels(n=theirs, errors=theirs)}


def test_when_the_one_that_holds_the_socket_dies_the_other_takes_it(
    host: Hosted, release: OnDisk, tmp_path: Path
) -> None:
    control, candidate = split(host, release, second(tmp_path))
    ask(host, 10)
    os.kill(pid_of(host, control), signal.SIGKILL)
    answered = ask(host, 20)  # who connects meanwhile waits, and is not refused
    assert answered == {candidate.variant: 20}
    assert host.wait_for(events.NowServing, candidate).arm is Arm.CANDIDATE


def test_a_control_that_is_started_anew_has_the_same_share_beside_what_holds_the_socket_now(
    host: Hosted, release: OnDisk, tmp_path: Path
) -> None:
    control, candidate = split(host, release, second(tmp_path))
    os.kill(pid_of(host, control), signal.SIGKILL)
    host.wait_for(events.NowServing, candidate)
    anew = host.loaded(release)
    host.host.split(candidate, anew, control_percent=SHARE, beside_is_control=True)
    host.wait_for(events.NowAnswering, anew)
    block_of(host, candidate)
    answered = ask(host, 100)
    assert set(answered) == {control.variant, candidate.variant}
    assert 12 <= answered[control.variant] <= 28


def test_arms_that_part_are_joined_again_and_one_that_parts_again_and_again_is_ended(
    host_with: Callable[..., Hosted], release: OnDisk, tmp_path: Path
) -> None:
    """A self-test takes as long as it takes, so whoever has one leaves: nobody waits, and it is nobody's failure."""
    host = host_with(watch_every_s=0.05)
    control, candidate = split(host, release, second(tmp_path))
    for _ in range(JOINS_MAX):
        host.host.self_test(candidate)
        host.wait_for(events.SelfTested, candidate)
        assert ask(host, 5)[control.variant] > 0  # it hears that the other one has left, and answers
        host.wait_for(events.NowAnswering, candidate)
        block_of(host, control)  # it obeys in turn, so it has heard that they are joined again
        assert ask(host, 40)[candidate.variant] > 20
    host.host.self_test(candidate)
    host.wait_for(events.SelfTested, candidate)
    ask(host, 5)
    ended = host.wait_for(events.WorkerExited, candidate)
    assert ended.cause is ExitCause.CRASHED
    assert "did not answer its share" in ended.detail
    assert set(ask(host, 20)) == {control.variant}
    blocks = [each.block for each in host.seen if isinstance(each, events.Collected)]
    assert not any(block.errors for block in blocks)


@pytest.mark.parametrize("stays", ["control", "candidate"])
def test_the_end_of_a_split_refuses_nobody_and_is_nobodys_failure(
    host: Hosted, release: OnDisk, tmp_path: Path, stays: str
) -> None:
    control, candidate = split(host, release, second(tmp_path))
    kept, left = (control, candidate) if stays == "control" else (candidate, control)
    failed: list[BaseException] = []
    answered: Counter[str] = Counter()
    ended = threading.Event()

    def asking() -> None:
        try:
            while not ended.is_set():
                answered.update(ask(host, 20))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    host.host.serve(kept)
    host.wait_for(events.NowServing, kept)
    host.host.stop(left)
    host.wait_for(events.WorkerExited, left)
    ended.set()
    for thread in threads:
        thread.join()
    assert failed == []
    host.host.collect(kept)
    host.wait_for(events.Collected, kept)
    blocks = [each.block for each in host.seen if isinstance(each, events.Collected)]
    assert not any(block.errors for block in blocks)
    assert set(ask(host, 20)) == {kept.variant}
    total = block_of(host, kept)
    while total.n < 20:
        total = merge_blocks(total, block_of(host, kept))
    assert (total.arm, total.n) == (Arm.SERVING, 20)


def test_a_request_that_names_the_version_is_answered_by_that_version(
    host: Hosted, release: OnDisk, tmp_path: Path
) -> None:
    control, _ = split(host, release, second(tmp_path))
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]})
    connection = http.client.HTTPConnection("device")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(host.socket))
    variants = set()
    for _ in range(20):
        connection.request("POST", f"/v2/models/{MODEL}/versions/{release.release.version}/infer", body)
        variants.add(json.loads(connection.getresponse().read())["parameters"]["pinnace_variant"])
    connection.close()
    assert variants == {control.variant}


# --- the stream between the two -----------------------------------------------------------------------------------

ORDER = protocol.Split(
    control_percent=0,
    arm=Arm.CONTROL,
    release=ReleaseId("a" * 64),
    variant=Digest("b" * 64),
    other_arm=Arm.CANDIDATE,
)


def ends(parted: list[bool] | None = None) -> tuple[Split, socket.socket]:
    ours, theirs = socket.socketpair()
    return Split(ours, ORDER, MODEL, lambda: None, lambda: (parted if parted is not None else []).append(True)), theirs


def answering(reactor: Reactor, theirs: socket.socket, answer: Callable[[memoryview, int | None], Reply]) -> Answering:
    return Answering(reactor, theirs, answer, 100, lambda: None)


def lost(end: Split) -> int:
    block = end.take_lost()
    return block.n if block is not None else 0


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00\x00",
        (99).to_bytes(4, "big") + bytes(12),  # no status
        (200).to_bytes(4, "big") + (1 << 40).to_bytes(8, "big") + bytes(4),  # more than any answer
        (200).to_bytes(4, "big") + bytes(8) + (65).to_bytes(4, "big"),  # more tensors than a model has
        (200).to_bytes(4, "big") + bytes(8) + (1).to_bytes(4, "big") + (1 << 40).to_bytes(8, "big"),
        (200).to_bytes(4, "big") + (5).to_bytes(8, "big") + bytes(4) + b"abc",
    ],
)
def test_what_is_no_answer_is_the_other_arms_failure_and_ends_the_split(said: bytes) -> None:
    parted: list[bool] = []
    end, theirs = ends(parted)
    theirs.sendall(said)
    theirs.shutdown(socket.SHUT_WR)
    assert end.ask(memoryview(b"body"), None) is None
    assert (lost(end), lost(end)) == (1, 0)
    assert not end.asks(1)
    assert parted == [True]


def test_who_leaves_in_order_has_not_failed() -> None:
    parted: list[bool] = []
    end, theirs = ends(parted)
    answering(Reactor(), theirs, lambda _body, _json: Reply(status=200, json=b"")).leave()
    assert end.ask(memoryview(bytes(1 << 20)), None) is None
    assert lost(end) == 0
    assert parted == [True]


def asking(end: Split) -> tuple[threading.Thread, list[Reply | None]]:
    got: list[Reply | None] = []
    thread = threading.Thread(target=lambda: got.append(end.ask(memoryview(b"body"), None)))
    thread.start()
    return thread, got


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=200, json=b"{}", tensors=(memoryview(b"x"),) * 65),
        Reply(
            status=200, json=b"{}" * (ANSWER_BYTES_MAX // 4), tensors=(memoryview(bytes(ANSWER_BYTES_MAX // 2 + 1)),)
        ),
    ],
    ids=["too many tensors", "too many bytes"],
)
def test_an_answer_too_large_to_pass_on_is_given_by_who_asked_and_nobodys_failure(reply: Reply) -> None:
    parted: list[bool] = []
    end, theirs = ends(parted)
    reactor = Reactor()
    answers = [reply, Reply(status=200, json=b"next")]
    kept = answering(reactor, theirs, lambda _body, _json: answers.pop(0))
    for expected_answer in (None, b"next"):
        thread, got = asking(end)
        while thread.is_alive():
            reactor.turn(0.01)
        assert [each and each.json for each in got] == [expected_answer]
    assert (lost(end), parted, end.asks(1)) == (0, [], True)
    kept.leave()


class Dripping:
    """A clock on which a second goes by with each sign of life, when the other side takes or gives a little."""

    def __init__(self, drip: Callable[[], object]) -> None:
        self.now_s, self.drip = 0.0, drip

    def beat(self) -> None:
        self.now_s += 1
        self.drip()

    def clock(self) -> float:
        return self.now_s


def test_an_answer_that_drips_is_not_waited_for_and_the_one_that_waits_is_seen_to_live() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall((200).to_bytes(4, "big") + (10_000).to_bytes(8, "big") + bytes(4))
    slowly = Dripping(lambda: theirs.send(b"x"))
    end = Split(ours, ORDER, MODEL, slowly.beat, lambda: None, slowly.clock)
    assert end.ask(memoryview(b"body"), None) is None
    assert slowly.now_s == ANSWER_S_MAX + 1
    assert lost(end) == 1


def test_an_answer_that_is_taken_in_drips_is_not_passed_on_for_ever() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall((4).to_bytes(8, "big") + (-1).to_bytes(8, "big", signed=True) + b"body")
    ours.setblocking(False)

    def drip() -> None:
        with contextlib.suppress(BlockingIOError):
            ours.recv(100_000)

    slowly = Dripping(drip)
    reactor = Reactor()
    part = memoryview(bytes(1 << 20))
    reply = Reply(status=200, json=b"{}", tensors=(part,) * 60)
    Answering(reactor, theirs, lambda _body, _json: reply, 100, slowly.beat, slowly.clock)
    reactor.turn(1.0)
    assert slowly.now_s == PASS_ON_S_MAX + 1
    assert theirs.fileno() < 0


@pytest.mark.parametrize(
    "asked", [(101).to_bytes(8, "big") + bytes(8), (4).to_bytes(8, "big") + (5).to_bytes(8, "big")]
)
def test_what_is_no_question_ends_the_split(asked: bytes) -> None:
    ours, theirs = socket.socketpair()
    reactor = Reactor()
    answered: list[bytes] = []

    def answer(body: memoryview, _json: int | None) -> Reply:
        answered.append(bytes(body))
        return Reply(status=200, json=b"{}")

    answering(reactor, theirs, answer)
    ours.sendall(asked)
    reactor.turn(1.0)
    assert (answered, ours.recv(100)) == ([], b"")


def test_a_question_that_comes_in_pieces_is_answered_once_it_is_whole() -> None:
    ours, theirs = socket.socketpair()
    reactor = Reactor()
    answering(reactor, theirs, lambda body, json_bytes: Reply(status=200, json=bytes(body) + str(json_bytes).encode()))
    for part in ((3).to_bytes(8, "big"), (2).to_bytes(8, "big"), b"a", b"bc"):
        ours.sendall(part)
        reactor.turn(1.0)
    assert ours.recv(100)[16:] == b"abc2"
