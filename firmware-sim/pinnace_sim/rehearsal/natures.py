"""What a release is supposed to turn out like, as a person writes it: ``good``, ``errors:3%``, ``golden:jetson``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pinnace_sim.errors import CannotRehearse
from pinnace_sim.plan import Nature

PERCENT_MAX: Final = {Nature.ERRORS_3_PERCENT: 100.0, Nature.SLOWER_20_PERCENT: 1_000.0}
_NAMES: Final[Mapping[str, Nature]] = {
    "good": Nature.GOOD,
    "errors": Nature.ERRORS_3_PERCENT,
    "slow": Nature.SLOWER_20_PERCENT,
    "silent": Nature.DIES_SILENTLY,
    "golden": Nature.WRONG,
    "unloadable": Nature.UNLOADABLE,
    "crashes": Nature.CRASHES,
    "hangs": Nature.HANGS,
    "unsure": Nature.UNSURE,
    "contrary": Nature.CONTRARY,
}
WORDS: Final = "good, errors:3%, slow:20%, silent, golden[:CLASS], unloadable, crashes, hangs, unsure, contrary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposed:
    """A nature under the name that it was given. ``amount`` 0: what is usual for it; ``hardware`` empty: everywhere."""

    name: str
    nature: Nature
    amount: float = 0.0
    hardware: str = ""


def read(text: str) -> Supposed:
    """Read one.

    Raises:
        CannotRehearse
    """
    name, _, rest = text.partition(":")
    nature = _NAMES.get(name)
    if nature is None:
        raise CannotRehearse(f"--nature: expected one of {WORDS}, found {text!r}")
    if not rest:
        return Supposed(name=text, nature=nature)
    if nature in PERCENT_MAX:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)%?", rest)
        percent, most = float(found[1]) if found else 0.0, PERCENT_MAX[nature]
        if not 0 < percent <= most:
            raise CannotRehearse(f"--nature {name}: expected more than 0 and at most {most:g} per cent, found {rest!r}")
        return Supposed(name=text, nature=nature, amount=percent / 100)
    if nature is Nature.GOOD:
        raise CannotRehearse(f"--nature: expected 'good' with nothing after it, found {text!r}")
    return Supposed(name=text, nature=nature, hardware=rest)
