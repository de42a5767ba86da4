"""What a rehearsal forecasts of each nature under each strategy, and why that is right.

Eight cameras in two waves (all at once: in one), half of them of another class of hardware, reports every ten minutes,
an hour of soak time. Some cells are played by `make test`, all by the soak.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest

from pinnace_server.domain.rollout_policy.policy import Strategy
from pinnace_sim.climbs import End
from pinnace_sim.plan import Nature
from pinnace_sim.rehearsal import climbing, natures
from tests.sim.test_rehearse import fleet
from tests.sim.test_rehearse_policy import HALVES, PROMISES_LITTLE, QUICK, asked, cameras, one

pytestmark = pytest.mark.slow

STRATEGIES: Final[dict[str, dict[str, Any]]] = {
    "all_at_once": {"strategy": "all_at_once", "waves": ["rest"]},
    "canary": {"strategy": "canary"},
    "ab": {"strategy": {"kind": "ab", "control_percent": 20, "duration_s": 3_600}},
    "shadow": {"strategy": {"kind": "shadow", "duration_s": 600}},
    "blue_green": {"strategy": {"kind": "blue_green", "wait_s": 600, "keep_s": 3_600}},
    "site_atomic": {"strategy": {"kind": "site_atomic", "lease_s": 900}},
}
GATES: Final[dict[str, Any]] = QUICK | {"soak_s": 3_600}
HALF: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is forecast: the end, and the guard that brought it. ``served``: the most devices that ever served it."""

    end: End
    by: str = ""
    served: int = HALF
    why: str


EVERYWHERE: Final[dict[str, Forecast]] = {
    "good": Forecast(end=End.PROMOTED, served=8, why="nothing is wrong with it"),
    "silent": Forecast(
        end=End.MOVED_BACK,
        by="installs",
        why="who died after the switch is not heard for half an hour, while who waits at the same sites is",
    ),
    "errors:20%": Forecast(end=End.MOVED_BACK, by="errors", why="two in a thousand answers failed before"),
    "slow:100%": Forecast(end=End.MOVED_BACK, by="slow", why="half of its answers are past the p95 that was"),
    "golden:sim-b": Forecast(
        end=End.INSTALLS_STOPPED,
        by="installs",
        why="two devices of a class fail before they serve it; the class gets no more installs, a person looks",
    ),
    "crashes": Forecast(end=End.MOVED_BACK, by="installs", why="it fails its trial after three crashes, everywhere"),
    "hangs": Forecast(end=End.MOVED_BACK, by="installs", why="it fails its trial after three hangs, everywhere"),
    "golden": Forecast(end=End.MOVED_BACK, by="installs", served=0, why="it fails before it serves, everywhere"),
    "unloadable": Forecast(end=End.MOVED_BACK, by="installs", served=0, why="it fails before it serves, everywhere"),
    "unsure": Forecast(
        end=End.HELD,
        by="unsure",
        why="six in ten answers are unsure, where one in ten was promised: suspicious, and not proven by four devices",
    ),
    "contrary": Forecast(
        end=End.PROMOTED, served=8, why="sure of other answers without an error: only who compares answers can see it"
    ),
}
OTHERWISE: Final[dict[tuple[str, str], Forecast]] = {
    ("all_at_once", "silent"): Forecast(
        end=End.BUDGET_HELD,
        by="reporting",
        why="nobody is left behind whose reports would tell silence from a dead line; half of each site stays healthy",
    ),
    ("site_atomic", "silent"): Forecast(
        end=End.HELD,
        by="reporting",
        why="the whole site falls silent, and nobody of it is left to tell that its line is up",
    ),
    ("all_at_once", "errors:20%"): Forecast(end=End.MOVED_BACK, by="errors", served=8, why="one wave has everybody"),
    ("all_at_once", "slow:100%"): Forecast(end=End.MOVED_BACK, by="slow", served=8, why="one wave has everybody"),
    ("all_at_once", "unsure"): Forecast(
        end=End.MOVED_BACK, by="unsure", served=8, why="eight devices say so, and one wave is looked at but once"
    ),
    ("blue_green", "golden:sim-b"): Forecast(
        end=End.INSTALLS_STOPPED, by="installs", served=0, why="installs stop before the wave switches"
    ),
    ("site_atomic", "golden:sim-b"): Forecast(
        end=End.MOVED_BACK,
        by="installs",
        served=0,
        why="the whole site has the class of hardware, and goes back as one",
    ),
    ("site_atomic", "crashes"): Forecast(
        end=End.HELD, by="installs", why="the first device that fails takes its site back: one device does not decide"
    ),
    ("site_atomic", "hangs"): Forecast(
        end=End.HELD, by="installs", why="the first device that fails takes its site back: one device does not decide"
    ),
    ("site_atomic", "unloadable"): Forecast(
        end=End.INSTALLS_STOPPED, by="installs", served=0, why="two devices of the site fail at once, the others follow"
    ),
    ("shadow", "crashes"): Forecast(end=End.MOVED_BACK, by="installs", served=0, why="it crashes on copies, unseen"),
    ("shadow", "hangs"): Forecast(end=End.MOVED_BACK, by="installs", served=0, why="it hangs on copies, unseen"),
    ("shadow", "contrary"): Forecast(
        end=End.HELD, by="shadow", why="seven of ten copies are answered otherwise, and people look at that"
    ),
}
AT_ONCE: Final = {
    *product(STRATEGIES, ("good", "silent")),
    ("blue_green", "golden:sim-b"),
    ("site_atomic", "crashes"),
    ("shadow", "crashes"),
    ("shadow", "contrary"),
}


def cells() -> list[Any]:
    """Every strategy against every nature."""
    return [
        pytest.param(
            strategy,
            nature,
            id=f"{strategy} {nature}",
            marks=() if (strategy, nature) in AT_ONCE else pytest.mark.soak,
        )
        for nature, strategy in product(EVERYWHERE, STRATEGIES)
    ]


@pytest.mark.parametrize(("strategy", "nature"), cells())
def test_forecast_of_a_nature_under_a_strategy(strategy: str, nature: str, tmp_path: Path) -> None:
    expected = OTHERWISE.get((strategy, nature), EVERYWHERE[nature])
    gates = GATES | ({"guards": {"outcome": {"metric": "accepted"}}} if strategy == "ab" else {})
    policy = HALVES | STRATEGIES[strategy] | {"silence_s": 1_800, "gates": gates}
    (world,) = one(
        climbing.rehearse(asked(fleet(tmp_path, *cameras(8), versions=PROMISES_LITTLE), policy, nature))
    ).worlds
    assert world.end is expected.end, f"{expected.why}; found {world.end}: {world.why}"
    found = world.moved_back_by if expected.end is End.MOVED_BACK else world.held_by
    if expected.end is not End.PROMOTED:
        assert expected.by in found, f"{expected.why}; found {found}: {world.why}"
    assert world.served <= expected.served


def test_every_strategy_and_every_nature_is_in_the_table() -> None:
    assert set(STRATEGIES) == {kind.KIND for kind in Strategy.__args__}
    asked_for = {natures.read(name).nature for name in EVERYWHERE}
    assert asked_for == {
        natures.read(each.partition("[")[0].partition(":")[0]).nature for each in natures.WORDS.split(", ")
    }
    assert Nature.DIES_SILENTLY in asked_for
