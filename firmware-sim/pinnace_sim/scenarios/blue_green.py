"""Blue and green: waves are made ready, switch together, and switch back without a load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pinnace_server.domain.records import SERVER
from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import Nature, OrderKind
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, begun, device, first, made, steered, world

SWITCHES: Final = "blue/green: both stay loaded, and a wave that is ready switches together"
BACK: Final = "blue/green: the way back takes no load, whoever decides it"
MADE_S: Final = 3_590.0
BEGUN_S: Final = 3_600.0
WAIT_S: Final = 900
KEEP_S: Final = 7_200
GATES: Final[dict[str, Any]] = {"soak_s": 1_800, "exposure": {"duration_s": 900}}
PAIR: Final[dict[str, Any]] = {
    "strategy": {"kind": "blue_green", "wait_s": WAIT_S, "keep_s": KEEP_S},
    "waves": [3, "rest"],
    "holdback": None,
    "gates": GATES,
}
FIVE: Final = "abcde"
SIX: Final = "abcdef"
KIND: Final = "cf"  # of the six, of another class of hardware
TEN: Final = "abcdefghij"


def _since(ending: Ending, version: str) -> dict[str, float]:
    """Return since when each device served a version."""
    return {who: min(ending.times("serves", who, version=version)) for who in ending.served(version)}


def _loads(ending: Ending, who: str, version: str) -> int:
    return len(ending.times("starts", who, version=version))


def _together(ending: Ending) -> Sequence[str]:
    """The first wave waits for the one that is slow, then switches within a few seconds; version 1 leaves in time."""
    ready = [min(ending.times("phase", who, phase="ready")) for who in _since(ending, "2")]
    early, late = sorted(ready)[1:3]
    lines = ending.find("rollout_waits", version="2", wave=1)
    problems = [] if any(line["on"] == "SWITCH" for line in lines) else ["wave 1 should have waited for its switch"]
    times = sorted(_since(ending, "2").values())
    if len(times) != 5 or times[2] - times[0] > 5 or times[3] - times[2] < GATES["soak_s"]:
        problems.append(f"version 2 served since {times}")
    if not early + 20 < late < times[0]:
        problems.append(f"ready were they at {ready}, and served at {times}")
    if any(_loads(ending, who, version) != 1 for who in FIVE for version in "12"):
        problems.append("either version should have been loaded once on each device")
    for who, switched_s in _since(ending, "2").items():
        left = [at_s - switched_s for at_s in ending.times("exited", who, version="1", why="ordered")]
        if len(left) != 1 or not KEEP_S <= left[0] < KEEP_S + 60:
            problems.append(f"version 1 should have left {who} {KEEP_S} s after the switch, not after {left}")
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
    if len(ending.served("2")) != 3:
        problems.append(f"version 2 should have served on three devices, not on {ending.served('2')}")
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
    served = ending.served("2")
    problems = [] if len(served) == 4 else [f"version 2 served on {served}"]
    down = [who for who in TEN if ending.times("power_cut", who)]
    return problems if down == served else [*problems, f"{down} lost their power, and version 2 served on {served}"]


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
    """Four are ready and wait on a person for longer than they would wait for the others; two fail on their vectors."""
    served, problems = ending.served("2"), []
    if served:
        problems.append(f"version 2 served on {served}, and its wave was not told to switch")
    ready = [who for who in SIX if ending.times("phase", who, phase="ready")]
    failed = [who for who in SIX if "2 failed GOLDEN_MISMATCH" in ending.receipts(who)]
    if (ready, failed) != (["a", "b", "d", "e"], list(KIND)):
        problems.append(f"{ready} were ready, and golden vectors failed on {failed}")
    stopped = ending.find("rollout_waits", version="2", devices={"INSTALLS_STOPPED": 4})
    last_s = max(ending.times("rollout_waits", version="2"))
    if (
        not stopped
        or stopped[-1]["at"] != last_s
        or any(each.actor == SERVER for each in ending.events("rollout_halted"))
    ):
        problems.append("they should have waited on INSTALLS_STOPPED until somebody came")
    back = [who for who in ready if "2 superseded NEWER_GENERATION" not in ending.receipts(who)]
    return [*problems, f"{back} should have given version 2 up"] if back else problems


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
        devices=[device(each, report_every_s=300, hardware="sim-b" if each in KIND else "sim") for each in SIX],
        hours=3.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(SIX, "1"),
    events={"wave_started": 1, "wave_switched": 0, "wave_promoted": 0},
    also=_one_class,
)


def _late(ending: Ending) -> Sequence[str]:
    times = _since(ending, "2")
    problems = [] if times["b"] - min(times.values()) > WAIT_S else [f"b should have been late, at {times}"]
    waited_s = min(times.values()) - min(min(ending.times("phase", who, phase="ready")) for who in "ac")
    if not WAIT_S <= waited_s < WAIT_S + 60 or abs(times["a"] - times["c"]) > 5:
        problems.append(f"a and c should have waited {WAIT_S} s and switched together, not after {waited_s:.0f} s")
    (switched,) = ending.events("wave_switched")
    return [*problems, *_both_again(ending, times)] + ([] if "2 of 3" in switched.summary else [switched.summary])


def _both_again(ending: Ending, switched_s: Mapping[str, float]) -> list[str]:
    """Who loses its power loads both again: version 1 in front of a that is ready, version 2 in front of c after it."""
    problems = []
    for who, front, is_ready in (("a", "1", True), ("c", "2", False)):
        cut_s = max(ending.times("power_cut", who), default=0.0)
        if not cut_s or (cut_s < switched_s[who]) is not is_ready:
            problems.append(f"{who} lost its power at {cut_s:.0f}, and switched at {switched_s[who]:.0f}")
        loaded = {each for each in "12" for at_s in ending.times("starts", who, version=each) if 0 < at_s - cut_s < 60}
        serves = [line["version"] for line in ending.find("serves", who) if float(str(line["at"])) > cut_s]
        if loaded != {"1", "2"} or serves[0] != front:
            problems.append(f"{who} should have loaded both and served {front}, not {sorted(loaded)} and {serves}")
    return problems


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
