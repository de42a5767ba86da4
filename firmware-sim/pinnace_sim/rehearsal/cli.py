"""``pinnace-sim rehearse``: what an assignment or a policy would do to the operator's fleet."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pinnace_contract.ids import ModelName
from pinnace_contract.latest import TrialMode, TrialPolicy
from pinnace_server.domain.policy import Terms
from pinnace_sim import trace_cli, traces
from pinnace_sim.errors import CannotRehearse
from pinnace_sim.faults import NONE, USUAL
from pinnace_sim.rehearsal import forecast, policy_cli, snapshot, sources, telling
from pinnace_sim.rehearsal.forecast import Forecast, Rehearsal
from pinnace_sim.rehearsal.snapshot import Snapshot
from pinnace_sim.rehearsal.sources import within

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SAMPLE: Final = 100  # devices in a world; some seconds of a core
SEEDS: Final = 5
SEEDS_MAX: Final = 1_000
HOURS: Final = 72.0
HOURS_MAX: Final = 24.0 * 31
BYTES_S: Final = 1_000_000.0
SHOWN_MAX: Final = 20
_TRIAL: Final = TrialPolicy()


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "rehearse", help="play an assignment or a policy on twins of your fleet, and say how it would go"
    )
    parser.add_argument("--release", metavar="MODEL@VERSION", help="a name, or an alias")
    parser.add_argument("--fleet", type=Path, metavar="SNAPSHOT", help="what pinnace export fleet --out wrote")
    policy_cli.add_arguments(parser)
    parser.add_argument("--trace", type=Path, metavar="FILE", help=trace_cli.HELP)
    parser.add_argument("--trial", choices=["live", "none"], default="live", help="default: %(default)s")
    parser.add_argument(
        "--trial-inferences", type=int, default=_TRIAL.inferences, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--trial-time", type=int, default=_TRIAL.duration_s, metavar="S", help="default: %(default)s")
    parser.add_argument("--faults", choices=["none", "usual"], default="none", help="what breaks meanwhile")
    parser.add_argument("--hours", type=float, metavar="H", help="how far to look (default: 72; of a policy: its own)")
    parser.add_argument("--sample", type=int, default=SAMPLE, metavar="N", help="devices in a world (default: 100)")
    parser.add_argument("--seeds", type=int, metavar="N", help="how many worlds (default: 5; of a policy: 3 a nature)")
    parser.add_argument("--first-seed", type=int, default=1, metavar="N", help="the first one's seed (default: 1)")
    parser.add_argument(
        "--link-bytes-s", type=float, default=BYTES_S, metavar="N", help="without a trace (default: 1000000)"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="default: all cores")
    parser.add_argument("--json", action="store_true", help="print the forecast as JSON")
    parser.set_defaults(run=_rehearse)


def _rehearse(chosen: argparse.Namespace) -> int:
    if policy_cli.is_asked(chosen):
        return policy_cli.rehearse(chosen, _asked)
    if not chosen.release:
        raise CannotRehearse("--release: expected MODEL@VERSION, found none")
    rehearsal = _asked(chosen, sources.fleet_of(chosen), chosen.release)
    live = sys.stderr.isatty() and not chosen.json

    def told(done: int) -> None:
        if live:
            print(f"\r\x1b[K{done} of {len(rehearsal.seeds)} worlds", end="", file=sys.stderr, flush=True)

    told(0)
    found = forecast.rehearse(rehearsal, processes=chosen.processes, told=told)
    if live:
        print("\r\x1b[K", end="", file=sys.stderr)
    print(json.dumps(found.tree(), indent=2) if chosen.json else words(found))
    return 0


def _asked(chosen: argparse.Namespace, fleet: Snapshot, release: str) -> Rehearsal:
    hours = HOURS if chosen.hours is None else chosen.hours
    seeds = (policy_cli.SEEDS if policy_cli.is_asked(chosen) else SEEDS) if chosen.seeds is None else chosen.seeds
    within("--seeds", seeds, 1, SEEDS_MAX)
    within("--sample", chosen.sample, 1, snapshot.DEVICES_MAX)
    within("--hours", hours, 0.1, HOURS_MAX)
    within("--link-bytes-s", chosen.link_bytes_s, 1, traces.BYTES_S_MAX)
    within("--trial-inferences", chosen.trial_inferences, 1, 1_000_000)
    within("--trial-time", chosen.trial_time, 1, 30 * 86_400)
    target = forecast.found_target(fleet, release)
    trial = (
        TrialPolicy(inferences=chosen.trial_inferences, duration_s=chosen.trial_time)
        if chosen.trial == "live"
        else TrialPolicy(mode=TrialMode.NONE)
    )
    return Rehearsal(
        snapshot=fleet,
        model=ModelName(target.model),
        target=target,
        terms=Terms(trial=trial),
        seeds=tuple(range(chosen.first_seed, chosen.first_seed + seeds)),
        sample=chosen.sample,
        hours=hours,
        bytes_s=chosen.link_bytes_s,
        trace=traces.read(chosen.trace) if chosen.trace is not None else None,
        faults=USUAL if chosen.faults == "usual" else NONE,
    )


def words(found: Forecast) -> str:
    """Return a forecast for a person at a terminal."""
    return "\n".join([*_head(found), "", *_numbers(found), "", *_left(found), "", "Assumed:", *_assumed(found)])


def _head(found: Forecast) -> list[str]:
    asked = found.rehearsal
    fleet, played = len(asked.snapshot.devices), sum(each.played for each in asked.strata())
    of = f"{fleet} devices" if played == fleet else f"{fleet} devices, {played} of them in each world"
    return [f"{asked.model} {asked.target.version} on {of}; {len(asked.seeds)} worlds of {asked.hours:g} hours"]


def _numbers(found: Forecast) -> list[str]:
    rows: list[tuple[str, ...]] = [("", "MEDIAN", "90TH PCT")]
    for share, spread in found.durations_s.items():
        name = "the last one that can" if share >= 1 else f"{share * 100:.0f} % of those that can"
        rows.append((f"committed: {name}", *(telling.duration(each) for each in (spread.median, spread.p90))))
    rows.append(("devices that commit", *telling.pair(found.committed, telling.count)))
    rows.append(("bytes in all", *telling.pair(found.total_bytes, telling.size)))
    lines = telling.table(rows)
    if found.device_bytes:
        p50, p95 = found.device_bytes.values()
        lines.append(f"bytes of a device that commits: {telling.size(p50)} (p50), {telling.size(p95)} (p95)")
    return lines


def _left(found: Forecast) -> list[str]:
    if not found.left:
        return ["No device is left behind."]
    rows: list[tuple[str, ...]] = [("LEFT BEHIND", "MEDIAN", "90TH PCT")]
    rows += [(fate.value, *telling.pair(spread, telling.count)) for fate, spread in found.fates.items()]
    devices: list[tuple[str, ...]] = [("DEVICE", "REASON", "IN WORLDS", "")]
    devices += [
        (each.device, each.fate.value, f"{each.left} of {each.worlds}", telling.cut(each.detail))
        for each in found.left[:SHOWN_MAX]
    ]
    more = len(found.left) - SHOWN_MAX
    rest = [f"and {more} more (--json shows all)"] if more > 0 else []
    return [*telling.table(rows), "", *telling.table(devices), *rest]


def _assumed(found: Forecast) -> list[str]:
    return [f"- {each}" for each in found.assumptions]
