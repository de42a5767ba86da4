"""The board at this moment, from /proc and /sys. What a board does not tell is None."""

from __future__ import annotations

import os
from pathlib import Path

from pinnace_contract.latest import Health, SystemHealth


class System:
    """Reads load since the last call; keep one per agent."""

    def __init__(self, store: Path, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._store = store
        self._proc = proc
        self._sys = sys
        self._busy_total = self._cpu_times()

    def health(self) -> Health:
        """Return what a report carries. ``cpu_share`` is of the time since the last call."""
        memory = self.memory()
        return Health(
            cpu_share=self._cpu_share(),
            memory_free_bytes=memory[0] if memory else None,
            memory_total_bytes=memory[1] if memory else None,
            disk_free_bytes=self._disk_free(),
            temperature_c=self._temperature(),
        )

    def summary(self) -> SystemHealth:
        """Return what a receipt carries."""
        memory = self.memory()
        return SystemHealth(
            memory_free_bytes=memory[0] if memory else None,
            memory_total_bytes=memory[1] if memory else None,
            disk_free_bytes=self._disk_free(),
            temperature_c=self._temperature(),
            load_1m=_load(),
        )

    def memory(self) -> tuple[int, int] | None:
        """Return available and total memory in bytes."""
        try:
            lines = (self._proc / "meminfo").read_text().splitlines()
            kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
            return kib["MemAvailable"] * 1024, kib["MemTotal"] * 1024
        except (OSError, KeyError, ValueError, IndexError):
            return None

    def _cpu_times(self) -> tuple[int, int] | None:
        try:
            numbers = [int(part) for part in (self._proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
        except (OSError, ValueError, IndexError):
            return None
        idle = sum(numbers[3:5])
        return sum(numbers) - idle, sum(numbers)

    def _cpu_share(self) -> float | None:
        before, now = self._busy_total, self._cpu_times()
        self._busy_total = now
        if before is None or now is None or now[1] <= before[1]:
            return None
        return round(min(1.0, max(0.0, (now[0] - before[0]) / (now[1] - before[1]))), 3)

    def _disk_free(self) -> int | None:
        try:
            room = os.statvfs(self._store)
        except OSError:
            return None
        return room.f_bavail * room.f_frsize

    def _temperature(self) -> float | None:
        zones = sorted((self._sys / "class" / "thermal").glob("thermal_zone*/temp"))
        readings = []
        for zone in zones:
            try:
                readings.append(int(zone.read_text()) / 1000)
            except (OSError, ValueError):
                continue
        return max(readings, default=None)


def hardware(proc: Path = Path("/proc")) -> str:
    """Return a short class of this board: the device tree's compatible name, or the machine's architecture."""
    try:
        names = (proc / "device-tree" / "compatible").read_text().split("\0")
        return names[0].split(",")[-1][:64]
    except (OSError, IndexError):
        return os.uname().machine[:64]


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None
