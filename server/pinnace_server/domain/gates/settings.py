"""What an operator may set about gates, with the defaults and the reasons for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pinnace_server.domain.gates.evidence import Guard

ROLL_BACK_EVIDENCE: Final = (
    200.0  # times guards times waves: a healthy rollout is moved back once in 200, all looks taken
)
PROVEN_EVIDENCE: Final = 20.0  # one in twenty releases that is worse than the margin is promoted as proven
REFUTING_EVIDENCE: Final = 5.0  # where "nothing speaks against it" ends
INSTALL_STOP_EVIDENCE: Final = 20.0  # stops new installs, which costs a person a look and no device its release
RATIO_MARGIN: Final = 1.25
LOW_TRAFFIC_A_DAY: Final = 100.0  # inferences a device: below, ratios promote nothing within a day
LOW_TRAFFIC_INFERENCES: Final = 100  # of the wave, before so seldom asked a release is judged
PROVEN_FROM_DEVICES: Final = 30
# A good release with 1 % errors is proven within a day beside ten devices in 19 of 20 runs, beside five in 17, beside
# two in 12; where errors come three at a time in 18, 12 and 4. What proves is the smaller arm.
PROVEN_BESIDE_DEVICES: Final = 10

MARGINS: Final[Mapping[Guard, float]] = {
    Guard.ERRORS: 0.005,
    Guard.SLOW: 0.02,
    Guard.INSTALLS: 0.03,
    Guard.MISSING: 0.03,
    Guard.FAIRNESS: 0.02,
    Guard.OUTCOME: 0.02,
    Guard.PREDICTIONS: 0.1,
}


class PromoteOn(StrEnum):
    """What is enough to go on."""

    PROVEN = "proven"
    UNREFUTED = "unrefuted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The rules of one rollout's gates. ``promote_on`` None: by the size of the wave.

    A release passes within ``margins`` (shares of one) or ``ratios`` times the control, whichever allows more; a guard
    without a ratio has ``RATIO_MARGIN``.
    """

    waves: int = 1
    soak_min: float = 60.0
    promote_on: PromoteOn | None = None
    exposure_min: float = 30.0
    devices_min: int = 5
    reporting_min: float = 0.9
    inferences_min: int = 0
    margins: Mapping[Guard, float] = field(default_factory=lambda: dict(MARGINS))
    ratios: Mapping[Guard, float] = field(default_factory=dict)
    low_traffic_margin: float = 0.05
    low_traffic_inferences: int = LOW_TRAFFIC_INFERENCES

    def ratio(self, guard: Guard) -> float:
        """Return how many times the control's share of bad events passes."""
        return self.ratios.get(guard, RATIO_MARGIN)

    def enough(self, wave_size: int) -> PromoteOn:
        """Return what promotes a wave: small ones prove nothing in a reasonable time."""
        if self.promote_on is not None:
            return self.promote_on
        return PromoteOn.PROVEN if wave_size >= PROVEN_FROM_DEVICES else PromoteOn.UNREFUTED

    def roll_back_evidence(self, guards: int) -> float:
        """Return the e-value that moves devices back."""
        return ROLL_BACK_EVIDENCE * max(guards, 1) * max(self.waves, 1)
