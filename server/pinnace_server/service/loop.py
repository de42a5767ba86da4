"""The controller's thread: a tick a second, and one at once when something changed that a plan may follow from."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from pinnace_server.service.ports import Changes

TICK_S: Final = 1.0
BREATH_S: Final = 0.05  # at least so long between two ticks, however much changes
REST: Final = 2.0  # times as long as the last tick took
STOP_WAIT_S: Final = 30.0
_WAKING: Final = ("rollouts", "devices")

_log = logging.getLogger(__name__)


class Ticking(Protocol):
    """What is done at each tick."""

    def tick(self) -> None: ...


class ControllerLoop:
    """Runs until it is stopped."""

    def __init__(
        self, controller: Ticking, changes: Changes, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._controller = controller
        self._monotonic_s = monotonic_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._unsubscribe = changes.subscribe(self._heard)
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the tick at hand."""
        self._unsubscribe()
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_WAIT_S)

    def _heard(self, topic: str) -> None:
        if topic in _WAKING:
            self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            began_s = self._monotonic_s()
            try:
                self._controller.tick()
            except Exception:
                _log.exception("a tick failed and the next one is made")
            # A tick over a large fleet takes a while; most of the time must stay for everybody else.
            self._stopping.wait(max(BREATH_S, REST * (self._monotonic_s() - began_s)))
            self._wake.wait(TICK_S)
