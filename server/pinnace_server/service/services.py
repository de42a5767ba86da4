"""Every service in one hand, as the shells are given them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pinnace_contract.ids import Digest
from pinnace_server.service.aliases import Aliases
from pinnace_server.service.archive import Archive
from pinnace_server.service.audit import Audit
from pinnace_server.service.catalogue import Catalogue
from pinnace_server.service.controller import Controller
from pinnace_server.service.conversions import Conversions
from pinnace_server.service.door import TokenDoor
from pinnace_server.service.enrolment import Enrolment
from pinnace_server.service.export import Export
from pinnace_server.service.fleet import Fleet
from pinnace_server.service.ingest import Ingest
from pinnace_server.service.log import Log
from pinnace_server.service.ports import World
from pinnace_server.service.replacing import Replacing
from pinnace_server.service.rollouts import Rollouts
from pinnace_server.service.steering import Steering
from pinnace_server.service.telemetry import Telemetry
from pinnace_server.service.whys import Whys
from pinnace_server.service.withdrawing import Withdrawing


class Receiving(Protocol):
    """One upload on its way in."""

    def write(self, piece: bytes) -> None: ...
    def finish(self, expected: Digest | None = None) -> Digest: ...
    def abandon(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStatus:
    """What runs beside the database. ``broker`` is its kind in words, ``connected`` whether the gateway reaches it."""

    broker: str
    broker_url: str
    connected: bool
    received: int
    waiting_out_bytes: int
    disk_free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What API, console and command line stand on."""

    world: World
    catalogue: Catalogue
    aliases: Aliases
    archive: Archive
    conversions: Conversions
    enrolment: Enrolment
    fleet: Fleet
    export: Export
    rollouts: Rollouts
    steering: Steering
    withdrawing: Withdrawing
    replacing: Replacing
    whys: Whys
    audit: Audit
    telemetry: Telemetry
    log: Log
    ingest: Ingest
    controller: Controller
    door: TokenDoor
    receive_upload: Callable[[], Receiving]
    upload_path: Callable[[Digest], Path]
    status: Callable[[], SystemStatus]
    version: str
    started_at_s: float
