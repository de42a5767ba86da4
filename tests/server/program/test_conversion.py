"""The child process that converts: stopped when it is told to, and never taking the server with it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from pinnace_contract import codec
from pinnace_contract.ids import digest_of
from pinnace_server.conversion.process import ChildConversion
from pinnace_server.errors import Code, Refused, Unavailable
from pinnace_server.service.conversions import ConversionFailed, ConversionRequest

REQUEST = ConversionRequest(source=digest_of(b"a"), calibration=digest_of(b"b"))
TEXT = codec.to_json(REQUEST).decode()


def lay_out(folder: Path, model: bytes) -> None:
    (folder / REQUEST.source_file).write_bytes(model)
    (folder / REQUEST.calibration_file).write_bytes(b"not an archive")


def test_model_that_is_refused_is_refused_with_the_converters_words(tmp_path: Path) -> None:
    lay_out(tmp_path, b"not a model")
    with pytest.raises(ConversionFailed) as refused:
        ChildConversion().run(TEXT, tmp_path, lambda *_: None, lambda: False)
    assert refused.value.reason
    assert not (tmp_path / "draft").exists()


def test_cancelled_child_is_gone(tmp_path: Path) -> None:
    lay_out(tmp_path, b"not a model")
    with pytest.raises(Refused) as refused:
        ChildConversion().run(TEXT, tmp_path, lambda *_: None, lambda: True)
    assert refused.value.code is Code.CANCELLED


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "no word"),
        ("import sys; sys.exit('out of memory')", "out of memory"),
        ("pass", "no word"),
    ],
)
def test_child_that_dies_is_an_error_and_nothing_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    fake_python(tmp_path, monkeypatch, script)
    with pytest.raises(Unavailable, match=said):
        ChildConversion().run(TEXT, tmp_path, lambda *_: None, lambda: False)


def test_child_that_does_not_listen_is_killed_with_its_own_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinnace_server.conversion.process.END_WAIT_S", 0.2)
    fake_python(
        tmp_path,
        monkeypatch,
        "import json, os, time\n"
        "child = os.fork()\n"
        "if child: print(json.dumps({'what': str(child), 'share': 0}), flush=True)\n"
        "time.sleep(600)",
    )
    heard, said = threading.Event(), []

    def progress(what: str, _: float) -> None:
        said.append(int(what))
        heard.set()

    with pytest.raises(Refused):
        ChildConversion().run(TEXT, tmp_path, progress, heard.is_set)
    # The grandchild is its own reaper's now; it is dead or being buried, and runs no more.
    state = Path(f"/proc/{said[0]}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


def fake_python(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    import sys

    (folder / "script.py").write_text(script)
    program = folder / "python"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {folder}/script.py\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))


def test_request_survives_its_way_through_the_database() -> None:
    assert codec.from_json(ConversionRequest, json.dumps(json.loads(TEXT)).encode()) == REQUEST
    assert (
        os.sep
        not in ConversionRequest(
            source=REQUEST.source, calibration=REQUEST.calibration, source_name="../../etc/passwd"
        ).source_file
    )
