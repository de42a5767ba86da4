"""The part of ``pinnace-sim rehearse`` that plays a policy: what is asked, and the answer as tables or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pinnace_sim.errors import CannotRehearse
from pinnace_sim.rehearsal import climbing, natures, policy_words, sources
from pinnace_sim.rehearsal.climbing import PolicyRehearsal
from pinnace_sim.rehearsal.forecast import Rehearsal
from pinnace_sim.rehearsal.snapshot import Snapshot

NATURES: Final = ("good", "errors:3%")
SEEDS: Final = 3  # with two natures a minute of two cores for 40 devices
PAST_HOURS: Final = 6.0
PAST_HOURS_MAX: Final = 48.0
REPORT_EVERY_S: Final = 600  # gates count in stretches of ten minutes
REPORT_EVERY_S_MAX: Final = 3_600
BEGINS_S: Final = (946_684_800.0, 4_102_444_800.0)  # a snapshot of a server without a clock says 1970
_NEVER: Final = "never"
_UNITS: Final = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a policy takes."""
    parser.add_argument("--policy", type=Path, metavar="FILE", help="YAML or JSON, or what rollout show --json printed")
    parser.add_argument("--rollout", metavar="R", help="the policy of this rollout of --server")
    sources.add_arguments(parser)
    parser.add_argument(
        "--nature",
        action="append",
        default=[],
        metavar="NATURE",
        help=f"what the release turns out like, several times or with commas: {natures.WORDS.replace('%', '%%')} "
        "(default: good, errors:3%%)",
    )
    parser.add_argument("--begins-at", metavar="TIME", help="as 2026-12-01T22:00+01:00 (default: when exported)")
    parser.add_argument("--person-delay", default="1h", metavar="TIME", help="30min, 2h or never (default: 1h)")
    parser.add_argument("--past-hours", type=float, default=PAST_HOURS, metavar="H", help="default: %(default)s")
    parser.add_argument("--report-every", type=int, default=REPORT_EVERY_S, metavar="S", help="default: %(default)s")


def is_asked(chosen: argparse.Namespace) -> bool:
    """Tell whether a policy is to be played."""
    return chosen.policy is not None or bool(chosen.rollout)


def rehearse(chosen: argparse.Namespace, asked: Callable[[argparse.Namespace, Snapshot, str], Rehearsal]) -> int:
    """Play it and print the forecast; ``asked`` reads what an assignment takes as well."""
    rehearsal = _asked(chosen, asked)
    worlds, live = len(rehearsal.of.seeds) * len(rehearsal.natures), sys.stderr.isatty() and not chosen.json

    def told(done: int) -> None:
        if live:
            print(f"\r\x1b[K{done} of {worlds} worlds", end="", file=sys.stderr, flush=True)

    told(0)
    found = climbing.rehearse(rehearsal, processes=chosen.processes, told=told)
    if live:
        print("\r\x1b[K", end="", file=sys.stderr)
    print(json.dumps(policy_words.tree(found), indent=2) if chosen.json else policy_words.words(found))
    return 0


def _asked(
    chosen: argparse.Namespace, asked: Callable[[argparse.Namespace, Snapshot, str], Rehearsal]
) -> PolicyRehearsal:
    if chosen.policy is not None and chosen.rollout:
        raise CannotRehearse("expected one policy, found --policy and --rollout")
    sources.within("--past-hours", chosen.past_hours, 0.5, PAST_HOURS_MAX)
    sources.within("--report-every", chosen.report_every, 60, REPORT_EVERY_S_MAX)
    supposed, delay_s = _natures(chosen.nature), _delay(chosen.person_delay)
    begins_at_s = None if chosen.begins_at is None else _moment(chosen.begins_at)
    given, fleet = sources.policy_of(chosen), sources.fleet_of(chosen)
    release = chosen.release or given.release
    if not release:
        raise CannotRehearse(f"--release: expected MODEL@VERSION, found none, and {given.name} names none")
    rehearsal = PolicyRehearsal(
        of=asked(chosen, fleet, release),
        given=given,
        natures=supposed,
        past_hours=chosen.past_hours,
        begins_at_s=_begins(fleet.made_at_s if begins_at_s is None else begins_at_s),
        person_delay_s=delay_s,
        report_every_s=chosen.report_every,
    )
    if chosen.hours is None:
        return replace(rehearsal, of=replace(rehearsal.of, hours=climbing.least_hours(rehearsal)))
    return rehearsal


def _natures(said: list[str]) -> tuple[natures.Supposed, ...]:
    names = dict.fromkeys(name.strip() for each in said or NATURES for name in each.split(",") if name.strip())
    if not names:
        raise CannotRehearse(f"--nature: expected one of {natures.WORDS}, found nothing")
    return tuple(natures.read(name) for name in names)


def _moment(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise CannotRehearse(f"--begins-at: expected a time as 2026-12-01T22:00+01:00, found {text!r}") from error
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def _begins(at_s: float) -> float:
    if not BEGINS_S[0] <= at_s <= BEGINS_S[1]:
        raise CannotRehearse(f"--begins-at: expected a time between 2000 and 2100, found {at_s:g} s after 1970")
    return at_s


def _delay(text: str) -> float | None:
    if text == _NEVER:
        return None
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    try:
        seconds = float(number) * _UNITS[text[len(number) :]]
    except (KeyError, ValueError) as error:
        raise CannotRehearse(f"--person-delay: expected 30min, 2h or never, found {text!r}") from error
    sources.within("--person-delay (s)", seconds, 0, climbing.HOURS_MAX * climbing.HOUR_S)
    return seconds
