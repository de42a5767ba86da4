"""Guards that a policy asks for and of which nothing is told: a wave holds for them, as else nobody would miss them.

Only that somebody tells is asked here. Whether enough do is each guard's own matter: too few say nothing for or
against.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pinnace_contract.latest import Arm
from pinnace_server.domain.gates.evidence import Guard, WaveEvidence

NEEDED: Final[Mapping[Guard, int]] = {
    Guard.OUTCOME: 1,  # device
    Guard.FAIRNESS: 2,  # groups: one has no gap
    Guard.PREDICTIONS: 1,  # device
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Untold:
    """A guard, what was told for it since the switch (devices, or groups), and the metric's name, where it has one."""

    guard: Guard
    found: int
    needed: int
    metric: str


def untold(evidence: WaveEvidence) -> Iterator[Untold]:
    """Yield the guards that a policy asks for and that lack what there is to judge of the release."""
    told = {Guard.OUTCOME: _outcomes, Guard.FAIRNESS: _groups, Guard.PREDICTIONS: _classes}
    for guard, needed in NEEDED.items():
        if guard in evidence.asked and (found := told[guard](evidence)) < needed:
            yield Untold(guard=guard, found=found, needed=needed, metric=evidence.asked[guard])


def _outcomes(evidence: WaveEvidence) -> int:
    """Count devices that told what came of the release's answers; those of a device's own control arm are another's."""
    return sum(each.outcome is not None and each.outcome.now.trials > 0 for each in evidence.of(Arm.CANDIDATE))


def _groups(evidence: WaveEvidence) -> int:
    named = (each.groups.items() for each in evidence.of(Arm.CANDIDATE))
    return len({name for groups in named for name, series in groups if series.now.trials > 0})


def _classes(evidence: WaveEvidence) -> int:
    return sum(each.classes is not None and any(each.classes.now) for each in evidence.of(Arm.CANDIDATE))
