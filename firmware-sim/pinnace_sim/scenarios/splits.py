"""Rollouts of the strategy ``ab``: last good keeps a share of each device's requests, and gates compare the two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from pinnace_contract.ids import Digest
from pinnace_sim.applications import METRIC
from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import DevicePlan, Nature
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, begun, device, first, made, world

CASE: Final = "split on the device: last good stays, and is the release's own control there"
MADE_S: Final = 7_190.0
BEGUN_S: Final = 7_200.0
SPLIT_S: Final = 3_600
GATES: Final[dict[str, Any]] = {
    "soak_s": 1_800,
    "exposure": {"duration_s": 900},
    "guards": {"outcome": {"metric": METRIC}},
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
CUT: Final = "bc"  # of the first wave
CUT_S: Final = 30.0


def tells(name: str, *, hardware: str = "sim", site: str = "") -> DevicePlan:
    """Return a device whose applications tell what came of answers: gates hold where nobody does."""
    return replace(device(name, report_every_s=300, hardware=hardware, site=site), tells=True)


def _stopped(ending: Ending) -> Sequence[str]:
    problems = []
    if len(ending.served("2")) > 3:
        problems.append(f"version 2 left the first wave: it served on {ending.served('2')}")
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
        devices=[tells(name) for name in FIVE],
        hours=3.5,
        tells_waits=True,
    ),
    serves=dict.fromkeys(FIVE, "1"),
    events={"wave_started": 1, "gate_fired": 1},
    also=_stopped,
)


def _slow(ending: Ending) -> Sequence[str]:
    fired = [each.summary for each in ending.events("gate_fired")]
    stays = [] if len(ending.served("2")) == 3 else [f"version 2 served on {ending.served('2')}"]
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
        devices=[tells(name) for name in FIVE],
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
        if both and not both[0] < min(ending.times("receipt", who, version="2")) < both[0] + SPLIT_S - 120:
            problems.append(f"{who} should have committed version 2 while version 1 answered beside it")
    return problems + _resumed(ending) + _judged_by_their_own(ending)


def _resumed(ending: Ending) -> list[str]:
    """Who lost its power in the split has both arms again within seconds."""
    problems = []
    for who in CUT:
        cut_s = max(ending.times("power_cut", who), default=0.0)
        if not ending.times("serves", who, version="2", arm="candidate")[0] < cut_s:
            problems.append(f"{who} should have lost its power in the split")
        for version in "12":
            again = [at_s for at_s in ending.times("serves", who, version=version) if at_s > cut_s]
            if not again or again[0] > cut_s + CUT_S + 60:
                problems.append(f"{who} should have resumed version {version}, not at {again}")
        # Whoever is loaded first holds the socket, and the other one joins it in its arm.
        joins = [*ending.times("serves", who, arm="candidate"), *ending.times("serves", who, arm="control")]
        if not any(cut_s < at_s <= cut_s + CUT_S + 60 for at_s in joins):
            problems.append(f"{who} should have resumed one version beside the other, not at {joins}")
    return problems


def _judged_by_their_own(ending: Ending) -> list[str]:
    """Each promotion goes by what the control arms of its devices counted, and by nobody who stayed behind."""
    problems = []
    for event in ending.events("wave_promoted"):
        kept = json.loads(ending.world.server.blobs.read(Digest(event.data["record"])))
        devices = kept["evidence"]["devices"]
        paired = [each["device"] for each in devices if each["paired"]]
        if event.data["by"] not in ("proven", "unrefuted") or len(paired) < 2:
            problems.append(f"promoted as {event.data['by']} by the control arms of {paired}")
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
        devices=[tells(name) for name in FIVE],
        incidents=[Incident(at_s=BEGUN_S + 1_500, kind=FaultKind.POWER_CUT, who=who, lasts_s=CUT_S) for who in CUT],
        hours=6.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(FIVE, "2"),
    events={"wave_started": 2, "wave_promoted": 2},
    also=_climbed,
)


def _one_class(ending: Ending) -> Sequence[str]:
    """The first of the class fails before it answers anybody, and the others of it are not tried."""
    problems = [] if ending.served("2") == ["c"] else [f"version 2 answered on {ending.served('2')}"]
    tried = [who for who in FIVE if ending.times("starts", who, version="2")]
    failed = [who for who in FIVE if "2 failed GOLDEN_MISMATCH" in ending.receipts(who)]
    if len(failed) != 1 or failed[0] not in KIND or tried != sorted([*failed, "c"]):
        problems.append(f"version 2 was tried on {tried}, and its golden vectors failed on {failed}")
    waits = [str(line["devices"]) for line in ending.find("rollout_waits", version="2", wave=1)]
    if not any("'INSTALLS_STOPPED': 1" in each for each in waits):
        problems.append("the other one of the class should have waited on INSTALLS_STOPPED")
    problems += [f"version 1 stopped on {who}" for who in KIND if ending.times("exited", who, version="1")]
    fired = [each.summary for each in ending.events("gate_fired")]
    return problems if any("1 kind" in each for each in fired) else [*problems, f"the gate said: {fired}"]


KIND: Final = "ab"  # of another class of hardware; both are in the first wave
GOLDEN: Final = Scenario(
    name="ab-of-a-release-that-is-wrong-on-one-class",
    case=CASE,
    see="""Version 2 answers its golden vectors wrongly on one class of hardware. Devices move one at a time: the first
    of that class fails, version 2 never answers anybody there, and the other one is not tried. Version 1 goes on on
    both. Nobody decides, and an hour after its soak time the wave is moved back.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.WRONG, hardware="sim-b"),
        begun("2", BEGUN_S, **AB | {"budgets": {"devices_in_flight_max": 1, "healthy_per_site_min": None}}),
        devices=[tells(name, hardware="sim-b" if name in KIND else "sim") for name in FIVE],
        hours=4.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(FIVE, "1"),
    events={"wave_started": 1, "wave_promoted": 0, "gate_fired": 1},
    also=_one_class,
)


def _dies(ending: Ending) -> Sequence[str]:
    """Three answer beside version 1, are gone ten minutes later, and their silence is what the gate moves them by."""
    problems = []
    if len(ending.served("2")) != 3:
        problems.append(f"version 2 answered on {ending.served('2')}, and its first wave has three devices")
    for who in ending.served("2"):
        began_s = ending.times("serves", who, version="2", arm="candidate")[0]
        died = ending.times("power_cut", who)
        if [round(at_s - began_s) for at_s in died] != [600]:
            problems.append(f"{who} answered at {began_s:.0f}, and lost its power at {died}")
    gone = sorted({str(event.device)[0] for event in ending.events("device_offline")})
    if gone != ending.served("2"):
        problems.append(f"{gone} went away, and who stays behind should be heard all the time")
    fired = [each.summary for each in ending.events("gate_fired")]
    return problems if any("installs" in each for each in fired) else [*problems, f"the gate said: {fired}"]


SILENT: Final = Scenario(
    name="ab-of-a-release-that-takes-its-devices-down",
    case=CASE,
    see="""Version 2 takes its device with it ten minutes after its first answer, and no control arm on it helps. Those
    that stay behind are still heard, so the silence of the others counts: no later wave begins, and in the end the
    wave is moved back. Switched on again, its devices serve version 1.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.DIES_SILENTLY),
        begun("2", BEGUN_S, **AB | {"silence_s": 1_800}),
        devices=[tells(name, site="lyon") for name in FIVE],
        hours=4.0,
    ),
    serves=dict.fromkeys(FIVE, "1"),
    events={"wave_started": 1, "wave_promoted": 0, "gate_fired": 1},
    also=_dies,
)

ALL: Final = (ERRORS, SLOWER, GOOD, GOLDEN, SILENT)
