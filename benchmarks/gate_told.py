"""The guards that a policy asks for, on made-up fleets: how often they move a healthy release back, and find a bad one.

Arms of equal and unequal size; devices that differ; answers that are independent, come thirty alike at a time, or
follow a mood that each device has for an hour. Looked at every ten minutes for a day. Outcomes and predictions are
followed with numpy, and the gate itself has the last word wherever that reaches its threshold; fairness is read by the
gate, once an hour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import guards, outcome, predictions, streams
from pinnace_server.domain.gates.evidence import ClassCounts, Counts, DeviceEvidence, Guard, Series, WaveEvidence
from pinnace_server.domain.gates.guards import Reading
from pinnace_server.domain.gates.settings import MARGINS, Settings
from pinnace_server.domain.gates.streams import Tally

Array = npt.NDArray[np.float64]
Counted = npt.NDArray[np.int64]
STEPS: Final = 144  # of ten minutes: a day before the switch, and a day after
BURST: Final = 30
MOOD: Final = 20.0  # concentration of a device's shares in one hour around its own
STEPS_OF_MOOD: Final = 6
NEEDED: Final = math.log(Settings().roll_back_evidence(5))  # beside four guards that every wave has
STEPS_OF_BLOCK: Final = streams.BLOCK_MIN // 10
GROUP_LOOK: Final = 6  # fairness is read once an hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A wave. ``shares`` of each answer (the first one is bad) before the switch; ``then`` after it on the candidates,
    and ``everywhere`` on all others. ``spread``: standard deviation of devices' first share over its mean."""

    controls: int
    candidates: int
    a_step: int = 10
    spread: float = 0.7
    manner: str = "independent"
    shares: tuple[float, ...] = (0.1, 0.9)
    then: tuple[float, ...] | None = None
    everywhere: tuple[float, ...] | None = None


def steps(told: Told, runs: int, random: np.random.Generator) -> Iterator[Counted]:
    """Yield, step by step, how often each answer was given: (runs, devices, answers), control first."""
    usual = np.array(told.shares)
    shape = (runs, told.controls + told.candidates)
    own = _around(usual, _concentration(told.shares[0], told.spread), shape, random)
    control = np.array(told.everywhere or told.shares) / usual
    moved = np.array(told.then or told.everywhere or told.shares) / usual
    after = own.copy()
    after[:, : told.controls] *= control
    after[:, told.controls :] *= moved
    after /= after.sum(-1, keepdims=True)
    held = _drawn(own, 1, random)
    mood = own
    for step in range(2 * STEPS):
        now = own if step < STEPS else after
        if told.manner == "moods" and step % STEPS_OF_MOOD == 0:
            mood = _dirichlet(now * MOOD, random)
        shares = mood if told.manner == "moods" else now
        if told.manner != "bursts":
            yield _drawn(shares, told.a_step, random)
        elif told.a_step >= BURST:
            yield BURST * _drawn(shares, told.a_step // BURST, random)
        else:
            if step % (BURST // told.a_step) == 0:
                held = _drawn(shares, 1, random)
            yield told.a_step * held


def moved_back(told: Told, guard: Guard, runs: int, random: np.random.Generator) -> int:
    """Return how many runs a guard moves back within a day."""
    past: Counted | None = None
    total: Counted = np.zeros((), np.int64)
    waiting = np.ones(runs, dtype=bool)
    for step, counts in enumerate(steps(told, runs, random)):
        total = total + counts
        if step == STEPS - 1:
            past, total = total, np.zeros_like(total)
        if past is None or step < STEPS:
            continue
        for row in np.flatnonzero(waiting & (evidence(told, guard, past, total) >= NEEDED)):
            waiting[row] = not _is_firm(read(told, guard, past[row], total[row]))
    return int((~waiting).sum())


def unfair(told: Sequence[Told], runs: int, random: np.random.Generator) -> int:
    """Return how many runs ``fairness`` moves back; ``told`` are the groups, each with the same devices."""
    return sum(_unfair(told, random) for _ in range(runs))


def _unfair(told: Sequence[Told], random: np.random.Generator) -> bool:
    numbers = range(told[0].controls + told[0].candidates)
    labelled = [_Labelled(number=number, group=f"group {at}") for at in range(len(told)) for number in numbers]
    played = zip(*(steps(group, 1, random) for group in told), strict=True)
    for step, counts in enumerate(played):
        rows = [row for each in counts for row in each[0].tolist()]
        for one, row in zip(labelled, rows, strict=True):
            one.add(step, sum(row), row[0])
        if step >= STEPS and step % GROUP_LOOK == GROUP_LOOK - 1 and _is_firm(_read_groups(told[0], labelled)):
            return True
    return False


@dataclass(slots=True, kw_only=True)
class _Labelled:
    """One group on one device, as ten minutes after ten minutes are told of it."""

    number: int
    group: str
    past: Tally = field(default_factory=Tally)
    lately: Tally = field(default_factory=Tally)
    now: Tally = field(default_factory=Tally)
    blocks: list[int] = field(default_factory=list)

    def add(self, step: int, trials: int, bad: int) -> None:
        if step >= STEPS:
            self.now = self.now.after(trials, bad)
            return
        self.past = self.past.after(trials, bad)
        if step >= STEPS - STEPS_OF_MOOD:
            self.lately = self.lately.after(trials, bad)
        if step % STEPS_OF_BLOCK == 0:
            self.blocks.append(0)
        self.blocks[-1] += bad


def _is_firm(reading: Reading | None) -> bool:
    return reading is not None and reading.worse_without is not None and reading.worse_without >= NEEDED


# --- followed with numpy ------------------------------------------------------------------------------------------


def evidence(told: Told, guard: Guard, past: Counted, now: Counted) -> Array:
    """The log e-values of all runs, where every device has told enough."""
    few = min(past.sum(-1).min(), now.sum(-1).min()) < outcome.TRIALS_MIN
    if few or min(told.controls, told.candidates) < outcome.DEVICES_MIN:
        return np.full(len(now), -np.inf)
    change = now / now.sum(-1, keepdims=True) - past / past.sum(-1, keepdims=True)
    arms = change[:, told.controls :], change[:, : told.controls]
    difference = arms[0].mean(1) - arms[1].mean(1)
    variance = sum(each.var(1) / (each.shape[1] - 3) for each in arms)
    variance = np.maximum(variance, outcome.VARIANCE_MIN)
    margin = MARGINS[guard]
    if guard is Guard.OUTCOME:
        return _one_sided(difference[:, 0], variance[:, 0], margin)
    sides = [_one_sided(sign * difference - margin, variance, margin) for sign in (1, -1)]
    both = np.concatenate(sides, axis=1)
    return np.asarray(np.logaddexp.reduce(both, axis=1) - math.log(both.shape[1]))


_vectorized = np.vectorize(outcome.one_sided, otypes=[float])


def _one_sided(difference: Array, variance: Array, scale: float) -> Array:
    return np.asarray(_vectorized(difference, variance, scale), dtype=float)


# --- as the gate is told ------------------------------------------------------------------------------------------


def read(told: Told, guard: Guard, past: Counted, now: Counted) -> Reading | None:
    devices = []
    for number, (before, after) in enumerate(zip(past.tolist(), now.tolist(), strict=True)):
        series = Series(
            past=Counts(trials=sum(before), bad=before[0]),
            now=Counts(trials=sum(after), bad=after[0]),
        )
        devices.append(
            DeviceEvidence(
                device=DeviceId(f"device-{number:03d}"),
                arm=_arm(told, number),
                outcome=series if guard is Guard.OUTCOME else None,
                classes=ClassCounts(past=tuple(before), now=tuple(after)) if guard is Guard.PREDICTIONS else None,
            )
        )
    reader = outcome.read if guard is Guard.OUTCOME else predictions.read
    return reader(_wave(told, tuple(devices)), MARGINS[guard], NEEDED)


def _read_groups(told: Told, labelled: Sequence[_Labelled]) -> Reading | None:
    groups: dict[int, dict[str, Series]] = {}
    for each in labelled:
        series = Series(past=each.past.counts, lately=each.lately.counts, now=each.now.counts)
        groups.setdefault(each.number, {})[each.group] = series
    devices = tuple(
        DeviceEvidence(device=DeviceId(f"device-{number:03d}"), arm=_arm(told, number), groups=found)
        for number, found in groups.items()
    )
    dispersion = streams.dispersion([each.blocks for each in labelled])
    wave = replace(_wave(told, devices), dispersion={Guard.FAIRNESS: dispersion})
    return guards.read(wave, Guard.FAIRNESS, None, 1.25, NEEDED)


def _arm(told: Told, number: int) -> Arm:
    return Arm.CONTROL if number < told.controls else Arm.CANDIDATE


def _wave(told: Told, devices: tuple[DeviceEvidence, ...]) -> WaveEvidence:
    size = told.candidates
    return WaveEvidence(
        elapsed_min=60.0, wave_size=size, reachable=size, committed=size, reporting=len(devices), devices=devices
    )


# --- chance -------------------------------------------------------------------------------------------------------


def _concentration(share: float, spread: float) -> float | None:
    return max((1 - share) / (share * spread**2) - 1, 0.5) if spread else None


def _around(shares: Array, concentration: float | None, shape: tuple[int, int], random: np.random.Generator) -> Array:
    own = np.broadcast_to(shares, (*shape, len(shares))).copy()
    return own if concentration is None else _dirichlet(own * concentration, random)


def _dirichlet(alpha: Array, random: np.random.Generator) -> Array:
    drawn = random.gamma(alpha) + 1e-12
    return np.asarray(drawn / drawn.sum(-1, keepdims=True))


def _drawn(shares: Array, n: int, random: np.random.Generator) -> Counted:
    return np.asarray(random.multinomial(n, shares))


# --- the grid -----------------------------------------------------------------------------------------------------

ARMS: Final = ((10, 10), (10, 40), (20, 20), (50, 200))
SMALL_ARMS: Final = ((2, 4), (3, 7), (10, 10))  # of fairness, which counts events and not only devices
MANNERS: Final = ("independent", "bursts", "moods")
SPREADS: Final = (0.0, 0.7, 1.5)
WORSE: Final = (0.2, 0.8)
CLASSES: Final = (0.3, 0.6, 0.1)
DRIFTED: Final = (0.6, 0.3, 0.1)
SEEN: Final = (0.55, 0.3, 0.15)
LABELLED: Final = (0.05, 0.95)
WRONG_ALIKE: Final = (0.15, 0.85)
UNFAIR: Final = (0.25, 0.75)
AT_ONCE: Final = 25_000  # devices of all runs that are played together


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One line of the grid: what was played, how often it was moved back, and whether it should have been."""

    name: str
    runs: int
    moved_back: int
    healthy: bool


def cells(runs: int, bad_runs: int, group_runs: int, random: np.random.Generator) -> Iterator[Cell]:
    """Play every fleet with each guard: healthy releases, what the whole fleet goes through, and a bad release."""
    for (controls, candidates), spread, manner in product(ARMS, SPREADS, MANNERS):
        fleet = Told(controls=controls, candidates=candidates, spread=spread, manner=manner)
        name = f"{controls}_control_{candidates}_candidate_spread_{spread:g}_{manner}"
        seen = replace(fleet, shares=CLASSES)
        for what, guard, told, healthy in (
            ("outcome", Guard.OUTCOME, fleet, True),
            ("outcome_bad", Guard.OUTCOME, replace(fleet, then=WORSE), False),
            ("predictions", Guard.PREDICTIONS, seen, True),
            ("predictions_seen", Guard.PREDICTIONS, replace(seen, everywhere=SEEN), True),
            ("predictions_bad", Guard.PREDICTIONS, replace(seen, then=DRIFTED), False),
        ):
            played = runs if healthy else bad_runs
            at_once = max(1, AT_ONCE // (controls + candidates))
            found = sum(
                moved_back(told, guard, min(at_once, played - begun), random) for begun in range(0, played, at_once)
            )
            yield Cell(name=f"{what}_{name}", runs=played, moved_back=found, healthy=healthy)
    for (controls, candidates), spread, manner in product(SMALL_ARMS, SPREADS, MANNERS):
        day = Told(controls=controls, candidates=candidates, spread=spread, manner=manner, shares=LABELLED)
        night = replace(day, a_step=3)
        name = f"{controls}_control_{candidates}_candidate_spread_{spread:g}_{manner}"
        for what, groups, healthy in (
            ("fairness", (day, night), True),
            ("fairness_alike", (replace(day, then=WRONG_ALIKE), replace(night, then=WRONG_ALIKE)), True),
            ("fairness_bad", (day, replace(night, then=UNFAIR)), False),
        ):
            found = unfair(groups, group_runs, random)
            yield Cell(name=f"{what}_{name}", runs=group_runs, moved_back=found, healthy=healthy)
