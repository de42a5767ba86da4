"""Shadows: a release is compared on devices before it serves anybody, and what differs is stopped there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import Nature
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, begun, device, first, made, world

CASE: Final = "shadow: last good keeps the socket, and the candidate answers copies of what it was asked"
MADE_S: Final = 3_590.0
BEGUN_S: Final = 3_600.0
GATES: Final[dict[str, Any]] = {"soak_s": 1_800, "exposure": {"duration_s": 900}}
SHADOW: Final[dict[str, Any]] = {
    "strategy": {"kind": "shadow", "duration_s": 1_800, "share_percent": 50},
    "waves": [3, "rest"],
    "holdback": None,
    "gates": GATES,
}
FIVE: Final = "abcde"


def _shadowed(ending: Ending) -> list[str]:
    return sorted({str(line["who"]) for line in ending.find("phase", phase="shadow")})


def _stopped(ending: Ending) -> Sequence[str]:
    problems = [f"version 2 served on {who}" for who in ending.served("2")]
    if len(_shadowed(ending)) != 3:
        problems.append(f"three devices should have compared, not {_shadowed(ending)}")
    (fired,) = ending.events("gate_fired")
    return problems if "shadow" in fired.summary else [*problems, f"the gate said: {fired.summary}"]


CONTRARY: Final = Scenario(
    name="shadow-stops-what-answers-otherwise",
    case=CASE,
    see="""Version 2 passes its golden vectors, which are its own, and is sure of wrong answers. Three devices compare
    it with what they serve; the gate moves it back while they do. It never serves anybody.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.CONTRARY),
        begun("2", BEGUN_S, **SHADOW),
        devices=[device(name, report_every_s=300) for name in FIVE],
        hours=2.5,
    ),
    serves=dict.fromkeys(FIVE, "1"),
    events={"wave_started": 1, "gate_fired": 1},
    also=_stopped,
)


def _kept_back(ending: Ending) -> Sequence[str]:
    return [f"version 2 served on {who}" for who in ending.served("2")]


ALONE: Final = Scenario(
    name="shadow-on-a-device-that-nobody-hears-of",
    case="shadow: a device keeps back by itself what differs far too often",
    see="""The one device of the first wave loses its link while it compares version 2, which is sure of wrong answers.
    No gate hears of it; the device itself does not put it on trial.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.CONTRARY),
        begun("2", BEGUN_S, **SHADOW | {"waves": ["rest"]}),
        devices=[device("a", report_every_s=300)],
        incidents=[Incident(at_s=BEGUN_S + 120, kind=FaultKind.PARTITION, who="a", lasts_s=3_600.0)],
        hours=2.5,
    ),
    serves={"a": "1"},
    receipts={"a": ("1 committed", "2 failed DISAGREEMENT")},
    also=_kept_back,
)


def _goes_through(ending: Ending) -> Sequence[str]:
    if _shadowed(ending) != list(FIVE):
        return [f"everybody should have compared, not {_shadowed(ending)}"]
    problems = []
    for who in FIVE:
        compared = min(ending.times("phase", who, phase="shadow"))
        served = min(ending.times("serves", who, version="2"))
        if served - compared < 1_800:
            problems.append(f"{who} served version 2 {served - compared:.0f} s after it began to compare")
    return problems


GOOD: Final = Scenario(
    name="shadow-then-trial",
    case=CASE,
    see="""Version 2 is good. Every device compares it for half an hour before it tries it, wave by wave; one loses its
    power in the middle, serves version 1 again at once, and goes on comparing.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, **SHADOW),
        devices=[device(name, report_every_s=300) for name in FIVE],
        incidents=[Incident(at_s=BEGUN_S + 900, kind=FaultKind.POWER_CUT, who=who, lasts_s=30.0) for who in "ab"],
        hours=5.0,
    ),
    serves=dict.fromkeys(FIVE, "2"),
    events={"wave_started": 2, "wave_promoted": 2},
    also=_goes_through,
)

CRASHES: Final = Scenario(
    name="shadow-of-a-candidate-that-crashes",
    case="shadow: whatever goes wrong in it goes wrong before the trial",
    see="""Version 2 crashes under load, and the copies are load. After the third crash it has failed; version 1 never
    stopped answering, and there is nothing to go back from.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.CRASHES),
        begun("2", BEGUN_S, **SHADOW | {"waves": ["rest"]}),
        devices=[device("a", report_every_s=300)],
        hours=2.0,
    ),
    serves={"a": "1"},
    receipts={"a": ("1 committed", "2 failed CRASHED")},
    also=_kept_back,
)

ALL: Final = (CONTRARY, ALONE, GOOD, CRASHES)
