"""What is taken back: a version that is withdrawn, and a server that was lost and put back from a backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pinnace_server.domain import eras
from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import OrderKind
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, device, first, made, told, withdrawn, world

HOUR_S: Final = 3_600.0
WITHDRAW: Final = "withdraw: `retire` (no new start, what runs may restart) or `stop` (unloaded now)"
HEARS_S_MAX: Final = 60.0  # a minute after its next contact no device serves what is stopped

BACKUP_S, RESTORED_S, ORDER_S, BACK_S = 500.0, 1_500.0, 1_800.0, 3_000.0


def _restored(ending: Ending) -> Sequence[str]:
    problems = []
    early = [at_s for at_s in ending.times("desired", ending.id("b")) if RESTORED_S < at_s < BACK_S]
    if early:
        problems.append(f"b was not there, and was sent a set at {early}")
    for line in ending.find("desired"):
        at_s, era = float(str(line["at"])), eras.era_of(int(str(line["generation"])))
        if (era == 1) != (at_s > RESTORED_S):
            problems.append(f"a set of era {era} was sent at {at_s:.0f} s")
    again = [at_s for at_s in ending.times("serves", "a", version="1") if at_s > BACKUP_S]
    if again:
        problems.append(f"a committed version 2, and served version 1 again at {again}")
    return problems


RESTORED: Final = Scenario(
    name="server-restored-from-a-backup",
    case="server restored from yesterday's backup",
    see="""Version 2 is assigned after the backup; "a" commits it, "b" is off. The server is lost with its disk and its
    broker, and put back: it knows of version 1 alone, and begins a new era. "a" says that it runs version 2, and keeps
    it. Version 2 is ordered again: "b" is held as RESTORED, and sent nothing, until it is back and has spoken.""",
    plan=world(
        first(),
        made("2", 400.0),
        told("2", 600.0),
        told("2", ORDER_S),
        devices=[device("a"), device("b")],
        incidents=[
            Incident(at_s=BACKUP_S, kind=FaultKind.SERVER_BACKUP),
            Incident(at_s=550.0, kind=FaultKind.ABSENCE, who="b", lasts_s=BACK_S - 550.0),
            Incident(at_s=RESTORED_S, kind=FaultKind.SERVER_RESTORED, lasts_s=60.0),
            Incident(at_s=RESTORED_S, kind=FaultKind.BROKER_AMNESIA, lasts_s=60.0),
        ],
        hours=1.5,
    ),
    serves={"a": "2", "b": "2"},
    events={"server_restored": 1, "device_adopted": 2, "clone_suspected": 0, "signing_refused": 0},
    also=_restored,
)

RETIRED: Final = Scenario(
    name="version-is-retired",
    case=WITHDRAW,
    see="""Version 2 is committed on "a" and in its trial on "b" when it is retired. "b" goes back to version 1; "a"
    serves version 2 on, also after a restart. An order for it is refused, and "c", which was told of it while it was
    off, never starts it.""",
    plan=world(
        first(),
        made("2", 590.0),
        told("2", 600.0, who="a"),
        told("2", 900.0, who="b", inferences=600, trial_s=900),
        told("2", 950.0, who="c"),
        withdrawn(OrderKind.RETIRE, "2", 1_000.0),
        told("2", 1_400.0, who="b"),
        devices=[device("a"), device("b"), device("c")],
        incidents=[
            Incident(at_s=920.0, kind=FaultKind.ABSENCE, who="c", lasts_s=900.0),
            Incident(at_s=1_300.0, kind=FaultKind.AGENT_RESTART, who="a", lasts_s=10.0),
        ],
    ),
    serves={"a": "2", "b": "1", "c": "1"},
    events={"withdrawn": 1, "rollout_halted": 2},
    also=lambda ending: () if ending.find("order_refused") else ("the order for version 2 should have been refused",),
)


def _stopped(ending: Ending) -> Sequence[str]:
    problems = []
    back = [at_s for at_s in ending.times("connected", ending.id("c")) if at_s > 900.0]
    gone = [at_s for at_s in ending.times("serves", "c", version="1") if at_s > 900.0]
    if not back or not gone or gone[0] - back[0] > HEARS_S_MAX:
        problems.append(f"c was back at {back}, and served version 1 at {gone}")
    at_once = [at_s for at_s in ending.times("serves", "a", version="1") if at_s > 900.0]
    if not at_once or at_once[0] - 900.0 > HEARS_S_MAX:
        problems.append(f"version 2 was stopped at 900 s, and a served version 1 at {at_once}")
    return problems


STOPPED: Final = Scenario(
    name="version-is-stopped",
    case=WITHDRAW,
    see="""Version 2 is committed everywhere when it is stopped. "a" has version 1 to fall back to and serves it
    within seconds. "b" has nothing else: the operator confirms that one device goes dark, and it unloads the model.
    "c" is off; it boots with version 2, hears of it with its first contact, and serves version 1. Version 3 ends the
    darkness.""",
    plan=world(
        made("1", 60.0),
        told("1", 65.0, who="a"),
        told("1", 66.0, who="c"),
        made("2", 390.0),
        told("2", 400.0),
        withdrawn(OrderKind.STOP, "2", 900.0),
        made("3", 4_800.0),
        told("3", 4_810.0, who="b"),
        devices=[device("a"), device("b"), device("c")],
        incidents=[Incident(at_s=800.0, kind=FaultKind.ABSENCE, who="c", lasts_s=HOUR_S)],
        hours=1.5,
    ),
    serves={"a": "1", "b": "3", "c": "1"},
    receipts={"b": ("2 committed", "2 reverted WITHDRAWN", "3 committed")},
    events={"withdrawn": 1},
    also=_stopped,
)

ALL: Final = (RESTORED, RETIRED, STOPPED)
