"""``pinnace-sim scenarios`` and ``pinnace-sim run``."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pinnace_sim.errors import ManyWorlds
from pinnace_sim.scenarios import cases, others, telling, transcript
from pinnace_sim.scenarios.form import Sweep

if TYPE_CHECKING:
    from argparse import _SubParsersAction

WIDTH: Final = 110


def add_parsers(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands."""
    listing = commands.add_parser("scenarios", help="list the hard cases that can be played, and those that wait")
    listing.set_defaults(run=_list)
    running = commands.add_parser("run", help="play a hard case and print what happens")
    running.add_argument("name", metavar="NAME", help="see: pinnace-sim scenarios")
    running.add_argument("--log", type=Path, metavar="FILE", help="write a log, which pinnace-sim replay plays again")
    running.set_defaults(run=_run)


def _list(_chosen: argparse.Namespace) -> int:
    width = max(len(each.name) for each in cases.ALL)
    for each in cases.ALL:
        print(f"{each.name:<{width}}  {each.case}")
    print("\nwait for a part:")
    for waits in others.WAITS:
        print(f"  {waits.part:<8}  {waits.case}: {waits.reason}")
    print("\nshown by a test:")
    for shown in others.SHOWN:
        print(f"  {shown.case}: {shown.test}")
    return 0


def _run(chosen: argparse.Namespace) -> int:
    scenario = cases.find(chosen.name)
    if chosen.log is not None and isinstance(scenario, Sweep):
        raise ManyWorlds(scenario.name)
    print(f"{scenario.name}: {scenario.case}\n{textwrap.fill(' '.join(scenario.see.split()), WIDTH)}\n")
    played = transcript.play(scenario)
    for line in telling.told(played.transcript):
        print(line)
    if chosen.log is not None:
        chosen.log.write_text("".join(f"{line}\n" for line in played.log))
    for problem in played.problems:
        print(f"NOT AS IT MUST BE: {problem}")
    return 1 if played.problems else 0
