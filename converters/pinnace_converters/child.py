"""The child process of the sandbox: limits itself, does one job in its private folder, leaves an answer or a failure.

``python -m pinnace_converters.child KIND MEMORY_BYTES CPU_S FILE_BYTES``. Nothing heavy is imported before the limits.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_FAILED: Final = 3  # told apart from Python's own 1 and 2


def main(arguments: list[str]) -> int:
    """Run one job; the exit status is 0 only when an answer was left."""
    kind, memory_bytes, cpu_s, file_bytes = arguments[0], *map(int, arguments[1:4])
    limit(memory_bytes, cpu_s, file_bytes)
    say = _take_stdout()

    from pinnace_contract import codec
    from pinnace_converters import jobs, work
    from pinnace_converters.errors import ConversionCode, ConversionError, PassFailed

    folder = Path.cwd()
    try:
        answer = work.do(kind, (folder / jobs.JOB).read_bytes(), folder, say)
    except PassFailed as error:
        failure = jobs.Failure(code=error.code, text=error.problem[:4000], pass_name=error.name, done=error.before)
    except ConversionError as error:
        failure = jobs.Failure(code=error.code, text=str(error)[:4000])
    except MemoryError:
        mib = memory_bytes // 1024**2
        failure = jobs.Failure(
            code=ConversionCode.SANDBOX_ENDED, text=f"needs more than the {mib} MiB that it may have"
        )
    else:
        (folder / jobs.RESULT).write_bytes(codec.to_json(answer))
        return 0
    (folder / jobs.FAILURE).write_bytes(codec.to_json(failure))
    return _FAILED


def limit(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Limit this process for good, and end it with its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (wanted, wanted))
    # Python ignores it and turns a full file into an error, which a library then may not look at.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def _take_stdout() -> Callable[[str], None]:
    """Keep stdout for what we say; whatever libraries print goes to stderr."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(text: str) -> None:
        print(text.replace("\n", " "), file=channel, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
