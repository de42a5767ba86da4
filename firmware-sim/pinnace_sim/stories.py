"""Plans that are drawn from a seed: what kind of fleet, what its operator does, and what goes wrong meanwhile."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pinnace_sim import chance as chances
from pinnace_sim.faults import EVERYTHING, Faults, incidents_around
from pinnace_sim.plan import DevicePlan, Nature, Order, OrderKind, Plan

NATURES: Final = (
    Nature.GOOD,
    Nature.GOOD,
    Nature.GOOD,
    Nature.WRONG,
    Nature.UNLOADABLE,
    Nature.CRASHES,
    Nature.HANGS,
    Nature.ERRORS,
    Nature.SLOW,
    Nature.UNSURE,
)
CALM_HOURS: Final = 3.0  # everybody is back at once; what remains are trials, and pauses of minutes
FIRST_S: Final = 60.0


def one_update(seed: int, *, devices: int = 3, hours: float = 24.0, faults: Faults = EVERYTHING) -> Plan:
    """A version that is good, and later another one that may be anything; now and then an operator who intervenes."""
    draw = chances.stream(seed, "story")
    fleet = _fleet(draw, devices)
    orders = [*_first(), *_update(draw, "2", draw.uniform(0.05, 0.6) * hours * 3600, hours * 3600)]
    return _plan(seed, fleet, orders, hours, faults)


def many_updates(
    seed: int,
    *,
    devices: int = 20,
    hours: float = 168.0,
    faults: Faults = EVERYTHING,
    report_every_s: int | None = None,
) -> Plan:
    """A week or so: a new version every day or two, of every nature. ``report_every_s`` None: drawn for each device."""
    draw = chances.stream(seed, "story")
    fleet = _fleet(draw, devices)
    if report_every_s is not None:
        fleet = tuple(replace(each, report_every_s=report_every_s) for each in fleet)
    orders, at_s, number = list(_first()), draw.uniform(0.1, 1.0) * 86_400, 2
    while at_s < hours * 3600 * 0.95:
        orders += _update(draw, str(number), at_s, hours * 3600)
        at_s += draw.uniform(0.5, 2.0) * 86_400
        number += 1
    return _plan(seed, fleet, orders, hours, faults)


def _plan(seed: int, fleet: tuple[DevicePlan, ...], orders: Sequence[Order], hours: float, faults: Faults) -> Plan:
    names = [each.name for each in fleet]
    incidents = list(faults.incidents(seed, names, hours * 3600))
    if faults.rates:
        for order in orders:
            if order.kind is OrderKind.ASSIGN:
                incidents += incidents_around(seed, order.at_s, names)
    return Plan(
        seed=seed,
        hours=hours,
        calm_hours=CALM_HOURS,
        devices=fleet,
        orders=tuple(sorted(orders, key=lambda order: order.at_s)),
        messages=faults.messages,
        incidents=tuple(sorted(incidents, key=lambda each: (each.at_s, each.kind, each.who))),
    )


def _fleet(draw: random.Random, devices: int) -> tuple[DevicePlan, ...]:
    return tuple(
        DevicePlan(
            name=f"device-{number:03d}",
            report_every_s=draw.choice((900, 3_600, 3_600)),
            inferences_an_hour=draw.choice((0.0, 30.0, 600.0)),
            bytes_s=draw.choice((20_000.0, 1_000_000.0)),
        )
        for number in range(devices)
    )


def _first() -> tuple[Order, ...]:
    return (
        Order(at_s=FIRST_S, kind=OrderKind.REGISTER, version="1"),
        Order(at_s=FIRST_S + 10, kind=OrderKind.ASSIGN, version="1"),
    )


def _update(draw: random.Random, version: str, at_s: float, end_s: float) -> list[Order]:
    nature, at_s = draw.choice(NATURES), round(at_s, 1)
    epoch = int(version) if draw.random() < 0.2 else 0
    inferences, trial_s = draw.choice((0, 20, 100)), draw.choice((60, 300, 900))
    contact = draw.random() < 0.8
    assigned = Order(
        at_s=at_s + 5,
        kind=OrderKind.ASSIGN,
        version=version,
        contact=contact,
        trial_inferences=inferences,
        trial_s=trial_s,
    )
    found = [Order(at_s=at_s, kind=OrderKind.REGISTER, version=version, nature=nature, epoch=epoch), assigned]
    later_s = round(at_s + 5 + draw.expovariate(1 / 1800.0), 1)
    if later_s < end_s and draw.random() < 0.4:
        kind = draw.choice((OrderKind.ROLL_BACK, OrderKind.CANCEL, OrderKind.REVERT, OrderKind.ASSIGN))
        if kind is OrderKind.ASSIGN:
            found.append(replace(assigned, at_s=later_s))
        else:
            found.append(Order(at_s=later_s, kind=kind, who="device-000" if kind is OrderKind.REVERT else ""))
    return found
