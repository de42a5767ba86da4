"""Hard cases of what operators want while something else is under way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import OrderKind
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, device, first, made, ordered, told, world

ROLLBACK_S_MAX: Final = 10.0  # from the order to serving: signing, one message, one start of a worker
HOUR_S: Final = 3_600.0


def _superseded(ending: Ending) -> Sequence[str]:
    rollouts = [event.summary for event in ending.events("rollout_finished")]
    wanted = "rollout of digits 2 ended: 1 superseded"
    return () if wanted in rollouts else (f"expected {wanted!r} in the server's log, found {rollouts}",)


TWO_ROLLOUTS: Final = Scenario(
    name="two-rollouts-want-one-device",
    case="two rollouts want one device",
    see="""While version 2 is in its trial, version 3 is assigned. The newer takes over: the device goes back to
    version 1, which it had committed, says that NEWER_GENERATION took version 2's place, and tries version 3. The
    older rollout ends with its member superseded.""",
    plan=world(
        first(),
        made("2", 590.0),
        made("3", 595.0),
        told("2", 600.0, inferences=300, trial_s=300),
        told("3", 630.0),
    ),
    serves={"a": "3"},
    receipts={"a": ("1 committed", "2 reverted NEWER_GENERATION", "3 committed")},
    also=_superseded,
)


def _fast(order_s: float) -> Callable[[Ending], Sequence[str]]:
    def look(ending: Ending) -> Sequence[str]:
        back = [at_s for at_s in ending.times("serves", "a", version="1") if at_s > order_s]
        problems = []
        if not back or back[0] - order_s > ROLLBACK_S_MAX:
            problems.append(f"ordered at {order_s:.0f} s, version 1 served at {back}")
        judged = [at_s for at_s in ending.times("server_says", kind="receipt_committed") if at_s > order_s]
        if not judged or judged[0] - order_s > ROLLBACK_S_MAX:
            problems.append(f"ordered at {order_s:.0f} s, and committed without a trial at {judged}")
        return problems

    return look


ROLLBACK: Final = Scenario(
    name="how-fast-is-a-rollback",
    case="how fast is a rollback",
    see="""Version 2 is committed and rolled back. Version 1 was committed here before and is on the disk: no fetch, no
    trial, no wait for contact; it serves within seconds.""",
    plan=world(first(), made("2", 590.0), told("2", 600.0), ordered(OrderKind.ROLL_BACK, 900.0)),
    serves={"a": "1"},
    receipts={"a": ("1 committed", "2 committed", "1 committed")},
    also=_fast(900.0),
)

ROLLBACK_IN_VETO: Final = Scenario(
    name="rollback-during-a-veto",
    case="how fast is a rollback",
    see="""An application vetoes changes for six hours, so version 3 waits in staged. The operator reverts the device,
    which gives up version 3 and keeps version 2, and reverts it once more: the way back waits for no veto, and version
    1 serves within seconds.""",
    plan=world(
        first(),
        made("2", 590.0),
        made("3", 595.0),
        told("2", 600.0),
        told("3", 900.0),
        ordered(OrderKind.REVERT, 1_200.0, who="a"),
        ordered(OrderKind.REVERT, 1_500.0, who="a"),
        incidents=[Incident(at_s=800.0, kind=FaultKind.VETO, who="a", lasts_s=6 * HOUR_S)],
    ),
    serves={"a": "1"},
    receipts={"a": ("1 committed", "2 committed", "3 superseded NEWER_GENERATION", "2 committed", "1 committed")},
    also=_fast(1_500.0),
)

ROLLBACK_IN_TRIAL: Final = Scenario(
    name="rollback-in-mid-trial",
    case="how fast is a rollback",
    see="""The rollout is rolled back while its version is in its trial. The device goes back to version 1 at once; the
    rollback finds it there, and needs no second start.""",
    plan=world(
        first(),
        made("2", 590.0),
        told("2", 600.0, inferences=300, trial_s=300),
        ordered(OrderKind.ROLL_BACK, 700.0),
    ),
    serves={"a": "1"},
    receipts={"a": ("1 committed", "2 reverted NEWER_GENERATION", "1 committed")},
    also=_fast(700.0),
)

REVERT_AWAY: Final = Scenario(
    name="revert-while-the-device-is-away",
    case="rollback is a new assignment, and waits for the device like any other",
    see="""The device is off when its revert is ordered. The order stands retained on the broker; an hour later the
    device boots with version 2, hears it, and goes back to version 1 without a trial.""",
    plan=world(
        first(),
        made("2", 590.0),
        told("2", 600.0),
        ordered(OrderKind.REVERT, 1_200.0, who="a"),
        incidents=[Incident(at_s=1_000.0, kind=FaultKind.ABSENCE, who="a", lasts_s=HOUR_S)],
        hours=1.5,
    ),
    serves={"a": "1"},
    receipts={"a": ("1 committed", "2 committed", "1 committed")},
)

CANCELLED_FIRST: Final = Scenario(
    name="first-release-is-cancelled",
    case="phases: a newer generation or a cancel interrupts any phase",
    see="""The first version is cancelled in its trial. There is nothing to go back to: the model is taken from the
    device. The other device, which was off, never starts it.""",
    plan=world(
        made("1", 60.0),
        told("1", 65.0, inferences=300, trial_s=300),
        ordered(OrderKind.CANCEL, 120.0),
        incidents=[Incident(at_s=50.0, kind=FaultKind.ABSENCE, who="b", lasts_s=600.0)],
        devices=[device("a"), device("b")],
    ),
    serves={"a": "", "b": ""},
    receipts={
        "a": ("1 reverted NEWER_GENERATION", "committed REMOVED"),
        "b": ("1 superseded NEWER_GENERATION", "committed REMOVED"),
    },
)

ALL: Final = (
    TWO_ROLLOUTS,
    ROLLBACK,
    ROLLBACK_IN_VETO,
    ROLLBACK_IN_TRIAL,
    REVERT_AWAY,
    CANCELLED_FIRST,
)
