"""Runs one job in a fresh child process with limits, because the file it opens may be hostile.

Owns the process: private folder, cleared environment, limits, watching, and the words for how it ended. A limit or a
crash is an error here and nothing worse. The child can still read what this user can: walls around the file system are
a later adapter's (``bwrap``).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_converters import jobs
from pinnace_converters.errors import (
    ConversionCode,
    ConversionError,
    DataInvalid,
    DeclarationInvalid,
    ModelRefused,
    PassFailed,
    SandboxEnded,
)
from pinnace_converters.options import Limits
from pinnace_runtime.errors import shortened

HEARTBEAT_S: Final = 0.5  # how often the caller may cancel
_STDERR_BYTES_KEPT: Final = 4096
_LINES_MAX: Final = 10_000
_LINE_BYTES_MAX: Final = 400

Tick = Callable[[str], None]
"""Called with what the child says it is doing, and at least every ``HEARTBEAT_S`` with nothing; raising cancels."""

A = TypeVar("A", jobs.Inspected, jobs.Built, jobs.Measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job, the files it needs, and the files to bring back with the most bytes each may have."""

    name: str
    job: jobs.Job
    files: Mapping[str, bytes | Path]
    wanted: Mapping[str, int]


def run(work: Work, answer: type[A], limits: Limits, tick: Tick) -> tuple[A, dict[str, bytes]]:
    """Run a job to its end and return its answer and the files it left.

    Raises:
        ConversionError: the child's own words for what is wrong, or ``SandboxEnded``.
    """
    with tempfile.TemporaryDirectory(prefix="pinnace-convert-") as name:
        folder = Path(name)
        for target, content in work.files.items():
            _place(folder / target, content)
        (folder / jobs.JOB).write_bytes(codec.to_json(work.job))
        ended, stderr = _run_child(work.job.KIND, folder, limits, tick)
        if ended != 0:
            raise _failure(work.name, folder, ended, stderr, limits)
        try:
            result = codec.from_json(answer, _take(folder / jobs.RESULT, answer.BYTES_MAX))
            return result, {name: _take(folder / name, most) for name, most in work.wanted.items()}
        except (OSError, ContractError) as error:
            raise SandboxEnded(work.name, f"the child process left no usable answer ({error})") from error


def _place(target: Path, content: bytes | Path) -> None:
    if isinstance(content, bytes):
        target.write_bytes(content)
        return
    # A copy and not a link: the child may write to whatever it finds in its folder.
    with content.open("rb") as source, target.open("wb") as copy:
        while piece := source.read(1 << 20):
            copy.write(piece)


def _take(path: Path, size_bytes_max: int) -> bytes:
    """Read a file that a hostile process may have left: no link, no pipe, no more than was agreed."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path.name} is no regular file")
        content = file.read(size_bytes_max + 1)
    if len(content) > size_bytes_max:
        raise OSError(f"{path.name} has more than {size_bytes_max} bytes")
    return content


def _run_child(kind: str, folder: Path, limits: Limits, tick: Tick) -> tuple[int | str, bytes]:
    """Return the exit status, or why we ended it, and the end of what it wrote to stderr."""
    command = [sys.executable, "-P", "-m", "pinnace_converters.child", kind]
    command += [str(number) for number in (limits.memory_bytes, limits.cpu_s, limits.file_bytes)]
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONHASHSEED": "0",  # a library that walks a set of names would order a graph's nodes by it
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",  # a customer's model is nobody else's business
    }
    child = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        return _watch(child, limits, tick)
    finally:
        # However this ends (a limit, Ctrl-C, a cancelling caller), nothing of the child's session lives on.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()


def _watch(child: subprocess.Popen[bytes], limits: Limits, tick: Tick) -> tuple[int | str, bytes]:
    assert child.stdout is not None
    assert child.stderr is not None
    deadline = time.monotonic() + limits.wall_s
    errors, partial, lines = b"", b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(child.stderr, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(HEARTBEAT_S)
            if time.monotonic() > deadline:
                return f"took more than {limits.wall_s:g} s and was ended", errors
            if not ready:
                tick("")
            for key, _ in ready:
                piece = os.read(key.fd, 65536)
                if not piece:
                    selector.unregister(key.fileobj)
                elif key.fileobj is child.stderr:
                    errors = (errors + piece)[-_STDERR_BYTES_KEPT:]
                else:
                    *whole, partial = (partial + piece).split(b"\n")
                    partial = partial[-_LINE_BYTES_MAX:]
                    lines += len(whole)
                    if lines > _LINES_MAX:
                        return "talks without end and was ended", errors
                    for line in whole:
                        tick(shortened(line[:_LINE_BYTES_MAX].decode(errors="replace")))
    while True:
        try:
            return child.wait(HEARTBEAT_S), errors
        except subprocess.TimeoutExpired:
            tick("")
            if time.monotonic() > deadline:
                return f"took more than {limits.wall_s:g} s and was ended", errors


def _failure(work: str, folder: Path, ended: int | str, stderr: bytes, limits: Limits) -> ConversionError:
    if isinstance(ended, str):
        return SandboxEnded(work, f"the child process {ended}")
    if ended < 0:
        return SandboxEnded(work, _signalled(-ended, limits))
    try:
        failure = codec.from_json(jobs.Failure, _take(folder / jobs.FAILURE, jobs.Failure.BYTES_MAX))
    except (OSError, ContractError):
        said = shortened(stderr.decode(errors="replace")) or "nothing"
        return SandboxEnded(work, f"the child process ended with status {ended} and said {said}")
    return _said(work, failure)


def _said(work: str, failure: jobs.Failure) -> ConversionError:
    text = shortened(failure.text)
    match failure.known:
        case ConversionCode.MODEL_REFUSED:
            return ModelRefused(text)
        case ConversionCode.DATA_INVALID:
            return DataInvalid(text)
        case ConversionCode.DECLARATION_INVALID:
            return DeclarationInvalid(text)
        case ConversionCode.SANDBOX_ENDED:
            return SandboxEnded(work, text)
        case _:
            return PassFailed(shortened(failure.pass_name) or work, [shortened(name) for name in failure.done], text)


def _signalled(number: int, limits: Limits) -> str:
    mib = limits.memory_bytes // 1024**2
    known = {
        signal.SIGKILL: f"was killed (the processor limit is {limits.cpu_s} s, the memory limit {mib} MiB)",
        signal.SIGXCPU: f"used more than {limits.cpu_s} s of processor time",
        signal.SIGXFSZ: f"wrote a file of more than {limits.file_bytes} bytes",
        signal.SIGSEGV: "crashed (SIGSEGV): this file makes the library read memory that is not its own",
        signal.SIGABRT: f"aborted (SIGABRT): out of its {mib} MiB of memory, or a file that the library does not stand",
        signal.SIGBUS: "crashed (SIGBUS)",
        signal.SIGFPE: "divided by zero (SIGFPE)",
        signal.SIGILL: "met an instruction that this processor does not have (SIGILL)",
    }
    for each, words in known.items():
        if each == number:
            return f"the child process {words}"
    return f"the child process was ended by signal {number}"
