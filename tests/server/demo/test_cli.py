"""`pinnace demo` on the command line: what it refuses, and that it costs the other verbs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pinnace_server.cli.program import main
from pinnace_server.demo import cli
from pinnace_server.demo.errors import DemoError


def test_json_without_once_is_refused_because_it_would_never_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--json"]) == 1
    assert "--json needs --once" in capsys.readouterr().err


def test_a_folder_that_is_not_empty_is_refused_in_words_and_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", "--once", "--json", "--data-dir", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "begins with an empty folder" in told.err
    assert json.loads(told.out)["as_told"] is False
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_with_a_name_too_long_for_sockets_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ("long" * 30)
    assert main(["demo", "--once", "--data-dir", str(folder)]) == 1
    assert "name a shorter --data-dir" in capsys.readouterr().err
    assert not folder.exists()


def test_a_temporary_folder_is_kept_only_when_its_logs_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with cli._folder(None) as good:
        (good / "file").write_text("")
    assert not good.exists()

    def fail() -> None:
        with cli._folder(None) as kept:
            raise DemoError(str(kept))

    with pytest.raises(DemoError) as caught:
        fail()
    kept = Path(str(caught.value))
    assert kept.is_dir()
    assert f"logs and files are kept in {kept}" in capsys.readouterr().err
    kept.rmdir()


def test_the_verb_costs_the_others_no_import() -> None:
    heavy = ("numpy", "onnx", "rich", "sklearn")
    code = f"import sys, pinnace_server.demo.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
