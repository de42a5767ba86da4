"""What processes cost: memory and CPU as the kernel counts them, read from ``/proc`` while they run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_TICKS_S: Final = os.sysconf("SC_CLK_TCK")
_MIB: Final = 1 << 20
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Usage:
    """Some processes together. The peak is that of their sum, as far as it was looked at."""

    pids: tuple[int, ...]
    memory_bytes: int = 0
    peak_bytes: int = 0
    _cpu_s: dict[int, float] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        """CPU seconds since the processes began."""
        return sum(self._cpu_s.values())

    def look(self) -> None:
        """Read again; a process that has gone keeps the CPU time that it had."""
        memory = 0
        for pid in self.pids:
            memory += _resident_bytes(pid)
            cpu_s = _cpu_s(pid)
            if cpu_s is not None:
                self._cpu_s[pid] = cpu_s
        self.memory_bytes = memory or self.memory_bytes
        self.peak_bytes = max(self.peak_bytes, memory)

    def tree(self) -> dict[str, float]:
        """Return what the summary shows."""
        return {
            "memory_mib": round(self.memory_bytes / _MIB, 1),
            "memory_peak_mib": round(self.peak_bytes / _MIB, 1),
            "cpu_s": round(self.cpu_s, 1),
        }


def children(pid: int) -> Iterable[tuple[int, str]]:
    """Return the child processes of a process, with their programs' names."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for thread in threads:
        try:
            found = (thread / "children").read_text().split()
            yield from ((int(child), Path(f"/proc/{child}/comm").read_text().strip()) for child in found)
        except OSError:
            continue


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _cpu_s(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_S
    except (OSError, IndexError):
        return None
