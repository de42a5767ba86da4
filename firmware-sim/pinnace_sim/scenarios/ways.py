"""Hard cases of the way between, of clocks, and of who it is that speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import OrderKind
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, device, first, made, ordered, told, world

DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0
YEARS_TO_2040_S: Final = int(13.1 * 365.25 * DAY_S)  # the worlds' second 0 is in November 2026


def _served_throughout(ending: Ending) -> Sequence[str]:
    """A device that was cut off, but on, never changed or lost what it served while it was."""
    dark = ending.times("fault", "a", kind="partition")[0]
    back = next(at_s for at_s in ending.times("connected", ending.id("a")) if at_s > dark)
    problems = [
        f"{what} at {at_s:.0f} s, while a was cut off"
        for what in ("serves", "exited", "phase")
        for at_s in ending.times(what, "a")
        if dark < at_s < back
    ]
    if back - dark < 7 * DAY_S:
        problems.append(f"a was cut off for {back - dark:.0f} s only")
    return problems


AWAY_FOR_WEEKS: Final = Scenario(
    name="away-for-weeks",
    case="off for 90 days across two root rotations and a CA change",
    see="""Timestamps live for seven days. "a" is cut off a little longer and serves all the time, "b" is off for 28.
    Both install what waits for them, from metadata that was renewed meanwhile.""",
    plan=world(
        first(),
        made("2", 2 * DAY_S),
        told("2", 2 * DAY_S + 5),
        incidents=[
            Incident(at_s=300.0, kind=FaultKind.PARTITION, who="a", lasts_s=7.2 * DAY_S),
            Incident(at_s=300.0, kind=FaultKind.ABSENCE, who="b", lasts_s=28 * DAY_S),
        ],
        devices=[device(name, report_every_s=21_600, inferences_an_hour=60.0) for name in ("a", "b")],
        hours=28 * 24 + 2,
    ),
    serves={"a": "2", "b": "2"},
    receipts={"a": ("1 committed", "2 committed"), "b": ("1 committed", "2 committed")},
    also=_served_throughout,
)


def _waits_for_its_clock(ending: Ending) -> Sequence[str]:
    problems = []
    if not [line for line in ending.find("refused", "a") if "METADATA_EXPIRED" in str(line["why"])]:
        problems.append("a should say that by its clock everything has expired")
    wrong = ending.times("fault", "a", kind="clock_jump")[0]
    if any(wrong < at_s < wrong + HOUR_S for at_s in (*ending.times("phase", "a"), *ending.times("exited", "a"))):
        problems.append("a should go on serving and install nothing while its clock is wrong")
    return problems


CLOCK_2040: Final = Scenario(
    name="clock-in-2040",
    case="clock at 1970 or 2040",
    see="""The board believes for an hour that it is 2040. What is signed has expired by then: nothing is installed,
    what runs goes on. Nothing that was signed says 2040, so the time floor stays, and with the right time the install
    follows.""",
    plan=world(
        first(),
        made("2", 1_200.0),
        told("2", 1_205.0),
        incidents=[Incident(at_s=600.0, kind=FaultKind.CLOCK_JUMP, who="a", number=YEARS_TO_2040_S, lasts_s=HOUR_S)],
        hours=2.0,
    ),
    serves={"a": "2"},
    receipts={"a": ("1 committed", "2 committed")},
    also=_waits_for_its_clock,
)

CLOCK_1970: Final = Scenario(
    name="clock-in-1970",
    case="clock at 1970 or 2040",
    see="""A board without a battery starts in 1970 and stays there for an hour. Its time floor says better, so the
    server's signed acknowledgements count, and it installs what it is told.""",
    plan=world(
        first(),
        made("2", 1_200.0),
        told("2", 1_205.0),
        incidents=[Incident(at_s=600.0, kind=FaultKind.CLOCK_1970, who="a", lasts_s=HOUR_S)],
        hours=1.5,
    ),
    serves={"a": "2"},
    receipts={"a": ("1 committed", "2 committed")},
    also=lambda ending: (
        () if max(ending.times("acknowledged", "a")) < 600.0 + HOUR_S else ("it should have installed in 1970",)
    ),
)


def _waited_and_served(ending: Ending) -> Sequence[str]:
    problems = []
    for who in ("a", "b"):
        if "awaiting_contact" not in ending.phases(who, 3):
            problems.append(f"{who} should have waited for contact")
        cut, back = 705.0, 705.0 + HOUR_S
        gone = [at_s for at_s in ending.times("exited", who, version="2") if cut < at_s < back]
        if gone:
            problems.append(f"{who} should have gone on serving version 2 while it was cut off")
    return problems


WAN_CUT: Final = Scenario(
    name="wan-cut-in-mid-update",
    case="WAN cut in mid-wave",
    see="""The site's line is cut while its devices are in their trial. They pass it, serve on in awaiting_contact for
    an hour, and commit when the line is back: no revert.""",
    plan=world(
        first(),
        made("2", 690.0),
        told("2", 695.0),
        incidents=[Incident(at_s=705.0, kind=FaultKind.PARTITION, who=who, lasts_s=HOUR_S) for who in ("a", "b")],
        devices=[device(who) for who in ("a", "b")],
        hours=1.5,
    ),
    serves={"a": "2", "b": "2"},
    receipts=dict.fromkeys(("a", "b"), ("1 committed", "2 committed")),
    events={"receipt_reverted": 0},
    also=_waited_and_served,
)


def _stayed_there(ending: Ending) -> Sequence[str]:
    late = [
        will
        for will in ending.find("will", ending.id("a"))
        if any(
            float(str(line["at"])) < float(str(will["at"])) and int(str(line["number"])) > int(str(will["number"]))
            for line in ending.find("connected", ending.id("a"))
        )
    ]
    problems = [] if late else ["no will came after the birth of the next connection"]
    if ending.events("device_offline"):
        problems.append("the server believed the will of a connection that was over")
    return problems


NO_CONTACT: Final = Scenario(
    name="contact-is-given-up",
    case="phases: awaiting_contact lasts 7 days, then on_no_contact (default: commit)",
    see="""The line is cut in mid-trial and stays cut for longer than contact is waited for, here half an hour. The
    device keeps what has proven its health, commits by itself, and tells when the line is back; meanwhile another
    version was assigned, which it then installs.""",
    plan=world(
        first(),
        made("2", 590.0),
        made("3", 595.0),
        told("2", 600.0, contact_s=1_800),
        told("3", 1_200.0),
        incidents=[Incident(at_s=610.0, kind=FaultKind.PARTITION, who="a", lasts_s=HOUR_S)],
        hours=1.5,
    ),
    serves={"a": "3"},
    receipts={"a": ("1 committed", "2 committed", "3 committed")},
    events={"receipt_committed": 3},
    also=lambda ending: (
        () if 2_400.0 < ending.times("receipt", "a")[1] < 2_500.0 else ("it should have committed by itself",)
    ),
)

WILL_OVERTAKES: Final = Scenario(
    name="will-overtakes-birth",
    case="will overtakes birth",
    see="""A connection breaks, the device is back within seconds, and only then does the broker publish the old
    connection's will. Its number is smaller than the birth's: the server does not believe that the device went
    away.""",
    plan=world(
        first(),
        incidents=[Incident(at_s=at_s, kind=FaultKind.RESET, who="a") for at_s in (300.0, 500.0, 700.0, 900.0)],
    ),
    serves={"a": "1"},
    events={"device_online": 1},
    also=_stayed_there,
)


def _went_on(ending: Ending) -> Sequence[str]:
    """One of two chunks had come: the other takes ten of the 25 seconds of both."""
    back = max(ending.times("connected", ending.id("a")))
    took_s = ending.times("phase", "a", phase="verifying", generation=3)[0] - back
    return () if took_s < 20.0 else (f"the rest of the fetch took {took_s:.0f} s: it should go on from its bitmap",)


BROKER_AMNESIA: Final = Scenario(
    name="broker-lost-its-retained-messages",
    case="broker lost its retained messages",
    see="""The broker comes back with nothing while one device fetches and another one is off. The server sees that its
    session is gone and publishes everything again; the fetch goes on from its bitmap; the other one finds its desired
    state when it comes.""",
    plan=world(
        first(),
        made("2", 600.0),
        told("2", 605.0),
        incidents=[
            Incident(at_s=580.0, kind=FaultKind.ABSENCE, who="b", lasts_s=600.0),
            Incident(at_s=628.0, kind=FaultKind.BROKER_AMNESIA, lasts_s=30.0),
        ],
        devices=[device("a", bytes_s=4_000.0), device("b")],
    ),
    serves={"a": "2", "b": "2"},
    receipts=dict.fromkeys(("a", "b"), ("1 committed", "2 committed")),
    also=_went_on,
)


def _readmitted(ending: Ending) -> Sequence[str]:
    told_2 = ending.times("server_says", ending.id("a"), kind="assigned")
    readmitted = ending.times("server_says", ending.id("a"), kind="device_readmitted")
    problems = []
    if not readmitted or any(600.0 < at_s < readmitted[0] for at_s in told_2):
        problems.append("nothing should be assigned to it before it was readmitted")
    if any(at_s for at_s in ending.times("exited", "a") if 600.0 < at_s < min(readmitted, default=0.0)):
        problems.append("it should go on serving in quarantine")
    return problems


CLONE: Final = Scenario(
    name="same-identity-from-another-store",
    case="a second agent on the same store; the same identity from another store",
    see="""A copy of the board's identity runs on another board for ten minutes. Each takes the connection from the
    other until they pause. The server suspects a clone: the device goes on serving, gets nothing new, and an order for
    it is refused, until the copy is off and the operator readmits it.""",
    plan=world(
        first(),
        made("2", 800.0),
        told("2", 805.0),
        ordered(OrderKind.READMIT, 2_000.0, who="a"),
        told("2", 2_100.0),
        incidents=[Incident(at_s=600.0, kind=FaultKind.CLONE, who="a", lasts_s=600.0)],
        hours=1.0,
    ),
    serves={"a": "2"},
    receipts={"a": ("1 committed", "2 committed")},
    events={"clone_suspected": 1, "device_readmitted": 1},
    also=_readmitted,
)

CLONE_IN_UPDATE: Final = Scenario(
    name="clone-while-an-update-is-under-way",
    case="a second agent on the same store; the same identity from another store",
    see="""The copy appears while the device is in its trial. The trial goes on, and its receipt is recorded and
    acknowledged without being counted; the rollout ends when the operator readmits the store that said it.""",
    plan=world(
        first(),
        made("2", 590.0),
        told("2", 600.0, inferences=300),
        ordered(OrderKind.READMIT, 1_500.0, who="a"),
        incidents=[Incident(at_s=620.0, kind=FaultKind.CLONE, who="a", lasts_s=300.0)],
    ),
    serves={"a": "2"},
    receipts={"a": ("1 committed", "2 committed")},
    events={"clone_suspected": 1, "device_readmitted": 1, "receipt_committed": 2, "rollout_finished": 2},
    also=lambda ending: (
        ()
        if ending.times("server_says", kind="rollout_finished")[-1] > 1_500.0
        else ("the rollout should have waited for the operator",)
    ),
)

STALE: Final = Scenario(
    name="stale-desired",
    case="stick of Monday, MQTT of Wednesday, stick inserted Friday",
    see="""Somebody publishes an old desired state of the device again. Its metadata is older than what the device
    believes: refused as METADATA_ROLLBACK and reported; what runs stays.""",
    plan=world(
        first(),
        made("2", 600.0),
        told("2", 605.0),
        incidents=[Incident(at_s=900.0, kind=FaultKind.STALE_DESIRED, who="a")],
    ),
    serves={"a": "2"},
    receipts={"a": ("1 committed", "2 committed")},
    events={"device_refused": 1},
)

FOREIGN: Final = Scenario(
    name="foreign-desired",
    case="a desired state of another device (lifecycle, generations; transport)",
    see="""Somebody publishes to "a" what was signed for "b": refused as WRONG_DEVICE and reported; what runs stays.""",
    plan=world(
        first(),
        made("2", 600.0),
        told("2", 605.0, who="b"),
        incidents=[Incident(at_s=900.0, kind=FaultKind.FOREIGN_DESIRED, who="a")],
        devices=[device("a"), device("b")],
    ),
    serves={"a": "1", "b": "2"},
    receipts={"a": ("1 committed",), "b": ("1 committed", "2 committed")},
    events={"device_refused": 1},
)

STALE_WHILE_AWAY: Final = Scenario(
    name="stale-desired-while-away",
    case="broker lost its retained messages",
    see="""The device is off when version 2 is assigned. The broker loses what it had queued, and somebody replaces what
    is retained by an old desired state. All that the device finds on its return it refuses, and says so: the server
    tells it again what it stands by, and version 2 is committed.""",
    plan=world(
        first(),
        made("2", 600.0),
        told("2", 605.0),
        incidents=[
            Incident(at_s=590.0, kind=FaultKind.ABSENCE, who="a", lasts_s=600.0),
            Incident(at_s=700.0, kind=FaultKind.BROKER_AMNESIA, lasts_s=5.0),
            Incident(at_s=900.0, kind=FaultKind.STALE_DESIRED, who="a"),
        ],
    ),
    serves={"a": "2"},
    receipts={"a": ("1 committed", "2 committed")},
    events={"device_refused": 1},
)

ALL: Final = (
    AWAY_FOR_WEEKS,
    CLOCK_1970,
    CLOCK_2040,
    WAN_CUT,
    NO_CONTACT,
    WILL_OVERTAKES,
    BROKER_AMNESIA,
    CLONE,
    CLONE_IN_UPDATE,
    STALE,
    STALE_WHILE_AWAY,
    FOREIGN,
)
