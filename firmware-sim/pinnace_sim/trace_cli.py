"""``pinnace-sim trace``: makes connectivity traces."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pinnace_sim import trace_kinds, traces
from pinnace_sim.errors import SimError
from pinnace_sim.trace_kinds import TraceKind

if TYPE_CHECKING:
    from argparse import _SubParsersAction

HOURS_MAX: Final = 24.0 * 31
HELP: Final = "a CSV of what links carry over time (see: pinnace-sim trace make)"


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("trace", help="connectivity traces, which drive links")
    verbs = parser.add_subparsers(metavar="WHAT", required=True)
    making = verbs.add_parser("make", help="make a trace from a seed")
    making.add_argument(
        "--kind", type=TraceKind, choices=list(TraceKind), required=True, help="what links are like: %(choices)s"
    )
    making.add_argument("--devices", type=int, default=8, metavar="N", help="default 8")
    making.add_argument("--hours", type=float, default=24.0, metavar="H", help="then it repeats (default 24)")
    making.add_argument("--seed", type=int, default=1, metavar="S", help="default 1")
    making.add_argument("--out", type=Path, required=True, metavar="FILE")
    making.set_defaults(run=_make)


def _make(chosen: argparse.Namespace) -> int:
    if not 0 < chosen.hours <= HOURS_MAX:
        raise SimError(f"a trace has more than 0 and at most {HOURS_MAX:g} hours, found {chosen.hours:g}")
    if not 0 < chosen.devices <= traces.DEVICES_MAX:
        raise SimError(f"a trace has 1 to {traces.DEVICES_MAX} devices, found {chosen.devices}")
    asked = {"devices": chosen.devices, "hours": chosen.hours, "seed": chosen.seed}
    trace = trace_kinds.make(chosen.kind, **asked)
    text = traces.written(trace, *trace_kinds.remarks(chosen.kind, **asked))
    try:
        chosen.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SimError(f"{chosen.out} cannot be written: {error.strerror}") from error
    print(f"{len(trace.rows)} rows of {chosen.devices} devices: {chosen.out}")
    return 0
