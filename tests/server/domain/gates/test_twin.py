"""That the benchmark's numpy twin says what the gate says."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import gate_streams
from benchmarks.gate_streams import Scenario
from benchmarks.gate_twin import Twin
from pinnace_server.domain.gates import comparison, guards, streams
from pinnace_server.domain.gates.evidence import DeviceEvidence, Guard, Series
from tests.server.domain.gates.fleets import wave

RUNS = 6


@pytest.mark.parametrize("controls", [0, 1, 4])
@pytest.mark.parametrize("a_day", [10, 1440, 86_400])
@pytest.mark.parametrize("bursts", [False, True])
@pytest.mark.parametrize("guard", [Guard.ERRORS, Guard.SLOW])
def test_twin_has_the_gate_s_evidence(controls: int, a_day: int, bursts: bool, guard: Guard) -> None:
    seed = 11
    scenario = Scenario(
        controls=controls,
        candidates=11,
        a_day=a_day,
        spread=0.7,
        bursts=bursts,
        rate=0.02,
        ratio=3.0,
        past_min=720,
        watched_min=240,
    )
    twin = Twin(RUNS, controls, scenario.candidates, guard)
    compared = 0
    for minute, (trials, bad) in enumerate(gate_streams.minutes(scenario, RUNS, np.random.default_rng(seed)), start=1):
        if minute == 720 - 60 + 1:
            twin.begin_last_hour()
        twin.tallies.add(trials, bad)
        if minute <= 720 and minute % streams.BLOCK_MIN == 0:
            twin.end_block()
        if minute == 720:
            twin.switch()
        if minute > 720 and minute % 60 == 0:
            found = twin.worse(np.arange(RUNS))
            twin.tallies.changed[:] = True
            without = twin.without_one(np.arange(RUNS))
            assert set(np.flatnonzero(found >= 1.0)) == set(twin.reaching(1.0, np.ones(RUNS, dtype=bool))[0]), seed
            for row in range(RUNS):
                evidence = wave(twin.devices(row), dispersion={guard: float(twin.dispersion[row, 0])})
                reading = guards.read(evidence, guard, None, 1.25, -np.inf)
                assert reading is not None
                assert reading.worse_without is not None
                assert found[row] == pytest.approx(reading.worse, abs=1e-4), seed
                assert reading.worse_without <= without[row] + 1e-4, seed
                of = comparison.compared(
                    evidence.devices, _series(guard), float(twin.dispersion[row, 0]), guards.beside_control(guard)
                )
                left_out = [comparison.worse(of.without(each.device)) for each in of.devices]
                assert min(abs(each - without[row]) for each in left_out) < 1e-4, seed
                compared += 1
    assert compared == 4 * RUNS


def _series(guard: Guard) -> Callable[[DeviceEvidence], Series | None]:
    return lambda device: device.guards.get(guard)


def test_twin_counts_news_as_the_gate_does() -> None:
    seed = 2
    random = np.random.default_rng(seed)
    twin, tallies = Twin(1, 0, 3), [streams.Tally()] * 3
    for _ in range(300):
        trials = random.integers(0, 4, (1, 3))
        bad = random.binomial(trials, 0.1)
        twin.tallies.add(trials.astype(float), bad.astype(float))
        tallies = [each.after(int(n), int(k)) for each, n, k in zip(tallies, trials[0], bad[0], strict=True)]
    assert list(twin.tallies.fresh_bad[0]) == [each.counts.fresh_bad for each in tallies], seed
    assert list(twin.tallies.fresh_trials[0]) == pytest.approx([each.counts.fresh_trials for each in tallies]), seed
