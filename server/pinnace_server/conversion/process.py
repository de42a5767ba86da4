"""Starts the child, reads what it tells, cancels it. Implements ``ports.Conversion``."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from pinnace_server.errors import Code, Refused, Unavailable
from pinnace_server.service.conversions import ConversionFailed

POLL_S: Final = 0.2
END_WAIT_S: Final = 15.0  # a cancelled child cleans up after its own children; then it is killed with them
LINE_BYTES_MAX: Final = 2 * 1024 * 1024
STDERR_BYTES_KEPT: Final = 2048


class ChildConversion:
    """One conversion after another, each in a process of its own."""

    def run(
        self, request: str, folder: Path, progress: Callable[[str, float], None], cancelled: Callable[[], bool]
    ) -> str:
        """Convert what lies in ``folder`` into ``folder/draft``; return the report as JSON. See the port."""
        errors = folder / "stderr"
        with errors.open("wb") as stderr:
            child = subprocess.Popen(
                [sys.executable, "-m", "pinnace_server.conversion.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # so that its own children can be ended with it
            )
        assert child.stdin is not None
        assert child.stdout is not None
        last: dict[str, Any] = {}
        try:
            child.stdin.write(json.dumps({"folder": str(folder), "request": request}).encode() + b"\n")
            child.stdin.flush()
            for line in _lines(child, cancelled):
                last = json.loads(line)
                if "what" in last:
                    progress(str(last["what"]), float(last["share"]))
            if cancelled():
                raise Refused("the conversion was cancelled", code=Code.CANCELLED)
        except BrokenPipeError as error:
            raise _died(errors) from error
        finally:
            _end(child)
        if "message" in last:
            report = json.dumps(last["report"]) if last.get("report") else ""
            raise ConversionFailed(str(last["message"]), reason=str(last["code"]), report=report)
        if "report" not in last or child.returncode != 0:
            raise _died(errors)
        return json.dumps(last["report"])


def _lines(child: subprocess.Popen[bytes], cancelled: Callable[[], bool]) -> Iterator[bytes]:
    assert child.stdout is not None
    held = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while not cancelled():
            if not selector.select(POLL_S):
                continue
            piece = os.read(child.stdout.fileno(), 64 * 1024)
            if not piece:
                return
            held += piece
            *whole, held = held.split(b"\n")
            if len(held) > LINE_BYTES_MAX:
                raise Unavailable("the conversion's child said something too long to be true")
            yield from whole


def _end(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    deadline = time.monotonic() + END_WAIT_S
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(POLL_S / 4)
    if child.poll() is None:
        # Not collected yet, so its id is still its own, and so is its group's.
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _died(errors: Path) -> Unavailable:
    said = errors.read_bytes()[-STDERR_BYTES_KEPT:].decode(errors="replace").strip()
    return Unavailable(f"the conversion's process ended by itself: {said.splitlines()[-1] if said else 'no word'}")
