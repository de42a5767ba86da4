"""The transcript of a scenario: what a reader needs to see that its story is the right one, and nothing that drifts.

Lines are the journal's without their number, at tenths of seconds, so that a line more leaves all others as they are.
Left out are the plan (the scenario is the plan), the setting up, and connections that never came about.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pinnace_sim.network import UNREACHABLE
from pinnace_sim.scenarios.ending import Ending, played
from pinnace_sim.scenarios.form import Scenario, Sweep

_SET_UP: Final = frozenset({"claim_token_created", "model_added", "device_enrolled", "version_added"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a scenario wrote, and what in it is not as it must be."""

    transcript: tuple[str, ...]
    problems: tuple[str, ...]
    log: tuple[str, ...] = ()


def play(scenario: Scenario | Sweep) -> Played:
    """Play a scenario to its end."""
    if isinstance(scenario, Sweep):
        lines = tuple(scenario.play())
        problems = [problem for line in lines for problem in line.problems]
        return Played(
            transcript=tuple(json.dumps(line.told, separators=(",", ":")) for line in lines),
            problems=(*problems, *scenario.also(lines)),
        )
    ending = played(scenario.plan)
    return Played(transcript=written(ending), problems=tuple(_problems(scenario, ending)), log=ending.outcome.lines)


def written(ending: Ending) -> tuple[str, ...]:
    """Return the transcript of a world."""
    return tuple(json.dumps(_short(line), separators=(",", ":")) for line in ending.lines if _tells(line))


def _tells(line: dict[str, object]) -> bool:
    if line["what"] == "server_says":
        return line["kind"] not in _SET_UP
    return not (line["what"] == "disconnected" and line["reason"] == UNREACHABLE)


def _short(line: dict[str, object]) -> dict[str, object]:
    left = {name: value for name, value in line.items() if name not in ("n", "boot", "model") and value != ""}
    return left | {"at": round(float(str(line["at"])), 1)}


def _problems(scenario: Scenario, ending: Ending) -> Sequence[str]:
    if ending.outcome.violation is not None:
        return [f"a rule was broken: {ending.outcome.violation}"]
    found = []
    for who, version in scenario.serves.items():
        if ending.serves(who) != version:
            found.append(f"{who} should serve {version or 'nothing'}, and serves {ending.serves(who) or 'nothing'}")
    for who, receipts in scenario.receipts.items():
        if ending.receipts(who) != receipts:
            found.append(f"{who}'s receipts should say {receipts}, and say {ending.receipts(who)}")
    for kind, number in scenario.events.items():
        if len(ending.events(kind)) != number:
            found.append(f"the server should say {kind} {number} times, and says it {len(ending.events(kind))} times")
    happened = ending.outcome.counts
    found += [
        f"the fault {incident.kind} never happened"
        for incident in scenario.plan.incidents
        if not happened[incident.kind]
    ]
    return [*found, *scenario.also(ending)]
