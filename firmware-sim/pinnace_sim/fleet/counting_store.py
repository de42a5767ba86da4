"""The agent's own store, with somebody who counts what it keeps and what the server has acknowledged of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from pinnace_agent.core.device import DeviceState
from pinnace_agent.store import Store
from pinnace_agent.store_port import Files
from pinnace_contract.ids import BootId
from pinnace_contract.latest import DroppedRange, ReportRange


class Accountant(Protocol):
    """Who counts; told after it has happened."""

    def saved(self, state: DeviceState) -> None: ...
    def spooled(self, seq: int) -> None: ...
    def acknowledged(self, boot: BootId, seq: int) -> None: ...


class CountingStore(Store):
    """The store on a device's disk."""

    def __init__(self, disk: Files, accountant: Accountant) -> None:
        super().__init__(disk)
        self._accountant = accountant

    def save(self, state: DeviceState) -> None:
        """Save, and tell."""
        super().save(state)
        self._accountant.saved(state)

    def spool(self, report: DroppedRange, sealed: bytes, at_s: float) -> None:
        """Keep a report, and tell."""
        super().spool(report, sealed, at_s)
        self._accountant.spooled(report.seq_to)

    def acknowledge(self, ranges: Iterable[ReportRange]) -> None:
        """Let go of reports, and tell of each."""
        before = self.spooled()
        super().acknowledge(ranges)
        left = set(self.spooled())
        for each in before:
            if each not in left:
                self._accountant.acknowledged(each.boot, each.seq_to)
