"""The gate's evidence for many runs at once: a numpy twin of ``pinnace_server.domain.gates``, for benchmarks only.

Arrays are (runs, devices), control first. The twin finds the runs whose e-value reaches the threshold; what then
happens (leaving devices out) is asked of the gate itself. A test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import comparison, evalues, guards, streams, weights
from pinnace_server.domain.gates.evidence import Counts, DeviceEvidence, Guard, Series

Array = npt.NDArray[np.float64]
Arms = tuple[Array, Array, Array]  # events, expected events, shape of each run
Rows = npt.NDArray[np.intp] | slice
EVERY = slice(None)
NOBODY = np.zeros(0, dtype=np.intp)
TINY = 1e-300
# No alternative expects less of the candidate than half a change of the fleet, and that costs it so much.
FEWER_PRICE = np.log(evalues.WORSE[0][0]) ** 2 / (2 * evalues.CHANGE_EXPECTED**2)


class Tallies:
    """``streams.Tally`` for every device of every run."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.trials, self.bad, self.fresh_trials, self.fresh_bad, self.stale = (np.zeros(shape) for _ in range(5))
        self.changed = np.zeros(shape[0], dtype=bool)

    def add(self, trials: Array, bad: Array) -> None:
        """Take one report window of every device."""
        self.changed = (trials > 0).any(1)
        fresh = self.stale <= 0
        hit = fresh & (bad > 0)
        self.fresh_trials += np.where(hit, (trials + 1) / (bad + 1), np.where(fresh, trials, 0.0))
        self.fresh_bad += hit
        self.stale = np.where(hit, streams.BURST, np.maximum(self.stale - trials, 0))
        self.trials += trials
        self.bad += bad

    def taken(self) -> tuple[Array, Array, Array, Array]:
        """Return the counts and begin anew, with what is stale."""
        found = (self.trials, self.bad, self.fresh_trials, self.fresh_bad)
        self.trials, self.bad, self.fresh_trials, self.fresh_bad = (np.zeros_like(self.bad) for _ in range(4))
        return found


@dataclass(frozen=True)
class Channel:
    """One kind of count: expected events of a trial, shapes, and the scale of both."""

    rate: Array
    shape: Array
    scale: Array  # (runs, 1)
    variance: Array  # (runs,), of the fleet's expectation


class Twin:
    """One guard of many runs. Feed the past, ``switch``, feed the present, and ask ``reaching``."""

    def __init__(self, runs: int, controls: int, candidates: int, guard: Guard = Guard.ERRORS) -> None:
        self.controls, self.guard = controls, guard
        self.tallies = Tallies((runs, controls + candidates))
        self.blocks: list[Array] = []
        self.past: tuple[Array, ...] = ()
        self.lately: tuple[Array, ...] = ()
        self.dispersion: Array = np.ones((runs, 1))
        self.fresh: Channel
        self.whole: Channel
        self._before_last_hour: tuple[Array, ...] = ()
        self._before_block: Array = np.zeros((runs, controls + candidates))

    def end_block(self) -> None:
        """End a block of the past, see ``streams.dispersion``."""
        self.blocks.append(self.tallies.bad - self._before_block)
        self._before_block = self.tallies.bad.copy()

    def begin_last_hour(self) -> None:
        """Remember where the hour before the switch begins."""
        tallies = self.tallies
        self._before_last_hour = tuple(
            each.copy() for each in (tallies.trials, tallies.bad, tallies.fresh_trials, tallies.fresh_bad)
        )

    def switch(self) -> None:
        """End the past."""
        self.past = self.tallies.taken()
        self.lately = tuple(now - then for now, then in zip(self.past, self._before_last_hour, strict=True))
        blocks = np.array(self.blocks)
        squares = ((blocks - blocks.mean(0)) ** 2).sum((0, 2))
        events = blocks.mean(0).sum(1) * (len(blocks) - 1)
        assumed = streams.BURSTS_ASSUMED
        found = (streams.SAFETY * squares + assumed * streams.BURST) / (events + assumed)
        self.dispersion = np.maximum(1.0, found)[:, None]
        self.fresh = _channel(self.past[2:], self.lately[2:], np.ones_like(self.dispersion))
        self.whole = _channel(self.past[:2], self.lately[:2], self.dispersion)

    def reaching(self, needed: float, among: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], Array]:
        """Return those of these runs that news brought to a log e-value of at least ``needed``, and the values."""
        asked = among & self.tallies.changed
        rows = np.flatnonzero(asked & (self._bound(EVERY, changing=False) >= needed)) if asked.any() else NOBODY
        if len(rows):  # most minutes end here
            rows = rows[self._bound(rows, changing=True) >= needed]
        values = self.worse(rows)
        return rows[values >= needed], values[values >= needed]

    def worse(self, rows: npt.NDArray[np.intp], out: npt.NDArray[np.intp] | None = None) -> Array:
        """Return ``comparison.worse`` of some runs; ``out``: each without one device, all of the same arm."""
        if not len(rows):
            return np.zeros(0)
        share = self._whole_weight()[rows]
        fresh, whole = (self._one_worse(rows, *each, out) for each in self._both())
        return np.logaddexp(fresh + np.log(1 - share), whole + np.log(share))

    def without_one(self, rows: npt.NDArray[np.intp]) -> Array:
        """Return ``worse`` without the loudest candidate or without the quietest control, whichever is less: the gate
        leaves out these two and others, and takes the least."""
        excess = self.tallies.bad[rows] - self.tallies.trials[rows] * self.whole.rate[rows]
        if excess.shape[1] - self.controls == 1:
            return np.full(len(rows), comparison.UNDECIDED)
        found = self.worse(rows, excess[:, self.controls :].argmax(1) + self.controls)
        if self.controls and len(rows):
            found = np.minimum(found, self.worse(rows, excess[:, : self.controls].argmin(1)))
        return found

    def devices(self, row: int) -> tuple[DeviceEvidence, ...]:
        """Return one run's evidence as the gate takes it."""
        tallies = self.tallies
        now = (tallies.trials, tallies.bad, tallies.fresh_trials, tallies.fresh_bad)
        return tuple(
            DeviceEvidence(
                device=DeviceId(f"device-{number}"),
                arm=Arm.CONTROL if number < self.controls else Arm.CANDIDATE,
                guards={
                    self.guard: Series(
                        past=_counts(self.past, row, number),
                        lately=_counts(self.lately, row, number),
                        now=_counts(now, row, number),
                    )
                },
            )
            for number in range(tallies.bad.shape[1])
        )

    def _both(self) -> tuple[tuple[Channel, Array, Array], tuple[Channel, Array, Array]]:
        tallies = self.tallies
        return (self.fresh, tallies.fresh_trials, tallies.fresh_bad), (self.whole, tallies.trials, tallies.bad)

    def _whole_weight(self) -> Array:
        found = comparison.WHOLE_WEIGHT_MAX / self.dispersion[:, 0]
        return np.clip(found, comparison.WHOLE_WEIGHT_MIN, comparison.WHOLE_WEIGHT_MAX)

    def _bound(self, rows: Rows, *, changing: bool) -> Array:
        """Return what no e-value of a run can exceed: the best of all likelihoods against the null's.

        Not ``changing``: against the null without a change of the fleet, which is cheaper and never less.
        """
        bounds = []
        for channel, trials, bad in self._both():
            control, candidate = self._arms(rows, channel, trials, bad, clamped=False)
            usual = _term(*_at_mean(candidate))
            best = _term(candidate[0], candidate[2], np.maximum(candidate[0], TINY))
            fewer = candidate[0] <= candidate[1]
            best = np.where(fewer, np.maximum(usual, best - FEWER_PRICE), best)
            best += _term(control[0], control[2], np.maximum(control[0], TINY))
            if changing:
                null, _ = _best(control, candidate, 0.0, self._change(self.controls), channel.variance[rows])
            else:
                null = _term(*_at_mean(control)) + usual
            bounds.append(best - null)
        return np.maximum(*bounds)

    def _change(self, controls: int) -> evalues.Change:
        return guards.beside_control(self.guard) if controls else evalues.OWN_PAST_ONLY

    def _controls(self, out: npt.NDArray[np.intp] | None) -> int:
        return self.controls - int(out is not None and len(out) > 0 and bool(out[0] < self.controls))

    def _arms(
        self,
        rows: Rows,
        channel: Channel,
        trials: Array,
        bad: Array,
        *,
        clamped: bool,
        out: npt.NDArray[np.intp] | None = None,
    ) -> tuple[Arms, Arms]:
        part = Channel(
            rate=_less(channel.rate[rows], out),
            shape=_less(channel.shape[rows], out),
            scale=channel.scale[rows],
            variance=channel.variance[rows],
        )
        controls = self._controls(out)
        everything = _less(self.tallies.trials[rows], out)[:, controls:]
        trials, bad = self._thinned(everything, _less(trials[rows], out), _less(bad[rows], out), controls)
        candidate = _totals(part, trials, bad, slice(controls, None), clamped=clamped)
        if controls:
            return _totals(part, trials, bad, slice(0, controls)), candidate
        nobody = np.zeros_like(candidate[0])
        return (nobody, nobody, np.full_like(nobody, weights.SHAPE_MIN)), candidate

    def _thinned(self, everything: Array, trials: Array, bad: Array, controls: int) -> tuple[Array, Array]:
        if (everything.max(1) <= _share(everything.shape[1]) * everything.sum(1)).all():
            return trials, bad
        left = np.ones_like(trials)
        left[:, controls:] = np.where(everything > 0, _clamped(everything) / np.maximum(everything, TINY), 1.0)
        return trials * left, bad * left

    def _one_worse(
        self,
        rows: npt.NDArray[np.intp],
        channel: Channel,
        trials: Array,
        bad: Array,
        out: npt.NDArray[np.intp] | None,
    ) -> Array:
        others, candidate = self._arms(rows, channel, trials, bad, clamped=True, out=out)
        change, width = self._change(self._controls(out)), evalues.CHANGE_EXPECTED
        variance, nothing = channel.variance[rows], np.zeros(len(rows))
        nulls = [change, evalues.ANY_CHANGE] if change.most < np.inf else [change]
        normal = evalues.Change(core=width, slope=evalues.CHANGE_MAX / width**2)
        ratios = [(float(np.log(ratio)), weight) for ratio, weight in evalues.WORSE]
        asked = [(0.0, each, variance) for each in nulls] + [(ratio, normal, nothing) for ratio, _ in ratios]
        tops = _all_best(others, candidate, asked)  # at once: what a call of numpy costs by itself is most of it
        null = tops[0][0]
        if len(nulls) > 1:
            null = np.maximum(null, tops[1][0] - change.most)
        found = np.full(len(rows), -np.inf)
        for (top, curvature), (_, weight) in zip(tops[len(nulls) :], ratios, strict=True):
            likelihood = top - 0.5 * np.log(width**2 * (curvature + 1 / width**2))
            found = np.logaddexp(found, likelihood + np.log(weight))
        return np.where(candidate[1] > 0, found - null, comparison.UNDECIDED)


def _channel(past: tuple[Array, ...], lately: tuple[Array, ...], scale: Array) -> Channel:
    trials, bad = past
    mean = (bad.sum(1, keepdims=True) + 0.5) / (trials.sum(1, keepdims=True) + 50.0)
    expected = mean * trials
    excess = ((bad - expected) ** 2 - scale * expected).sum(1, keepdims=True)
    squares = (expected**2).sum(1, keepdims=True)
    told = np.minimum(expected / scale, 1.0).sum(1, keepdims=True)
    spread = np.where(squares > 0, np.maximum(excess / np.maximum(squares, TINY), 0.0), 0.0)
    assumed = weights.SPREAD_ASSUMED_DEVICES
    spread = (told * spread + assumed * weights.SPREAD_ASSUMED) / (told + assumed)
    shape = 1 / np.maximum(spread, weights.SPREAD_MIN)
    own = shape + bad / scale
    rate = own / (shape / mean + trials / scale)
    recent = (lately[1] / scale).sum(1, keepdims=True) + weights.LEVEL_EVENTS
    usual = (lately[0] * rate / scale).sum(1, keepdims=True) + weights.LEVEL_EVENTS
    known = bad.sum(1) / scale[:, 0] + 0.5
    variance = 1 / known + (recent[:, 0] - weights.LEVEL_EVENTS) / recent[:, 0] ** 2
    return Channel(rate=rate * recent / usual, shape=np.minimum(own, weights.SHAPE_MAX), scale=scale, variance=variance)


def _less(of: Array, out: npt.NDArray[np.intp] | None) -> Array:
    """Return each run's devices without one."""
    if out is None:
        return of
    kept = np.ones(of.shape, dtype=bool)
    kept[np.arange(len(out)), out] = False
    return of[kept].reshape(len(of), -1)


def _totals(channel: Channel, trials: Array, bad: Array, arm: slice, *, clamped: bool = False) -> Arms:
    events, scale = bad[:, arm], channel.scale
    expected = trials[:, arm] * channel.rate[:, arm]
    variance = np.einsum("rd,rd,rd->r", expected, expected, 1 / channel.shape[:, arm])
    total = expected.sum(1)
    shape = np.where(variance > 0, total**2 / np.maximum(variance, TINY), 0.0)
    events = _clamped(events / scale) if clamped else events / scale
    return events.sum(1), total / scale[:, 0], np.maximum(shape, weights.SHAPE_MIN)


def _share(size: int) -> float:
    return max(weights.SHARE_SMALL if size <= weights.SMALL_ARM else weights.SHARE_LARGE, 1 / size)


def _clamped(events: Array) -> Array:
    share = _share(events.shape[1])
    most = events.max(1, keepdims=True)
    running = most > share * events.sum(1, keepdims=True)
    for _ in range(weights.CLAMP_ROUNDS_MAX):
        lower = np.minimum(most, share * np.minimum(events, most).sum(1, keepdims=True))
        running = running & (most - lower > 1e-9 * most)
        if not running.any():
            break
        most = np.where(running, lower, most)
    return np.minimum(events, most)


def _at_mean(arm: Arms) -> Arms:
    return arm[0], arm[2], arm[1]


def _term(events: Array, shape: Array, mean: Array) -> Array:
    safe = np.maximum(mean, TINY)
    return np.where(mean > 0, events * np.log(safe) - (shape + events) * np.log(shape + safe), 0.0)


def _best(
    control: Arms, candidate: Arms, log_ratio: float, change: evalues.Change, variance: Array
) -> tuple[Array, Array]:
    ((likelihood, curvature),) = _all_best(control, candidate, [(log_ratio, change, variance)])
    return likelihood, curvature


def _all_best(
    control: Arms, candidate: Arms, asked: Sequence[tuple[float, evalues.Change, Array]]
) -> list[tuple[Array, Array]]:
    """Return the best likelihood of each run, and its curvature, for each of several ratios and changes."""
    size, times = len(candidate[0]), len(asked)
    ratio = np.concatenate([np.full(size, each) for each, _, _ in asked])
    core = np.concatenate([change.core**2 + variance for _, change, variance in asked])
    slope = np.concatenate([np.full(size, change.slope) for _, change, _ in asked])
    control, candidate = _tiled(control, times), _tiled(candidate, times)
    low, high = (np.full(size * times, each) for each in (-evalues.CHANGE_MAX, evalues.CHANGE_MAX))
    for _ in range(evalues.HALVINGS):
        x = (low + high) / 2
        up = _slope(control, x) + _slope(candidate, x + ratio) > np.minimum(np.maximum(x / core, -slope), slope)
        low, high = np.where(up, x, low), np.where(up, high, x)
    x = (low + high) / 2
    curvature = _curvature(control, x) + _curvature(candidate, x + ratio)
    likelihood = _term(control[0], control[2], np.exp(x) * control[1])
    likelihood += _term(candidate[0], candidate[2], np.exp(x + ratio) * candidate[1])
    knee = slope * core
    likelihood -= np.where(np.abs(x) < knee, x * x / (2 * core), slope * (np.abs(x) - knee / 2))
    return list(zip(np.split(likelihood, times), np.split(curvature, times), strict=True))


def _tiled(arm: Arms, times: int) -> Arms:
    events, expected, shape = (np.tile(each, times) for each in arm)
    return events, expected, shape


def _slope(arm: Arms, x: Array) -> Array:
    events, expected, shape = arm
    mean = np.exp(x) * expected
    return np.where(expected > 0, events - (shape + events) * (mean / (shape + mean)), 0.0)


def _curvature(arm: Arms, x: Array) -> Array:
    events, expected, shape = arm
    mean = np.exp(x) * expected
    part = mean / (shape + mean)
    return (shape + events) * part * (1 - part)


def _counts(of: tuple[Array, ...], row: int, number: int) -> Counts:
    trials, bad, fresh_trials, fresh_bad = (each[row, number] for each in of)
    return Counts(trials=int(trials), bad=int(bad), fresh_trials=float(fresh_trials), fresh_bad=int(fresh_bad))
