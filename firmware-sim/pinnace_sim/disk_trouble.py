"""What goes wrong on a device's disk, and when: a full disk, I/O errors, a power cut before an operation.

What a disk loses when the power goes is the disk's own (``disk.py``).
"""

from __future__ import annotations

from collections import Counter

from pinnace_agent.store_port import StorageBroken
from pinnace_sim.disk import Disk
from pinnace_sim.faults import FaultKind
from pinnace_sim.power import PowerCut


class DiskTrouble:
    """The trouble that a device is in for. ``counts`` are told of each fault that met an operation."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self.full_until_s = self.broken_until_s = 0.0
        self.broken_every = 1
        self.operations_left: int | None = None

    def be_calm(self) -> None:
        """Let nothing go wrong any more."""
        self.full_until_s = self.broken_until_s = 0.0
        self.operations_left = None

    def meet(self, operation: str, path: str, *, disk: Disk, capacity_bytes: int, now_s: float) -> None:
        """Do to a disk of so many bytes what is due before an operation.

        Raises:
            PowerCut: this operation is not begun any more.
            StorageBroken: it fails.
        """
        if self.operations_left is not None:
            self.operations_left -= 1
            if self.operations_left < 0:
                raise PowerCut(f"{operation} {path}")
        if now_s < self.full_until_s and operation in ("create", "allocate"):
            self._counts[FaultKind.DISK_FULL] += 1
            disk.capacity_bytes = 0
        else:
            disk.capacity_bytes = capacity_bytes
        if now_s < self.broken_until_s and disk.operations % self.broken_every == 0:
            self._counts[FaultKind.DISK_ERROR] += 1
            disk.operations += 1
            raise StorageBroken(operation, path, "Input/output error")
