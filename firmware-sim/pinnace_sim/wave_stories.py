"""Plans with rollouts in waves, drawn from a seed: any policy, operators who step in, two controllers at once.

Streams have names of their own, so that the other stories stay what they are.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Final

from pinnace_sim import chance as chances
from pinnace_sim.applications import METRIC
from pinnace_sim.faults import EVERYTHING, FaultKind, Faults, Incident, incidents_around
from pinnace_sim.plan import DevicePlan, Nature, Order, OrderKind, Plan

NATURES: Final = (
    Nature.GOOD,
    Nature.GOOD,
    Nature.GOOD,
    Nature.ERRORS_3_PERCENT,
    Nature.SLOWER_20_PERCENT,
    Nature.DIES_SILENTLY,
    Nature.WRONG,
    Nature.CRASHES,
    Nature.ERRORS,
    Nature.UNSURE,
)
SITES: Final = ("kiel", "lyon")
HARDWARE: Final = ("sim", "sim", "sim-b")
PEOPLE: Final = ("ann", "bob", "cy")
COHORTS: Final = ("", "", "", "site=lyon", "site=kiel", "has site")
STEPS: Final = (
    OrderKind.PAUSE,
    OrderKind.PAUSE,
    OrderKind.RESUME,
    OrderKind.PROMOTE,
    OrderKind.PROMOTE,
    OrderKind.PROMOTE,
    OrderKind.APPROVE,
    OrderKind.RETRY,
    OrderKind.RETRY,
    OrderKind.COHORT,
    OrderKind.COHORT,
    OrderKind.COHORT,
    OrderKind.CANCEL,
    OrderKind.ROLL_BACK,
)
STEPS_AT_ONCE: Final = (OrderKind.PAUSE, OrderKind.PAUSE, OrderKind.COHORT, OrderKind.CANCEL)
COMPARED: Final = ("", "", "", "", "shadow", "ab")  # on devices, before or while a release serves
CALM_HOURS: Final = 3.0
FIRST_S: Final = 60.0
HOUR_S: Final = 3_600.0
RACES_SHARE: Final = 0.5
RACES_MAX: Final = 4  # a wave begins, its gates look, its first devices are planned
BLUE_GREEN_SHARE: Final = 0.35  # of those in waves; where shadow, split or whole sites is drawn too, that is what it is
AT_ONCE_SHARE: Final = 0.25  # of what people do: just after they began, while the first plan is made
AT_ONCE_S: Final = 0.5
TWO_CONTROLLERS_SHARE: Final = 0.4
SITES_EVERY: Final = 4  # one in so many worlds moves whole sites; the others are what they were before that was drawn
WINDOWS_AT: Final = 3  # likewise, of as many
WITHDRAWN_AT: Final = (2, 3)
WITHDRAWN_SHARE: Final = 0.5
ZONES: Final = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland")
WINDOW_MIN: Final = (60, 120, 360)  # minutes that a window is open; no shadow that is drawn is longer
DAY_MIN: Final = 24 * 60
LEASES_S: Final = (300, 900, 3_600)
TOLD_SHARE: Final = 0.6  # of versions that only what applications tell gives away
VANISHES_SHARE: Final = 0.25  # of devices, for hours, in the middle of the rollout


def waves(seed: int, *, devices: int = 6, hours: float = 12.0, faults: Faults = EVERYTHING) -> Plan:
    """A version that everybody has, then one or two rollouts in waves that may want the same devices."""
    draw = chances.stream(seed, "story waves")
    kinds = chances.stream(seed, "strategies of waves, 30")
    fleet = _fleet(draw, devices)
    orders = [
        Order(at_s=FIRST_S, kind=OrderKind.REGISTER, version="1"),
        Order(at_s=FIRST_S + 10, kind=OrderKind.ASSIGN, version="1"),
    ]
    begins_s = draw.uniform(0.1, 0.25) * hours * HOUR_S
    orders += _rollout(draw, kinds, "2", begins_s, hours * HOUR_S)
    if draw.random() < 0.5:
        orders += _rollout(draw, kinds, "3", begins_s + draw.expovariate(1 / (2 * HOUR_S)), hours * HOUR_S)
    if seed % SITES_EVERY == 0:
        orders = _whole_sites(seed, orders)
    if seed % SITES_EVERY == WINDOWS_AT:
        fleet, orders = _with_zones(seed, fleet), _with_windows(seed, orders)
    if seed % SITES_EVERY in WITHDRAWN_AT:
        orders += _withdrawn(seed, orders, hours * HOUR_S)
    if any(_asks_for_an_outcome(each) for each in orders):
        fleet = tuple(replace(each, tells=True) for each in fleet)  # a gate that nobody tells anything only holds
    incidents = [*faults.incidents(seed, [each.name for each in fleet], hours * HOUR_S)]
    if faults.rates:
        meanwhile = [
            *incidents_around(seed, begins_s, [each.name for each in fleet]),
            *_vanishing(draw, fleet, begins_s),
        ]
        incidents += [each for each in meanwhile if each.at_s < hours * HOUR_S]
    return Plan(
        seed=seed,
        hours=hours,
        calm_hours=CALM_HOURS,
        devices=fleet,
        orders=tuple(sorted(orders, key=lambda order: order.at_s)),
        messages=faults.messages,
        incidents=tuple(sorted(incidents, key=lambda each: (each.at_s, each.kind, each.who))),
        controllers=2 if draw.random() < TWO_CONTROLLERS_SHARE else 1,
    )


def _asks_for_an_outcome(order: Order) -> bool:
    gates = json.loads(order.policy)["gates"] if order.kind is OrderKind.BEGIN else {}
    return gates.get("guards", {}).get("outcome") is not None


def _whole_sites(seed: int, orders: list[Order]) -> list[Order]:
    """Let most rollouts move whole sites, that have waves at all."""
    draw, found = chances.stream(seed, "story waves sites"), []
    for order in orders:
        policy = json.loads(order.policy) if order.kind is OrderKind.BEGIN else {}
        if policy.get("waves") and draw.random() < 0.8:
            policy["strategy"] = {"kind": "site_atomic", "lease_s": draw.choice(LEASES_S)}
            policy["budgets"]["healthy_per_site_min"] = None
            found.append(replace(order, policy=json.dumps(policy, sort_keys=True)))
        else:
            found.append(order)
    return found


def _with_zones(seed: int, fleet: tuple[DevicePlan, ...]) -> tuple[DevicePlan, ...]:
    """Let each site name its time zone, but for one in so many."""
    draw = chances.stream(seed, "story waves zones")
    zones = {site: draw.choice((*ZONES, "")) for site in SITES}
    return tuple(
        replace(each, labels=(*each.labels, ("zone", zones[site])))
        if zones.get(site := dict(each.labels).get("site", ""), "")
        else each
        for each in fleet
    )


def _with_windows(seed: int, orders: list[Order]) -> list[Order]:
    """Let most rollouts change devices in windows only, some hours of every day or of some days."""
    draw, found = chances.stream(seed, "story waves windows"), []
    for order in orders:
        if order.kind is OrderKind.BEGIN and draw.random() < 0.8:
            weekly = [_window(draw) for _ in range(draw.choice((1, 2, 3)))]
            windows = {"weekly": weekly, "zone": draw.choice((None, "UTC", "UTC"))}
            policy = json.loads(order.policy) | {"windows": windows}
            found.append(replace(order, policy=json.dumps(policy, sort_keys=True)))
        else:
            found.append(order)
    return found


def _window(draw: random.Random) -> dict[str, object]:
    opens = draw.randrange(0, DAY_MIN, 15)
    closes = (opens + draw.choice(WINDOW_MIN)) % DAY_MIN
    days = draw.choice(({}, {}, {"days": ["mon", "wed"]}, {"days": ["tue"]}))
    return {**days, "opens": _clock(opens), "closes": _clock(closes)}


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _withdrawn(seed: int, orders: list[Order], end_s: float) -> list[Order]:
    """Withdraw a version in the middle of a rollout of its: or the one that the others would go back to."""
    draw = chances.stream(seed, "story waves withdrawals")
    begun = [each for each in orders if each.kind is OrderKind.BEGIN]
    if not begun or draw.random() >= WITHDRAWN_SHARE:
        return []
    of = draw.choice(begun)
    at_s = round(of.at_s + draw.choice((AT_ONCE_S, draw.expovariate(1 / (2 * HOUR_S)))), 1)
    version = "1" if draw.random() < 0.2 else of.version
    kind = draw.choice((OrderKind.RETIRE, OrderKind.STOP))
    races = draw.randint(1, RACES_MAX) if draw.random() < RACES_SHARE else 0
    return [Order(at_s=at_s, kind=kind, version=version, races=races)] if at_s < end_s else []


def told(seed: int, *, devices: int = 6, hours: float = 12.0, faults: Faults = EVERYTHING) -> Plan:
    """The same worlds with applications that tell what came of answers, and policies that ask for it."""
    plan = waves(seed, devices=devices, hours=hours, faults=faults)
    draw = chances.stream(seed, "story told")
    return replace(
        plan,
        devices=tuple(replace(each, tells=True) for each in plan.devices),
        orders=tuple(_asking(draw, each) for each in plan.orders),
    )


def _asking(draw: random.Random, order: Order) -> Order:
    """Return an order with guards that a policy may ask for, and versions that only they find bad."""
    if order.kind is OrderKind.REGISTER and order.version != "1" and draw.random() < TOLD_SHARE:
        return replace(order, nature=draw.choice((Nature.WORSE_OUTCOME, Nature.UNFAIR, Nature.DRIFTING)))
    if order.kind is OrderKind.BEGIN:
        policy = json.loads(order.policy)
        strategy = policy.get("strategy")
        is_ab = isinstance(strategy, dict) and strategy["kind"] == "ab"  # which asks for one
        outcome = draw.choice((None, {"metric": METRIC}, {"metric": METRIC, "points": 1}))
        policy["gates"]["guards"] = {
            "outcome": {"metric": METRIC} if outcome is None and is_ab else outcome,
            "fairness": draw.choice((None, {"points": 2}, {"points": 5})),
            "predictions": draw.choice((None, 5, 10)),
        }
        if strategy == "all_at_once":  # leaves nobody to compare them with
            policy["gates"]["guards"] |= {"outcome": None, "predictions": None}
        return replace(order, policy=json.dumps(policy, sort_keys=True))
    return order


def _fleet(draw: random.Random, devices: int) -> tuple[DevicePlan, ...]:
    return tuple(
        DevicePlan(
            name=f"device-{number:03d}",
            report_every_s=draw.choice((300, 600, 900)),
            inferences_an_hour=draw.choice((60.0, 600.0, 1_200.0)),
            bytes_s=draw.choice((20_000.0, 1_000_000.0)),
            hardware=draw.choice(HARDWARE),
            labels=draw.choice(((), *((("site", site),) for site in SITES for _ in range(2)))),
        )
        for number in range(devices)
    )


def _vanishing(draw: random.Random, fleet: tuple[DevicePlan, ...], begins_s: float) -> list[Incident]:
    found = []
    for device in fleet:
        if draw.random() < VANISHES_SHARE:
            at_s = round(begins_s + draw.expovariate(1 / (2 * HOUR_S)), 3)
            lasts_s = round(draw.uniform(600.0, 4 * HOUR_S), 3)
            found.append(Incident(at_s=at_s, kind=FaultKind.ABSENCE, who=device.name, lasts_s=lasts_s))
    return found


# --- a rollout, and what people do to it ------------------------------------------------------------------------------


def _rollout(draw: random.Random, kinds: random.Random, version: str, at_s: float, end_s: float) -> list[Order]:
    at_s, policy = round(at_s, 1), with_strategy(kinds, drawn_policy(draw))
    hardware = "sim-b" if draw.random() < 0.2 else ""
    registered = Order(
        at_s=at_s, kind=OrderKind.REGISTER, version=version, nature=draw.choice(NATURES), hardware=hardware
    )
    begun = Order(at_s=at_s + 5, kind=OrderKind.BEGIN, version=version, policy=json.dumps(policy, sort_keys=True))
    found = [registered, begun]
    steps = _agreeing(draw, at_s) if policy.get("approvals") else []
    for _ in range(draw.randint(0, 5)):
        at_once = draw.random() < AT_ONCE_SHARE
        later_s = AT_ONCE_S if at_once else draw.expovariate(1 / (2 * HOUR_S))
        steps += _step(draw, at_s + 5 + later_s, STEPS_AT_ONCE if at_once else STEPS)
    for step in steps:
        races = draw.randint(1, RACES_MAX) if draw.random() < RACES_SHARE else 0
        found.append(replace(step, at_s=round(step.at_s, 1), version=version, races=races))
    return [order for order in found if order.at_s < end_s]


def _agreeing(draw: random.Random, at_s: float) -> list[Order]:
    """Return people who agree to whatever is next, some of them again and again."""
    return [
        Order(at_s=at_s + draw.uniform(10.0, 6 * HOUR_S), kind=OrderKind.APPROVE, actor=draw.choice(PEOPLE))
        for _ in range(draw.randint(0, 8))
    ]


def _step(draw: random.Random, at_s: float, kinds: tuple[OrderKind, ...]) -> list[Order]:
    """Return something that an operator does; who pauses mostly goes on later."""
    kind = draw.choice(kinds)
    person = draw.choice(PEOPLE)
    step = Order(at_s=at_s, kind=kind, actor=person)
    match kind:
        case OrderKind.PAUSE if draw.random() < 0.8:
            return [step, replace(step, at_s=at_s + draw.expovariate(1 / HOUR_S), kind=OrderKind.RESUME)]
        case OrderKind.COHORT:
            return [replace(step, policy=json.dumps(draw.choice(COHORTS)))]
        case OrderKind.APPROVE | OrderKind.PROMOTE:
            return [replace(step, wave=draw.choice((0, 0, 0, 1, 2)))]
        case _:
            return [step]


# --- a policy ---------------------------------------------------------------------------------------------------------


def drawn_policy(draw: random.Random) -> dict[str, object]:
    """Return a policy as its JSON: canary or all at once, judged and held by whatever was drawn."""
    policy: dict[str, object] = {
        "cohort": {"selector": draw.choice(COHORTS), "membership": draw.choice(("static", "static", "dynamic"))},
        "gates": _gates(draw),
        "budgets": {
            "devices_in_flight_max": draw.choice((1, 1, 2, 3, None)),
            "healthy_per_site_min": draw.choice((None, None, "50%", 1)),
        },
        "silence_s": draw.choice((900, 3_600, 14_400)),
        "on_rollback": draw.choice(("last_good", "last_good", "last_good", "stay")),
        "priority": draw.choice((10, 50, 50, 90)),
        "supersedes": draw.random() < 0.2,
        "terms": {"trial": {"inferences": draw.choice((5, 20)), "duration_s": draw.choice((60, 300))}},
    }
    if draw.random() < 0.25:
        return policy | {"strategy": "all_at_once"} | _approvals(draw, (1,))
    waves = draw.choice(([1, "rest"], [1, 1, "rest"], [1, 2, "rest"], ["25%", "rest"], ["20%", "30%", "50%"]))
    policy |= _pair(policy)
    holdback = draw.choice((None, None, 1, "10%"))
    points: tuple[object, ...] = (1, 2, "last") if holdback is None else (1, 2, "last", "holdback")
    return policy | {"waves": waves, "holdback": holdback} | _approvals(draw, points)


def with_strategy(draw: random.Random, policy: dict[str, object]) -> dict[str, object]:
    """Return a policy that compares on devices, in a share of cases, also where blue and green was drawn before; one
    that moves all at once stays that."""
    kind = draw.choice(COMPARED)
    able = draw.choice(("without", "without", "leave_out"))
    if not kind or policy.get("strategy") == "all_at_once":
        return policy
    if kind == "shadow":
        shadow = {"duration_s": draw.choice((60, 600, 1_800)), "share_percent": draw.choice((20, 100))}
        return policy | {"strategy": {"kind": kind, "unshadowed": able, **shadow}}
    split = {"duration_s": draw.choice((3_600, 7_200)), "control_percent": draw.choice((5, 20, 50))}
    gates = policy["gates"]
    assert isinstance(gates, dict)
    outcome = gates | {"guards": {"outcome": {"metric": METRIC}}}  # ab asks for one
    return policy | {"strategy": {"kind": kind, "unsplit": able, **split}, "gates": outcome}


def _pair(policy: dict[str, object]) -> dict[str, object]:
    """Return blue and green for some policies; from a stream of its own, so that all else is drawn as it was."""
    draw = random.Random(json.dumps(policy, sort_keys=True))
    if draw.random() >= BLUE_GREEN_SHARE:
        return {}
    kind = {"kind": "blue_green", "wait_s": draw.choice((60, 600, 1_800)), "keep_s": draw.choice((60, 3_600, 7_200))}
    return {"strategy": kind}


def _gates(draw: random.Random) -> dict[str, object]:
    return {
        "soak_s": draw.choice((0, 900, 1_800, 3_600)),
        "exposure": {"duration_s": draw.choice((0, 600, 1_800)), "devices": draw.choice((1, 5))},
        "on_hold_timeout": draw.choice(("ask", "pause", "roll_back")),
        "hold_timeout_s": draw.choice((900, 3_600, 14_400)),
        "promote_on": draw.choice(("by_fleet_size", "by_fleet_size", "unrefuted", "proven")),
    }


def _approvals(draw: random.Random, points: tuple[object, ...]) -> dict[str, object]:
    if draw.random() < 0.6:
        return {}
    by = draw.choice(([], [], ["ann", "bob"]))
    return {"approvals": [{"before": draw.choice(points), "count": draw.choice((1, 1, 2)), "by": by}]}
