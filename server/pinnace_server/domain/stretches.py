"""Ten minutes of one device on one release, as gates count them: in the order of its reports, bursts told apart.

Minutes are kept longer and merge in any order. What a gate asks ("is this bad answer news, or the same trouble as the
one before?") depends on what came before, so it is worked out once, when a report comes. A report that comes late is
counted where its window belongs, and is taken for the newest of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pinnace_contract.ids import DeviceId, ModelName, ReleaseId
from pinnace_contract.latest import Arm
from pinnace_server.domain import telemetry
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.packed_histogram import PackedHistogram
from pinnace_server.domain.records import Minute

MINUTES: Final = 10
CALLERS_FAULT: Final = "bad_request"  # errors under this name say nothing about the model


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What one device counted for one (model, release, arm). ``number`` is Unix time in units of ten minutes.

    ``errors`` know what of theirs is news. ``latency`` is kept whole, because which answers are slow is a matter of the
    rollout that asks, see ``slowness``. ``pairs`` and ``disagreements`` are of a shadow: answers that were compared,
    and those that differed. ``classes``, ``outcomes`` and ``groups`` are as ``Minute`` has them.
    """

    device: DeviceId
    model: ModelName
    release: ReleaseId
    arm: Arm = Arm.SERVING
    number: int
    errors: Tally = field(default_factory=Tally)
    latency: PackedHistogram = field(default_factory=PackedHistogram)
    predictions: int = 0
    below: int = 0
    pairs: int = 0
    disagreements: int = 0
    classes: tuple[int, ...] = ()
    outcomes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def following(self, number: int) -> Stretch:
        """Return an empty later one, that remembers which troubles go on."""
        return replace(
            self,
            number=number,
            errors=self.errors.restarted(),
            latency=PackedHistogram(),
            predictions=0,
            below=0,
            pairs=0,
            disagreements=0,
            classes=(),
            outcomes={},
            groups={},
        )

    def after(self, minute: Minute) -> Stretch:
        """Return the stretch with one report's block."""
        callers = minute.errors.get(CALLERS_FAULT, 0)
        answered, errors = max(0, minute.n - callers), sum(minute.errors.values()) - callers
        return replace(
            self,
            errors=self.errors.after(answered, min(errors, answered)),
            latency=self.latency.plus(minute.latency, minute.latency_zero),
            predictions=self.predictions + minute.predictions,
            below=self.below + minute.below,
            pairs=self.pairs + minute.pairs,
            disagreements=self.disagreements + minute.disagreements,
            classes=telemetry.added(self.classes, minute.classes),
            outcomes=telemetry.outcomes_of(self.outcomes, minute.outcomes),
            groups=telemetry.groups_of(self.groups, minute.groups),
        )


def empty(minute: Minute) -> Stretch:
    """Return the stretch that a minute belongs to, with nothing in it."""
    return Stretch(
        device=minute.device, model=minute.model, release=minute.release, arm=minute.arm, number=number_of(minute)
    )


def number_of(minute: Minute) -> int:
    """Return the number of the stretch that a minute belongs to."""
    return number_at(minute.minute)


def number_at(minute: int) -> int:
    """Return the number of the stretch that holds a minute of Unix time."""
    return minute // MINUTES
