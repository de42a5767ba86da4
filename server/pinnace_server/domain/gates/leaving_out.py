"""On which one device evidence leans most: the smallest evidence that leaving one out gives.

The same to the last digit as working everything out again without each device, for a small part of the work. A stratum
that a device is not in says without it what it says with it. E-values are never negative, so once what some of the
cases say without a device is more than the smallest found so far, no other case can make it the smallest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pinnace_contract.ids import DeviceId
from pinnace_server.domain.gates import comparison
from pinnace_server.domain.gates.comparison import Stratum
from pinnace_server.domain.gates.evalues import averaged

LEFT_OUT_MAX: Final = 5  # of each arm and count: whoever has less to say cannot change more
ROUNDING: Final = 1e-9  # of a logarithm: sums in another order differ by less

Case = tuple[Stratum, ...]
"""One thing that may have got worse; it did where it got worse in each of the strata. The first one is with control."""


class Told:
    """What one case says with everybody in it, stratum by stratum, and who that is."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._in = [frozenset(each.device for each in stratum.devices) for stratum in case]
        self._each = [comparison.worse(stratum) for stratum in case]
        self.worse = min(self._each)

    def has(self, device: DeviceId) -> bool:
        """Tell whether a device says anything here."""
        return any(device in those for those in self._in)

    def without(self, device: DeviceId) -> float:
        """Return the log e-value without a device."""
        return min(
            comparison.worse(stratum.without(device)) if device in those else said
            for stratum, those, said in zip(self.case, self._in, self._each, strict=True)
        )


def worse(told: Sequence[Told]) -> float:
    """Return the log e-value of several cases: the least of several e-values is one as well, and so is their mean."""
    return _mean([each.worse for each in told], len(told))


def weakest(told: Sequence[Told]) -> tuple[float, DeviceId]:
    """Return the smallest log e-value that leaving out one device gives, and that device.

    The loudest cases are worked out first, so that of most devices they alone tell that others change more.
    """
    loudest = sorted(range(len(told)), key=lambda place: -told[place].worse)
    best: tuple[float, DeviceId] | None = None
    for device in suspects([told[place].case for place in loudest]):
        found = _without(device, told, loudest, best)
        if found is not None and (best is None or found < best):
            best = found
    assert best is not None, "evidence that matters was made by somebody"
    return best


def suspects(cases: Sequence[Case]) -> list[DeviceId]:
    """Return the devices whose absence may change most: loud ones on the candidate, quiet ones in control."""
    found: dict[DeviceId, None] = {}
    for stratum in (each for case in cases for each in case):
        for of in (lambda each: each.fresh.excess, lambda each: each.whole.excess):
            loud = sorted((each for each in stratum.devices if each.candidate), key=of, reverse=True)
            quiet = sorted((each for each in stratum.devices if not each.candidate), key=of)
            found |= dict.fromkeys(each.device for each in (*loud[:LEFT_OUT_MAX], *quiet[:LEFT_OUT_MAX]))
    return list(found)


def _without(
    device: DeviceId, told: Sequence[Told], loudest: Sequence[int], best: tuple[float, DeviceId] | None
) -> tuple[float, DeviceId] | None:
    """Return what is left without a device; None: more than what another one leaves."""
    left = {place: each.worse for place, each in enumerate(told) if not each.has(device)}
    for place in loudest:
        if best is not None and left and _mean(list(left.values()), len(told)) > best[0] + ROUNDING:
            return None
        if place not in left:
            left[place] = told[place].without(device)
    return _mean([left[place] for place in range(len(told))], len(told)), device


def _mean(found: Sequence[float], of: int) -> float:
    """Return the mean over ``of`` cases, of which those that are not found yet count as nothing."""
    return averaged(tuple((each, 1 / of) for each in found))
