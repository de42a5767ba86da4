"""An event loop's time, for the workers of the devices that share it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class LoopTimer:
    """The ``runtime.Timer`` of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def now_s(self) -> float:
        """Return what the loop's clock says."""
        return self._loop.time()

    def after(self, seconds: float, action: Callable[[], None]) -> object:
        """Let something happen so much later."""
        return self._loop.call_later(seconds, action)
