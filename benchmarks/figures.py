"""Figures of a benchmark: printed as a table or as one JSON object a line, and kept with where they were measured.

A benchmark has parts. Each is kept as soon as it is done: a part that is measured again replaces its own figures and no
others, so that what takes hours need not be measured in one sitting.
"""

from __future__ import annotations

import argparse
import datetime
import json
import operator
import os
import platform
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_HOLDS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number, and the aim that it has to hold (``"<= 95"``; empty: only for information)."""

    figure: str
    value: float
    unit: str
    aim: str = ""

    @property
    def holds(self) -> bool:
        """Tell whether the value is within its aim."""
        if not self.aim:
            return True
        relation, _, limit = self.aim.partition(" ")
        return _HOLDS[relation](self.value, float(limit))


def arguments(
    what: str, parts: Collection[str] = (), more: Callable[[argparse.ArgumentParser], None] | None = None
) -> argparse.Namespace:
    """Read the options that every benchmark has; ``parts`` can be run alone.

    ``more`` adds the options that one benchmark has by itself.
    """
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument("--quick", action="store_true", help="fewer repeats of the same work; results are not kept")
    if parts:
        parser.add_argument("--only", choices=[*parts], help="measure this part")
    if more is not None:
        more(parser)
    return parser.parse_args()


def show(figure: Figure, *, as_json: bool) -> None:
    """Print one figure as soon as it is known."""
    if as_json:
        print(json.dumps(_plain(figure)), flush=True)
    else:
        verdict = "" if not figure.aim else "holds" if figure.holds else "DOES NOT HOLD"
        print(f"{figure.figure:36} {figure.value:>12.4g} {figure.unit:8} {figure.aim:10} {verdict}", flush=True)


def measure(
    name: str,
    parts: Mapping[str, Callable[[bool], Iterable[Figure]]],
    chosen: argparse.Namespace,
    *,
    keeps: bool = True,
) -> None:
    """Measure the parts that are asked for; each is called with whether to be quick, and kept unless it was."""
    for part, figures_of in parts.items():
        if getattr(chosen, "only", None) not in (None, part):
            continue
        found = []
        for figure in figures_of(chosen.quick):
            show(figure, as_json=chosen.json)
            found.append(figure)
        if keeps and not chosen.quick:
            keep(name, part, found)


def keep(name: str, part: str, figures: list[Figure]) -> None:
    """Write a part's figures, each with date and commit, beside those of the other parts from the same machine."""
    made = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "commit": _commit()}
    found = [each for each in kept(name) if each.get("part", part) != part]
    found += [_plain(each) | {"part": part} | made for each in figures]
    whole = {"benchmark": name, **made, "machine": _machine(), "figures": found}
    RESULTS.mkdir(exist_ok=True)
    _path(name).write_text(json.dumps(whole, indent=2) + "\n")


def kept(name: str) -> list[dict[str, Any]]:
    """Return a benchmark's figures as they are kept, from this very machine."""
    before = json.loads(_path(name).read_text()) if _path(name).exists() else {}
    return list(before.get("figures", ())) if before.get("machine") == _machine() else []


def _path(name: str) -> Path:
    return RESULTS / f"{name}.json"


def _plain(figure: Figure) -> dict[str, object]:
    return asdict(figure) | {"holds": figure.holds}


def _commit() -> str:
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True).stdout.strip() or "unknown"


def _machine() -> str:
    models = {
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("model name", "Model"))
    }
    cpu = ", ".join(sorted(models)) or platform.machine()
    return f"{os.cpu_count()} x {cpu}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
