"""What a scenario is: a hard case, the world that shows it, and what must be seen in it.

A ``Scenario`` is one world; a ``Sweep`` plays many that differ in one number and tells a line of each. What does not
exist yet ``Waits`` for a part, and what no simulated world can show is ``Shown`` by a test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pinnace_sim.faults import Incident
from pinnace_sim.plan import DevicePlan, Nature, Order, OrderKind, Plan
from pinnace_sim.scenarios.ending import Ending

FIRST_S: Final = 60.0
TRIAL_S: Final = 60
INFERENCES: Final = 20
INFERENCES_AN_HOUR: Final = 3_600.0  # one a second: a trial of 20 takes 20 seconds
CALM_HOURS: Final = 0.5


def _nothing_more(_ending: Ending) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One world.

    ``case`` is the row of "Hard cases" in ``lifecycle.md``, or the rule of it that is shown; ``see`` what must be seen.
    At the end ``serves`` names the version that each device serves ("": none), ``receipts`` what each of its receipts
    said, in order, ``events`` how often the server's log says what; ``also`` returns what else is not as it should be.
    """

    name: str
    case: str
    see: str
    plan: Plan
    serves: Mapping[str, str] = field(default_factory=dict[str, str])
    receipts: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    events: Mapping[str, int] = field(default_factory=dict[str, int])
    also: Callable[[Ending], Sequence[str]] = _nothing_more


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a sweep tells of one of its worlds, and what was wrong in it."""

    told: Mapping[str, str | int]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Many worlds; ``also`` looks at all their lines together."""

    name: str
    case: str
    see: str
    play: Callable[[], Iterator[Line]]
    also: Callable[[Sequence[Line]], Sequence[str]] = lambda _lines: ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """A hard case, or the rest of one, that joins when a part of the product lands."""

    case: str
    part: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A hard case, or the rest of one, that a test shows because a simulated world cannot."""

    case: str
    test: str
    reason: str


def world(
    *orders: tuple[Order, ...],
    incidents: Sequence[Incident] = (),
    devices: Sequence[DevicePlan] | None = None,
    hours: float = 0.5,
    seed: int = 1,
    weights_bytes: int = 100_000,
    tells_waits: bool = False,
) -> Plan:
    """Return a plan without chance but that of small delays; one device "a" where none is said."""
    return Plan(
        seed=seed,
        hours=hours,
        calm_hours=CALM_HOURS,
        devices=tuple(devices) if devices is not None else (device("a"),),
        orders=tuple(sorted((order for some in orders for order in some), key=lambda order: order.at_s)),
        incidents=tuple(incidents),
        weights_bytes=weights_bytes,
        tells_waits=tells_waits,
    )


def device(
    name: str,
    *,
    natures: Mapping[str, Nature] | None = None,
    bytes_s: float = 1_000_000.0,
    report_every_s: int = 60,
    inferences_an_hour: float = INFERENCES_AN_HOUR,
    hardware: str = "sim",
    site: str = "",
) -> DevicePlan:
    """Return a device that answers once a second and reports every minute."""
    return DevicePlan(
        name=name,
        report_every_s=report_every_s,
        inferences_an_hour=inferences_an_hour,
        bytes_s=bytes_s,
        natures=tuple((natures or {}).items()),
        hardware=hardware,
        labels=(("site", site),) if site else (),
    )


def made(
    version: str, at_s: float, *, nature: Nature = Nature.GOOD, epoch: int = 0, hardware: str = ""
) -> tuple[Order, ...]:
    """Return the registration of a version."""
    return (Order(at_s=at_s, kind=OrderKind.REGISTER, version=version, nature=nature, epoch=epoch, hardware=hardware),)


def told(
    version: str,
    at_s: float,
    *,
    who: str = "",
    contact: bool = True,
    contact_s: int = 7 * 86_400,
    trial_s: int = TRIAL_S,
    inferences: int = INFERENCES,
) -> tuple[Order, ...]:
    """Return the assignment of a version."""
    return (
        Order(
            at_s=at_s,
            kind=OrderKind.ASSIGN,
            version=version,
            who=who,
            contact=contact,
            contact_s=contact_s,
            trial_s=trial_s,
            trial_inferences=inferences,
        ),
    )


def first(version: str = "1", *, nature: Nature = Nature.GOOD, contact: bool = True) -> tuple[Order, ...]:
    """Return a first version, registered and assigned to everybody."""
    return made(version, FIRST_S, nature=nature) + told(version, FIRST_S + 5, contact=contact)


def begun(version: str, at_s: float, **policy: object) -> tuple[Order, ...]:
    """Return the beginning of a rollout in waves, of every device where the policy does not say otherwise."""
    text = json.dumps({"cohort": "", **policy}, sort_keys=True)
    return (Order(at_s=at_s, kind=OrderKind.BEGIN, version=version, policy=text),)


def steered(kind: OrderKind, at_s: float, *, by: str = "", version: str = "", wave: int = 0) -> tuple[Order, ...]:
    """Return what somebody does to a rollout in waves."""
    return (Order(at_s=at_s, kind=kind, actor=by, version=version, wave=wave),)


def ordered(kind: OrderKind, at_s: float, *, who: str = "") -> tuple[Order, ...]:
    """Return an order that names no version."""
    return (Order(at_s=at_s, kind=kind, who=who),)


def withdrawn(kind: OrderKind, version: str, at_s: float) -> tuple[Order, ...]:
    """Return the withdrawal of a version."""
    return (Order(at_s=at_s, kind=kind, version=version),)
