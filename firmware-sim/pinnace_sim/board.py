"""What a simulated board tells of its memory and disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pinnace_contract.latest import Health, SystemHealth

CPU_SHARE: Final = 0.1  # nobody computes here


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Every figure is looked up when the agent asks: disks fill, and a rehearsal takes memory away."""

    memory_free_bytes: Callable[[], int]
    memory_total_bytes: Callable[[], int]
    disk_free_bytes: Callable[[], int]

    def health(self) -> Health:
        """Return what a report carries."""
        return Health(
            cpu_share=CPU_SHARE,
            memory_free_bytes=self.memory_free_bytes(),
            memory_total_bytes=self.memory_total_bytes(),
            disk_free_bytes=self.disk_free_bytes(),
        )

    def summary(self) -> SystemHealth:
        """Return what the device's state carries."""
        return SystemHealth(
            memory_free_bytes=self.memory_free_bytes(),
            memory_total_bytes=self.memory_total_bytes(),
            disk_free_bytes=self.disk_free_bytes(),
        )
