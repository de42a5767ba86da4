"""Connectivity traces: a CSV file that says what each device's link carried, read with limits and put onto a plan.

Columns ``at_s,device,up_bytes_s,down_bytes_s,delay_ms,loss``; a row holds until the device's next one, rate 0 is dark,
device ``*`` is every device without rows of its own. Lines that begin with ``#`` are comments, but for
``# repeat_s=SECONDS``: after so long everything begins again. Made ones come from ``trace_kinds``.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from pinnace_sim.errors import BadTrace
from pinnace_sim.links import Course, LinkRow
from pinnace_sim.plan import Plan

COLUMNS: Final = ("at_s", "device", "up_bytes_s", "down_bytes_s", "delay_ms", "loss")
EVERYBODY: Final = "*"
FILE_BYTES_MAX: Final = 32 * 1024 * 1024  # a week of 1,000 devices that change every ten minutes has a million rows
ROWS_MAX: Final = 1_000_000
DEVICES_MAX: Final = 10_000
AT_S_MAX: Final = 366 * 86_400.0
BYTES_S_MAX: Final = 1e10
DELAY_MS_MAX: Final = 600_000.0  # ten minutes; longer is darkness
LOSS_MAX: Final = 0.99

_DEVICE: Final = re.compile(r"\*|[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REPEAT: Final = re.compile(r"#\s*repeat_s=(\S+)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Every device's rows, in the order of their times. ``repeat_s`` 0: the last row of each holds for ever."""

    rows: tuple[LinkRow, ...]
    repeat_s: float = 0.0

    @property
    def devices(self) -> tuple[str, ...]:
        """Whose rows there are, in the order of their first rows."""
        return tuple(dict.fromkeys(row.device for row in self.rows))

    def dealt(self, names: tuple[str, ...]) -> Mapping[str, str]:
        """Say whose rows each name takes: its own; else those of ``*``; else, where there are none, those of the
        trace's devices in turn."""
        known = self.devices
        others = [name for name in names if name not in known]
        turns = {name: EVERYBODY if EVERYBODY in known else known[n % len(known)] for n, name in enumerate(others)}
        return {name: turns.get(name, name) for name in names}

    def courses(self) -> tuple[Course, ...]:
        """Return what the links do whose rows there are, in the order of ``devices``."""
        rows: dict[str, list[LinkRow]] = {}
        for row in self.rows:
            rows.setdefault(row.device, []).append(row)
        return tuple(Course(each, repeat_s=self.repeat_s) for each in rows.values())

    def onto(self, plan: Plan) -> Plan:
        """Return the plan with links as this trace says."""
        whose = self.dealt(tuple(each.name for each in plan.devices))
        used = set(whose.values())
        return replace(
            plan,
            devices=tuple(replace(each, trace=whose[each.name]) for each in plan.devices),
            links=tuple(row for row in self.rows if row.device in used),
            links_repeat_s=self.repeat_s,
        )


def driven(drawn: Callable[[int], Plan], trace: Trace) -> Callable[[int], Plan]:
    """Return how plans are drawn whose links are as a trace says."""
    return partial(_driven, drawn, trace)


def _driven(drawn: Callable[[int], Plan], trace: Trace, seed: int) -> Plan:
    return trace.onto(drawn(seed))


def read(path: Path) -> Trace:
    """Read a trace.

    Raises:
        BadTrace: with the line.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise BadTrace(path, 0, f"it has more than {FILE_BYTES_MAX} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadTrace(path, 0, f"it cannot be read ({error})") from error
    return parse(path, text)


def parse(path: Path, text: str) -> Trace:
    """Read the text of a trace; ``path`` is for errors.

    Raises:
        BadTrace: with the line.
    """
    repeat_s, rows, last_s = 0.0, list[LinkRow](), dict[str, float]()
    has_head = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if line.startswith("#"):
            found = _REPEAT.fullmatch(line)
            repeat_s = _number(path, number, "repeat_s", found[1], 1.0, AT_S_MAX) if found else repeat_s
            continue
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if not has_head:
            if tuple(cells) != COLUMNS:
                raise BadTrace(path, number, f"expected the columns {','.join(COLUMNS)}, found {line[:80]!r}")
            has_head = True
            continue
        row = _row(path, number, cells)
        if row.at_s <= last_s.get(row.device, -1.0):
            raise BadTrace(path, number, f"the rows of {row.device} must go on in time, {row.at_s:g} s does not")
        last_s[row.device] = row.at_s
        rows.append(row)
        if len(rows) > ROWS_MAX or len(last_s) > DEVICES_MAX:
            raise BadTrace(path, number, f"at most {ROWS_MAX} rows of {DEVICES_MAX} devices are read")
    if not rows:
        raise BadTrace(path, 0, "it has no rows")
    if repeat_s and max(last_s.values()) >= repeat_s:
        raise BadTrace(path, 0, f"it repeats after {repeat_s:g} s and has a row at {max(last_s.values()):g} s")
    return Trace(rows=tuple(sorted(rows, key=lambda row: row.at_s)), repeat_s=repeat_s)


def written(trace: Trace, *remarks: str) -> str:
    """Return a trace as text: seconds, bytes and milliseconds whole, the loss in thousandths."""
    out = io.StringIO()
    for remark in remarks:
        out.write(f"# {remark}\n")
    if trace.repeat_s:
        out.write(f"# repeat_s={trace.repeat_s:.0f}\n")
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(COLUMNS)
    lines.writerows(_cells(trace))
    return out.getvalue()


def _cells(trace: Trace) -> Iterator[tuple[str, ...]]:
    for row in trace.rows:
        yield (
            f"{row.at_s:.0f}",
            row.device,
            f"{row.up_bytes_s:.0f}",
            f"{row.down_bytes_s:.0f}",
            f"{row.delay_s * 1000:.0f}",
            f"{row.loss:.3f}".rstrip("0").rstrip("."),
        )


def _row(path: Path, number: int, cells: list[str]) -> LinkRow:
    if len(cells) != len(COLUMNS):
        raise BadTrace(path, number, f"expected {len(COLUMNS)} values, found {len(cells)}")
    at, device, up, down, delay, loss = cells
    if _DEVICE.fullmatch(device) is None:
        raise BadTrace(path, number, f"expected a device or *, found {device[:80]!r}")
    return LinkRow(
        at_s=_number(path, number, "at_s", at, 0.0, AT_S_MAX),
        device=device,
        up_bytes_s=_rate(path, number, "up_bytes_s", up),
        down_bytes_s=_rate(path, number, "down_bytes_s", down),
        delay_s=_number(path, number, "delay_ms", delay, 0.0, DELAY_MS_MAX) / 1000,
        loss=_number(path, number, "loss", loss, 0.0, LOSS_MAX),
    )


def _rate(path: Path, number: int, name: str, text: str) -> float:
    found = _number(path, number, name, text, 0.0, BYTES_S_MAX)
    if 0.0 < found < 1.0:
        raise BadTrace(path, number, f"{name} is 0, which is dark, or at least 1, found {text}")
    return found


def _number(path: Path, line: int, name: str, text: str, smallest: float, largest: float) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not smallest <= found <= largest:
        raise BadTrace(path, line, f"{name}: expected a number from {smallest:g} to {largest:g}, found {text[:40]!r}")
    return found
