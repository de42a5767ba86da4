"""That leaving devices out one by one gives what working everything out again without each of them gives."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import comparison, evalues, guards, leaving_out
from pinnace_server.domain.gates.comparison import Stratum
from pinnace_server.domain.gates.evidence import Counts, DeviceEvidence, Guard, Series, WaveEvidence
from pinnace_server.domain.gates.leaving_out import Case, Told
from tests.server.domain.gates.fleets import wave

ALWAYS = -1e9  # every reading matters
WRONG = 0.05


def labelled(draw: random.Random, trials: int, share: float) -> Counts:
    bad = sum(draw.random() < share for _ in range(trials))
    return Counts(trials=trials, bad=bad, fresh_trials=trials * 0.8, fresh_bad=min(bad, 3 + bad // 2))


def fleet(draw: random.Random, devices: int, groups: int, told: int, worse: int, times: float) -> WaveEvidence:
    """Devices with ``told`` of the groups each, of which ``worse`` got so many times worse on the candidates."""
    names, found = [f"group-{n}" for n in range(groups)], []
    for number in range(devices):
        arm = Arm.CANDIDATE if number % 2 else Arm.CONTROL
        own: dict[str, Series] = {}
        for name in draw.sample(names, told):
            share = WRONG * draw.uniform(0.3, 2.0)
            moved = arm is Arm.CANDIDATE and names.index(name) < worse
            own[name] = Series(
                past=labelled(draw, draw.choice((20, 200)), share),
                lately=labelled(draw, 10, share),
                now=labelled(draw, draw.choice((5, 60)), min(share * (times if moved else 1.0), 1.0)),
            )
        found.append(DeviceEvidence(device=DeviceId(f"device-{number:03d}"), arm=arm, groups=own))
    return wave(tuple(found), dispersion={Guard.FAIRNESS: draw.choice((1.0, 2.5, 20.0))})


def slowly(cases: Sequence[Case], devices: Sequence[DeviceId]) -> tuple[float, DeviceId]:
    """Work everything out again without each device."""
    found = []
    for device in devices:
        left = [min(comparison.worse(each.without(device)) for each in case) for case in cases]
        found.append((evalues.averaged(tuple((each, 1 / len(cases)) for each in left)), device))
    return min(found)


@pytest.mark.parametrize("seed", range(60))
def test_weakest_is_what_working_it_all_out_again_gives(seed: int) -> None:
    draw = random.Random(seed)
    groups = draw.randint(2, 6)
    evidence = fleet(
        draw,
        draw.randint(4, 24),
        groups,
        draw.randint(2, groups),
        draw.randint(0, groups),
        draw.choice((1.0, 2.0, 6.0)),
    )
    cases = guards.cases_of(evidence, Guard.FAIRNESS)
    found = leaving_out.weakest([Told(case) for case in cases])
    assert found == slowly(cases, leaving_out.suspects(cases)), f"seed {seed}"
    reading = guards.read(evidence, Guard.FAIRNESS, None, 1.25, ALWAYS)
    assert reading is not None
    assert (reading.worse_without, reading.device) == found


@pytest.mark.parametrize("seed", range(6))
def test_nobody_but_suspects_could_decide_alone(seed: int) -> None:
    draw = random.Random(seed)
    evidence = fleet(draw, 40, 3, 2, 1, draw.choice((1.0, 6.0)))
    cases = guards.cases_of(evidence, Guard.FAIRNESS)
    everybody = [each.device for each in evidence.devices]
    suspects = leaving_out.suspects(cases)
    assert slowly(cases, everybody) == slowly(cases, suspects), f"seed {seed}"


def test_most_of_fifteen_groups_are_not_worked_out_again_for_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = fleet(random.Random(1), 100, 15, 15, 1, 6.0)
    told = [Told(case) for case in guards.cases_of(evidence, Guard.FAIRNESS)]
    assert leaving_out.worse(told) > 0, "the release made one of the groups worse"
    each_of, all_strata = len(leaving_out.suspects([each.case for each in told])), 2 * len(told)
    worked_out: list[Stratum] = []
    real = comparison.worse

    def counted(stratum: Stratum) -> float:
        worked_out.append(stratum)
        return real(stratum)

    monkeypatch.setattr(comparison, "worse", counted)
    leaving_out.weakest(told)
    assert 2 * each_of <= len(worked_out) < each_of * all_strata / 5
