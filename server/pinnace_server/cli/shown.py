"""What verbs print: a table for people, JSON for programs. What devices said cannot steer the terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

CELL_CHARS_MAX: Final = 80
LAST_CELL_CHARS_MAX: Final = 240  # of a row: nothing stands to the right of it, and a reason ends with its figure


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows under heads, columns as wide as they need."""
    chars = [CELL_CHARS_MAX] * (len(heads) - 1) + [LAST_CELL_CHARS_MAX]
    cells = [list(heads), *([cell(*each) for each in zip(row, chars, strict=True)] for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(heads))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def pairs(values: Iterable[tuple[str, object]]) -> str:
    """Return names and values, one a line."""
    shown = [(name, cell(value, chars=1000)) for name, value in values]
    width = max(len(name) for name, _ in shown)
    return "\n".join(f"{name.ljust(width)}  {value}".rstrip() for name, value in shown)


def cell(value: object, chars: int = CELL_CHARS_MAX) -> str:
    """Return a value as one line of text without control characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        value = ", ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    text = "".join(letter if letter.isprintable() else "�" for letter in str(value))
    return text if len(text) <= chars else text[: chars - 1] + "…"


def cause(code: str) -> str | None:
    """Return a cause as a cell shows it; there is not always one."""
    return None if code == "NONE" else code


def at(seconds: float | None) -> str:
    """Return a time of day in this machine's zone, which is named, with the date where it is not today."""
    if seconds is None:
        return "-"
    then, now = time.localtime(seconds), time.localtime()
    return time.strftime("%H:%M:%S %Z" if then[:3] == now[:3] else "%Y-%m-%d %H:%M %Z", then)


def waits_for(code: str | None) -> str:
    """Return what a code of something that is waited for means; one of a newer server is shown as it is."""
    from pinnace_server.domain.plans import WaitingOn
    from pinnace_server.domain.waiting import WORDS

    return WORDS[WaitingOn(code)] if code in set(WaitingOn) else code or ""


def devices(n: int) -> str:
    """Return a number of devices."""
    return f"{n} device" if n == 1 else f"{n} devices"


def size(size_bytes: int) -> str:
    """Return a size in the unit that fits."""
    for unit, divisor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size_bytes >= divisor:
            return f"{size_bytes / divisor:.1f} {unit}"
    return f"{size_bytes} B"


def health(found: Mapping[str, Any] | None) -> str:
    """Return what a board said of itself with its last report, as far as it tells."""
    told = dict(found or {})
    memory, whole, disk = (told.get(f"{each}_bytes") for each in ("memory_free", "memory_total", "disk_free"))
    words = []
    if told.get("cpu_share") is not None:
        words.append(f"processor {100 * told['cpu_share']:.0f} % busy")
    if memory is not None:
        words.append(f"{size(memory)} of memory free" + (f" of {size(whole)}" if whole is not None else ""))
    if disk is not None:
        words.append(f"{size(disk)} of disk free")
    if told.get("temperature_c") is not None:
        words.append(f"{told['temperature_c']:.0f} °C")
    if told.get("throttled"):
        words.append("throttled")
    return ", ".join(words)


def as_json(value: Any) -> str:
    """Return a value as JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def say(text: str) -> None:
    """Tell a person something that is not the result."""
    print(text, file=sys.stderr)


class Bar:
    """Progress on standard error: one line that is written over on a terminal, one line a stage elsewhere."""

    def __init__(self) -> None:
        self._over = sys.stderr.isatty()
        self._last = ""

    def show(self, stage: str, share: float) -> None:
        """Show how far something is."""
        stage = cell(stage)
        if self._over:
            filled = round(20 * share)
            print(f"\r\x1b[K[{'#' * filled}{'.' * (20 - filled)}] {stage}", end="", file=sys.stderr, flush=True)
        elif stage.partition(":")[0] != self._last.partition(":")[0]:
            print(stage, file=sys.stderr)
        self._last = stage

    def clear(self) -> None:
        """Leave the line empty for what comes next."""
        if self._over and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
