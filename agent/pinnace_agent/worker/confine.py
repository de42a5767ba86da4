"""What a worker does to itself before it touches a model: limits, no new rights, and no life without its supervisor.

The kernel is asked through libc directly: the interpreter has no call for it, and numpy loads ctypes anyway.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import Final

from pinnace_agent.worker import seccomp
from pinnace_agent.worker.protocol import Confinement

# linux/prctl.h
PR_SET_PDEATHSIG: Final = 1
PR_SET_NO_NEW_PRIVS: Final = 38

DESCRIPTORS_MAX: Final = 1280  # the most connections that may be set, and what a runtime opens


def confine(limits: Confinement, supervisor_pid: int) -> None:
    """Apply all limits. What this system does not know or allow is left out: each of them is one wall among several."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor_pid:
        os.kill(os.getpid(), signal.SIGKILL)  # it died before we could ask to die with it
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _limit(resource.RLIMIT_CORE, 0)  # a dump of a model is a leak and fills the disk
    _limit(resource.RLIMIT_NOFILE, DESCRIPTORS_MAX)
    if limits.threads == 1:
        _limit(resource.RLIMIT_NPROC, 0)  # no thread and no child; it counts a user's processes, so more cannot be said
    if limits.data_bytes:
        _limit(resource.RLIMIT_DATA, limits.data_bytes)
    if limits.niceness:
        os.nice(limits.niceness)
    seccomp.deny()


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (bound, bound))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0)
