"""Guards that a policy asks for: outcomes, gaps between groups, and predictions that drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from pinnace_sim.applications import METRIC
from pinnace_sim.plan import DevicePlan, Nature
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, begun, device, first, made, world

CASE: Final = "guards that a policy asks for: no device notices, and what applications tell does"
MADE_S: Final = 7_190.0
BEGUN_S: Final = 7_200.0
GUARDS: Final[dict[str, Any]] = {"outcome": {"metric": METRIC}, "fairness": {"points": 5}, "predictions": 10}
POLICY: Final[dict[str, Any]] = {"waves": [11, "rest"], "holdback": None}
NAMES: Final = "abcdefghijklmnopqrstuv"


def _fleet(names: Sequence[str], inferences_an_hour: float = 1_200.0) -> list[DevicePlan]:
    return [
        replace(device(name, report_every_s=600, inferences_an_hour=inferences_an_hour), tells=True) for name in names
    ]


def _gates(guards: dict[str, Any]) -> dict[str, Any]:
    return {"soak_s": 5_400, "exposure": {"duration_s": 900}, "guards": guards}


def _bad(name: str, nature: Nature, guard: str, see: str, inferences_an_hour: float = 1_200.0) -> Scenario:
    def stopped_by_its_guard(ending: Ending) -> Sequence[str]:
        (fired,) = ending.events("gate_fired")
        problems = (
            [] if guard in fired.summary else [f"{guard} should have stopped it, and the gate said: {fired.summary}"]
        )
        served = {str(line["who"]) for line in ending.find("serves", version="2")}
        return problems if len(served) == 11 else [*problems, f"version 2 was served by {sorted(served)}"]

    return Scenario(
        name=name,
        case=CASE,
        see=see,
        plan=world(
            first(),
            made("2", MADE_S, nature=nature),
            begun("2", BEGUN_S, **POLICY, gates=_gates(GUARDS)),
            devices=_fleet(NAMES, inferences_an_hour),
            hours=4.0,
        ),
        serves=dict.fromkeys(NAMES, "1"),
        events={"wave_started": 1, "gate_fired": 1, "rollout_halted": 1},
        also=stopped_by_its_guard,
    )


OUTCOME: Final = _bad(
    "outcome-goes-back",
    Nature.WORSE_OUTCOME,
    "outcome",
    """Version 2 answers as fast, as surely and without errors, and what comes of its answers is accepted in 80 of a
    hundred cases instead of 90. Applications tell; the gate compares the means of the eleven devices of wave 1
    with those of the eleven that wait, and moves version 2 back.""",
)
UNFAIR: Final = _bad(
    "unfair-goes-back",
    Nature.UNFAIR,
    "gap between groups",
    """Version 2 is wrong about one label in four at night, and as seldom as before by day; only one label in eight
    is of the night. The gap grows beside the control and beside the same devices' other group: wave 1 goes back.""",
    inferences_an_hour=3_600.0,  # few of them are labelled, and fewer at night
)
DRIFTS: Final = _bad(
    "predictions-drift-and-go-back",
    Nature.DRIFTING,
    "predictions",
    """Version 2 passes its golden vectors and answers the third class for much of what was the first. The devices
    that wait see the same things and answer as ever: wave 1 goes back.""",
)


def _climbs(ending: Ending) -> Sequence[str]:
    fired = [event.summary for event in ending.events("gate_fired")]
    return [f"a gate fired: {fired}"] if fired else []


GOOD: Final = Scenario(
    name="told-and-good",
    case=CASE,
    see="""The same guards and a good version 2: both waves are promoted.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, **POLICY, gates=_gates(GUARDS)),
        devices=_fleet(NAMES),
        hours=5.0,
    ),
    serves=dict.fromkeys(NAMES, "2"),
    events={"wave_started": 2, "wave_promoted": 2},
    also=_climbs,
)

MISSPELT: Final[dict[str, Any]] = {"outcome": {"metric": "acepted"}}


def _held(ending: Ending) -> Sequence[str]:
    (paused,) = ending.events("rollout_paused")
    problems = [] if "outcome 'acepted'" in paused.summary else [f"it should name the metric: {paused.summary}"]
    served = ending.served("2")
    return problems if len(served) == 2 else [*problems, f"version 2 was served by {served}"]


UNTOLD: Final = Scenario(
    name="misspelt-metric-holds",
    case=CASE,
    see="""Version 2 is good, and its policy asks for outcomes under a name that no application tells. Nothing speaks
    against it, and still wave 1 is not promoted: an hour after its soak time the policy pauses the rollout, and says
    which name nobody told.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, waves=[2, "rest"], holdback=None, gates=_gates(MISSPELT) | {"hold_timeout_s": 3_600}),
        devices=_fleet("abcde"),
        hours=5.0,
    ),
    serves={"a": "1", "b": "2", "c": "2", "d": "1", "e": "1"},
    events={"wave_started": 1, "rollout_paused": 1},
    also=_held,
)

ALL: Final = (OUTCOME, UNFAIR, DRIFTS, GOOD, UNTOLD)
