"""What the server has of a fleet, held against what the devices say: nothing may be missing, nothing counted twice.

Pure: the server's lists are fetched by ``scenario``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pinnace_sim.fleet.tally import Account

TOLD_MAX: Final = 20


@dataclass(slots=True)
class Books:
    """How the two compare. ``told`` are the first things that are wrong, in words."""

    devices: int = 0
    reports: int = 0
    receipts: int = 0
    reports_lost: int = 0
    reports_waiting: int = 0
    receipts_lost: int = 0
    receipts_twice: int = 0
    uncommitted: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Everything that should be there and is not, or is there too often."""
        return self.reports_lost + self.reports_waiting + self.receipts_lost + self.receipts_twice + self.uncommitted

    def wrong(self, what: str) -> None:
        """Say what is wrong."""
        if len(self.told) < TOLD_MAX:
            self.told.append(what)


def compared(
    accounts: Iterable[Account], receipts: Iterable[Mapping[str, Any]], ranges: Iterable[Mapping[str, Any]]
) -> Books:
    """Hold the devices' accounts against the server's committed receipts and received report ranges."""
    books = Books()
    committed = Counter(str(each["device"]) for each in receipts if each["counted"])
    received: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for each in ranges:
        if not each["dropped"]:
            received.setdefault((each["device"], each["boot"]), []).append((each["seq_from"], each["seq_to"]))
    for account in accounts:
        books.devices += 1
        _compare_reports(books, account, received)
        _compare_receipts(books, account, committed[account.device])
    return books


def _compare_reports(
    books: Books, account: Account, received: Mapping[tuple[str, str], Sequence[tuple[int, int]]]
) -> None:
    waiting = set(account.unacknowledged)
    for boot, last in account.reports.items():
        ranges = received.get((account.device, boot), ())
        here = {seq for first, end in ranges for seq in range(first, end + 1)}
        books.reports += len(here)
        missing = [seq for seq in range(1, last + 1) if seq not in here and (boot, seq) not in waiting]
        if missing:
            books.reports_lost += len(missing)
            books.wrong(f"{account.device}: report {missing[0]} of run {boot[:8]} was acknowledged and is not there")
    if waiting and not account.left:
        books.reports_waiting += len(waiting)
        books.wrong(f"{account.device}: {len(waiting)} reports were never acknowledged")


def _compare_receipts(books: Books, account: Account, found: int) -> None:
    books.receipts += found
    if found > 1:
        books.receipts_twice += found - 1
        books.wrong(f"{account.device}: {found} committed receipts for one assignment")
    if account.left:
        return
    if not account.committed:
        books.uncommitted += 1
        books.wrong(f"{account.device}: never committed")
    elif not found:
        books.receipts_lost += 1
        books.wrong(f"{account.device}: committed, and its receipt is not there")
