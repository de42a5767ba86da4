"""What applications tell of a version's answers, and what the answers are: outcomes, labels by group, classes.

In the place of an application: the local API and the counting behind it are tested with real processes.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

from pinnace_contract.histogram import pack_varints
from pinnace_contract.latest import Arm, Block, GroupCounts, Labels, OutcomeCounts
from pinnace_sim.plan import Nature

METRIC: Final = "accepted"
OUTCOME_OF: Final = 2  # one answer in so many leads to an outcome that is told
LABEL_OF: Final = 4
NIGHT_OF: Final = 8  # labels, of which the others are of the day
ACCEPTED_SHARE: Final = 0.9
LESS_ACCEPTED_SHARE: Final = 0.8
WRONG_SHARE: Final = 0.05
UNFAIR_SHARE: Final = 0.25
CLASSES: Final = (60, 30, 10)
DRIFTED_CLASSES: Final = (20, 30, 50)


def told(block: Block, nature: Nature, chance: random.Random, metric: str = "") -> Block:
    """Return a block with what was told of its answers. ``metric``: the name of outcomes; empty: ``METRIC``."""
    if block.predictions is None:
        return block
    good = block.predictions.n
    answers = chance.choices(range(len(CLASSES)), DRIFTED_CLASSES if nature is Nature.DRIFTING else CLASSES, k=good)
    seen = replace(block.predictions, classes=pack_varints(answers.count(each) for each in range(len(CLASSES))))
    if block.arm is Arm.SHADOW:
        return replace(block, predictions=seen)
    accepted = LESS_ACCEPTED_SHARE if nature is Nature.WORSE_OUTCOME else ACCEPTED_SHARE
    trials, labels = _one_of(OUTCOME_OF, good, chance), _one_of(LABEL_OF, good, chance)
    night = _one_of(NIGHT_OF, labels, chance)
    groups = []
    for name, n in (("day", labels - night), ("night", night)):
        wrong = UNFAIR_SHARE if nature is Nature.UNFAIR and name == "night" else WRONG_SHARE
        groups.append(GroupCounts(name=name, n=n, errors=_some(n, wrong, chance)))
    return replace(
        block,
        predictions=seen,
        outcome=OutcomeCounts(metric=metric or METRIC, trials=trials, successes=_some(trials, accepted, chance)),
        labels=Labels(n=labels, errors=sum(each.errors for each in groups)),
        groups=tuple(groups),
    )


def _one_of(so_many: int, n: int, chance: random.Random) -> int:
    """Return one in so many, by chance of what is left over as well: so a device that is seldom asked tells too."""
    return n // so_many + (chance.random() < n % so_many / so_many)


def _some(n: int, share: float, chance: random.Random) -> int:
    return sum(chance.random() < share for _ in range(n))
