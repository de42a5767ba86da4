"""Hard cases that are many: a fault at every point where it could come, an order in every phase. One line for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import Nature, Order, OrderKind, Plan
from pinnace_sim.scenarios.ending import Ending, played
from pinnace_sim.scenarios.form import Line, Sweep, device, first, made, ordered, told, world

POINTS_MAX: Final = 400  # an update has about a hundred disk operations
TOLD_S: Final = 200.0
LEAD_S: Final = 1.1  # from an order to its set on the device: a tick of the server and the way; measured by each try
SHARES: Final = (0.5, 0.3, 0.15, 0.1, 0.05, 0.02)  # of a phase: where the order is to arrive

# --- a fault at every point ------------------------------------------------------------------------------------------


def _quick(incident: Incident) -> Plan:
    """Return a world with a short second update, and a fault in it."""
    return world(
        first(contact=False),
        made("2", TOLD_S - 10),
        told("2", TOLD_S, trial_s=10, inferences=5),
        incidents=[incident],
        devices=[device("a", report_every_s=300)],
        hours=0.1,
        weights_bytes=20_000,
    )


def _cut(number: int) -> Plan:
    return _quick(
        Incident(at_s=TOLD_S, kind=FaultKind.POWER_CUT, who="a", lasts_s=5.0, number=number, patient=True),
    )


def server_killed(number: int) -> Plan:
    """Return the world in which the server is killed at a commit: 0 is before the first one, 1 after it."""
    return _quick(
        Incident(at_s=TOLD_S - 0.01, kind=FaultKind.SERVER_KILL, lasts_s=5.0, number=number, patient=True),
    )


def _points(plan: Callable[[int], Plan], fault: str, line: Callable[[Ending, int], Line]) -> Iterator[Line]:
    """Yield a line for each point, until the fault comes when everything is over."""
    for number in range(POINTS_MAX):
        ending = played(plan(number))
        hit = ending.times(fault)
        over = ending.times("server_says", kind="rollout_finished", text="rollout of digits 2 ended: 1 committed")
        if ending.outcome.violation is None and (not hit or (over and over[0] <= hit[0])):
            return
        yield line(ending, number)


def _phase_at(ending: Ending, at_s: float) -> str:
    """Return how far the device had come with version 2."""
    moves = [line for line in ending.find("phase", "a", generation=3) if float(str(line["at"])) < at_s]
    return str(moves[-1]["phase"]) if moves else "before"


def _as_it_must(ending: Ending, receipts: tuple[str, ...]) -> tuple[str, ...]:
    if ending.outcome.violation is not None:
        return (str(ending.outcome.violation),)
    found = []
    if ending.serves("a") != "2":
        found.append(f"it serves {ending.serves('a') or 'nothing'}")
    if ending.receipts("a") != receipts:
        found.append(f"its receipts say {ending.receipts('a')}")
    return tuple(found)


def _cut_line(ending: Ending, number: int) -> Line:
    cut = ending.find("power_cut", "a")[0]
    after_s = float(str(cut["at"]))
    served = [line for line in ending.find("serves", "a") if float(str(line["at"])) > after_s]
    problems = _as_it_must(ending, ("1 committed", "2 committed"))
    return Line(
        told={
            "operation": number,
            "before": re.sub(r"[0-9a-f]{64}", lambda found: found[0][:8], str(cut["before"])),
            "phase": _phase_at(ending, after_s),
            "serves_after": str(served[0]["version"]) if served else "",
            "starts_of_2": len(ending.times("starts", "a", version="2")),
            "ended": "; ".join(ending.receipts("a")),
        },
        problems=tuple(f"power cut at operation {number}: {problem}" for problem in problems),
    )


def _kill_line(ending: Ending, number: int) -> Line:
    killed = ending.find("server_killed")[0]
    at_s = float(str(killed["at"]))
    problems = list(_as_it_must(ending, ("1 committed", "2 committed")))
    for kind in ("assigned", "receipt_committed"):
        times = [event for event in ending.events(kind) if event.version == "2"]
        if len(times) != 1:
            problems.append(f"the log says {kind} of version 2 {len(times)} times")
    return Line(
        told={
            "when": f"{str(killed['when']).split()[0]} commit {number // 2 + 1}",
            "phase": _phase_at(ending, at_s),
            "orders_tried": len(ending.times("order", kind="assign", version="2")),
            "sets_sent": len([line for line in ending.find("desired") if line["generation"] == 3]),
            "ended": "; ".join(ending.receipts("a")),
        },
        problems=tuple(f"server killed at step {number}: {problem}" for problem in problems),
    )


POWER_CUTS: Final = Sweep(
    name="power-cut-at-every-disk-operation",
    case="save before acting: a power cut at every disk operation of an update",
    see="""One world for each disk operation from the order to the last acknowledgement, with a power cut before it.
    Wherever it comes, the device boots into a version that it can serve, version 2 is committed in the end, and its
    receipt is told once.""",
    play=lambda: _points(_cut, "power_cut", _cut_line),
)

SERVER_KILLS: Final = Sweep(
    name="server-killed-at-every-commit",
    case="save before acting: a kill of the server before and after every commit of an assignment",
    see="""One world for each side of each commit from the order to the end of the rollout, with the server killed
    there. Whichever it is, the device is told once, commits, and its receipt counts once.""",
    play=lambda: _points(server_killed, "server_killed", _kill_line),
)

# --- an order in every phase -----------------------------------------------------------------------------------------


def _second(
    more: tuple[Order, ...],
    *incidents: Incident,
    nature: Nature = Nature.GOOD,
    trial_s: int = 60,
    bytes_s: float = 1_000_000.0,
    weights_bytes: int = 20_000,
) -> Plan:
    """Return a world with a second update, and one more order."""
    return world(
        first(),
        made("2", TOLD_S - 20, nature=nature),
        made("3", TOLD_S - 15),
        told("2", TOLD_S, inferences=300, trial_s=trial_s),
        more,
        incidents=incidents,
        devices=[device("a", bytes_s=bytes_s, report_every_s=300)],
        hours=0.15,
        weights_bytes=weights_bytes,
    )


_VETO: Final = Incident(at_s=TOLD_S - 10, kind=FaultKind.VETO, who="a", lasts_s=40.0)
_UNHEARD: Final = Incident(at_s=TOLD_S - 1, kind=FaultKind.DARK_UP, who="a", lasts_s=20.0)
_DARK: Final = Incident(at_s=TOLD_S + 5, kind=FaultKind.DARK_UP, who="a", lasts_s=40.0)
PHASES: Final[dict[str, Callable[[tuple[Order, ...]], Plan]]] = {
    "offered": lambda more: _second(more, _UNHEARD),
    "fetching": lambda more: _second(more, bytes_s=40_000.0, weights_bytes=1_200_000),  # more than is asked for at once
    # The newer set waits behind the last chunk, so that it arrives while that is hashed.
    "verifying": lambda more: _second(more, bytes_s=200_000.0, weights_bytes=2_000_000),
    "staged": lambda more: _second(more, _VETO),
    "self_test": _second,
    "trial": _second,
    "awaiting_contact": lambda more: _second(more, _DARK, trial_s=10),
    "reverting": lambda more: _second(more, nature=Nature.CRASHES, trial_s=300),
}


def _in_each_phase(order: Callable[[float], tuple[Order, ...]], serves: str) -> Iterator[Line]:
    for phase, plan in PHASES.items():
        ending = _ordered_in(phase, plan, order)
        if ending is None:
            yield Line(told={"phase": phase}, problems=(f"no order arrived in {phase}",))
            continue
        problems = [] if ending.outcome.violation is None else [str(ending.outcome.violation)]
        if not problems and ending.serves("a") != serves:
            problems.append(f"in {phase}: it serves {ending.serves('a') or 'nothing'} in the end, not {serves}")
        yield Line(
            told={
                "phase": phase,
                "before": " > ".join(ending.phases("a", 3)),
                "after": " > ".join(ending.phases("a", 4)),
                "ended": "; ".join(ending.receipts("a")),
                "serves": "" if problems else ending.serves("a"),
            },
            problems=tuple(problems),
        )


def _ordered_in(
    phase: str, plan: Callable[[tuple[Order, ...]], Plan], order: Callable[[float], tuple[Order, ...]]
) -> Ending | None:
    """Play an undisturbed world to learn when a phase is, then again with an order that arrives in it."""
    moves = played(plan(())).find("phase", "a", generation=3)
    begins = [number for number, line in enumerate(moves) if line["phase"] == phase]
    if not begins or begins[0] + 1 >= len(moves):
        return None
    begin_s, end_s = (float(str(moves[begins[0] + step]["at"])) for step in (0, 1))
    lead_s = LEAD_S
    for share in SHARES:
        order_s = round(begin_s + share * (end_s - begin_s) - lead_s, 3)
        ending = played(plan(order(order_s)))
        reached = ending.phases("a", 3)
        if reached and reached[-1] == phase:
            return ending
        heard = [*ending.times("phase", "a", generation=4), *ending.times("receipt", "a", generation=3)]
        lead_s = min(heard, default=order_s + LEAD_S) - order_s
    return None


def _all_but_reverting(lines: Sequence[Line]) -> Sequence[str]:
    """Before the trial the older attempt ends at once; in it the device goes back first."""
    early = ("offered", "fetching", "verifying", "staged", "self_test")
    return [
        f"in {line.told['phase']}: expected {wanted}, found {line.told.get('ended')}"
        for line in lines
        for wanted in ["2 superseded NEWER_GENERATION" if line.told["phase"] in early else "2 reverted"]
        if wanted not in str(line.told.get("ended"))
    ]


NEWER: Final = Sweep(
    name="newer-assignment-in-each-phase",
    case="phases: a newer generation or a cancel interrupts any phase",
    see="""Version 3 is assigned while version 2 is in each of its phases. Before the trial version 2 is superseded at
    once, in and after it the device goes back to version 1 first; version 3 is committed in the end.""",
    play=lambda: _in_each_phase(lambda at_s: told("3", at_s), "3"),
    also=_all_but_reverting,
)

CANCEL: Final = Sweep(
    name="cancel-in-each-phase",
    case="phases: a newer generation or a cancel interrupts any phase",
    see="""The rollout of version 2 is cancelled while the device is in each of its phases. Before the trial version 2
    is given up at once, in and after it the device goes back; version 1 serves in the end.""",
    play=lambda: _in_each_phase(lambda at_s: ordered(OrderKind.CANCEL, at_s), "1"),
    also=_all_but_reverting,
)

ALL: Final = (POWER_CUTS, SERVER_KILLS, NEWER, CANCEL)
