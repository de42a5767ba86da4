"""When the controller's thread ticks."""

from __future__ import annotations

import threading

from pinnace_server.service.changes import ChangeHub
from pinnace_server.service.loop import ControllerLoop

PATIENCE_S = 60.0


class Ticks:
    """Counts ticks, and fails at some."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.n = 0

    def tick(self) -> None:
        with self.condition:
            self.n += 1
            self.condition.notify_all()
            if self.n == 2:
                raise RuntimeError("a step of the controller itself")

    def reach(self, n: int) -> bool:
        with self.condition:
            return self.condition.wait_for(lambda: self.n >= n, PATIENCE_S)


def test_it_ticks_at_once_when_a_rollout_changed_and_goes_on_after_a_failure() -> None:
    ticks, changes = Ticks(), ChangeHub()
    loop = ControllerLoop(ticks, changes)
    loop.start()
    for n in range(1, 5):
        assert ticks.reach(n)
        changes.notify(["rollouts"])
    loop.stop()
    after = ticks.n
    changes.notify(["rollouts"])
    assert ticks.n == after


def test_listener_that_fails_keeps_nobody_from_hearing() -> None:
    changes, heard = ChangeHub(), []

    def broken(_: str) -> None:
        raise RuntimeError

    changes.subscribe(broken)
    stop = changes.subscribe(heard.append)
    changes.notify(["devices", "devices"])
    assert heard == ["devices", "overview"]
    stop()
    changes.notify(["devices"])
    assert heard == ["devices", "overview"]
