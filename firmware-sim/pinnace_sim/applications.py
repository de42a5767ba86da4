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


def told(block: Block, nature: Nature, chance: random.Random) -> Block:
    """Return a block with what was told of its answers."""
    if block.predictions is None:
        return block
    good = block.predictions.n
    answers = chance.choices(range(len(CLASSES)), DRIFTED_CLASSES if nature is Nature.DRIFTING else CLASSES, k=good)
    seen = replace(block.predictions, classes=pack_varints(answers.count(each) for each in range(len(CLASSES))))
    if block.arm is Arm.SHADOW:
        return replace(block, predictions=seen)
    accepted = LESS_ACCEPTED_SHARE if nature is Nature.WORSE_OUTCOME else ACCEPTED_SHARE
    trials, labels = good // OUTCOME_OF, good // LABEL_OF
    groups = []
    for name, n in (("day", labels - labels // NIGHT_OF), ("night", labels // NIGHT_OF)):
        wrong = UNFAIR_SHARE if nature is Nature.UNFAIR and name == "night" else WRONG_SHARE
        groups.append(GroupCounts(name=name, n=n, errors=_some(n, wrong, chance)))
    return replace(
        block,
        predictions=seen,
        outcome=OutcomeCounts(metric=METRIC, trials=trials, successes=_some(trials, accepted, chance)),
        labels=Labels(n=labels, errors=sum(each.errors for each in groups)),
        groups=tuple(groups),
    )


def _some(n: int, share: float, chance: random.Random) -> int:
    return sum(chance.random() < share for _ in range(n))
