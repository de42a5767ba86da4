"""Install outcomes: a sequential test on devices, and the few failures after which nobody waits for statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pinnace_server.domain.gates.evalues import averaged
from pinnace_server.domain.gates.evidence import Guard, Install, InstallResult
from pinnace_server.domain.gates.guards import Contributor, Reading
from pinnace_server.domain.gates.settings import INSTALL_STOP_EVIDENCE

USUAL: Final = 0.01  # of devices fail to install a good release
BAD: Final = 0.08
WORSE_THAN_BAD: Final = 0.3  # most bad releases fail on far more devices than on a twelfth
BETTER: Final = 0.002
LOAD_FAILURES: Final = 2
LOAD_FAILURE_ATTEMPTS: Final = 40

_RELEASE_FAILED: Final = frozenset(
    {
        InstallResult.REVERTED,
        InstallResult.FAILED,
        InstallResult.GOLDEN_MISMATCH,
        InstallResult.LOAD_FAILED,
        InstallResult.CRASH_LOOP,
    }
)
_LOADING: Final = frozenset({InstallResult.LOAD_FAILED, InstallResult.CRASH_LOOP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Installs:
    """What the attempts of a wave say. A stopped wave assigns no more devices; what runs goes on running."""

    reading: Reading | None
    stopped: bool
    load_failures: int
    stopped_hardware: tuple[str, ...]
    device_troubles: int
    unreachable: int


def read(installs: Sequence[Install], margin: float) -> Installs:
    """Judge attempts in the order of their receipts; a device is judged by its last one."""
    last = {each.device: each for each in installs}
    counted = [each for each in last.values() if each.result in _RELEASE_FAILED | {InstallResult.COMMITTED}]
    failed = [each for each in counted if each.result in _RELEASE_FAILED]
    early = [each for each in installs if each.result is not InstallResult.UNREACHABLE][:LOAD_FAILURE_ATTEMPTS]
    load_failures = len({each.device for each in early if each.result in _LOADING})
    reading = _reading(len(counted), failed, margin) if counted else None
    return Installs(
        reading=reading,
        stopped=load_failures >= LOAD_FAILURES
        or (reading is not None and reading.worse >= math.log(INSTALL_STOP_EVIDENCE)),
        load_failures=load_failures,
        stopped_hardware=tuple(
            sorted({each.hardware for each in installs if each.result is InstallResult.GOLDEN_MISMATCH})
        ),
        device_troubles=sum(each.result is InstallResult.DEVICE_TROUBLE for each in last.values()),
        unreachable=sum(each.result is InstallResult.UNREACHABLE for each in last.values()),
    )


def worse(devices: int, failures: int) -> float:
    """Return the log e-value against "at most 1 % of devices fail" (Wald's test, two alternatives averaged)."""
    return averaged(tuple((_ratio(devices, failures, bad, USUAL), 0.5) for bad in (BAD, WORSE_THAN_BAD)))


def not_worse(devices: int, failures: int, margin: float) -> float:
    """Return the log e-value against "at least the margin more than 1 % of devices fail"."""
    return averaged(
        tuple(
            (_ratio(devices, failures, good, USUAL + margin), weight) for good, weight in ((USUAL, 0.8), (BETTER, 0.2))
        )
    )


def _reading(devices: int, failed: Sequence[Install], margin: float) -> Reading:
    failures = len(failed)
    return Reading(
        guard=Guard.INSTALLS,
        worse=worse(devices, failures),
        not_worse=not_worse(devices, failures, margin),
        worse_without=worse(devices - 1, failures - 1) if failures else None,
        device=failed[0].device if failed else None,
        contributors=tuple(Contributor(device=each.device, bad=1, expected=USUAL) for each in failed[:5]),
        trials=devices,
        bad=failures,
    )


def _ratio(devices: int, failures: int, one: float, other: float) -> float:
    return failures * math.log(one / other) + (devices - failures) * math.log((1 - one) / (1 - other))
