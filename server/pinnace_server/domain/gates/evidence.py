"""What a gate is told about a wave: counts per device, arm and guard. How they are gathered is the service's.

Every count is a sum over whole report windows, so a verdict never depends on the order in which reports came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm


class Guard(StrEnum):
    """What may not get worse."""

    ERRORS = "errors"
    SLOW = "slow"
    INSTALLS = "installs"
    MISSING = "missing"
    UNSURE = "unsure"
    SHADOW = "shadow"
    FAIRNESS = "fairness"
    OUTCOME = "outcome"
    PREDICTIONS = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Trials and bad events over some time.

    ``fresh_trials`` and ``fresh_bad`` leave out what may belong to a bad event counted before, see ``streams``.
    """

    trials: int = 0
    bad: int = 0
    fresh_trials: float = 0.0
    fresh_bad: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            trials=self.trials + other.trials,
            bad=self.bad + other.bad,
            fresh_trials=self.fresh_trials + other.fresh_trials,
            fresh_bad=self.fresh_bad + other.fresh_bad,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One guard on one device: since the switch of its wave, and before it, on last good.

    ``past`` is the last day or more before the switch; ``lately`` is the last hour of it, which tells what time of day
    it is in the fleet.
    """

    past: Counts = field(default_factory=Counts)
    lately: Counts = field(default_factory=Counts)
    now: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCounts:
    """How often a device answered each class before the switch and since; the last number is of all other classes."""

    past: tuple[int, ...]
    now: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One guard on one device with two arms: what the release did, and its control over the same time."""

    candidate: Counts = field(default_factory=Counts)
    control: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvidence:
    """One device of the wave. A device that another rollout touched belongs to no arm and is not passed.

    ``guards`` are compared with the device's past and with control. ``limited`` are judged against a fixed limit
    (the release's own signed baseline, a tolerance, an expectation): only ``now`` counts. ``groups`` are errors by
    fairness group. ``outcome`` counts successes of the business metric as ``bad``'s opposite: ``bad`` are failures.
    ``classes`` are the answers themselves, of the same classes on every device.
    ``paired``: the device has a control arm of its own, beside which a guard is read there; ``alone``: what it did when
    that was over, which is compared as on any device.
    """

    device: DeviceId
    arm: Arm
    guards: Mapping[Guard, Series] = field(default_factory=dict)
    limited: Mapping[Guard, Counts] = field(default_factory=dict)
    groups: Mapping[str, Series] = field(default_factory=dict)
    outcome: Series | None = None
    classes: ClassCounts | None = None
    paired: Mapping[Guard, Pair] = field(default_factory=dict)
    alone: Mapping[Guard, Series] = field(default_factory=dict)


class InstallResult(StrEnum):
    """How a device's attempt ended, by who is to blame."""

    COMMITTED = "committed"
    REVERTED = "reverted"
    FAILED = "failed"
    GOLDEN_MISMATCH = "golden_mismatch"
    LOAD_FAILED = "load_failed"
    CRASH_LOOP = "crash_loop"
    DEVICE_TROUBLE = "device_trouble"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """One device's attempt, in the order of the receipts."""

    device: DeviceId
    hardware: str
    result: InstallResult


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveEvidence:
    """Everything a verdict is made from, besides the settings.

    ``elapsed_min`` runs since the first device of the wave switched. ``wave_size`` counts the wave's devices,
    ``reachable`` those that can be reached, ``committed`` the reachable that committed; ``reporting`` of the
    ``watched`` of both arms (None: of ``devices``) sent a report in their last two cadences. ``dispersion`` is
    ``streams.dispersion`` of each guard's past, and ``limits`` are the fixed limits of the guards that are judged
    against one. ``asked`` are the guards that are judged because the policy asks for them, each with the name of its
    metric (empty: it has none); without them nothing need be told.
    """

    elapsed_min: float
    wave_size: int
    reachable: int
    committed: int
    reporting: int
    devices: tuple[DeviceEvidence, ...]
    watched: int | None = None
    installs: tuple[Install, ...] = ()
    dispersion: Mapping[Guard, float] = field(default_factory=dict)
    limits: Mapping[Guard, float] = field(default_factory=dict)
    asked: Mapping[Guard, str] = field(default_factory=dict)

    def of(self, arm: Arm) -> tuple[DeviceEvidence, ...]:
        """Return the devices of an arm."""
        return tuple(each for each in self.devices if each.arm is arm)
