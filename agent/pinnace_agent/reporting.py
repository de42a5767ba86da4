"""Reports from their windows to the server's acknowledgement: closed, sealed, spooled, sent, sent again, deleted.

A report is on the disk before it is sent, and stays there until a signed acknowledgement covers it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from pinnace_agent.errors import AgentError
from pinnace_agent.resend import Resend
from pinnace_agent.window import Window, reportable
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import BootId
from pinnace_contract.latest import Block, DroppedRange, Health, Report, ReportRange

log = logging.getLogger(__name__)

LOST_MAX: Final = 32  # reports that a full disk did not take, told with the first one that it does
GAPS_MAX: Final = 64  # in one report: the limit of the field; what is beyond is told with the next
GRACE_S: Final = 1.0  # from asking workers for their counts to closing the window without those that are silent


class Spooled(Protocol):
    """A report that waits: numbers of one boot."""

    @property
    def boot(self) -> BootId: ...
    @property
    def seq_from(self) -> int: ...
    @property
    def seq_to(self) -> int: ...


S = TypeVar("S", bound=Spooled)


class Spool(Protocol[S]):
    """Sealed reports on disk, oldest first, within bounds; what had to go is remembered as ranges."""

    def spool(self, report: DroppedRange, sealed: bytes, at_s: float) -> None: ...
    def spooled(self) -> tuple[S, ...]: ...
    def spooled_bytes(self, spooled: S) -> bytes | None: ...
    def acknowledge(self, ranges: Iterable[ReportRange]) -> None: ...
    def dropped(self) -> tuple[DroppedRange, ...]: ...
    def forget_dropped(self, told: Iterable[DroppedRange]) -> None: ...


class Reporting(Generic[S]):
    """The window under way and the spool behind it."""

    def __init__(
        self,
        *,
        window: Window,
        spool: Spool[S],
        resend: Resend,
        seal: Callable[[Report], bytes],
        every_s: float,
        awake_s: float,
    ) -> None:
        self.window = window
        self._spool, self._resend, self._seal = spool, resend, seal
        self._every_s = every_s
        self._due_s = awake_s + every_s
        self._closing_since_s: float | None = None
        self._carried: dict[int, tuple[DroppedRange, ...]] = {}
        self._lost: tuple[DroppedRange, ...] = ()

    @property
    def waiting(self) -> int:
        """How many reports the server does not have yet."""
        return len(self._spool.spooled())

    def due_s(self, *, connected: bool) -> float:
        """Return when a window is over, or a report is to be sent; None of it comes sooner by itself."""
        window_s = self._due_s if self._closing_since_s is None else self._closing_since_s + GRACE_S
        names = [_name(each) for each in self._spool.spooled()] if connected else []
        return min(window_s, self._resend.next_due_s(names))

    def add(self, block: Block) -> None:
        """Count a block into the window."""
        self.window.add(block)

    def hurry(self) -> None:
        """Let the window end now."""
        self._due_s = 0.0

    def collecting_due(self, awake_s: float) -> bool:
        """Tell, once for each window, that it is over and workers should hand over their counts."""
        if self._closing_since_s is None and awake_s >= self._due_s:
            self._closing_since_s = awake_s
            return True
        return False

    def close_if_due(self, awake_s: float, unix_s: float, health: Callable[[], Health]) -> None:
        """Seal and spool the window when its workers had time to answer."""
        if self._closing_since_s is None or awake_s - self._closing_since_s < GRACE_S:
            return
        self._closing_since_s = None
        self._due_s = awake_s + max(0.0, self._every_s - GRACE_S)
        gaps = (*self._spool.dropped(), *self._lost)[:GAPS_MAX]
        report = self.window.close(unix_s, health(), gaps)
        self._carried[report.seq_to] = gaps
        name = DroppedRange(boot=report.boot, seq_from=report.seq_from, seq_to=report.seq_to)
        try:
            self._spool.spool(name, self._sealed(report), unix_s)
        except AgentError as error:
            log.warning("report %d is lost: %s", report.seq_to, error)
            del self._carried[report.seq_to]
            self._lost = (*self._lost, name)[-LOST_MAX:]

    def _sealed(self, report: Report) -> bytes:
        try:
            return self._seal(report)
        except ContractError as error:
            log.warning("report %d goes without some of its counts: %s", report.seq_to, error)
            return self._seal(reportable(report))

    def to_send(self, awake_s: float) -> list[bytes]:
        """Return the sealed reports that should be sent now, oldest first."""
        by_name = {_name(each): each for each in self._spool.spooled()}
        messages = []
        for name in self._resend.due(list(by_name), awake_s):
            sealed = self._spool.spooled_bytes(by_name[name])
            self._resend.sent(name, awake_s)
            if sealed is not None:
                messages.append(sealed)
        return messages

    def reconnected(self) -> None:
        """Everything that is spooled is due."""
        self._resend.reconnected()

    def acknowledged(self, ranges: Sequence[ReportRange]) -> None:
        """Delete what the server has, and what it was told of there. What the disk keeps is acknowledged once more."""
        try:
            self._spool.acknowledge(ranges)
            for seq, gaps in list(self._carried.items()):
                if any(each.boot == self.window.boot and each.seq_from <= seq <= each.seq_to for each in ranges):
                    if gaps:
                        self._spool.forget_dropped(gaps)
                    del self._carried[seq]
                    self._lost = tuple(gap for gap in self._lost if gap not in gaps)
        except AgentError as error:
            log.warning("acknowledged reports stay for now: %s", error)


def _name(spooled: Spooled) -> str:
    return f"{spooled.boot}.{spooled.seq_from}.{spooled.seq_to}"
