"""How good versions are on a device, as data: devices differ in their latency, their errors and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LATENCY_S: Final = 0.005
BELOW_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Temper:
    """How good versions are on a device: their latency (median, and sigma of its logarithm), errors, and how fast the
    share of unsure answers grows from what it was at the start.
    """

    latency_s: float = LATENCY_S
    latency_spread: float = 0.0
    error_share: float = 0.0
    below_share: float = BELOW_SHARE
    drift_an_hour: float = 0.0


EVEN_TEMPER: Final = Temper()
