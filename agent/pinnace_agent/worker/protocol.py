"""What supervisor and worker say to each other over their socket pair, and how it is framed.

Orders go to the worker, statements come back; both are dataclasses read by the contract's codec, because the worker
runs hostile files and what it says is as untrusted as what a server says. Imports no numpy: both processes use it.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass
from typing import ClassVar, Final

from pinnace_contract import codec
from pinnace_contract.errors import BadField, TooLarge
from pinnace_contract.fields import count, limited
from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.latest import Arm, Block, Cause, GoldenResult, LatencyCounts

FRAME_BYTES_MAX: Final = 512 * 1024  # a block with 64 features and 2,048 classes, in base64, is under 128 KiB
PATH_CHARS_MAX: Final = 4096
DETAIL_CHARS_MAX: Final = 1024
REPLAYS_MAX: Final = 256  # golden vectors in one order: the worker answers nobody meanwhile
LABELS_MAX: Final = 256
NO_ANSWER: Final = "no_answer"  # in a split: the error of an arm that was asked, and is no more
REMEMBERED_ANSWERS: Final = 4096  # a label may come this many answers later

# Exit codes of a worker, beside 0 for an orderly end. Above those that shells and Python use.
EXIT_LOAD_FAILED: Final = 80
EXIT_MEMORY: Final = 81
EXIT_ORPHANED: Final = 82


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPath:
    """Where a blob of the release lies."""

    digest: Digest
    path: str = limited(chars=PATH_CHARS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What a worker does to itself before it loads. Zero leaves a bound out."""

    data_bytes: int = count(0)
    niceness: int = limited(0, smallest=0, largest=19)
    threads: int = limited(1, smallest=1, largest=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLimits:
    """Bounds of the local endpoint."""

    connections: int = limited(64, smallest=1, largest=1024)
    request_bytes: int = limited(64 * 1024 * 1024, smallest=1)
    requests_bytes: int = limited(128 * 1024 * 1024, smallest=1)
    request_s: float = limited(30.0, smallest=0)
    idle_s: float = limited(600.0, smallest=0)
    shared_bytes: int = limited(64 * 1024 * 1024, smallest=0)


# --- orders -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Confine yourself, then load. ``tag`` begins every request id of this worker; the token's hash opens loopback."""

    KIND: ClassVar[str] = "load"
    BYTES_MAX: ClassVar[int] = FRAME_BYTES_MAX

    model: ModelName
    release: ReleaseId
    release_path: str = limited(chars=PATH_CHARS_MAX)
    variant: Digest
    blobs: tuple[BlobPath, ...] = limited(largest=128)
    tag: str = limited(chars=32)
    token_sha256: str = limited("", chars=64)
    confinement: Confinement = Confinement()
    limits: ServingLimits = ServingLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """Check the golden vectors."""

    KIND: ClassVar[str] = "self_test"
    BYTES_MAX: ClassVar[int] = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Infer ``n`` golden vectors, outside the counts of the block."""

    KIND: ClassVar[str] = "replay"
    BYTES_MAX: ClassVar[int] = 1024

    n: int = limited(smallest=1, largest=REPLAYS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Accept requests, counted under ``arm``; slower than ``slow_over_s`` counts as slow. Repeated, it changes both."""

    KIND: ClassVar[str] = "serve"
    BYTES_MAX: ClassVar[int] = 1024

    arm: Arm = Arm.SERVING
    slow_over_s: float | None = count(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopServing:
    """Accept no more, finish what is in flight."""

    KIND: ClassVar[str] = "stop_serving"
    BYTES_MAX: ClassVar[int] = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Collect:
    """Hand over what was counted since the last time."""

    KIND: ClassVar[str] = "collect"
    BYTES_MAX: ClassVar[int] = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Finish what is in flight, hand over the counts, end."""

    KIND: ClassVar[str] = "stop"
    BYTES_MAX: ClassVar[int] = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Copy this share of what you answer into the socket whose descriptor comes with the order; never wait for it."""

    KIND: ClassVar[str] = "forward"
    BYTES_MAX: ClassVar[int] = 1024

    share_percent: int = limited(smallest=0, largest=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """Answer the copies that come out of the socket whose descriptor comes with the order; until ``Serve``."""

    KIND: ClassVar[str] = "shadow"
    BYTES_MAX: ClassVar[int] = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Ask another worker for its share of the requests, by the socket whose descriptor comes with the order.

    ``control_percent`` of them are the control's, whichever of the two holds the socket. ``arm`` and ``slow_over_s``
    are this worker's, as in ``Serve``, which also ends it; the other ones say who is asked.
    """

    KIND: ClassVar[str] = "split"
    BYTES_MAX: ClassVar[int] = 4096

    control_percent: int = limited(smallest=0, largest=100)
    arm: Arm
    slow_over_s: float | None = count(None)
    release: ReleaseId
    variant: Digest
    other_arm: Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer what comes out of the socket whose descriptor comes with the order, counted under ``arm``; until
    ``Serve``."""

    KIND: ClassVar[str] = "answer"
    BYTES_MAX: ClassVar[int] = 1024

    arm: Arm
    slow_over_s: float | None = count(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Ground truth for one answer: the right class of each row, or just whether the answer was right.

    ``group`` is what the application declares the answer to be about; empty: nothing.
    """

    request: str = limited(chars=64)
    classes: tuple[int, ...] = limited((), largest=256, smallest=0)
    correct: bool | None = None
    group: str = limited("", chars=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Ground truth for answers of this worker."""

    KIND: ClassVar[str] = "label"
    BYTES_MAX: ClassVar[int] = FRAME_BYTES_MAX

    truths: tuple[Truth, ...] = limited(largest=LABELS_MAX)


Order = Load | SelfTest | Replay | Serve | StopServing | Collect | Stop | Label | Forward | Shadow | Split | Answer

# --- statements ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The model is in memory and its pipeline fits the release."""

    KIND: ClassVar[str] = "loaded"
    BYTES_MAX: ClassVar[int] = 4096

    load_ms: float = count()
    peak_memory_bytes: int = count()
    runtime: str = limited("", chars=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The model cannot be loaded; the worker ends."""

    KIND: ClassVar[str] = "refused"
    BYTES_MAX: ClassVar[int] = 16 * 1024

    cause: Cause
    detail: str = limited("", chars=DETAIL_CHARS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """What the golden vectors showed. ``detail`` says why when there is more to say than numbers."""

    KIND: ClassVar[str] = "tested"
    BYTES_MAX: ClassVar[int] = 64 * 1024

    result: GoldenResult
    latency: LatencyCounts = limited(LatencyCounts())
    peak_memory_bytes: int = count(0)
    detail: str = limited("", chars=DETAIL_CHARS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """How replayed vectors went: ``errors`` of them were not answered at all, the others were compared."""

    KIND: ClassVar[str] = "replayed"
    BYTES_MAX: ClassVar[int] = 64 * 1024

    n: int = count()
    errors: int = count(0)
    result: GoldenResult
    latency: LatencyCounts = limited(LatencyCounts())


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Requests are accepted."""

    KIND: ClassVar[str] = "serving"
    BYTES_MAX: ClassVar[int] = 1024

    arm: Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """What another worker asks is answered."""

    KIND: ClassVar[str] = "answering"
    BYTES_MAX: ClassVar[int] = 1024

    arm: Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """What this worker asked another one for its share came to nothing, or that one left: it answers everything now."""

    KIND: ClassVar[str] = "parted"
    BYTES_MAX: ClassVar[int] = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """Nothing is accepted any more and nothing is in flight."""

    KIND: ClassVar[str] = "drained"
    BYTES_MAX: ClassVar[int] = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What was counted since the last time."""

    KIND: ClassVar[str] = "counted"
    BYTES_MAX: ClassVar[int] = FRAME_BYTES_MAX

    block: Block


Statement = Loaded | Refused | Tested | Replayed | Serving | Answering | Parted | Drained | Counted

_KINDS: Final[dict[str, type[Order] | type[Statement]]] = {
    kind.KIND: kind
    for kind in (
        *(Load, SelfTest, Replay, Serve, StopServing, Collect, Stop, Label, Forward, Shadow, Split, Answer),
        *(Loaded, Refused, Tested, Replayed, Serving, Answering, Parted, Drained, Counted),
    )
}

# --- frames -------------------------------------------------------------------------------------------------------

_LENGTH: Final = struct.Struct(">I")


def frame(message: Order | Statement) -> bytes:
    """Return the bytes of one message: its length, its kind, a line feed, its JSON."""
    body = message.KIND.encode() + b"\n" + codec.to_json(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts a stream into messages."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> list[Order | Statement]:
        """Take what was received and return the messages that are whole.

        Raises:
            ContractError: not this protocol; the stream is of no more use.
        """
        self._received += data
        messages = []
        while len(self._received) >= _LENGTH.size:
            length = _LENGTH.unpack_from(self._received)[0]
            if length > FRAME_BYTES_MAX:
                raise TooLarge("frame", length, FRAME_BYTES_MAX)
            if len(self._received) < _LENGTH.size + length:
                break
            body = bytes(self._received[_LENGTH.size : _LENGTH.size + length])
            del self._received[: _LENGTH.size + length]
            messages.append(_message(body))
        return messages


def _message(body: bytes) -> Order | Statement:
    name, _, tree = body.partition(b"\n")
    kind = _KINDS.get(name.decode("latin-1"))
    if kind is None:
        raise BadField("frame.kind", f"one of {', '.join(_KINDS)}", name)
    return codec.from_json(kind, tree)


# --- signs of life ------------------------------------------------------------------------------------------------

VITALS_BYTES: Final = mmap.PAGESIZE
_NANOSECONDS: Final = struct.Struct("=q")
_BEAT_AT: Final = 0
_BUSY_AT: Final = 8


class Vitals:
    """A page that worker and supervisor share: when the loop last turned, and since when an inference has been running.

    Shared memory and not messages, because it is written twice for each inference and must not cost a system call.
    Times are CLOCK_MONOTONIC, one clock for the whole system.
    """

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, VITALS_BYTES)

    @staticmethod
    def create() -> int:
        """Return the descriptor of a new page, to be inherited by the worker."""
        descriptor = os.memfd_create("pinnace-vitals", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, VITALS_BYTES)
        return descriptor

    def beat(self) -> None:
        """The loop has turned."""
        _NANOSECONDS.pack_into(self._page, _BEAT_AT, time.monotonic_ns())

    def begin(self) -> int:
        """An inference begins; returns the time in nanoseconds."""
        now = time.monotonic_ns()
        _NANOSECONDS.pack_into(self._page, _BUSY_AT, now)
        return now

    def end(self) -> int:
        """The inference has ended; returns the time in nanoseconds."""
        now = time.monotonic_ns()
        _NANOSECONDS.pack_into(self._page, _BUSY_AT, 0)
        _NANOSECONDS.pack_into(self._page, _BEAT_AT, now)
        return now

    def read(self) -> tuple[float, float | None]:
        """Return the time of the last beat and that at which the running inference began, in seconds."""
        beat, busy = (
            _NANOSECONDS.unpack_from(self._page, _BEAT_AT)[0],
            _NANOSECONDS.unpack_from(self._page, _BUSY_AT)[0],
        )
        return beat / 1e9, busy / 1e9 if busy else None

    def close(self) -> None:
        """Unmap the page."""
        self._page.close()
