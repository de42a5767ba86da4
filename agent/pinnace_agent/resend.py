"""When to send again what has not been acknowledged: pure back-off for the outbox and the spool.

Everything here may be sent twice; the server tells duplicates by their keys. What is sent stays until a signed
acknowledgement names it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

FIRST_S: Final = 5.0
LONGEST_S: Final = 300.0
TOGETHER_MAX: Final = 8  # messages of one kind under way at once: a link that returns is not flooded by its own past


@dataclass(slots=True)
class Resend:
    """What is under way, and when each is due again. Keys are the caller's: receipt ids, report numbers."""

    chance: random.Random
    due_s: dict[str, float] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)

    def due(self, keys: list[str], awake_s: float) -> list[str]:
        """Return which of the unacknowledged ``keys``, oldest first, should be sent now; forget all others."""
        kept = set(keys)
        for gone in [key for key in self.due_s if key not in kept]:
            self.forget(gone)
        under_way = sum(1 for key in keys if self.due_s.get(key, 0.0) > awake_s)
        ready = [key for key in keys if self.due_s.get(key, 0.0) <= awake_s]
        return ready[: max(0, TOGETHER_MAX - under_way)]

    def next_due_s(self, keys: Iterable[str]) -> float:
        """Return when the first of the unacknowledged ``keys`` is due."""
        return min((self.due_s.get(key, 0.0) for key in keys), default=math.inf)

    def sent(self, key: str, awake_s: float) -> None:
        """Note that a message left."""
        tries = self.tries.get(key, 0)
        wait_s = min(LONGEST_S, FIRST_S * 2.0 ** min(tries, 10)) * self.chance.uniform(0.8, 1.2)
        self.due_s[key] = awake_s + wait_s
        self.tries[key] = tries + 1

    def forget(self, key: str) -> None:
        """Stop counting a message that was acknowledged or dropped."""
        self.due_s.pop(key, None)
        self.tries.pop(key, None)

    def reconnected(self) -> None:
        """Everything may have been lost with the connection: all is due at once."""
        self.due_s.clear()
        self.tries.clear()
