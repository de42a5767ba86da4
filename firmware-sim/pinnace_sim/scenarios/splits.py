"""Rollouts of the strategy ``ab``: last good keeps a share of each device's requests, and gates compare the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import Nature
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, begun, device, first, made, world

CASE: Final = "split on the device: last good stays, and is the release's own control there"
MADE_S: Final = 7_190.0
BEGUN_S: Final = 7_200.0
SPLIT_S: Final = 3_600
GATES: Final[dict[str, Any]] = {
    "soak_s": 1_800,
    "exposure": {"duration_s": 900},
    "guards": {"outcome": {"metric": "sold"}},
    "on_hold_timeout": "roll_back",
    "hold_timeout_s": 3_600,
}
AB: Final[dict[str, Any]] = {
    "strategy": {"kind": "ab", "control_percent": 20, "duration_s": SPLIT_S},
    "waves": [3, "rest"],
    "holdback": None,
    "gates": GATES,
}
FIVE: Final = "abcde"


def _reached(ending: Ending, version: str = "2") -> list[str]:
    return sorted({str(line["who"]) for line in ending.find("serves", version=version)})


def _stopped(ending: Ending) -> Sequence[str]:
    problems = []
    if len(_reached(ending)) > 3:
        problems.append(f"version 2 left the first wave: it served on {_reached(ending)}")
    fired = [each.summary for each in ending.events("gate_fired")]
    return problems if any("errors" in each for each in fired) else [*problems, f"the gate said: {fired}"]


ERRORS: Final = Scenario(
    name="ab-stops-three-errors-in-a-hundred",
    case=CASE,
    see="""Version 2 fails three times in a hundred, which no device notices by itself. On three devices it answers four
    fifths of the requests and version 1 the rest; the gate compares the two on each of them, and moves it back.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.ERRORS_3_PERCENT),
        begun("2", BEGUN_S, **AB),
        devices=[device(name, report_every_s=300) for name in FIVE],
        hours=3.5,
        tells_waits=True,
    ),
    serves=dict.fromkeys(FIVE, "1"),
    events={"wave_started": 1, "gate_fired": 1},
    also=_stopped,
)


def _slow(ending: Ending) -> Sequence[str]:
    fired = [each.summary for each in ending.events("gate_fired")]
    stays = [] if len(_reached(ending)) == 3 else [f"version 2 served on {_reached(ending)}"]
    return stays if any("slow" in each for each in fired) else [*stays, f"the gate said: {fired}"]


SLOWER: Final = Scenario(
    name="ab-stops-what-is-a-fifth-slower",
    case=CASE,
    see="""Version 2 takes a fifth longer than version 1 does beside it, for the same requests. The gate moves it
    back.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.SLOWER_20_PERCENT),
        begun("2", BEGUN_S, **AB),
        devices=[device(name, report_every_s=300) for name in FIVE],
        hours=3.5,
    ),
    serves=dict.fromkeys(FIVE, "1"),
    events={"wave_started": 1, "gate_fired": 1},
    also=_slow,
)


def _climbed(ending: Ending) -> Sequence[str]:
    problems = []
    for who in FIVE:
        both = ending.times("serves", who, version="2", arm="candidate")
        alone = [each for each in ending.find("serves", who, version="2") if "arm" not in each]
        if not both or not alone:
            problems.append(f"{who} should have served version 2 beside version 1, and then alone")
        elif float(str(alone[-1]["at"])) - both[0] < SPLIT_S - 120:
            problems.append(f"the control arm of {who} lasted {float(str(alone[-1]['at'])) - both[0]:.0f} s")
    return problems


GOOD: Final = Scenario(
    name="ab-then-alone",
    case=CASE,
    see="""Version 2 is good. Every device keeps version 1 beside it for an hour, beyond its commit; two lose their
    power in the middle and resume both arms. Nobody stays behind, and the gate promotes it by the
    devices' own controls.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, **AB),
        devices=[device(name, report_every_s=300) for name in FIVE],
        incidents=[Incident(at_s=BEGUN_S + 1_500, kind=FaultKind.POWER_CUT, who=who, lasts_s=30.0) for who in "ab"],
        hours=6.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(FIVE, "2"),
    events={"wave_started": 2, "wave_promoted": 2},
    also=_climbed,
)


def _one_class(ending: Ending) -> Sequence[str]:
    found = [who for who in _reached(ending) if who in "ab"]
    return [f"version 2 served on {found}, where its golden vectors fail"] if found else []


GOLDEN: Final = Scenario(
    name="ab-of-a-release-that-is-wrong-on-one-class",
    case=CASE,
    see="""Version 2 answers its golden vectors wrongly on one class of hardware. There it never answers anybody, and
    version 1 goes on; the installs of that class stop.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.WRONG, hardware="sim-b"),
        begun("2", BEGUN_S, **AB),
        devices=[device(name, report_every_s=300, hardware="sim-b" if name in "ab" else "sim") for name in FIVE],
        hours=4.0,
    ),
    serves={"a": "1", "b": "1"},
    also=_one_class,
)


def _dies(ending: Ending) -> Sequence[str]:
    found = _reached(ending)
    return [] if len(found) <= 3 else [f"version 2 took {found} down, beyond the first wave"]


SILENT: Final = Scenario(
    name="ab-of-a-release-that-takes-its-devices-down",
    case=CASE,
    see="""Version 2 takes its device with it ten minutes after its first answer, and no control arm on it helps. Those
    that stay behind are still heard, and no later wave begins.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.DIES_SILENTLY),
        begun("2", BEGUN_S, **AB | {"silence_s": 1_800}),
        devices=[device(name, report_every_s=300, site="lyon") for name in FIVE],
        hours=4.0,
    ),
    also=_dies,
)

ALL: Final = (ERRORS, SLOWER, GOOD, GOLDEN, SILENT)
