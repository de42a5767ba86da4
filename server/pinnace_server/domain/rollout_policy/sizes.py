"""How much of a cohort, and how people write it: so many devices ``3``, a share ``5%``, what is left ``rest``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

DEVICES_MAX: Final = 1_000_000  # ten times the largest fleet that a server is measured with
WHOLE: Final = 10_000
"""All of something, in hundredths of a per cent."""

_PERCENT: Final = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?\s?%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """So many devices."""

    devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Percent:
    """A share, in hundredths of a per cent, so that it is counted exactly."""

    hundredths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Whatever is left."""


Share = Count | Percent
WaveSize = Count | Percent | Rest

SHARE_EXPECTED: Final = f"a number of devices (1 to {DEVICES_MAX}) or a share as '5%' (0.01% to 100%)"
WAVE_EXPECTED: Final = f"{SHARE_EXPECTED}, or 'rest'"


def percent(per_cent: int) -> Percent:
    """Return a share of whole per cents."""
    return Percent(hundredths=per_cent * 100)


def read_share(value: object) -> Share:
    """Read a share as people write it.

    Raises:
        ValueError: says what was expected.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= DEVICES_MAX:
        return Count(devices=value)
    found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        hundredths = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))
        if 1 <= hundredths <= WHOLE:
            return Percent(hundredths=hundredths)
    raise ValueError(SHARE_EXPECTED)


def read_wave(value: object) -> WaveSize:
    """Read a wave's size as people write it.

    Raises:
        ValueError: says what was expected.
    """
    if value == "rest":
        return Rest()
    try:
        return read_share(value)
    except ValueError as error:
        raise ValueError(WAVE_EXPECTED) from error


def written(size: WaveSize) -> int | str:
    """Return a size as people write it."""
    match size:
        case Count():
            return size.devices
        case Rest():
            return "rest"
        case Percent():
            whole, part = divmod(size.hundredths, 100)
            return f"{whole}.{part:02}".rstrip("0").rstrip(".") + "%" if part else f"{whole}%"


def share_of(share: Share, devices: int) -> int:
    """Return how many of ``devices`` a share is, halves rounded up."""
    match share:
        case Count():
            return min(share.devices, devices)
        case Percent():
            return rounded(devices * share.hundredths, WHOLE)


def rounded(numerator: int, denominator: int) -> int:
    """Return the nearest whole number to a fraction that is not negative, halves rounded up."""
    return (2 * numerator + denominator) // (2 * denominator)
