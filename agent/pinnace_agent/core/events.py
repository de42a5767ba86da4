"""What has happened to one model: named in the past tense, handed to ``lifecycle.step`` one at a time.

Events that answer an effect carry its ``ticket``; an answer whose ticket is no longer the slot's is about a job that
was given up, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinnace_contract.ids import BootId, Digest, ReleaseId, RolloutId
from pinnace_contract.latest import (
    Cause,
    Entry,
    GoldenResult,
    LatencySummary,
    Release,
    SiteVerdict,
    TrustLevel,
    WithdrawMode,
)

# --- from the assignment set -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """A verified set carries an entry of a larger generation."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The newest set has no entry for this model any more."""

    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """A release must not start again, or must not run any more."""

    release: ReleaseId
    mode: WithdrawMode


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDecided:
    """The newest set carries the director's word for a site. Said again and again; most of it is about others."""

    rollout: RolloutId
    site: str
    generation: int
    verdict: SiteVerdict


# --- answers to effects ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRead:
    """The release file is here and signed as it must be (answers ``FetchRelease``)."""

    ticket: int
    release_id: ReleaseId
    release: Release
    trust: TrustLevel = TrustLevel.DEV


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRefused:
    """The release file cannot be used or had (answers ``FetchRelease``)."""

    ticket: int
    cause: Cause
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunksFetched:
    """Progress of ``Fetch``: how many of the needed bytes are on disk."""

    ticket: int
    fetched_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Every blob that the variant needs is on disk (answers ``Fetch``)."""

    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailed:
    """The transfer gave up (answers ``Fetch``); what can be retried was retried by the transfer itself."""

    ticket: int
    cause: Cause
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Every blob of the variant has its digest and is durable under it (answers ``Verify``)."""

    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyFailed:
    """A blob is not what the release says, or the disk failed (answers ``Verify``)."""

    ticket: int
    cause: Cause
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTested:
    """The candidate's worker has loaded the model and answered its golden vectors (answers ``SelfTest``)."""

    ticket: int
    golden: GoldenResult
    runtime: str = ""
    load_ms: float | None = None
    peak_memory_bytes: int | None = None
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestFailed:
    """The candidate's worker could not load the model, died, hung, or was over its memory (answers ``SelfTest``)."""

    ticket: int
    cause: Cause
    detail: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadowing:
    """The candidate is up and answers copies (answers ``Shadow``)."""

    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeReady:
    """The candidate is loaded and answers nobody (answers ``MakeReady``)."""

    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyUp:
    """The standby is loaded again (answers ``KeepStandby``)."""

    release: ReleaseId
    variant: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyExited:
    """The standby's worker died or could not be started; not for an ordered stop."""

    release: ReleaseId
    variant: Digest
    cause: Cause
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activated:
    """The candidate's worker answers the model's socket (answers ``Activate``)."""

    ticket: int
    gap_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Golden vectors went through the serving candidate (answers ``Replay``)."""

    ticket: int
    vectors: int
    errors: int
    golden: GoldenResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted:
    """What ``Revert`` named serves again, or nothing does where it named nothing."""

    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertFailed:
    """What ``Revert`` named cannot be started either."""

    ticket: int
    cause: Cause
    detail: str = ""


# --- from the worker and the applications ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerExited:
    """The worker of this variant died, hung and was killed, or could not start; not for an ordered stop."""

    release: ReleaseId
    variant: Digest
    cause: Cause
    detail: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Inferences since the last such event, without what was the caller's fault; ``latency`` is since activation."""

    release: ReleaseId
    variant: Digest
    inferences: int
    errors: int
    latency: LatencySummary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Answers of a candidate in its shadow since the last such event, and those that differed from what serves."""

    release: ReleaseId
    variant: Digest
    pairs: int
    disagreements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vetoed:
    """An application asks not to be disturbed for a while."""

    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VetoLifted:
    """An application no longer minds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractsDeclared:
    """The I/O contracts that the local applications accept; none means that nobody said."""

    accepts: tuple[Digest, ...]


# --- from the agent ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactMade:
    """A signed acknowledgement covers reports of this run up to this number."""

    boot: BootId
    seq_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The agent is being stopped in order, by its owner or for its own upgrade."""


Event = (
    Assigned
    | SiteDecided
    | Cancelled
    | Withdrawn
    | ReleaseRead
    | ReleaseRefused
    | ChunksFetched
    | Fetched
    | FetchFailed
    | Verified
    | VerifyFailed
    | SelfTested
    | SelfTestFailed
    | Shadowing
    | MadeReady
    | StandbyUp
    | StandbyExited
    | Activated
    | Replayed
    | Reverted
    | RevertFailed
    | WorkerExited
    | Served
    | Compared
    | Vetoed
    | VetoLifted
    | ContractsDeclared
    | ContactMade
    | Ticked
    | Stopping
)
