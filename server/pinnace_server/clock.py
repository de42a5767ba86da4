"""The world's time and chance, as the ports that services are given."""

from __future__ import annotations

import secrets
import time


class SystemClock:
    """``ports.Clock``."""

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time()


class SystemChance:
    """``ports.Chance``."""

    def secret_hex(self, size_bytes: int) -> str:
        """Return that many unguessable bytes as hexadecimal digits."""
        return secrets.token_hex(size_bytes)
