"""What goes wrong in a world, as data: how often each kind of fault comes, and the incidents that follow under a seed.

Rates are drawn once, before anything runs, into a list of incidents; what happens to single messages is drawn as they
pass. A world is played again from its incidents alone, and a shorter list is a simpler world.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pinnace_sim import chance as chances

DAY_S: Final = 86_400.0
INCIDENTS_AROUND_MAX: Final = 8


class FaultKind(StrEnum):
    """Everything that can go wrong. Stored names never change."""

    # single messages
    LOSS = "loss"
    DUPLICATE = "duplicate"
    SLOW = "slow"
    REORDER = "reorder"
    DAMAGE = "damage"
    # the way between
    PARTITION = "partition"
    DARK_UP = "dark_up"
    DARK_DOWN = "dark_down"
    RESET = "reset"
    BROKER_RESTART = "broker_restart"
    BROKER_AMNESIA = "broker_amnesia"
    STALE_DESIRED = "stale_desired"
    FOREIGN_DESIRED = "foreign_desired"
    # the device
    POWER_CUT = "power_cut"
    AGENT_RESTART = "agent_restart"
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"
    CLOCK_JUMP = "clock_jump"
    CLOCK_1970 = "clock_1970"
    ABSENCE = "absence"
    WORKER_CRASH = "worker_crash"
    WORKER_HANG = "worker_hang"
    WORKER_SLOW = "worker_slow"
    CLONE = "clone"
    VETO = "veto"
    # the server
    SERVER_KILL = "server_kill"
    SERVER_AWAY = "server_away"
    SERVER_POWER = "server_power"  # and the broker's, on the same machine
    SERVER_BACKUP = "server_backup"  # no fault by itself
    SERVER_RESTORED = "server_restored"  # from the last backup


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One fault: from when, to whom (a device's name, or nobody's), for how long, and how much or after how many.

    ``patient``: a cut or kill that counts operations or commits waits for the last of them, however long that takes.
    """

    at_s: float
    kind: FaultKind
    who: str = ""
    lasts_s: float = 0.0
    number: int = 0
    patient: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFaults:
    """Shares of messages. A QoS 1 message is never lost while its connection lives: that is what QoS 1 is."""

    loss: float = 0.0  # of QoS 0
    duplicate: float = 0.0  # of QoS 1, delivered once more with the next connection
    slow: float = 0.0
    reorder: float = 0.0
    damage: float = 0.0  # of QoS 0: chunks carry no signature
    delay_s: tuple[float, float] = (0.02, 0.2)
    slow_s: tuple[float, float] = (1.0, 30.0)


NO_MESSAGE_FAULTS: Final = MessageFaults()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often something comes a day, to each device (or to the one broker or server), and for how long."""

    a_day: float
    lasts_s: tuple[float, float] = (0.0, 0.0)
    number: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Everything that is to go wrong in a world."""

    messages: MessageFaults = NO_MESSAGE_FAULTS
    rates: tuple[tuple[FaultKind, Rate], ...] = ()

    def incidents(self, seed: int, devices: Sequence[str], seconds: float) -> tuple[Incident, ...]:
        """Return what happens in so many seconds, the earliest first."""
        found: list[Incident] = []
        streams: Counter[str] = Counter()
        for kind, rate in self.rates:
            for who in ("",) if kind in _CENTRAL else devices:
                name = f"fault {kind} {who}"
                streams[name] += 1  # a kind may come at several rates: often for short, seldom for long
                draw = chances.stream(seed, name if streams[name] == 1 else f"{name} {streams[name]}")
                found += _drawn(draw, kind, who, rate, seconds)
        return tuple(sorted(found, key=lambda each: (each.at_s, each.kind, each.who)))


_CENTRAL: Final = frozenset(
    {
        FaultKind.BROKER_RESTART,
        FaultKind.BROKER_AMNESIA,
        FaultKind.SERVER_KILL,
        FaultKind.SERVER_AWAY,
        FaultKind.SERVER_POWER,
        FaultKind.SERVER_BACKUP,
        FaultKind.SERVER_RESTORED,
    }
)


_COUNTED: Final = frozenset({FaultKind.POWER_CUT, FaultKind.SERVER_KILL, FaultKind.SERVER_POWER})
PATIENT_SHARE: Final = 0.7  # of cuts and kills that wait for their operation or commit: the others come in quiet times


def _is_patient(draw: random.Random, kind: FaultKind) -> bool:
    return kind in _COUNTED and draw.random() < PATIENT_SHARE


def _drawn(draw: random.Random, kind: FaultKind, who: str, rate: Rate, seconds: float) -> list[Incident]:
    found: list[Incident] = []
    at_s = draw.expovariate(rate.a_day / DAY_S) if rate.a_day > 0 else seconds
    while at_s < seconds:
        lasts_s = draw.uniform(*rate.lasts_s)
        found.append(
            Incident(
                at_s=round(at_s, 3),
                kind=kind,
                who=who,
                lasts_s=round(lasts_s, 3),
                number=draw.randint(*rate.number),
                patient=_is_patient(draw, kind),
            )
        )
        at_s += lasts_s + draw.expovariate(rate.a_day / DAY_S)
    return found


DELIBERATE: Final = frozenset({FaultKind.CLONE, FaultKind.VETO, FaultKind.SERVER_BACKUP, FaultKind.SERVER_RESTORED})
"""Only in plans that are made by hand: what follows is for an operator or an application to end."""

NONE: Final = Faults()

AROUND_AN_UPDATE: Final[tuple[tuple[FaultKind, Rate], ...]] = (
    (FaultKind.PARTITION, Rate(a_day=1, lasts_s=(5, 600))),
    (FaultKind.RESET, Rate(a_day=1)),
    (FaultKind.BROKER_RESTART, Rate(a_day=1, lasts_s=(1, 60))),
    (FaultKind.BROKER_AMNESIA, Rate(a_day=1, lasts_s=(1, 60))),
    (FaultKind.STALE_DESIRED, Rate(a_day=1)),
    (FaultKind.POWER_CUT, Rate(a_day=1, lasts_s=(1, 60), number=(0, 60))),
    (FaultKind.POWER_CUT, Rate(a_day=1, lasts_s=(1, 10), number=(0, 60))),
    (FaultKind.AGENT_RESTART, Rate(a_day=1, lasts_s=(1, 30))),
    (FaultKind.DISK_FULL, Rate(a_day=1, lasts_s=(5, 60))),
    (FaultKind.DISK_ERROR, Rate(a_day=1, lasts_s=(5, 60), number=(1, 3))),
    (FaultKind.WORKER_CRASH, Rate(a_day=1)),
    (FaultKind.SERVER_KILL, Rate(a_day=1, lasts_s=(1, 30), number=(0, 24))),
    (FaultKind.SERVER_POWER, Rate(a_day=1, lasts_s=(5, 60), number=(0, 24))),
)
"""What is drawn in the minutes after an order, where there is most to break; the rates' frequency is not looked at."""


def incidents_around(seed: int, at_s: float, devices: Sequence[str]) -> tuple[Incident, ...]:
    """Return some incidents of the minutes after a moment."""
    draw, found = chances.stream(seed, f"around {at_s}"), []
    for _ in range(draw.randint(0, INCIDENTS_AROUND_MAX)):
        kind, rate = draw.choice(AROUND_AN_UPDATE)
        who = "" if kind in _CENTRAL else draw.choice(devices)
        at = round(at_s + draw.expovariate(1 / 90.0), 3)
        lasts_s = round(draw.uniform(*rate.lasts_s), 3)
        number, patient = draw.randint(*rate.number), _is_patient(draw, kind)
        found.append(Incident(at_s=at, kind=kind, who=who, lasts_s=lasts_s, number=number, patient=patient))
    return tuple(found)


EVERYTHING: Final = Faults(
    messages=MessageFaults(loss=0.1, duplicate=0.05, slow=0.02, reorder=0.02, damage=0.01),
    rates=(
        (FaultKind.PARTITION, Rate(a_day=3, lasts_s=(5, 600))),
        (FaultKind.PARTITION, Rate(a_day=0.5, lasts_s=(600, 7_200))),
        (FaultKind.DARK_UP, Rate(a_day=1.5, lasts_s=(5, 900))),
        (FaultKind.DARK_DOWN, Rate(a_day=1.5, lasts_s=(5, 900))),
        (FaultKind.RESET, Rate(a_day=6)),
        (FaultKind.BROKER_RESTART, Rate(a_day=2, lasts_s=(1, 120))),
        (FaultKind.BROKER_AMNESIA, Rate(a_day=1, lasts_s=(1, 120))),
        (FaultKind.STALE_DESIRED, Rate(a_day=1)),
        (FaultKind.FOREIGN_DESIRED, Rate(a_day=1)),
        (FaultKind.POWER_CUT, Rate(a_day=4, lasts_s=(1, 600), number=(0, 40))),
        (FaultKind.AGENT_RESTART, Rate(a_day=1, lasts_s=(1, 30))),
        (FaultKind.DISK_FULL, Rate(a_day=1, lasts_s=(5, 120))),
        (FaultKind.DISK_ERROR, Rate(a_day=1, lasts_s=(5, 300), number=(1, 3))),
        (FaultKind.CLOCK_JUMP, Rate(a_day=1, number=(-86_400, 86_400))),
        (FaultKind.CLOCK_1970, Rate(a_day=0.5)),
        (FaultKind.ABSENCE, Rate(a_day=0.1, lasts_s=(3_600, 86_400))),
        (FaultKind.WORKER_CRASH, Rate(a_day=4)),
        (FaultKind.WORKER_HANG, Rate(a_day=1)),
        (FaultKind.WORKER_SLOW, Rate(a_day=1, lasts_s=(60, 1_800))),
        (FaultKind.SERVER_KILL, Rate(a_day=4, lasts_s=(1, 60), number=(0, 12))),
        (FaultKind.SERVER_AWAY, Rate(a_day=0.5, lasts_s=(600, 7_200))),
        (FaultKind.SERVER_POWER, Rate(a_day=2, lasts_s=(5, 120), number=(0, 6))),
    ),
)

USUAL: Final = Faults(
    messages=MessageFaults(loss=0.01, duplicate=0.01, slow=0.005),
    rates=(
        (FaultKind.PARTITION, Rate(a_day=0.5, lasts_s=(30, 1_800))),
        (FaultKind.RESET, Rate(a_day=2)),
        (FaultKind.POWER_CUT, Rate(a_day=0.1, lasts_s=(10, 600), number=(0, 40))),
        (FaultKind.AGENT_RESTART, Rate(a_day=0.1, lasts_s=(5, 60))),
        (FaultKind.WORKER_CRASH, Rate(a_day=0.05)),
        (FaultKind.BROKER_RESTART, Rate(a_day=0.1, lasts_s=(1, 60))),
        (FaultKind.SERVER_AWAY, Rate(a_day=0.05, lasts_s=(60, 1_800))),
    ),
)
"""What a fleet in good order meets: nothing every day to everybody, something every week."""
