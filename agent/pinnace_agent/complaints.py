"""Says in the log what was refused, each kind at most once a minute: anybody on the broker can cause as many as he
likes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

COMPLAIN_EVERY_S: Final = 60.0
COMPLAINTS_MAX: Final = 64


class Complaints:
    """What was refused a moment ago."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def about(self, what: str, why: str) -> None:
        """Log a refusal, unless this kind was logged a moment ago."""
        now_s = self._clock()
        said_s = self._said.get(what)
        if said_s is not None and now_s - said_s < COMPLAIN_EVERY_S:
            return
        if len(self._said) >= COMPLAINTS_MAX:
            self._said.clear()
        self._said[what] = now_s
        log.warning("%s is refused: %s", what, why)
