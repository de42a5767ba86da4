"""Many rehearsals of one policy, under several natures of its release and under different seeds, and what they have in
common: how long, how much, who was exposed, and which gates fired.

Every share is printed with its interval (Wilson) and every time with its count, because worlds are few.
"""

from __future__ import annotations

import math
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, Final, assert_never

from pinnace_server.domain.rollout_policy.policy import Ab, AllAtOnce, BlueGreen, Canary, Shadow, SiteAtomic, Strategy
from pinnace_sim.climbs import End
from pinnace_sim.errors import CannotRehearse
from pinnace_sim.rehearsal import forecast
from pinnace_sim.rehearsal.climb import CannotBegin, Climbed, ClimbScenario, ClimbTwin
from pinnace_sim.rehearsal.forecast import Rehearsal, Spread
from pinnace_sim.rehearsal.natures import Supposed
from pinnace_sim.rehearsal.playing import playable, simplified
from pinnace_sim.rehearsal.policies import Given

FORMAT: Final = "pinnace-policy-rehearsal"
FORMAT_VERSION: Final = 1
HOUR_S: Final = 3_600.0
DAY_HOURS: Final = 24.0
WEEK_HOURS: Final = 7 * DAY_HOURS
HOURS_MAX: Final = 31 * DAY_HOURS
_TOLD: Final = ("outcome", "fairness", "predictions")  # guards of what applications tell, which no nature changes
Z95: Final = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRehearsal:
    """What to play. ``of`` has fleet, release, seeds and links; its hours count from the beginning of the rollout."""

    of: Rehearsal
    given: Given
    natures: tuple[Supposed, ...]
    past_hours: float
    begins_at_s: float
    person_delay_s: float | None
    report_every_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """A share of worlds, with its interval of 95 %."""

    n: int
    of: int

    @property
    def share(self) -> float:
        """The share itself."""
        return self.n / self.of if self.of else 0.0

    def interval(self) -> tuple[float, float]:
        """Return Wilson's interval (Wilson 1927)."""
        if not self.of:
            return 0.0, 1.0
        n, p, z = self.of, self.share, Z95
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))

    def tree(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        low, high = self.interval()
        return {"n": self.n, "of": self.of, "share": round(self.share, 4), "low": round(low, 4), "high": round(high, 4)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveForecast:
    """One wave over the worlds; seconds since the rollout began, of the worlds that came so far."""

    number: int
    devices: Spread
    begins_s: Spread
    begun: Chance
    promoted_s: Spread
    promoted: Chance
    by: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardForecast:
    """How often a guard held a gate at some look, and how often it moved the release back."""

    guard: str
    holds: Chance
    moves_back: Chance


@dataclass(frozen=True, slots=True, kw_only=True)
class NatureForecast:
    """What the worlds of one nature have in common. ``stopped_s``: when it was moved back."""

    supposed: Supposed
    worlds: tuple[Climbed, ...]
    ends: Mapping[End, Chance]
    without_a_person: Chance
    agreed: Chance
    asking: Chance
    promoted_s: Spread
    stopped_s: Spread
    waves: tuple[WaveForecast, ...]
    guards: tuple[GuardForecast, ...]
    served: Spread
    served_hours: Spread
    total_bytes: Spread
    device_bytes: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyForecast:
    """The whole answer."""

    rehearsal: PolicyRehearsal
    natures: tuple[NatureForecast, ...]
    assumptions: tuple[str, ...]


def least_hours(rehearsal: PolicyRehearsal) -> float:
    """Return how far to look, where nobody said: until the slowest good release, or the first undecided wave, is over.

    A world ends before that when its rollout does.
    """
    policy = rehearsal.given.policy
    waves = len(policy.waves) + (policy.holdback is not None)
    each_s = policy.gates.soak_s + _waits_s(policy.strategy) + 2 * HOUR_S
    hours = (waves * each_s + policy.gates.hold_timeout_s) / HOUR_S
    hours += len(policy.approvals) * (rehearsal.person_delay_s or 0.0) / HOUR_S
    if policy.windows is not None:
        hours += WEEK_HOURS
    return min(math.ceil(hours), HOURS_MAX)


def _waits_s(strategy: Strategy) -> float:
    """Return how long a wave may be under way by its strategy before its soak time begins."""
    match strategy:
        case Shadow(duration_s=seconds) | BlueGreen(wait_s=seconds) | SiteAtomic(lease_s=seconds):
            return seconds
        case AllAtOnce() | Canary() | Ab():  # a control arm outlasts no gate
            return 0.0
        case _:
            assert_never(strategy)


def rehearse(
    rehearsal: PolicyRehearsal, *, processes: int = 1, told: Callable[[int], None] = lambda _done: None
) -> PolicyForecast:
    """Play every nature under every seed and sum them up. ``told`` hears how many worlds are done.

    Raises:
        CannotRehearse: the server does not begin this rollout on this fleet.
    """
    seeds = rehearsal.of.seeds
    try:
        ClimbTwin(scenario_of(rehearsal, rehearsal.natures[0], seeds[0]), seeds[0]).preview()
        found: dict[tuple[int, int], Climbed] = {}
        for key, climbed in _played(rehearsal, processes):
            found[key] = climbed
            told(len(found))
    except CannotBegin as error:
        raise CannotRehearse(f"policy {rehearsal.given.name} cannot be played: {error}") from error
    natures = tuple(
        summed(supposed, [found[number, seed] for seed in seeds]) for number, supposed in enumerate(rehearsal.natures)
    )
    return PolicyForecast(rehearsal=rehearsal, natures=natures, assumptions=tuple(_assumptions(rehearsal)))


def play(rehearsal: PolicyRehearsal, which: tuple[int, int]) -> tuple[tuple[int, int], Climbed]:
    """Play one world: the nature of a number, under a seed."""
    number, seed = which
    return which, ClimbTwin(scenario_of(rehearsal, rehearsal.natures[number], seed), seed).climbed()


def scenario_of(rehearsal: PolicyRehearsal, supposed: Supposed, seed: int) -> ClimbScenario:
    """Return what the world of one nature and seed plays."""
    scenario = forecast.scenario_of(rehearsal.of, seed)
    devices = tuple(playable(each, rehearsal.of, rehearsal.report_every_s) for each in scenario.devices)
    hours = rehearsal.of.hours + rehearsal.past_hours
    return ClimbScenario(
        of=replace(scenario, devices=devices, hours=hours, tempered=True, terms=rehearsal.given.policy.terms),
        policy=rehearsal.given.policy,
        supposed=supposed,
        past_s=rehearsal.past_hours * HOUR_S,
        begins_at_s=rehearsal.begins_at_s,
        person_delay_s=rehearsal.person_delay_s,
    )


def summed(supposed: Supposed, worlds: Sequence[Climbed]) -> NatureForecast:
    """Return what worlds of one nature have in common."""

    def chance(holds: Callable[[Climbed], bool]) -> Chance:
        return Chance(n=sum(map(holds, worlds)), of=len(worlds))

    guards = sorted({guard for each in worlds for guard in (*each.held_by, *each.moved_back_by)})
    promoted = [each for each in worlds if each.end is End.PROMOTED]
    numbers = sorted({wave.number for each in worlds for wave in each.waves})
    return NatureForecast(
        supposed=supposed,
        worlds=tuple(worlds),
        ends={end: Chance(n=sum(each.end is end for each in worlds), of=len(worlds)) for end in End},
        without_a_person=chance(lambda each: each.end is End.PROMOTED and not each.agreed),
        agreed=chance(lambda each: each.end is End.PROMOTED and each.agreed > 0),
        asking=chance(lambda each: each.undecided > 0 and each.end not in (End.PROMOTED, End.MOVED_BACK)),
        promoted_s=Spread.of([each.seconds for each in promoted]),
        stopped_s=Spread.of([each.seconds for each in worlds if each.end is End.MOVED_BACK]),
        waves=tuple(_wave(number, worlds) for number in numbers),
        guards=tuple(
            GuardForecast(
                guard=guard,
                holds=Chance(n=sum(guard in each.held_by for each in worlds), of=len(worlds)),
                moves_back=Chance(n=sum(guard in each.moved_back_by for each in worlds), of=len(worlds)),
            )
            for guard in guards
        ),
        served=Spread.of([each.served for each in worlds]),
        served_hours=Spread.of([each.served_s / HOUR_S for each in worlds]),
        total_bytes=Spread.of([sum(each.carried.values()) for each in worlds]),
        device_bytes=Spread.of([n for each in worlds for n in each.carried.values() if n]),
    )


def _wave(number: int, worlds: Sequence[Climbed]) -> WaveForecast:
    seen = [wave for each in worlds for wave in each.waves if wave.number == number]
    began = [wave.started_s for wave in seen if wave.started_s is not None]
    ended = [wave.promoted_s for wave in seen if wave.promoted_s is not None]
    return WaveForecast(
        number=number,
        devices=Spread.of([wave.devices for wave in seen]),
        begins_s=Spread.of(began),
        begun=Chance(n=len(began), of=len(worlds)),
        promoted_s=Spread.of(ended),
        promoted=Chance(n=len(ended), of=len(worlds)),
        by=Counter(wave.by for wave in seen if wave.by),
    )


def _played(rehearsal: PolicyRehearsal, processes: int) -> Iterator[tuple[tuple[int, int], Climbed]]:
    worlds = [(number, seed) for seed, number in product(rehearsal.of.seeds, range(len(rehearsal.natures)))]
    if processes <= 1 or len(worlds) == 1:
        yield from (play(rehearsal, which) for which in worlds)
        return
    with multiprocessing.get_context("spawn").Pool(min(processes, len(worlds))) as pool:
        yield from pool.imap_unordered(partial(play, rehearsal), worlds)


def _assumptions(rehearsal: PolicyRehearsal) -> Iterator[str]:
    yield from forecast.fleet_assumptions(rehearsal.of)
    yield from simplified(rehearsal.of, rehearsal.report_every_s)
    yield f"the past is {rehearsal.past_hours:g} h of the fleet as it is; the server compares with up to a day"
    if rehearsal.person_delay_s is None:
        yield "nobody agrees to anything"
    else:
        hours = rehearsal.person_delay_s / HOUR_S
        yield f"who must agree does so {hours:g} h after a wave began to wait; nobody steps in otherwise"
    alike = [name for name in _TOLD if getattr(rehearsal.given.policy.gates.guards, name) is not None]
    if alike:
        yield (
            f"guards that see a good release whatever its nature: {', '.join(alike)}; every application tells what the "
            "policy asks for, and of all releases alike"
        )
    if len(rehearsal.of.target.variants) > 1:
        yield "how fast variants are is not in the snapshot: each is as fast, and tried as the release lists them"
    if rehearsal.given.policy.cohort.trust_reported:
        yield "labels that devices report themselves are not in the snapshot: only an operator's count here"
