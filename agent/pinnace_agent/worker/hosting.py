"""What the supervisor is told about its workers in all, about one that is to be started, and what it tells of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pinnace_agent.worker import protocol
from pinnace_agent.worker.events import WorkerRef
from pinnace_contract.ids import Digest, ModelName, ReleaseId


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """Where workers are reached and how they are bounded."""

    run_dir: Path
    group: str = "pinnace"
    memory_bytes: int = 1024 * 1024 * 1024  # resident, where a start does not say less
    niceness: int = 5
    threads: int = 1
    hang_s: float = 10.0  # one inference, or no turn of the worker's loop
    load_s: float = 120.0
    stop_s: float = 10.0  # from an order to stop to the kill
    watch_every_s: float = 1.0
    tcp_ports: Mapping[ModelName, int] = field(default_factory=dict)
    token: str = field(default="", repr=False)
    limits: protocol.ServingLimits = field(default_factory=protocol.ServingLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a worker is to load: paths of the release file and of every blob that the release and the variant need."""

    model: ModelName
    release: ReleaseId
    release_path: Path
    variant: Digest
    blobs: Mapping[Digest, Path]
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker as it is now."""

    worker: WorkerRef
    pid: int
    loaded: bool
    serving: bool
    memory_bytes: int
