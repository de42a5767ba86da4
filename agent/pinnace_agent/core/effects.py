"""What the shell must do next for one model. Every effect may be repeated: doing it twice is doing it once.

The shell acts only after the state was saved. Effects with a ``ticket`` are answered by an event that carries it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinnace_agent.core.slot import Servable, Slot
from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.latest import Cause, Swap, Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRelease:
    """Have the release file on disk, signed as it must be: answer ``ReleaseRead`` or ``ReleaseRefused``."""

    model: ModelName
    ticket: int
    release: ReleaseId
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Have every blob of the variant on disk: ``ChunksFetched`` now and then, then ``Fetched`` or ``FetchFailed``.

    Retries and back-off are the transfer's; the deadline is the lifecycle's. Before ``NO_ROOM`` collect garbage.
    Without ``metered_too`` pause while the link is metered.
    """

    model: ModelName
    ticket: int
    release: ReleaseId
    variant: Digest
    metered_too: bool
    transfer: Transfer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFetch:
    """Ask for nothing more for this model; what is on disk may stay until garbage is collected."""

    model: ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Hash every blob of the variant whole and make it durable: answer ``Verified`` or ``VerifyFailed``."""

    model: ModelName
    ticket: int
    release: ReleaseId
    variant: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """Start the candidate's worker away from the socket, run its golden vectors: ``SelfTested`` or ``SelfTestFailed``.

    With ``Swap.STOP_FIRST`` stop the serving worker before; the socket answers 503 until something serves again.
    """

    model: ModelName
    ticket: int
    candidate: Servable
    swap: Swap


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """Show the candidate's worker this share of what the serving one answers, start it if it is not there.

    Answer ``Shadowing``; if it cannot be started: ``WorkerExited`` of the candidate. It never answers the socket.
    """

    model: ModelName
    ticket: int
    candidate: Servable
    share_percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What else answers: this control is asked this share of the requests, chosen by a hash of their number."""

    control: Servable
    share_percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeReady:
    """Have the candidate's worker loaded beside the serving one, answering nobody; start it if it is not there.

    Answer ``MadeReady``; if it cannot be started: ``WorkerExited`` of the candidate.
    """

    model: ModelName
    ticket: int
    candidate: Servable


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate:
    """Let the candidate's worker answer the socket (start it if it is not there), then stop the old one: ``Activated``.

    With a ``split`` both answer and none is stopped; while one of them is not there the other answers everything. With
    ``keeps`` the old one, which is that, is not stopped either, and answers nobody: it stays loaded as the standby, and
    goes on to load where it had begun to; where it is not there, ``StandbyExited`` comes before ``Activated``. If the
    candidate cannot be started: ``WorkerExited`` of it.
    """

    model: ModelName
    ticket: int
    candidate: Servable
    swap: Swap
    split: Split | None = None
    keeps: Servable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepStandby:
    """See that this is loaded as the standby, starting it after ``after_s``: ``StandbyUp`` or ``StandbyExited``."""

    model: ModelName
    servable: Servable
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndStandby:
    """Stop the standby's worker; nothing happens where there is none."""

    model: ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Send the next golden vectors through the serving candidate, not counted as live: answer ``Replayed``."""

    model: ModelName
    ticket: int
    candidate: Servable


@dataclass(frozen=True, slots=True, kw_only=True)
class StopCandidate:
    """Stop the worker of a candidate that will not serve."""

    model: ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """See that this answers the socket, starting it after ``after_s``; a start that fails is a ``WorkerExited``.

    With a ``split`` the control answers as well; without one, nothing else does any more.
    """

    model: ModelName
    servable: Servable
    after_s: float = 0.0
    split: Split | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """Stop the candidate and let ``to`` serve again (None: nothing does): answer ``Reverted`` or ``RevertFailed``."""

    model: ModelName
    ticket: int
    to: Servable | None
    cause: Cause
    detail: str = ""
    swap: Swap = Swap.OVERLAP


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload:
    """Let nothing serve this model; the socket answers 503 with the reason."""

    model: ModelName
    cause: Cause
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReportNow:
    """Send a report without waiting for the end of its window: its acknowledgement is what a trial waits for."""

    model: ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectGarbage:
    """Remove what no slot keeps any more."""

    model: ModelName


Effect = (
    FetchRelease
    | Fetch
    | StopFetch
    | Verify
    | SelfTest
    | Shadow
    | MakeReady
    | Activate
    | KeepStandby
    | EndStandby
    | Replay
    | StopCandidate
    | Serve
    | Revert
    | Unload
    | SendReportNow
    | CollectGarbage
)


def split_of(slot: Slot) -> Split | None:
    """Return the control arm of a slot, as effects name it."""
    split = slot.split
    return Split(control=split.control, share_percent=split.share_percent) if split is not None else None
