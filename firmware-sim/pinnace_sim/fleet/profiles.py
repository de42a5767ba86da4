"""What fleets are made of, as data: kinds of devices by their share, and how many come and go meanwhile."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from pinnace_sim.errors import SimError
from pinnace_sim.temper import BELOW_SHARE, LATENCY_S, Temper

MIB: Final = 1 << 20
GIB: Final = 1 << 30


class UnknownProfile(SimError):
    """A name that no profile has."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no profile {name!r}; expected one of {', '.join(sorted(PROFILES))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Devices that are alike. ``bytes_s`` is the way down; with ``asleep_s`` 0 a device never sleeps."""

    name: str
    share: float
    hardware: str
    agent_version: str = "0.1.0"
    temper: Temper = field(default_factory=Temper)
    inferences_an_hour: float = 600.0
    hash_bytes_s: float = 400e6
    memory_bytes: int = GIB
    disk_bytes: int = 4 * GIB
    bytes_s: float = 12e6
    awake_s: float = 0.0
    asleep_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A fleet. ``joins`` and ``leaves`` are shares of its devices; who leaves is cut off and never comes back."""

    name: str
    what: str
    kinds: tuple[Kind, ...]
    joins: float = 0.0
    leaves: float = 0.0

    def drawn(self, count: int, chance: random.Random) -> list[Kind]:
        """Return the kinds of so many devices: by their shares as exactly as whole devices allow, in any order."""
        total = sum(kind.share for kind in self.kinds)
        found: list[Kind] = []
        up_to = 0.0
        for kind in self.kinds:
            up_to += kind.share / total
            found += [kind] * (round(count * up_to) - len(found))
        chance.shuffle(found)
        return found


GATEWAY: Final = Kind(
    name="gateway",
    share=2,
    hardware="x86-64-box",
    agent_version="0.1.0",
    temper=Temper(latency_s=0.002, latency_spread=0.2),
    inferences_an_hour=3_600,
    hash_bytes_s=1_200e6,
    memory_bytes=8 * GIB,
    disk_bytes=64 * GIB,
    bytes_s=50e6,
)
BOARD: Final = Kind(
    name="board",
    share=5,
    hardware="raspberry-pi-5",
    temper=Temper(latency_s=0.006, latency_spread=0.3, error_share=0.001),
    hash_bytes_s=900e6,
    memory_bytes=4 * GIB,
    disk_bytes=16 * GIB,
)
OLD_BOARD: Final = Kind(
    name="old board",
    share=2,
    hardware="raspberry-pi-3",
    agent_version="0.0.9",
    temper=Temper(latency_s=0.03, latency_spread=0.5, error_share=0.005, drift_an_hour=0.05),
    inferences_an_hour=240,
    hash_bytes_s=60e6,
    memory_bytes=900 * MIB,
    disk_bytes=2 * GIB,
    bytes_s=1e6,
)
BATTERY: Final = Kind(
    name="battery",
    share=1,
    hardware="cortex-a7",
    temper=Temper(latency_s=0.08, latency_spread=0.4, drift_an_hour=0.02),
    inferences_an_hour=120,
    hash_bytes_s=20e6,
    memory_bytes=256 * MIB,
    disk_bytes=512 * MIB,
    bytes_s=250e3,
    awake_s=90.0,
    asleep_s=30.0,
)
_EVEN: Final = Temper(latency_s=LATENCY_S, below_share=BELOW_SHARE)

PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile(
            name="mixed",
            what="four kinds from a fast gateway to a battery board that sleeps; some come, some go",
            kinds=(GATEWAY, BOARD, OLD_BOARD, BATTERY),
            joins=0.05,
            leaves=0.05,
        ),
        Profile(
            name="steady",
            what="one kind, always there: what a server and a broker can hold",
            kinds=(Kind(name="board", share=1, hardware="raspberry-pi-5", temper=_EVEN),),
        ),
        Profile(
            name="sleepy",
            what="battery boards that sleep a quarter of the time, on slow links",
            kinds=(BATTERY,),
        ),
        Profile(
            name="restless",
            what="ordinary boards, a fifth of which goes for good and is replaced",
            kinds=(BOARD,),
            joins=0.2,
            leaves=0.2,
        ),
    )
}


def named(name: str) -> Profile:
    """Return a profile.

    Raises:
        UnknownProfile
    """
    try:
        return PROFILES[name]
    except KeyError as error:
        raise UnknownProfile(name) from error
