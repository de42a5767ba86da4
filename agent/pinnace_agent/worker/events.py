"""What the supervisor is told about its workers: past tense, typed, and put on its queue from another thread."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.latest import Arm, Block, Cause, GoldenResult, LatencyCounts

WorkerId = NewType("WorkerId", int)
"""One start of one worker; never used twice in a run of the agent."""


class ExitCause(StrEnum):
    """Why a worker process is no more."""

    ORDERED = "ordered"
    CRASHED = "crashed"
    HUNG = "hung"
    MEMORY_EXCEEDED = "memory_exceeded"

    @property
    def wire(self) -> Cause:
        """The cause that a receipt names."""
        return {
            ExitCause.ORDERED: Cause.NONE,
            ExitCause.CRASHED: Cause.CRASHED,
            ExitCause.HUNG: Cause.HUNG,
            ExitCause.MEMORY_EXCEEDED: Cause.MEMORY_EXCEEDED,
        }[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRef:
    """Which worker, and what it was started with."""

    id: WorkerId
    model: ModelName
    release: ReleaseId
    variant: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStarted:
    """The model is loaded; it is neither tested nor served yet."""

    worker: WorkerRef
    load_ms: float
    peak_memory_bytes: int
    runtime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailed:
    """The model cannot be loaded here. The worker has ended; no ``WorkerExited`` follows."""

    worker: WorkerRef
    cause: Cause
    detail: str
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTested:
    """The golden vectors were answered, rightly or not; one that the model does not answer at all is a failed test."""

    worker: WorkerRef
    result: GoldenResult
    latency: LatencyCounts
    peak_memory_bytes: int
    detail: str
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorsReplayed:
    """Golden vectors were inferred as synthetic evidence; ``errors`` of them got no answer."""

    worker: WorkerRef
    n: int
    errors: int
    result: GoldenResult
    latency: LatencyCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class NowServing:
    """The worker answers on the model's socket. ``gap_ms`` is how long nobody did; 0 when another worker still does."""

    worker: WorkerRef
    arm: Arm
    gap_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NowAnswering:
    """The worker answers its share of the requests, beside the one that holds the socket."""

    worker: WorkerRef
    arm: Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedServing:
    """The worker has answered its last request; its model stays loaded."""

    worker: WorkerRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What the worker counted since the last time. Also sent, unasked, before an orderly end and a change of arm.

    In a split the block may be the other arm's: what it was asked and never answered.
    """

    worker: WorkerRef
    block: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerExited:
    """The process is no more. ``log`` is the end of what it wrote to its standard error, at most 4 KiB.

    ``loaded`` tells whether it had come as far as ``WorkerStarted``, ``served`` whether it ever answered the socket.
    """

    worker: WorkerRef
    cause: ExitCause
    detail: str
    log: str
    loaded: bool
    served: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFailed:
    """The thread that watches workers has ended by a bug of ours: nothing here works any more, restart the agent."""

    detail: str


WorkerEvent = (
    WorkerStarted
    | LoadFailed
    | SelfTested
    | VectorsReplayed
    | NowServing
    | NowAnswering
    | StoppedServing
    | Collected
    | WorkerExited
    | HostFailed
)
