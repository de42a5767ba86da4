"""Ten thousand devices on one broker and one server of this machine: what is lost, and what everybody costs.

Real agents with played models: they connect, are assigned a model of 1 MB, commit it, and report once a minute for ten
minutes. Broker, server and simulator share the machine and are measured apart. ``--quick`` runs a thousand devices for
two minutes, and its figures say so in their names. Needs mosquitto; takes about 20 minutes on two idle cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import figures
from figures import Figure

DEVICES: Final = 10_000
MINUTES: Final = 10
QUICK_DEVICES: Final = 1_000
QUICK_MINUTES: Final = 2
MODEL_BYTES: Final = 1_000_000
REPORT_EVERY_S: Final = 60
PROCESSES: Final = 2


def main() -> None:
    """Measure and print."""
    figures.measure("fleet", {"fleet": fleet}, figures.arguments(__doc__ or ""))


def fleet(quick: bool) -> Iterator[Figure]:
    """Let a fleet connect, be updated and report."""
    devices, minutes = (QUICK_DEVICES, QUICK_MINUTES) if quick else (DEVICES, MINUTES)
    return _figures(_run(devices, minutes), f"fleet_{devices}")


def _run(devices: int, minutes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "pinnace_sim", "fleet", "--profile", "steady", "--json"]
    command += ["--devices", str(devices), "--minutes", str(minutes), "--processes", str(PROCESSES)]
    command += ["--model-bytes", str(MODEL_BYTES), "--report-every-s", str(REPORT_EVERY_S)]
    # 1 says that something was lost: that is a figure. Its progress goes where ours would.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    if done.returncode not in (0, 1):
        raise SystemExit(f"the fleet could not be run: exit status {done.returncode}")
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def _figures(summary: dict[str, Any], name: str) -> Iterator[Figure]:
    yield Figure(figure=f"{name}_lost", value=summary["lost"], unit="count", aim="<= 0")
    yield Figure(figure=f"{name}_committed", value=summary["receipts"]["committed"], unit="count")
    yield Figure(figure=f"{name}_reports", value=summary["reports"]["received"], unit="count")
    yield Figure(figure=f"{name}_reconnects", value=summary["reconnects"], unit="count")
    for stage in ("connect", "commit"):
        yield Figure(figure=f"{name}_{stage}", value=summary["seconds"][stage], unit="s")
    for what in ("assigned_to_committed", "report_to_acknowledged"):
        for share in ("p50", "p99"):
            yield Figure(figure=f"{name}_{what}_{share}", value=summary["percentiles_s"][what][share], unit="s")
    for who in ("broker", "server", "simulator"):
        cost = summary["costs"][who]
        yield Figure(figure=f"{name}_{who}_memory", value=cost["memory_peak_mib"], unit="MiB")
        yield Figure(figure=f"{name}_{who}_cpu", value=cost["cpu_s"], unit="s")


if __name__ == "__main__":
    main()
