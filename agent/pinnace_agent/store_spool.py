"""Sealed reports that wait for a link, bounded in bytes and age; what had to be dropped is remembered as ranges.

One file a report, named by what it is: ``BOOT.SEQ_FROM.SEQ_TO.UNIX_S``. A range of dropped ones is written down before
its file goes, and forgotten when a report that carries it was acknowledged, so that every number stays accounted for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pinnace_agent.store_port import Files, StorageFull, read_whole, write_durably
from pinnace_contract import codec
from pinnace_contract.ids import BootId, fits
from pinnace_contract.latest import DroppedRange, Report, ReportRange

SPOOL: Final = "spool"
BYTES_MAX: Final = 16 * 1024 * 1024  # half a year of idle reports, a week of busy ones
AGE_S_MAX: Final = 14 * 86_400.0
DROPPED_MAX: Final = 64  # ranges in one report
_DROPPED: Final = "spool/dropped.json"
_DROPPED_BYTES_MAX: Final = 64 * 1024
_REPORT_BYTES_MAX: Final = Report.BYTES_MAX + 4 * 1024  # with its envelope


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Spooled:
    """One report in the spool; sorting puts the oldest first."""

    at_s: int
    boot: BootId
    seq_from: int
    seq_to: int
    size_bytes: int = 0

    @property
    def path(self) -> str:
        """Its file."""
        return f"{SPOOL}/{self.boot}.{self.seq_from}.{self.seq_to}.{self.at_s}"


def put(files: Files, report: DroppedRange, sealed: bytes, at_s: float) -> None:
    """Keep a report until it is acknowledged; the oldest ones make room.

    Raises:
        StorageFull, StorageBroken: the spool is as it was, but for what was dropped to make room.
    """
    new = Spooled(at_s=int(at_s), boot=report.boot, seq_from=report.seq_from, seq_to=report.seq_to)
    _make_room(files, at_s, len(sealed))
    try:
        write_durably(files, new.path, sealed)
    except StorageFull:
        oldest = waiting(files)[:1]
        if not oldest:
            raise
        _drop(files, oldest)
        write_durably(files, new.path, sealed)


def waiting(files: Files) -> tuple[Spooled, ...]:
    """Return what is in the spool, the oldest first."""
    found = (_parsed(files, name) for name in files.names(SPOOL))
    return tuple(sorted(each for each in found if each is not None))


def read(files: Files, spooled: Spooled) -> bytes | None:
    """Return a sealed report, or None if it has gone."""
    return read_whole(files, spooled.path, _REPORT_BYTES_MAX)


def acknowledge(files: Files, ranges: Iterable[ReportRange], spooled: tuple[Spooled, ...]) -> tuple[Spooled, ...]:
    """Remove the reports that are in the server's database, and nothing else; return what is left of ``spooled``."""
    done, left = tuple(ranges), []
    for each in spooled:
        if any(_covers(covered, each) for covered in done):
            files.remove(each.path)
        else:
            left.append(each)
    return tuple(left)


def dropped(files: Files) -> tuple[DroppedRange, ...]:
    """Return the ranges that the next report has to own up to."""
    data = read_whole(files, _DROPPED, _DROPPED_BYTES_MAX)
    if data is None:
        return ()
    try:
        tree = json.loads(data)
        return tuple(
            DroppedRange(boot=BootId(str(boot)), seq_from=int(first), seq_to=int(last)) for boot, first, last in tree
        )
    except (ValueError, TypeError):
        return ()  # a damaged list loses an excuse, never a report


def forget_dropped(files: Files, told: Iterable[DroppedRange]) -> None:
    """Forget ranges that a report carried which was acknowledged."""
    done = set(told)
    left = tuple(each for each in dropped(files) if each not in done)
    _write_dropped(files, left)


def _make_room(files: Files, now_s: float, more_bytes: int) -> None:
    spooled = waiting(files)
    old = tuple(each for each in spooled if now_s - each.at_s > AGE_S_MAX)
    left = spooled[len(old) :]
    excess_bytes = sum(each.size_bytes for each in left) + more_bytes - BYTES_MAX
    going = list(old)
    for each in left:
        if excess_bytes <= 0:
            break
        going.append(each)
        excess_bytes -= each.size_bytes
    _drop(files, tuple(going))


def _drop(files: Files, going: tuple[Spooled, ...]) -> None:
    if not going:
        return
    ranges = tuple(DroppedRange(boot=each.boot, seq_from=each.seq_from, seq_to=each.seq_to) for each in going)
    _write_dropped(files, _joined((*dropped(files), *ranges)))
    for each in going:
        files.remove(each.path)


def _joined(ranges: Iterable[DroppedRange]) -> tuple[DroppedRange, ...]:
    """Join ranges that touch; the oldest go where there are too many for a report."""
    joined: list[DroppedRange] = []
    for each in sorted(set(ranges), key=lambda one: (one.boot, one.seq_from)):
        last = joined[-1] if joined else None
        if last is not None and last.boot == each.boot and each.seq_from <= last.seq_to + 1:
            last_seq = max(last.seq_to, each.seq_to)
            joined[-1] = DroppedRange(boot=last.boot, seq_from=last.seq_from, seq_to=last_seq)
        else:
            joined.append(each)
    return tuple(joined[-DROPPED_MAX:])


def _write_dropped(files: Files, ranges: tuple[DroppedRange, ...]) -> None:
    if ranges or files.size_bytes(_DROPPED) is not None:
        rows = [[each.boot, each.seq_from, each.seq_to] for each in ranges]
        write_durably(files, _DROPPED, codec.canonical_json(rows))


def _covers(done: ReportRange, spooled: Spooled) -> bool:
    return done.boot == spooled.boot and done.seq_from <= spooled.seq_from and spooled.seq_to <= done.seq_to


def _parsed(files: Files, name: str) -> Spooled | None:
    parts = name.split(".")
    if len(parts) != 4 or not fits(BootId, parts[0]) or not all(part.isdecimal() for part in parts[1:]):
        return None
    seq_from, seq_to, at_s = (int(part) for part in parts[1:])
    size_bytes = files.size_bytes(f"{SPOOL}/{name}") or 0
    return Spooled(at_s=at_s, boot=BootId(parts[0]), seq_from=seq_from, seq_to=seq_to, size_bytes=size_bytes)
