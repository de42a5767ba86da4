"""``pinnace convert`` as a person and as a pipeline use it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pinnace_converters import Draft, cli
from pinnace_converters.draft import Candidate, ConversionReport
from pinnace_converters.table import render
from tests.converters import graphs
from tests.runtime.tflite_writer import BIAS, WEIGHTS


def convert(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["convert", *map(str, arguments)])
    status: int = parsed.run(parsed)
    return status


@pytest.fixture
def linear(tmp_path: Path) -> tuple[Path, str, Path]:
    (tmp_path / "m.onnx").write_bytes(graphs.linear(WEIGHTS, BIAS))
    np.savez(tmp_path / "c.npz", x=np.random.default_rng(1).normal(size=(100, 4)).astype(np.float32))
    return tmp_path / "m.onnx", "--calibration", tmp_path / "c.npz"


def test_a_conversion_prints_a_table_and_leaves_a_draft(
    linear: tuple[Path, str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = convert(*linear, "--precisions", "fp32", "--out", tmp_path / "o")

    printed = capsys.readouterr()
    assert status == 0
    assert "m.onnx: onnx fp32" in printed.out
    assert "offered" in printed.out
    assert "p50 here" in printed.out
    assert "[1/3] build onnx fp32" in printed.err
    assert Draft.from_json((tmp_path / "o" / "draft.json").read_bytes()).variants


def test_json_prints_the_draft_and_nothing_else(
    linear: tuple[Path, str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = convert(*linear, "--precisions", "fp32", "--out", tmp_path / "o", "--json")

    assert status == 0
    assert Draft.from_json(capsys.readouterr().out.strip().encode()).golden.vectors == 16


def test_an_error_is_one_line_on_stderr_or_an_object(
    linear: tuple[Path, str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (linear[0], "--calibration", tmp_path / "gone.npz", "--out", tmp_path / "o")

    assert convert(*arguments) == 1
    assert (
        capsys.readouterr().err.strip().splitlines()[-1].startswith("pinnace convert: calibration data: no such file")
    )
    assert convert(*arguments, "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "DATA_INVALID"


def test_when_nothing_can_be_offered_the_table_says_why(
    linear: tuple[Path, str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = convert(*linear, "--precisions", "int8-static", "--agreement-min", "1", "--out", tmp_path / "o")

    printed = capsys.readouterr()
    assert status == 1
    assert "refused" in printed.out
    assert "nothing was written" in printed.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--precisions", "int3"], "expected some of fp32,int8-static, found 'int3'"),
        (["--agreement-min", "98"], "expected a number from 0 to 1"),
        (["--asset", "labels.txt"], "KIND:NAME=FILE"),
        (["--asset", "song:a=b"], "labels, thresholds"),
    ],
)
def test_a_wrong_argument_says_what_was_expected(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        convert("m.onnx", "--calibration", "c.npz", "--out", tmp_path / "o", *arguments)
    assert says in " ".join(capsys.readouterr().err.split())


def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(graphs.endless_loop())
    np.savez(tmp_path / "c.npz", x=np.ones((20, 4), np.float32))
    script = (
        "import argparse, sys; from pinnace_converters import cli; p = argparse.ArgumentParser(); "
        "cli.add_parser(p.add_subparsers()); a = p.parse_args(); sys.exit(a.run(a))"
    )
    arguments = ["convert", "m.onnx", "--calibration", "c.npz", "--out", "o"]
    child = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stderr is not None
        assert "source" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)

    assert child.returncode == cli.CANCELLED
    assert "cancelled; nothing was written" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.npz", "m.onnx"]


def test_names_from_outside_cannot_paint_the_terminal(digit_draft: tuple[Draft, Path]) -> None:
    report = digit_draft[0].report
    hostile = Candidate(
        name="\x1b[2J\x07evil", runtime=report.source.runtime, offered=False, reasons=("\x1b]0;title\x07",)
    )
    shown = render(
        ConversionReport(
            source=report.source,
            candidates=(*report.candidates, hostile),
            calibration_rows=1,
            heldout_rows=1,
            held_out=True,
        )
    )

    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "evil" in shown
