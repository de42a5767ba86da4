"""Run a program that ends when the process that started it ends, however that happens (Linux).

Started as a file of its own (``python -IS tethered.py PARENT PROGRAM ARGS…``): nothing of the server is imported.
The kernel forgets the wish on fork but keeps it over exec, so it is made here and then this process becomes PROGRAM.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for SIGTERM at the parent's death, make sure that it still lives, and become the program."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before the wish was made
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 -- no shell, and the program is the one the server found


if __name__ == "__main__":
    main()
