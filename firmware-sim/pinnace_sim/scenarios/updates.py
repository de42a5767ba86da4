"""Hard cases of versions that are no good, and of devices on which something breaks while they try one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import Nature
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, device, first, made, told, world

SECOND_S: Final = 600.0
TRIAL: Final = "phases: a trial fails on a golden mismatch, three crashes or hangs, or an expectation exceeded"
FIRST: Final = "phases: a first release that fails leaves no model"


def _second(nature: Nature, case: str, name: str, see: str, said: str) -> Scenario:
    """Return a scenario in which version 1 is good and version 2 is not."""
    return Scenario(
        name=name,
        case=case,
        see=see,
        plan=world(first(), made("2", SECOND_S, nature=nature), told("2", SECOND_S + 5, inferences=300, trial_s=300)),
        serves={"a": "1"},
        receipts={"a": ("1 committed", said)},
    )


WRONG: Final = _second(
    Nature.WRONG,
    TRIAL,
    "candidate-answers-otherwise",
    "The golden vectors are answered otherwise than recorded: version 2 never serves, version 1 never stops.",
    "2 failed GOLDEN_MISMATCH",
)
UNLOADABLE: Final = _second(
    Nature.UNLOADABLE,
    TRIAL,
    "candidate-cannot-be-loaded",
    "The runtime cannot load version 2: it never serves, version 1 never stops.",
    "2 failed LOAD_FAILED",
)
CRASHES: Final = _second(
    Nature.CRASHES,
    TRIAL,
    "candidate-crashes-three-times",
    "Version 2 crashes under load. It is started again twice; after the third crash version 1 serves again.",
    "2 reverted CRASHED",
)
HANGS: Final = _second(
    Nature.HANGS,
    TRIAL,
    "candidate-hangs",
    "Version 2 stops answering, is killed and started again; after the third time version 1 serves again.",
    "2 reverted HUNG",
)
ERRORS: Final = _second(
    Nature.ERRORS,
    TRIAL,
    "candidate-fails-too-often",
    "Three in ten inferences of version 2 fail; after 50 that is past what its release expects, and version 1 returns.",
    "2 reverted ERROR_RATE",
)
SLOW: Final = _second(
    Nature.SLOW,
    TRIAL,
    "candidate-is-too-slow",
    "Version 2 is a hundred times slower than its release expects; after 50 inferences version 1 returns.",
    "2 reverted LATENCY",
)


def _three_starts(ending: Ending) -> Sequence[str]:
    starts = ending.times("starts", "a", version="2")
    return () if len(starts) == 3 else (f"version 2 should have been started three times, not {len(starts)}",)


TAKES_DOWN: Final = Scenario(
    name="candidate-takes-the-device-down",
    case="phases: `left` is decremented before each start, so that a device that goes down with it comes back",
    see="""Each time that version 2 begins to serve, the whole device loses its power within the minute. Its three
    starts are used up before they are made; the next boot goes back to version 1.""",
    plan=world(
        first(),
        made("2", SECOND_S),
        told("2", SECOND_S + 5, inferences=300, trial_s=300),
        incidents=[
            Incident(at_s=at_s, kind=FaultKind.POWER_CUT, who="a", lasts_s=5.0) for at_s in (630.0, 660.0, 690.0)
        ],
    ),
    serves={"a": "1"},
    receipts={"a": ("1 committed", "2 reverted CRASHED")},
    also=_three_starts,
)

ONE_DEVICE: Final = Scenario(
    name="wrong-on-one-device-only",
    case="phases: each device judges by its own golden vectors",
    see="""Version 2 answers its golden vectors rightly everywhere but on "b", whose runtime computes otherwise. "b"
    fails it and serves version 1; the others keep version 2.""",
    plan=world(
        first(),
        made("2", SECOND_S),
        told("2", SECOND_S + 5),
        devices=[device("a"), device("b", natures={"2": Nature.WRONG}), device("c")],
    ),
    serves={"a": "2", "b": "1", "c": "2"},
    receipts={
        "a": ("1 committed", "2 committed"),
        "b": ("1 committed", "2 failed GOLDEN_MISMATCH"),
        "c": ("1 committed", "2 committed"),
    },
    events={"receipt_failed": 1},
)

FIRST_FAILS: Final = Scenario(
    name="first-release-fails",
    case=FIRST,
    see="""The very first version answers its golden vectors wrongly. The device has no model, and says so; the next
    version is installed.""",
    plan=world(first(nature=Nature.WRONG), made("2", SECOND_S), told("2", SECOND_S + 5)),
    serves={"a": "2"},
    receipts={"a": ("1 failed GOLDEN_MISMATCH", "2 committed")},
)

FIRST_CRASHES: Final = Scenario(
    name="first-release-crashes",
    case=FIRST,
    see="""The very first version serves and crashes three times. There is nothing to go back to: the device has no
    model, and the receipt names none as active.""",
    plan=world(first(nature=Nature.CRASHES)),
    serves={"a": ""},
    receipts={"a": ("1 reverted CRASHED",)},
    also=lambda ending: (
        () if ending.find("receipt", "a", active="") else ("the receipt should name no active version",)
    ),
)

FULL_DISK: Final = Scenario(
    name="disk-full-in-mid-fetch",
    case="room: a preallocated part file; what must be kept waits for the disk",
    see="""Over a slow link a fetch takes half a minute; for thirty seconds of it the disk takes nothing new. What was
    fetched stays, version 1 serves, and the update goes on when there is room.""",
    plan=world(
        first(),
        made("2", SECOND_S),
        told("2", SECOND_S + 5),
        incidents=[Incident(at_s=SECOND_S + 15, kind=FaultKind.DISK_FULL, who="a", lasts_s=30.0)],
        devices=[device("a", bytes_s=4_000.0)],
    ),
    serves={"a": "2"},
    receipts={"a": ("1 committed", "2 committed")},
)

BELOW_FLOOR: Final = Scenario(
    name="release-below-the-floor",
    case="numbers: the floor is the highest security epoch committed; nothing below it ever starts",
    see="""Version 2 raises the security epoch. Version 1 is assigned again: the device has committed it once and holds
    it still, and refuses it as BELOW_FLOOR without starting it.""",
    plan=world(first(), made("2", SECOND_S, epoch=2), told("2", SECOND_S + 5), told("1", SECOND_S + 300)),
    serves={"a": "2"},
    receipts={"a": ("1 committed", "2 committed", "1 rejected BELOW_FLOOR")},
    also=lambda ending: (
        () if max(ending.times("starts", "a", version="1")) < SECOND_S else ("version 1 should not have been started",)
    ),
)


def _told_once(ending: Ending) -> Sequence[str]:
    composed = ending.times("receipt", "a", version="2")
    said = ending.times("server_says", ending.id("a"), kind="receipt_committed")
    cut = ending.times("power_cut", "a")
    problems = []
    if len(composed) != 1 or not cut or composed[0] > cut[0]:
        problems.append("the receipt should have been composed once, before the power cut")
    if len([at_s for at_s in said if at_s > SECOND_S]) != 1:
        problems.append("the server should have been told once")
    return problems


RECEIPT_ONCE: Final = Scenario(
    name="receipt-not-sent-before-a-power-cut",
    case="receipts: composed and signed before the commit, saved in the same write, only then sent",
    see="""The device commits while its line is cut, then loses its power. The receipt lies in the outbox, is sent
    after the boot, and the server has it once.""",
    plan=world(
        first(contact=False),
        made("2", SECOND_S),
        told("2", SECOND_S + 5, contact=False),
        incidents=[
            Incident(at_s=SECOND_S + 15, kind=FaultKind.PARTITION, who="a", lasts_s=300.0),
            Incident(at_s=SECOND_S + 120, kind=FaultKind.POWER_CUT, who="a", lasts_s=30.0),
        ],
    ),
    serves={"a": "2"},
    receipts={"a": ("1 committed", "2 committed")},
    events={"receipt_committed": 2},
    also=_told_once,
)

ALL: Final = (
    WRONG,
    UNLOADABLE,
    CRASHES,
    HANGS,
    ERRORS,
    SLOW,
    TAKES_DOWN,
    ONE_DEVICE,
    FIRST_FAILS,
    FIRST_CRASHES,
    FULL_DISK,
    BELOW_FLOOR,
    RECEIPT_ONCE,
)
