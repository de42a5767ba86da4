"""The words between supervisor and worker: they survive any cut, and what is not of them is an error."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from pinnace_agent.worker import protocol
from pinnace_agent.worker.protocol import Frames, Vitals, frame
from pinnace_contract.errors import ContractError, TooLarge
from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.latest import Arm, Block, Cause, ErrorCount, GoldenResult, LatencyCounts

DIGEST = Digest("d" * 64)
LOAD = protocol.Load(
    model=ModelName("digits"),
    release=ReleaseId("e" * 64),
    release_path="/store/releases/e.json",
    variant=DIGEST,
    blobs=(protocol.BlobPath(digest=DIGEST, path="/store/blobs/d"),),
    tag="cafe-1",
    confinement=protocol.Confinement(data_bytes=2**30, niceness=5, threads=2),
)
BLOCK = Block(
    model=ModelName("digits"),
    release=ReleaseId("e" * 64),
    variant=DIGEST,
    arm=Arm.CANDIDATE,
    n=3,
    errors=(ErrorCount(name="runtime", n=1),),
    latency=LatencyCounts(offset=-100, counts=b"\x01\x02"),
)
MESSAGES = [
    LOAD,
    protocol.SelfTest(),
    protocol.Replay(n=5),
    protocol.Serve(arm=Arm.CANDIDATE, slow_over_s=0.25),
    protocol.StopServing(),
    protocol.Collect(),
    protocol.Label(
        truths=(protocol.Truth(request="cafe-1-s7", classes=(3, 4)), protocol.Truth(request="x", correct=True))
    ),
    protocol.Forward(share_percent=25),
    protocol.Shadow(),
    protocol.Split(
        control_percent=20,
        arm=Arm.CONTROL,
        slow_over_s=0.5,
        release=BLOCK.release,
        variant=BLOCK.variant,
        other_arm=Arm.CANDIDATE,
    ),
    protocol.Answer(arm=Arm.CANDIDATE, slow_over_s=0.5),
    protocol.Stop(),
    protocol.Loaded(load_ms=12.5, peak_memory_bytes=60_000_000, runtime="onnxruntime 1.23"),
    protocol.Refused(cause=Cause.LOAD_FAILED, detail="no"),
    protocol.Tested(result=GoldenResult(vectors=8, passed=True, max_abs=0.5), latency=BLOCK.latency),
    protocol.Replayed(n=4, errors=1, result=GoldenResult(vectors=3, passed=False)),
    protocol.Serving(arm=Arm.SERVING),
    protocol.Answering(arm=Arm.CANDIDATE),
    protocol.Parted(),
    protocol.Drained(),
    protocol.Counted(block=BLOCK),
]


@pytest.mark.parametrize("size", [1, 3, 64, 1 << 20])
def test_messages_survive_any_cut_of_the_stream(size: int) -> None:
    stream = b"".join(map(frame, MESSAGES))
    frames = Frames()
    found = [message for i in range(0, len(stream), size) for message in frames.feed(stream[i : i + size])]
    assert found == MESSAGES


def test_every_message_is_tried_here() -> None:
    assert {type(message) for message in MESSAGES} == set(protocol._KINDS.values())


def test_frame_over_the_limit_is_refused_before_it_is_received() -> None:
    with pytest.raises(TooLarge):
        Frames().feed((protocol.FRAME_BYTES_MAX + 1).to_bytes(4, "big"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing\n{}",
        b"counted\n",
        b"counted\n{}",
        b"counted\n[1]",
        b"refused\n" + b"[" * 100_000,
        b"serving\n\xff",
    ],
)
def test_what_a_hostile_worker_says_is_an_error(body: bytes) -> None:
    with pytest.raises(ContractError):
        Frames().feed(len(body).to_bytes(4, "big") + body)


@given(data=strategies.binary(max_size=200))
def test_any_bytes_are_messages_or_an_error(data: bytes) -> None:
    try:
        Frames().feed(data)
    except ContractError:
        return


def test_vitals_are_seen_through_the_same_page() -> None:
    page = Vitals.create()
    worker, supervisor = Vitals(page), Vitals(page)
    assert supervisor.read() == (0, None)
    worker.beat()
    beat, busy = supervisor.read()
    assert beat > 0
    assert busy is None
    begun = worker.begin()
    assert supervisor.read() == (beat, begun / 1e9)
    ended = worker.end()
    assert supervisor.read() == (ended / 1e9, None)
    assert ended >= begun
