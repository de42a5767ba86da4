"""Who is told that something changed. Listeners are called in the thread that made the change, after its commit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Final

from pinnace_contract.ids import DeviceId

OVERVIEW: Final = "overview"  # shows a little of everything, so it changes with everything

_log = logging.getLogger(__name__)


class ChangeHub:
    """``ports.Changes`` within this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[object, Callable[[str], None]] = {}

    def notify(self, topics: Iterable[str]) -> None:
        """Tell everybody, of ``overview`` too; a listener that fails does not keep the others from hearing."""
        with self._lock:
            listeners = list(self._listeners.values())
        for topic in dict.fromkeys([*topics, OVERVIEW]):
            for listener in listeners:
                try:
                    listener(topic)
                except Exception:
                    _log.exception("a listener failed on %s", topic)

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call ``listener`` with each topic from now on; returns how to stop."""
        ticket = object()
        with self._lock:
            self._listeners[ticket] = listener

        def stop() -> None:
            with self._lock:
                self._listeners.pop(ticket, None)

        return stop


class ChangedDevices:
    """Of which devices something was heard, from any thread, since the last look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._devices: set[DeviceId] = set()

    def heard(self, topic: str) -> None:
        """Note the device that a topic names; a listener of ``ChangeHub``."""
        kind, _, name = topic.partition(":")
        if kind == "device":
            with self._lock:
                self._devices.add(DeviceId(name))

    def take(self) -> list[DeviceId]:
        """Return them in order, and begin anew."""
        with self._lock:
            devices, self._devices = self._devices, set()
        return sorted(devices)
