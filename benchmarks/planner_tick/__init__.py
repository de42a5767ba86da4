"""What one tick of the controller costs over fleets of 1,000, 10,000 and 100,000 devices, in one rollout in waves.

A server with the real store, signer and services, in a process of its own over a data directory that was filled before
(``fleet``). Kinds of tick: ``idle``, a wave is under way and nothing was heard; ``usual``, 200 devices were heard, and
50 of them committed, so that 50 others are assigned and signed for; ``gates``, the look at them; ``everything``, the
five-minutely round, before which gates look as well. The same four again, ``sites_``, with a rollout that moves whole
sites: usual is then that five sites are decided about. The figure is the worst of these eight, each the median of a
few, and each the worse of two ticks: what is much work is put off to the next one where gates look.
``first`` is the tick after a start. A wave that begins is told apart: who moves is decided and written down in one
tick; what 1,000 devices are told is signed over several. Seconds are by the clock, ``_cpu`` those of the processor: on
a machine that is busy with others the clock says little.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from figures import Figure

SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000}
LARGEST = "100k"
CANARY, SITE_ATOMIC = "canary", "site_atomic"
KINDS = ("idle", "usual", "gates", "everything")
TIMES, TIMES_QUICK = 3, 1
TICK_AIM, MEMORY_AIM = "<= 2", "<= 1024"


def measure(quick: bool) -> Iterator[Figure]:
    """Measure each fleet."""
    times = TIMES_QUICK if quick else TIMES
    for size, devices in SIZES.items():
        with tempfile.TemporaryDirectory(prefix="pinnace-planner-tick-") as folder:
            yield from _of(size, devices, Path(folder), times)


def _of(size: str, devices: int, folder: Path, times: int) -> Iterator[Figure]:
    name, largest = f"planner_tick_{size}", size == LARGEST
    filled = folder / "filled"
    _child("fill", filled, devices, times, CANARY)
    ticked, begun = (_over_a_copy(what, filled, devices, times, CANARY) for what in ("play", "begin"))
    planned = _child("plan", filled, devices, times, CANARY)
    shutil.rmtree(filled)
    _child("fill", filled, devices, times, SITE_ATOMIC)
    sites = _over_a_copy("play", filled, devices, times, SITE_ATOMIC)
    for kind in ("first", *KINDS):
        yield Figure(figure=f"{name}_{kind}", value=ticked[kind], unit="s")
        yield Figure(figure=f"{name}_{kind}_cpu", value=ticked[f"{kind}_cpu"], unit="s")
    for part in ("decided", "executed", "signed"):
        yield Figure(figure=f"{name}_wave_{part}", value=begun[part], unit="s")
    yield Figure(figure=f"{name}_wave_devices", value=begun["sent"], unit="count")
    yield Figure(figure=f"{name}_wave_ticks", value=begun["ticks"], unit="count")
    for kind in KINDS:
        yield Figure(figure=f"{name}_sites_{kind}", value=sites[kind], unit="s")
        yield Figure(figure=f"{name}_sites_{kind}_cpu", value=sites[f"{kind}_cpu"], unit="s")
    yield Figure(figure=f"{name}_planner_alone", value=planned["plan"], unit="s")
    worst = max(found[kind] for found in (ticked, sites) for kind in KINDS)
    cpu = max(found[f"{kind}_cpu"] for found in (ticked, sites) for kind in KINDS)
    yield Figure(figure=f"{name}_per_device", value=1e6 * worst / devices, unit="us")
    yield Figure(figure=f"{name}_cpu", value=cpu, unit="s")
    yield Figure(figure=name, value=worst, unit="s", aim=TICK_AIM if largest else "")
    memory = max(found["peak_mib"] for found in (ticked, begun, sites))
    yield Figure(figure=f"{name}_rss", value=memory, unit="MiB", aim=MEMORY_AIM if largest else "")


def _over_a_copy(what: str, filled: Path, devices: int, times: int, kind: str) -> Mapping[str, float]:
    data = filled.with_name(what)
    shutil.copytree(filled, data)
    found = _child(what, data, devices, times, kind)
    shutil.rmtree(data)
    return found


def _child(what: str, data: Path, devices: int, times: int, kind: str) -> Mapping[str, float]:
    command = [sys.executable, "-m", "planner_tick", what, str(data), str(devices), str(times), kind]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True, check=True)
    found: Mapping[str, float] = json.loads(done.stdout)
    return found
