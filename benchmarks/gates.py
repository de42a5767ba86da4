"""How often gates are wrong, and how soon they are right: the grid of fleets, beside three naive rules; and what the
controller's tick costs as the fleet grows, see ``planner_tick``.

Every run is looked at each minute for 24 hours. The threshold is that of one wave with four guards. A healthy release
has its device's own past rate; a false rollback is any ROLL_BACK in the whole day. ``--quick`` takes fewer runs,
``--only`` one part.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import product, repeat

import figures
import gate_streams
import gate_told
import numpy as np
import planner_tick
from figures import Figure
from gate_streams import DAY_MIN, Array, Scenario
from gate_twin import Twin

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import guards, verdicts
from pinnace_server.domain.gates.evidence import DeviceEvidence, Guard, Install, InstallResult, Series, WaveEvidence
from pinnace_server.domain.gates.settings import Settings
from pinnace_server.domain.gates.streams import BLOCK_MIN

SEED = 20_240_611
GUARDS = 4
NEEDED = math.log(Settings().roll_back_evidence(GUARDS))
RUNS, RUNS_QUICK = 2_000, 40
DETECTIONS, DETECTIONS_QUICK = 200, 20
CELLS_AT_ONCE = 25_000  # devices of all runs played together: what fits the caches
HOUR_MIN = 60
NAIVE_TRIALS, NAIVE_BAD, NAIVE_Z = 100, 3, 2.326  # one-sided 1 %
Minutes = Iterable[tuple[Array, Array]]
Source = Callable[[], Minutes]
FLEETS = (3, 5, 10, 20, 40, 250)
CELLS = tuple(
    Scenario(
        controls=max(1, fleet // 5), candidates=fleet - max(1, fleet // 5), a_day=a_day, spread=spread, bursts=bursts
    )
    for fleet, a_day, spread, bursts in product(FLEETS, (10, DAY_MIN, 60 * DAY_MIN), (0.0, 0.7, 1.5), (False, True))
)
WORST = "false_rollback_worst_cell"
LOOKS_MIN = (30, 60, 120, 240, 480, 720, DAY_MIN)


@dataclass(slots=True)
class Played:
    """The minute after the switch at which each run was first moved back, 0: never."""

    gate: Array
    held: Array  # runs that one device alone would have moved back at some time
    naive: dict[str, Array] = field(default_factory=dict)

    def moved_back(self) -> int:
        """Count the runs that were moved back."""
        return int((self.gate > 0).sum())


def main() -> None:
    """Measure and print."""
    detections = (error_detection, latency_detection, healthy, shocks)
    parts: dict[str, Callable[[bool], Iterable[Figure]]] = {each.__name__: each for each in detections}
    grid = Grid()
    parts |= {f"grid_{fleet}": partial(grid.of, fleet) for fleet in FLEETS}
    parts |= {"grid": grid.worst, "told": told}
    parts["planner_tick"] = planner_tick.measure
    figures.measure("gates", parts, figures.arguments(__doc__ or "", parts))


class Grid:
    """The cells, one size of fleet after another: each takes minutes, and the largest one most of an hour."""

    def __init__(self) -> None:
        self._worst: dict[int, float] = {}

    def of(self, fleet: int, quick: bool) -> Iterator[Figure]:
        """False rollbacks of a size's cells beside the naive rules', and how often 1 → 3 % is found there."""
        runs = (RUNS_QUICK, DETECTIONS_QUICK) if quick else (RUNS, DETECTIONS)
        numbers = [number for number, each in enumerate(CELLS) if each.controls + each.candidates == fleet]
        worst = 0.0
        with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for number, played in zip(numbers, pool.map(_cell, numbers, repeat(runs)), strict=True):
                worst = max(worst, 100 * played[0] / runs[0])
                yield from _told(CELLS[number], runs, *played)
        self._worst[fleet] = worst
        yield Figure(figure=f"{WORST}_{fleet}_devices", value=worst, unit="%", aim="<= 0.5")

    def worst(self, quick: bool) -> Iterator[Figure]:
        """The worst cell of all sizes, those that were not measured just now as they are kept; nothing while one is
        missing."""
        before = {} if quick else {each["figure"]: each["value"] for each in figures.kept("gates")}
        found = [self._worst.get(fleet, before.get(f"{WORST}_{fleet}_devices")) for fleet in FLEETS]
        if None not in found:
            yield Figure(figure=WORST, value=max(each for each in found if each is not None), unit="%", aim="<= 0.5")


def _told(
    scenario: Scenario, runs: tuple[int, int], false: int, one_device: float, naive: dict[str, float], found: int
) -> Iterator[Figure]:
    fleet, kind = scenario.controls + scenario.candidates, "bursts" if scenario.bursts else "independent"
    name = f"{fleet}_devices_{scenario.a_day}_a_day_spread_{scenario.spread:g}_{kind}"
    yield Figure(figure=f"false_{name}", value=100 * false / runs[0], unit="%", aim="<= 0.5")
    yield Figure(figure=f"false_{name}_upper", value=round(100 * upper(false, runs[0]), 3), unit="%")
    yield Figure(figure=f"one_device_{name}", value=one_device, unit="%")
    for rule, share in naive.items():
        yield Figure(figure=f"{rule}_false_{name}", value=share, unit="%")
    yield Figure(figure=f"found_{name}", value=100 * found / runs[1], unit="%")


def _cell(number: int, runs: tuple[int, int]) -> tuple[int, float, dict[str, float], int]:
    """Play a cell of the grid, with chance of its own.

    Return how many of the healthy runs were moved back, the per cent that one device alone would have moved back, the
    per cent that each naive rule would, and how many of the bad runs were moved back.
    """
    random = np.random.default_rng((SEED, number))
    played = play(CELLS[number], runs[0], random)
    naive = {rule: 100 * float((moved > 0).mean()) for rule, moved in played.naive.items()}
    found = play(CELLS[number].worse(3.0), runs[1], random).moved_back()
    return played.moved_back(), 100 * float(played.held.mean()), naive, found


def told(quick: bool) -> Iterator[Figure]:
    """The guards that a policy asks for: false rollbacks, and how often a bad release is found."""
    random = np.random.default_rng(SEED + 5)
    runs, detections, group_runs = (RUNS_QUICK, DETECTIONS_QUICK, 2) if quick else (RUNS, DETECTIONS, 200)
    worst = 0.0
    for cell in gate_told.cells(runs, detections, group_runs, random):
        share = 100 * cell.moved_back / cell.runs
        if not cell.healthy:
            yield Figure(figure=f"found_{cell.name}", value=share, unit="%")
            continue
        worst = max(worst, share)
        yield Figure(figure=f"false_{cell.name}", value=share, unit="%", aim="<= 0.5")
        upper_end = round(100 * upper(cell.moved_back, cell.runs), 3)
        yield Figure(figure=f"false_{cell.name}_upper", value=upper_end, unit="%")
    yield Figure(figure="told_false_rollback_worst_cell", value=worst, unit="%", aim="<= 0.5")


def error_detection(quick: bool) -> Iterator[Figure]:
    """1 → 3 % errors: 50 control and 200 candidate devices; and, for information, the other way round."""
    random = np.random.default_rng(SEED + 1)
    for suffix, controls, candidates in (("", 50, 200), ("_200_control_50_candidate", 200, 50)):
        scenario = Scenario(
            controls=controls, candidates=candidates, a_day=DAY_MIN, spread=0.7, bursts=False, ratio=3.0
        )
        took = _device_minutes(play(scenario, 100 if quick else 1_000, random), candidates)
        for name, share, aim in (("median", 0.5, "<= 850"), ("p90", 0.9, "<= 1750")):
            value = float(np.quantile(took, share))
            yield Figure(
                figure=f"error_1_to_3_{name}{suffix}", value=value, unit="device-min", aim="" if suffix else aim
            )


def latency_detection(quick: bool) -> Iterator[Figure]:
    """A release that is slower by a fifth, judged by each device's own p95."""
    random = np.random.default_rng(SEED + 2)
    scenario = Scenario(controls=50, candidates=200, a_day=DAY_MIN, spread=0.0, bursts=False, watched_min=HOUR_MIN)
    runs, at_once = (100 if quick else 1_000), 50
    parts = [_slower(scenario, 1.2, 1.0, at_once, random) for _ in range(runs // at_once)]
    took = np.concatenate([_device_minutes(each, 200) for each in parts])
    yield Figure(figure="latency_20_median", value=float(np.median(took)), unit="device-min", aim="<= 400")
    yield Figure(figure="latency_20_p90", value=float(np.quantile(took, 0.9)), unit="device-min")
    for (controls, candidates), everywhere in product(((3, 20), (20, 20), (50, 200)), (1.1, 1.3, 2.0)):
        scenario = Scenario(
            controls=controls, candidates=candidates, a_day=DAY_MIN, spread=0.0, bursts=False, watched_min=HOUR_MIN
        )
        moved = sum(_slower(scenario, 1.0, everywhere, at_once, random).moved_back() for _ in range(runs // at_once))
        name = f"false_fleet_slower_{everywhere:g}_{controls}_control_{candidates}_candidate"
        yield Figure(figure=name, value=100 * moved / runs, unit="%")


def _slower(scenario: Scenario, release: float, everywhere: float, runs: int, random: np.random.Generator) -> Played:
    def minutes() -> Minutes:
        return gate_streams.slow_minutes(
            scenario.controls, scenario.candidates, release, scenario.watched_min, runs, random, everywhere
        )

    return play(scenario, runs, random, minutes, Guard.SLOW)


def healthy(quick: bool) -> Iterator[Figure]:
    """Releases as good as their predecessors, with 0, 0.1 and 1 % errors: proven within a day, all four guards."""
    random = np.random.default_rng(SEED + 3)
    at_once, times = 50, (1 if quick else 8)
    shares = []
    for rate in (0.0, 0.001, 0.01):
        promoted = np.concatenate([_promoted(rate, at_once, random) for _ in range(times)])
        in_time = promoted > 0
        shares.append(100 * float(in_time.mean()))
        yield Figure(figure=f"healthy_promoted_24h_errors_{100 * rate:g}", value=shares[-1], unit="%", aim=">= 95")
        hours = float(np.median(np.where(in_time, promoted, np.inf))) / HOUR_MIN
        yield Figure(figure=f"healthy_promoted_after_errors_{100 * rate:g}", value=hours, unit="h")
    yield Figure(figure="healthy_promoted_24h", value=min(shares), unit="%", aim=">= 95")


def shocks(quick: bool) -> Iterator[Figure]:
    """Trouble that befalls the whole fleet in the very minute of the switch, with a release that is not to blame."""
    random = np.random.default_rng(SEED + 4)
    runs = 50 if quick else 500
    for shock, controls, candidates in product((1.5, 2.0, 3.0), (50, 200), (50, 200)):
        if controls + candidates != 250:
            continue
        scenario = Scenario(
            controls=controls, candidates=candidates, a_day=DAY_MIN, spread=0.7, bursts=False, shock=shock
        )
        played = play(scenario, runs, random)
        name = f"fleet_shock_{shock:g}_{controls}_control_{candidates}_candidate"
        yield Figure(figure=f"false_{name}", value=100 * played.moved_back() / runs, unit="%")
        for rule, moved in played.naive.items():
            yield Figure(figure=f"{rule}_false_{name}", value=100 * float((moved > 0).mean()), unit="%")


def play(
    scenario: Scenario,
    runs: int,
    random: np.random.Generator,
    source: Source | None = None,
    guard: Guard = Guard.ERRORS,
) -> Played:
    """Watch runs of a scenario (or of another source of minutes) for as long as it says."""
    at_once = max(1, min(runs, CELLS_AT_ONCE // (scenario.controls + scenario.candidates)))
    parts = []
    for begun in range(0, runs, at_once):
        size = min(at_once, runs - begun)
        stream = source() if source else gate_streams.minutes(scenario, size, random)
        parts.append(_play(scenario, size, stream, guard))
    return Played(
        gate=np.concatenate([each.gate for each in parts]),
        held=np.concatenate([each.held for each in parts]),
        naive={rule: np.concatenate([each.naive[rule] for each in parts]) for rule in parts[0].naive},
    )


def upper(events: int, runs: int) -> float:
    """Return the upper end of the 95 % interval of a share (Clopper and Pearson 1934), by halving."""
    if events == runs:
        return 1.0
    low, high = events / runs, 1.0
    for _ in range(50):
        share = (low + high) / 2
        below = sum(math.exp(_log_binomial(n, runs, share)) for n in range(events + 1))
        low, high = (share, high) if below > 0.025 else (low, share)
    return high


def _log_binomial(events: int, runs: int, share: float) -> float:
    ways = math.lgamma(runs + 1) - math.lgamma(events + 1) - math.lgamma(runs - events + 1)
    return ways + events * math.log(share) + (runs - events) * math.log1p(-share)


def _play(scenario: Scenario, runs: int, stream: Minutes, guard: Guard) -> Played:
    twin = Twin(runs, scenario.controls, scenario.candidates, guard)
    played = Played(
        gate=np.zeros(runs), held=np.zeros(runs), naive={name: np.zeros(runs) for name in ("fixed_2", "ratio_2", "z")}
    )
    for minute in _watched(twin, scenario.past_min, stream):
        reaching, _ = twin.reaching(NEEDED, played.gate == 0)
        unsure = twin.without_one(reaching) < NEEDED
        played.held[reaching[unsure]] = minute  # one device decides, however often the gate is asked
        for row in reaching[~unsure]:
            reading = guards.read(_evidence((twin,), int(row), minute), guard, None, 1.0, NEEDED)
            assert reading is not None
            firm = reading.worse_without is not None and reading.worse_without >= NEEDED
            (played.gate if firm else played.held)[row] = minute
        for rule, fires in _naive(twin, scenario.controls).items():
            moved = played.naive[rule]
            moved[(moved == 0) & fires] = minute
        if scenario.ratio > 1 and played.gate.all():
            break
    played.held = (played.held > 0).astype(float)
    return played


def _watched(twin: Twin, past_min: int, stream: Minutes) -> Iterator[int]:
    """Feed the twin and yield each minute since the switch."""
    for minute, (trials, bad) in enumerate(stream, start=1):
        if minute == past_min - HOUR_MIN + 1:
            twin.begin_last_hour()
        twin.tallies.add(trials, bad)
        if minute > past_min:
            yield minute - past_min
        elif minute % BLOCK_MIN == 0:
            twin.end_block()
        if minute == past_min:
            twin.switch()


def _naive(twin: Twin, controls: int) -> dict[str, Array]:
    """Return what three rules without memory say now: over 2 %, over twice control, and a z test at 1 %."""
    tallies = twin.tallies
    bad = [each.sum(1) for each in (tallies.bad[:, :controls], tallies.bad[:, controls:])]
    trials = [each.sum(1) for each in (tallies.trials[:, :controls], tallies.trials[:, controls:])]
    control, candidate = (one / np.maximum(other, 1) for one, other in zip(bad, trials, strict=True))
    pooled = sum(bad) / np.maximum(sum(trials), 1)
    error = np.sqrt(pooled * (1 - pooled) * sum(1 / np.maximum(each, 1) for each in trials))
    enough = trials[1] >= NAIVE_TRIALS
    return {
        "fixed_2": enough & (candidate > 0.02),
        "ratio_2": enough & (candidate > 2 * control) & (bad[1] >= NAIVE_BAD),
        "z": enough & (candidate - control > NAIVE_Z * error) & (error > 0),
    }


def _promoted(rate: float, runs: int, random: np.random.Generator) -> Array:
    """Return the minute of each run's promotion as proven; 0: not within a day, or moved back before."""
    names = (Guard.ERRORS, Guard.SLOW, Guard.MISSING)
    plain = {"controls": 50, "candidates": 200}
    streams = (
        gate_streams.minutes(Scenario(**plain, a_day=DAY_MIN, spread=0.7, bursts=False, rate=rate), runs, random),
        gate_streams.slow_minutes(50, 200, 1.0, DAY_MIN, runs, random),
        gate_streams.minutes(Scenario(**plain, a_day=DAY_MIN, spread=0.7, bursts=False), runs, random),
    )
    twins = tuple(Twin(runs, 50, 200, guard) for guard in names)
    failed = random.random((runs, 200)) < 0.002
    promoted, moved_back = np.zeros(runs), np.zeros(runs, dtype=bool)
    for minutes in zip(
        *(_watched(twin, DAY_MIN, each) for twin, each in zip(twins, streams, strict=True)), strict=True
    ):
        minute = minutes[0]
        waiting = (promoted == 0) & ~moved_back
        due = np.flatnonzero(waiting) if minute in LOOKS_MIN else _suspected(twins, waiting)
        for row in due:
            evidence = _evidence(twins, int(row), minute, failed[row])
            verdict = verdicts.judge(evidence, Settings())
            if verdict.decision is verdicts.Decision.ROLL_BACK:
                moved_back[row] = True
            elif verdict.promotes:
                promoted[row] = minute
    return promoted


def _suspected(twins: Iterable[Twin], waiting: Array) -> Iterable[int]:
    return sorted({int(row) for twin in twins for row in twin.reaching(NEEDED, waiting)[0]})


def _evidence(twins: tuple[Twin, ...], row: int, minute: int, failed: Array | None = None) -> WaveEvidence:
    series: dict[DeviceId, dict[Guard, Series]] = {}
    arms: dict[DeviceId, Arm] = {}
    for twin in twins:
        for each in twin.devices(row):
            series.setdefault(each.device, {}).update(each.guards)
            arms[each.device] = each.arm
    devices = tuple(DeviceEvidence(device=device, arm=arms[device], guards=found) for device, found in series.items())
    candidates = [each.device for each in devices if each.arm is Arm.CANDIDATE]
    results = [] if failed is None else [InstallResult.FAILED if each else InstallResult.COMMITTED for each in failed]
    return WaveEvidence(
        elapsed_min=float(minute),
        wave_size=len(candidates),
        reachable=len(candidates),
        committed=len(candidates),
        reporting=len(devices),
        devices=devices,
        installs=tuple(
            Install(device=device, hardware="board", result=result)
            for device, result in zip(candidates, results, strict=False)
        ),
        dispersion={twin.guard: float(twin.dispersion[row, 0]) for twin in twins},
    )


def _device_minutes(played: Played, candidates: int) -> Array:
    return np.where(played.gate > 0, played.gate * candidates, np.inf)


if __name__ == "__main__":
    main()
