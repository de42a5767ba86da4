"""Blue and green: waves are made ready, switch together, and switch back without a load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import Nature, OrderKind
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, begun, device, first, made, steered, world

SWITCHES: Final = "blue/green: both stay loaded, and a wave that is ready switches together"
BACK: Final = "blue/green: the way back takes no load, whoever decides it"
MADE_S: Final = 3_590.0
BEGUN_S: Final = 3_600.0
WAIT_S: Final = 900
GATES: Final[dict[str, Any]] = {"soak_s": 1_800, "exposure": {"duration_s": 900}}
PAIR: Final[dict[str, Any]] = {
    "strategy": {"kind": "blue_green", "wait_s": WAIT_S, "keep_s": 7_200},
    "waves": [3, "rest"],
    "holdback": None,
    "gates": GATES,
}
FIVE: Final = "abcde"
SIX: Final = "abcdef"
TEN: Final = "abcdefghij"


def _served(ending: Ending, version: str) -> dict[str, float]:
    """Return when each device first served a version."""
    found: dict[str, float] = {}
    for who in SIX:
        times = ending.times("serves", who, version=version)
        if times:
            found[who] = min(times)
    return found


def _loads(ending: Ending, who: str, version: str) -> int:
    return len(ending.times("starts", who, version=version))


def _together(ending: Ending) -> Sequence[str]:
    """The first wave waits for the one that is slow, then switches within a few seconds."""
    ready = [min(ending.times("phase", who, phase="ready")) for who in _served(ending, "2")]
    lines = ending.find("rollout_waits", version="2", wave=1)
    problems = [] if any(line["on"] == "SWITCH" for line in lines) else ["wave 1 should have waited for its switch"]
    times = sorted(_served(ending, "2").values())
    if len(times) != 5 or times[2] - times[0] > 5 or times[3] - times[2] < GATES["soak_s"]:
        problems.append(f"version 2 served since {times}")
    if max(sorted(ready)[:3]) > times[0]:
        problems.append(f"ready were they at {ready}, and served at {times}")
    if any(_loads(ending, who, "2") != 1 for who in FIVE):
        problems.append("version 2 should have been loaded once on each device")
    return problems


GOOD: Final = Scenario(
    name="blue-green-switches-together",
    case=SWITCHES,
    see="""Version 2 is good, and the first wave waits for the device with the slow link: its three devices make the
    version ready beside what they serve, then switch within seconds. The others follow in the next wave. Nobody is
    loaded twice, and after two hours version 1 leaves.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, **PAIR),
        devices=[device(name, report_every_s=300, bytes_s=50_000.0 if name in "bd" else 1_000_000.0) for name in FIVE],
        hours=5.0,
        weights_bytes=2_000_000,
        tells_waits=True,
    ),
    serves=dict.fromkeys(FIVE, "2"),
    receipts=dict.fromkeys(FIVE, ("1 committed", "2 committed")),
    events={"wave_started": 2, "wave_switched": 2, "wave_promoted": 2},
    also=_together,
)


def _went_back(ending: Ending) -> Sequence[str]:
    """Who served version 2 went back by itself or was told to, without loading version 1 again."""
    problems = [f"{who} loaded version 1 again" for who in FIVE if _loads(ending, who, "1") != 1]
    if len(_served(ending, "2")) != 3:
        problems.append(f"version 2 should have served on three devices, not on {sorted(_served(ending, '2'))}")
    return problems


def _stopped(name: str, nature: Nature, see: str, hours: float) -> Scenario:
    return Scenario(
        name=name,
        case=BACK,
        see=see,
        plan=world(
            first(),
            made("2", MADE_S, nature=nature),
            begun("2", BEGUN_S, **PAIR | {"strategy": PAIR["strategy"] | {"keep_s": 7 * 86_400}}),
            devices=[device(each, report_every_s=300) for each in FIVE],
            hours=hours,
        ),
        serves=dict.fromkeys(FIVE, "1"),
        events={"wave_started": 1, "wave_switched": 1, "gate_fired": 1},
        also=_went_back,
    )


ERRORS: Final = _stopped(
    "blue-green-has-errors",
    Nature.ERRORS_3_PERCENT,
    """Version 2 passes everything on the devices and fails on three answers in a hundred. The first wave switches to
    it, its gate moves it back, and each device puts version 1 in front, which was loaded all the while.""",
    hours=8.0,
)
SLOWER: Final = _stopped(
    "blue-green-is-slower",
    Nature.SLOWER_20_PERCENT,
    """Version 2 is a fifth slower, which no device notices by itself. The gate does; the way back takes no load.""",
    hours=8.0,
)


def _silent(ending: Ending) -> Sequence[str]:
    served = sorted({str(line["who"]) for line in ending.find("serves", version="2")})
    return [] if len(served) == 4 else [f"version 2 served on {served}"]


SILENT: Final = Scenario(
    name="blue-green-dies-silently",
    case=BACK,
    see="""Version 2 stops its device after ten minutes. Four devices of ten switched to it; the gate moves it back, and
    when somebody has switched them on again they serve version 1.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.DIES_SILENTLY),
        begun("2", BEGUN_S, **PAIR | {"waves": [4, "rest"]}),
        devices=[device(each, report_every_s=300) for each in TEN],
        hours=5.0,
    ),
    serves=dict.fromkeys(TEN, "1"),
    events={"wave_started": 1, "wave_switched": 1, "gate_fired": 1},
    also=_silent,
)


def _one_class(ending: Ending) -> Sequence[str]:
    served = sorted(_served(ending, "2"))
    return [f"version 2 served on {served}, and its wave was not told to switch"] if served else []


WRONG: Final = Scenario(
    name="blue-green-golden-vectors-fail-on-one-kind",
    case="blue/green: where installs stop, what is ready waits for a person and serves nobody",
    see="""On one kind of hardware the golden vectors are answered otherwise. The others of the wave are ready, and do
    not switch: a person looks, and moves the rollout back. Version 2 never served anybody.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.WRONG, hardware="sim-b"),
        begun("2", BEGUN_S, **PAIR | {"waves": ["rest"]}),
        steered(OrderKind.ROLL_BACK, BEGUN_S + 3_000, by="ann"),
        devices=[device(each, report_every_s=300, hardware="sim-b" if each in "cf" else "sim") for each in SIX],
        hours=3.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(SIX, "1"),
    events={"wave_started": 1, "wave_switched": 0, "wave_promoted": 0},
    also=_one_class,
)


def _late(ending: Ending) -> Sequence[str]:
    times = _served(ending, "2")
    problems = [] if times["b"] - min(times.values()) > WAIT_S else [f"b should have been late, at {times}"]
    (switched,) = ending.events("wave_switched")
    return problems if "2 of 3" in switched.summary else [*problems, switched.summary]


LATE: Final = Scenario(
    name="blue-green-lets-go-who-is-late",
    case="blue/green: the first that is ready waits for the others so long and no longer",
    see="""One device of three is away when the wave begins. The two that are ready wait a quarter of an hour, then
    switch; it switches by itself when it is back. Power cuts: one while it is ready, one while version 1 stands by.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, **PAIR | {"waves": ["rest"]}),
        devices=[device(each, report_every_s=300) for each in "abc"],
        incidents=[
            Incident(at_s=BEGUN_S + 1, kind=FaultKind.PARTITION, who="b", lasts_s=2_700.0),
            Incident(at_s=BEGUN_S + 300, kind=FaultKind.POWER_CUT, who="a", lasts_s=20.0),
            Incident(at_s=BEGUN_S + 2_400, kind=FaultKind.POWER_CUT, who="c", lasts_s=20.0),
        ],
        hours=4.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys("abc", "2"),
    events={"wave_started": 1, "wave_switched": 1, "wave_promoted": 1},
    also=_late,
)

ALL: Final = (GOOD, ERRORS, SLOWER, SILENT, WRONG, LATE)
