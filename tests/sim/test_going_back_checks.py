"""That the check of rollbacks knows who is to leave a release, and who may go on with it."""

from __future__ import annotations

import pytest

from pinnace_sim import going_back
from pinnace_sim.checks import Rule
from pinnace_sim.plan import OrderKind, Plan
from pinnace_sim.scenarios.ending import played
from pinnace_sim.scenarios.form import begun, device, first, made, withdrawn, world
from pinnace_sim.world import World


def withdrawing(kind: OrderKind) -> Plan:
    """Return a world in which a version is withdrawn while one device keeps it and the next wave waits."""
    begins = begun("2", 3_600.0, waves=[1, "rest"], gates={"soak_s": 7_200}, holdback=None)
    devices = [device(name) for name in "abc"]
    return world(first(), made("2", 3_590.0), begins, withdrawn(kind, "2", 5_400.0), devices=devices, hours=2.0)


@pytest.mark.parametrize(("kind", "left"), [(OrderKind.RETIRE, 1), (OrderKind.STOP, 0)])
def test_what_runs_a_retired_version_goes_on_and_what_runs_a_stopped_one_leaves_it(kind: OrderKind, left: int) -> None:
    ending = played(withdrawing(kind))
    assert ending.outcome.violation is None
    assert len(ending.served("2")) == 1
    assert [ending.serves(name) for name in "abc"].count("2") == left


def test_a_check_that_took_retiring_for_moving_back_would_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(going_back, "_is_retired", lambda tables, rollout: False)
    violation = World(withdrawing(OrderKind.RETIRE)).run().violation
    assert violation is not None
    assert violation.rule is Rule.RAN_ON
