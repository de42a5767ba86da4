"""Which runtimes this device has, asked of child processes: the supervisor itself never loads one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Final

from pinnace_agent.core.surroundings import HostRuntime
from pinnace_contract.latest import Runtime

log = logging.getLogger(__name__)

PROBE_S_MAX: Final = 120.0  # importing a runtime from a slow card takes many seconds
_KNOWN: Final = (Runtime.ONNX, Runtime.TFLITE)


def probe() -> tuple[HostRuntime, ...]:
    """Return the runtimes that load and run a tiny model here, with their versions."""
    children = [(runtime, _start(runtime)) for runtime in _KNOWN]
    found = []
    for runtime, child in children:
        try:
            answer, problem = child.communicate(timeout=PROBE_S_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            log.warning("runtime %s did not answer its probe in %.0f s", runtime, PROBE_S_MAX)
            continue
        if child.returncode == 0:
            found.append(HostRuntime(runtime=runtime, version=answer.strip()[:64]))
        else:
            log.info("no runtime for %s: %s", runtime, (problem.strip().splitlines() or ["its probe ended"])[-1])
    return tuple(found)


def _start(runtime: Runtime) -> subprocess.Popen[str]:
    kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "pinnace_agent.worker.probe", runtime],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**kept, "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
    )
