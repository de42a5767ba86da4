"""``pinnace-sim``: worlds in virtual time, and fleets of simulated devices on real wires."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from pinnace_sim import explore, replay, shrink, trace_cli, traces
from pinnace_sim.errors import SimError
from pinnace_sim.explore import Found, Summary
from pinnace_sim.faults import DELIBERATE, FaultKind
from pinnace_sim.fleet import cli as fleet_cli
from pinnace_sim.plan import Plan
from pinnace_sim.rehearsal import cli as rehearsal_cli
from pinnace_sim.scenarios import cli as scenarios_cli
from pinnace_sim.world import Outcome, World

EPILOG = """\
Find out what your fleet would do:
  pinnace-sim explore --seeds 100                       # a hundred worlds with everything that can go wrong
  pinnace-sim replay pinnace-sim-logs/seed-17.jsonl     # one of them again, line by line
  pinnace-sim shrink pinnace-sim-logs/seed-17.jsonl     # a simpler world that breaks the same rule
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 for a broken rule, 2 for a mistake in the asking."""
    chosen = _parser().parse_args(arguments)
    try:
        status: int = chosen.run(chosen)
    except SimError as error:
        print(f"pinnace-sim: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read along has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinnace-sim",
        description="Plays fleets before they are real.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    exploring = commands.add_parser("explore", help="play many worlds in virtual time and look for a broken rule")
    exploring.add_argument("--seeds", type=int, default=20, metavar="N", help="how many worlds (default 20)")
    exploring.add_argument("--first-seed", type=int, default=1, metavar="N", help="the first one's seed (default 1)")
    exploring.add_argument("--devices", type=int, default=3, metavar="D", help="devices in each (default 3)")
    exploring.add_argument("--hours", type=float, default=24.0, metavar="H", help="virtual hours with faults (24)")
    exploring.add_argument(
        "--story",
        choices=tuple(explore.STORIES),
        default="one",
        help="one update, a new version every day or two, or rollouts in waves",
    )
    exploring.add_argument(
        "--store", choices=tuple(explore.STORES), default="memory", help="the server's rows: in memory, or SQL (slower)"
    )
    exploring.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="default: all cores")
    exploring.add_argument("--logs", type=Path, default=Path("pinnace-sim-logs"), metavar="DIR", help="for broken ones")
    exploring.add_argument("--no-logs", action="store_true", help="write no logs of broken worlds")
    exploring.add_argument("--stop-after", type=int, default=10, metavar="N", help="broken worlds (default 10)")
    exploring.add_argument("--trace", type=Path, metavar="FILE", help=trace_cli.HELP)
    exploring.add_argument("--json", action="store_true", help="print the summary as JSON")
    exploring.set_defaults(run=_explore)
    replaying = commands.add_parser("replay", help="play the world of a log again and compare every line")
    replaying.add_argument("log", type=Path)
    replaying.set_defaults(run=_replay)
    shrinking = commands.add_parser("shrink", help="look for a simpler world that breaks the same rule")
    shrinking.add_argument("log", type=Path)
    shrinking.add_argument("--out", type=Path, metavar="LOG", help="default: LOG with .small before its ending")
    shrinking.set_defaults(run=_shrink)
    trace_cli.add_parser(commands)
    rehearsal_cli.add_parser(commands)
    scenarios_cli.add_parsers(commands)
    fleet_cli.add_parser(commands)
    return parser


def _explore(chosen: argparse.Namespace) -> int:
    drawn = explore.story(chosen.story, chosen.devices, chosen.hours)
    if chosen.trace is not None:
        drawn = traces.driven(drawn, traces.read(chosen.trace))
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    live = sys.stderr.isatty() and not chosen.json

    def told(found: Found, summary: Summary) -> None:
        if found.rule:
            print(f"\r\x1b[Kseed {found.seed}: {found.rule}: {found.text}" if live else _line(found), file=sys.stderr)
        if live:
            rate = summary.events / summary.took_s if summary.took_s else 0.0
            print(
                f"\r\x1b[K{summary.worlds} of {len(seeds)} worlds, {rate:,.0f} events a second", end="", file=sys.stderr
            )

    summary = explore.explore(
        drawn,
        seeds,
        processes=chosen.processes,
        told=told,
        broken_max=chosen.stop_after,
        store=chosen.store,
    )
    if live:
        print("\r\x1b[K", end="", file=sys.stderr)
    logs = (
        []
        if chosen.no_logs
        else [explore.written(drawn, found.seed, chosen.logs, chosen.store) for found in summary.broken]
    )
    if chosen.json:
        print(json.dumps(_tree(summary, logs)))
    else:
        _print(summary, logs)
    return 1 if summary.broken else 0


def _line(found: Found) -> str:
    return f"seed {found.seed}: {found.rule}: {found.text}"


def _tree(summary: Summary, logs: list[Path]) -> dict[str, object]:
    return {
        "worlds": summary.worlds,
        "events": summary.events,
        "device_hours": round(summary.hours, 1),
        "seconds": round(summary.took_s, 2),
        "faults": {kind.value: summary.counts.get(kind, 0) for kind in FaultKind},
        "broken": [
            {"seed": found.seed, "rule": found.rule, "text": found.text, "log": str(log) if log else None}
            for found, log in zip_longest(summary.broken, logs)
        ],
        "commit": commit(),
    }


def _print(summary: Summary, logs: list[Path]) -> None:
    rate = summary.events / summary.took_s if summary.took_s else 0.0
    print(f"{summary.worlds} worlds, {summary.hours:,.0f} device hours, {summary.events:,} events in ", end="")
    print(f"{summary.took_s:.1f} s ({rate:,.0f} a second)")
    print("what went wrong in them, and how often:")
    for kind in FaultKind:
        if kind not in DELIBERATE:  # no world that is drawn has any
            print(f"  {kind.value:<16} {summary.counts.get(kind, 0):>9,}")
    if not summary.broken:
        print("no rule was broken")
    for found, log in zip_longest(summary.broken, logs):
        print(f"seed {found.seed}, commit {commit()}: {found.rule}: {found.text}", f"\n  {log}" if log else "")


def _replay(chosen: argparse.Namespace) -> int:
    played = replay.replay(chosen.log)
    if played.differs_at is not None:
        print(f"line {played.differs_at} differs\n  log: {played.expected[:300]}\n  now: {played.found[:300]}")
    else:
        print(f"{len(played.outcome.lines)} lines, every one as in the log")
    return _said(played.outcome)


def _shrink(chosen: argparse.Namespace) -> int:
    def told(plan: Plan, tries: int) -> None:
        print(f"  after {tries} tries: {_size(plan)}", file=sys.stderr)

    plan = replay.plan_of(chosen.log)
    print(f"from {_size(plan)}", file=sys.stderr)
    found = shrink.shrink(plan, told)
    out: Path = chosen.out or chosen.log.with_suffix(f".small{chosen.log.suffix}")
    outcome = World(found.plan, keeps_log=True).run()
    out.write_text("".join(f"{line}\n" for line in outcome.lines))
    print(f"{_size(found.plan)}, {len(outcome.lines)} lines: {out}")
    return _said(outcome)


def _said(outcome: Outcome) -> int:
    if outcome.violation is None:
        print("no rule was broken")
        return 0
    print(f"seed {outcome.plan.seed}, commit {commit()}: {outcome.violation}")
    return 1


def _size(plan: Plan) -> str:
    return (
        f"{len(plan.devices)} devices, {len(plan.incidents)} incidents, {len(plan.orders)} orders, {plan.hours:g} hours"
    )


def commit() -> str:
    """Return the commit of the sources, where they are a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
