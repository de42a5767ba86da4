"""Rollouts in waves: how they climb, what they wait on, and how they go back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import DevicePlan, Nature, OrderKind
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, begun, device, first, made, steered, world

CLIMBS: Final = "waves: the next begins when the gates of the one before promote, or a person does"
GOES_BACK: Final = "waves: gates move back what got worse, each device to its own last good"
MADE_S: Final = 3_590.0
BEGUN_S: Final = 3_600.0
HALF_S: Final = 1_800.0
GATES: Final[dict[str, Any]] = {"soak_s": 1_800, "exposure": {"duration_s": 900}}
CANARY: Final[dict[str, Any]] = {"waves": [1, 2, "rest"], "holdback": None, "gates": GATES}
FOUR: Final[dict[str, Any]] = {"waves": [4, "rest"], "holdback": None, "gates": GATES}
NAMES: Final = "abcdefghij"


def _fleet(devices: int, sites: Sequence[str] = ("",), hardware: Sequence[str] = ("sim",)) -> list[DevicePlan]:
    """Return devices that answer once a second and report every five minutes; sites and hardware take turns."""
    return [
        device(name, report_every_s=300, site=sites[at % len(sites)], hardware=hardware[at % len(hardware)])
        for at, name in enumerate(NAMES[:devices])
    ]


def _waited(ending: Ending, wave: int, *on: str, version: str = "2") -> list[str]:
    """Return what a wave should have waited on, and did not."""
    lines = ending.find("rollout_waits", version=version, wave=wave)
    seen = {str(line["on"]) for line in lines} | {name for line in lines for name in _devices(line)}
    return [f"wave {wave} of version {version} should have waited on {each}" for each in on if each not in seen]


def _devices(line: dict[str, object]) -> dict[str, int]:
    found = line["devices"]
    assert isinstance(found, dict)
    return found


# --- they climb -------------------------------------------------------------------------------------------------------


def _climbs(ending: Ending) -> Sequence[str]:
    waves = [event.data["wave"] for event in ending.events("wave_promoted")]
    problems = [] if waves == ["1", "2", "3"] else [f"promoted were the waves {waves}"]
    return [*problems, *_waited(ending, 1, "DEVICES", "TRIAL", "SOAK_TIME", "EARLIER_WAVE")]


GOOD: Final = Scenario(
    name="canary-climbs",
    case=CLIMBS,
    see="""Six devices in waves of one, two and three. Version 2 is good: each wave installs, soaks for half an hour,
    is promoted by its gates, and the next one begins; the others wait for the earlier wave.""",
    plan=world(
        first(), made("2", MADE_S), begun("2", BEGUN_S, **CANARY), devices=_fleet(6), hours=3.0, tells_waits=True
    ),
    serves=dict.fromkeys(NAMES[:6], "2"),
    events={"wave_started": 3, "wave_promoted": 3, "rollout_finished": 2},
    also=_climbs,
)


def _in_pairs(ending: Ending) -> Sequence[str]:
    return _waited(ending, 1, "BUDGET", "ANSWER", "TRIAL")


AT_ONCE: Final = Scenario(
    name="all-at-once",
    case="waves: budgets let so many devices move at once",
    see="""Five devices move at once, two of them in flight: the others wait on the budget, not on a wave. The one wave
    has no control group, and its gates judge each device by its own past.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, strategy="all_at_once", gates=GATES, budgets={"devices_in_flight_max": 2}),
        devices=_fleet(5),
        hours=2.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(NAMES[:5], "2"),
    events={"wave_started": 1, "wave_promoted": 1},
    also=_in_pairs,
)


def _agreed(ending: Ending) -> Sequence[str]:
    starts = [line["at"] for line in ending.find("server_says", kind="wave_started")]
    agreed = [line["at"] for line in ending.find("server_says", kind="wave_approved")]
    problems = []
    if len(starts) != 2 or len(agreed) != 4:
        problems.append(f"two waves should begin after four agreements, not {starts} after {agreed}")
    elif not (agreed[0] < starts[0] < agreed[1] < agreed[2] < agreed[3] < starts[1]):  # type: ignore[operator]
        problems.append(f"waves began at {starts}, and people agreed at {agreed}")
    return [*problems, *_waited(ending, 1, "APPROVAL"), *_waited(ending, 2, "APPROVAL")]


APPROVALS: Final = Scenario(
    name="waves-wait-for-agreement",
    case="waves: a wave waits for whoever must agree",
    see="""One person must agree before wave 1, two before the last one. Ann agrees to wave 1, then twice to wave 2,
    which counts once; when Bob agrees as well, wave 2 begins.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun(
            "2",
            BEGUN_S,
            **CANARY | {"waves": [1, "rest"]},
            approvals=[{"before": 1}, {"before": "last", "count": 2}],
        ),
        steered(OrderKind.APPROVE, BEGUN_S + 300, by="ann"),
        steered(OrderKind.APPROVE, BEGUN_S + 2 * HALF_S, by="ann", wave=2),
        steered(OrderKind.APPROVE, BEGUN_S + 2 * HALF_S + 60, by="ann"),
        steered(OrderKind.APPROVE, BEGUN_S + 3 * HALF_S, by="bob"),
        devices=_fleet(3),
        hours=3.5,
        tells_waits=True,
    ),
    serves=dict.fromkeys("abc", "2"),
    also=_agreed,
)


def _paused(ending: Ending) -> Sequence[str]:
    (paused,) = ending.events("rollout_paused")
    problems = [] if "not decided 1 hours after its soak time" in paused.summary else [f"paused: {paused.summary}"]
    by = [event.data["by"] for event in ending.events("wave_promoted")]
    if by[:1] != ["person:ann"]:
        problems.append(f"wave 1 should be promoted by ann, not by {by}")
    return [*problems, *_waited(ending, 1, "GATE_COLLECTING", "PAUSED")]


HOLDS: Final = Scenario(
    name="undecided-wave-is-paused",
    case="waves: gates that do not decide in time leave it to the policy, which pauses",
    see="""Nobody asks these devices for anything, so nothing is seen of version 2. An hour after the soak time the
    policy pauses. A person resumes the rollout and promotes wave 1 in the gates' place; the log says who
    and why.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun(
            "2",
            BEGUN_S,
            waves=[1, "rest"],
            holdback=None,
            gates={"soak_s": 600, "hold_timeout_s": 3_600, "exposure": {"inferences": 1}},
            terms={"trial": {"duration_s": 60}},
        ),
        steered(OrderKind.RESUME, BEGUN_S + 3 * HALF_S, by="ann"),
        steered(OrderKind.PROMOTE, BEGUN_S + 3 * HALF_S + 60, by="ann"),
        devices=[device(name, report_every_s=300, inferences_an_hour=0.0) for name in "abc"],
        hours=3.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys("abc", "2"),
    events={"rollout_paused": 1, "rollout_resumed": 1},
    also=_paused,
)


def _older_first(ending: Ending) -> Sequence[str]:
    over = [event.version for event in ending.events("rollout_finished") if event.version in ("2", "3")]
    problems = [] if over == ["2", "3"] else [f"the rollouts ended in the order {over}"]
    return [*problems, *_waited(ending, 1, "OTHER_ROLLOUT", version="3")]


OVERLAP: Final = Scenario(
    name="overlapping-cohorts",
    case="two rollouts want one device",
    see="""Version 2 goes to Lyon's devices in waves, version 3 to everybody at once. The older rollout keeps its
    devices until it ends, because they are its evidence: Kiel's have version 3 at once, Lyon's wait on the
    other rollout and follow when it is over.""",
    plan=world(
        first(),
        made("2", MADE_S),
        made("3", MADE_S + 5),
        begun("2", BEGUN_S, **CANARY | {"waves": [1, "rest"]}, cohort="site=lyon"),
        begun("3", BEGUN_S + 300, strategy="all_at_once", gates=GATES),
        devices=_fleet(6, sites=("lyon", "kiel")),
        hours=3.5,
        tells_waits=True,
    ),
    serves=dict.fromkeys(NAMES[:6], "3"),
    also=_older_first,
)


# --- they go back -----------------------------------------------------------------------------------------------------


def _first_wave_only(ending: Ending) -> Sequence[str]:
    served = ending.served("2")
    problems = [] if len(served) == 4 else [f"version 2 should have been served by four devices, not by {served}"]
    waves = [event.data["wave"] for event in ending.events("wave_started")]
    return problems if waves == ["1"] else [*problems, f"the waves {waves} began"]


def _bad(name: str, nature: Nature, see: str, hours: float) -> Scenario:
    return Scenario(
        name=name,
        case=GOES_BACK,
        see=see,
        plan=world(
            first(),
            made("2", MADE_S, nature=nature),
            begun("2", BEGUN_S, **FOUR),
            devices=_fleet(10),
            hours=hours,
            tells_waits=True,
        ),
        serves=dict.fromkeys(NAMES, "1"),
        events={"gate_fired": 1, "rollout_halted": 1},
        also=_first_wave_only,
    )


ERRORS: Final = _bad(
    "canary-goes-back-from-its-first-wave",
    Nature.ERRORS_3_PERCENT,
    """Three in a hundred answers of version 2 fail, which no trial notices. Four of ten devices are in wave 1; its
    gates compare them with their own past and with the six that wait, and move them back. Four devices ever
    served version 2, and a minute later all ten serve version 1.""",
    3.0,
)
SLOWER: Final = _bad(
    "canary-is-slower",
    Nature.SLOWER_20_PERCENT,
    """Version 2 answers a fifth slower, which its release would allow. Each device is compared with its own past:
    the four of wave 1 go back.""",
    2.5,
)
DIES: Final = _bad(
    "canary-dies-silently",
    Nature.DIES_SILENTLY,
    """Ten minutes after it began to serve, version 2 takes its device with it, after it was committed. Nobody
    hears of wave 1 any more, while the six devices that wait still report: the silence counts against
    version 2. Somebody switches the four on again in the end; they find the rollback and serve version 1.""",
    5.0,
)


def _one_class_stops(ending: Ending) -> Sequence[str]:
    tried = ending.receipts("b") + ending.receipts("d") + ending.receipts("f")
    failed = [each for each in tried if each == "2 failed GOLDEN_MISMATCH"]
    problems = [] if len(failed) == 1 else [f"one device of sim-b should have tried version 2, not: {tried}"]
    return [*problems, *_waited(ending, 1, "INSTALLS_STOPPED")]


ONE_CLASS: Final = Scenario(
    name="golden-failure-stops-its-hardware",
    case="waves: the first golden failure stops its class of hardware",
    see="""On hardware sim-b version 2 answers its golden vectors wrongly. Devices move one at a time; the first of
    sim-b fails, and the others of its class are not tried. Those of class sim all go on.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.WRONG, hardware="sim-b"),
        begun("2", BEGUN_S, strategy="all_at_once", gates=GATES, budgets={"devices_in_flight_max": 1}),
        devices=_fleet(6, hardware=("sim", "sim-b")),
        hours=2.0,
        tells_waits=True,
    ),
    serves=dict(zip(NAMES[:6], "212121", strict=True)),
    events={"receipt_failed": 1, "rollout_halted": 0},
    also=_one_class_stops,
)

RULED_S: Final = 6_141.0  # the gate of wave 1 rules at its next look
CLOCKS_S: Final = 1e-3  # Unix seconds and virtual ones differ in their last digits


def _killed_between(ending: Ending) -> Sequence[str]:
    """The server dies right after a ruling is in the database, and tells of it only when it is back."""
    problems = []
    killed = ending.times("server_killed")
    for kind, killed_s in zip(("wave_started", "gate_fired"), killed, strict=False):
        (event,) = ending.events(kind)
        (told_s,) = ending.times("server_says", kind=kind)
        ruled_s = event.at_s - (ending.world.server.now() - ending.world.schedule.now_s)
        if not ruled_s - CLOCKS_S <= killed_s < told_s:
            problems.append(f"{kind}: ruled at {ruled_s:.1f}, killed at {killed_s:.1f}, told at {told_s:.1f}")
    if len(killed) != 2:
        problems.append(f"the server should be killed twice, not at {killed}")
    told = [event.device for event in ending.events("assigned") if event.version == "1" and event.rollout]
    return [*problems, *_first_wave_only(ending)] if len(told) == 14 else [*problems, f"version 1: {told}"]


KILLED: Final = Scenario(
    name="server-killed-between-a-ruling-and-its-plan",
    case="save before acting: a kill of the server between a ruling and its plan",
    see="""The server is killed right after it wrote down that wave 1 begins, and again right after its gates moved the
    release back: before any device is told, and before the log is read. When it is back it finds the ruling
    and carries it out, once.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.ERRORS_3_PERCENT),
        begun("2", BEGUN_S, **FOUR),
        devices=_fleet(10),
        incidents=[
            Incident(at_s=BEGUN_S + 0.5, kind=FaultKind.SERVER_KILL, lasts_s=20.0, number=1, patient=True),
            Incident(at_s=RULED_S - 0.5, kind=FaultKind.SERVER_KILL, lasts_s=20.0, number=1, patient=True),
        ],
        hours=3.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(NAMES, "1"),
    events={"gate_fired": 1, "rollout_halted": 1},
    also=_killed_between,
)

CUT_S: Final = BEGUN_S + 600.0
CUT_LASTS_S: Final = 7_200.0


def _nobody_goes_back(ending: Ending) -> Sequence[str]:
    dark = {str(line["who"]) for line in ending.find("server_says", kind="device_offline")}
    problems = [] if len(dark) == 4 else [f"four devices should be away, not {sorted(dark)}"]
    back = [event.summary for kind in ("rollout_halted", "receipt_reverted") for event in ending.events(kind)]
    if back:
        problems.append(f"something goes back: {back}")
    promoted = ending.times("server_says", kind="wave_promoted")
    if not promoted or promoted[0] < CUT_S + CUT_LASTS_S:
        problems.append(f"wave 1 is promoted at {promoted}, while a site is dark")
    return problems


SITE_IS_CUT: Final = Scenario(
    name="wan-cut-of-a-site-in-mid-wave",
    case="WAN cut in mid-wave",
    see="""Wave 1 has devices at both sites. Ten minutes into it Lyon's line is cut for two hours, for longer than
    silence is waited for. Nobody is heard from there, neither of wave 1 nor of those that wait: the silence
    counts neither for nor against the release, the gate holds, nothing goes back. When the line is back the
    rollout climbs to its end.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, **FOUR, silence_s=900, budgets={"healthy_per_site_min": None}),
        devices=_fleet(8, sites=("lyon", "kiel")),
        incidents=[Incident(at_s=CUT_S, kind=FaultKind.PARTITION, who=who, lasts_s=CUT_LASTS_S) for who in NAMES[:8:2]],
        hours=4.5,
        tells_waits=True,
    ),
    serves=dict.fromkeys(NAMES[:8], "2"),
    events={"gate_fired": 0, "rollout_halted": 0, "wave_promoted": 2},
    also=_nobody_goes_back,
)

ALL: Final = (
    GOOD,
    AT_ONCE,
    APPROVALS,
    HOLDS,
    OVERLAP,
    ERRORS,
    SLOWER,
    DIES,
    ONE_CLASS,
    KILLED,
    SITE_IS_CUT,
)
