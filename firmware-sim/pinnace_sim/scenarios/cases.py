"""All scenarios, by name."""

from __future__ import annotations

from typing import Final

from pinnace_sim.errors import NoSuchScenario
from pinnace_sim.scenarios import (
    blue_green,
    going_back,
    guards,
    operators,
    shadows,
    sites,
    splits,
    sweeps,
    updates,
    waves,
    ways,
)
from pinnace_sim.scenarios.form import Scenario, Sweep

ALL: Final[tuple[Scenario | Sweep, ...]] = (
    *ways.ALL,
    *operators.ALL,
    *going_back.ALL,
    *updates.ALL,
    *waves.ALL,
    *shadows.ALL,
    *sites.ALL,
    *guards.ALL,
    *splits.ALL,
    *blue_green.ALL,
    *sweeps.ALL,
)
BY_NAME: Final = {each.name: each for each in ALL}


def find(name: str) -> Scenario | Sweep:
    """Return a scenario.

    Raises:
        NoSuchScenario
    """
    if name not in BY_NAME:
        raise NoSuchScenario(name, tuple(BY_NAME))
    return BY_NAME[name]
