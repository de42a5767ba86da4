"""The registry at the command line, against a server that runs, with real conversions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinnace_converters import conversion
from pinnace_converters.options import Options
from pinnace_converters.tools import Tool
from pinnace_server.cli.aliases import spelled_out
from pinnace_server.conversion import asked
from pinnace_server.service.conversions import ConversionRequest
from tests.brokers import running_mosquitto
from tests.converters.graphs import digits, digits_mlp
from tests.needs import need
from tests.server.program.running import Serving, serving
from tests.server.program.test_verbs import Terminal, model_files, terminal

__all__ = ["model_files", "terminal"]  # fixtures


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serving")
    with (
        running_mosquitto(need("mosquitto"), folder / "broker") as broker,
        serving(folder, "--broker", broker.url) as made,
    ):
        yield made


@pytest.fixture
def digit_files(tmp_path: Path) -> Path:
    """A small classifier of digits, which is worth quantizing, and rows for it."""
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(digits_mlp())
    x, y = digits()
    np.savez(folder / "data.npz", x=x[:300], labels=y[:300])
    return folder


def add(terminal: Terminal, model: str, version: str, files: Path, *more: str, status: int = 0) -> str:
    source, data = str(files / "model.onnx"), str(files / "data.npz")
    precisions = () if "--precisions" in more else ("--precisions", "fp32")
    return terminal.run(
        "version", "add", model, version, source, "--calibration", data, *precisions, *more, status=status
    )


def dictionary(answer: object) -> dict[str, Any]:
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["alias", "m", "production", "1"], ["alias", "set", "m", "production", "1"]),
        (["alias", "m", "production", "--json"], ["alias", "set", "m", "production", "--json"]),
        (["alias", "history", "m"], ["alias", "history", "m"]),
        (["alias", "set", "m", "a", "1"], ["alias", "set", "m", "a", "1"]),
        (["alias", "--help"], ["alias", "--help"]),
        (["alias"], ["alias"]),
        (["model", "list"], ["model", "list"]),
        ([], []),
    ],
)
def test_short_form_of_alias_is_set(typed: list[str], meant: list[str]) -> None:
    assert spelled_out(typed) == meant


@pytest.mark.slow
def test_version_with_card_and_lineage_is_reproduced(terminal: Terminal, digit_files: Path, tmp_path: Path) -> None:
    terminal.run("model", "add", "sorter")
    terminal.run("model", "set", "sorter", "--card-required", "intended_use,limitations")
    (tmp_path / "card.md").write_text("---\nintended_use: sorting\n---\n# Sorter\n")
    refused = add(terminal, "sorter", "1", digit_files, "--card", str(tmp_path / "card.md"), status=1)
    assert "missing: limitations" in refused
    (tmp_path / "card.md").write_text("---\nintended_use: sorting\nlimitations: fog\n---\n# Sorter\n")
    (tmp_path / "lock.txt").write_text("numpy==2.0\n")
    said = add(
        terminal,
        "sorter",
        "1",
        digit_files,
        *("--card", str(tmp_path / "card.md"), "--code-commit", "0123ABCDEF", "--data-digest", "1" * 64),
        *("--environment", str(tmp_path / "lock.txt"), "--precisions", "fp32,int8-static"),
    )
    assert "0123abcdef" in said
    assert "(the file is kept)" in said
    assert "fog" in terminal.run("version", "show", "sorter", "1")

    folder = tmp_path / "again"
    found = dictionary(terminal.json("reproduce", "sorter", "1", "--keep", str(folder)))
    assert found["same"]
    assert {each["variant"]: each["same"] for each in found["variants"]} == {
        "onnx fp32": True,
        "onnx int8-static": True,
    }
    assert (found["tools_recorded"], found["other_tools"]) == (True, [])
    assert (folder / "environment").read_text() == "numpy==2.0\n"
    assert (folder / "draft" / "draft.json").is_file()
    assert "not empty" in terminal.run("reproduce", "sorter", "1", "--keep", str(folder), status=1)


@pytest.mark.slow
def test_conversion_that_comes_out_otherwise_says_where_and_ends_with_1(
    terminal: Terminal, digit_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(terminal, "other", "1", digit_files, "--precisions", "fp32,int8-static")
    options = asked.options_of

    def with_other_ranges(request: ConversionRequest, folder: Path) -> Options:
        with np.load(folder / "calibration.npz") as data:
            rows = dict(data)
        np.savez(folder / "calibration.npz", x=rows["x"] * 3, labels=rows["labels"])
        return options(request, folder)

    monkeypatch.setattr(asked, "options_of", with_other_ranges)
    monkeypatch.setattr(conversion, "tools", lambda: (Tool(name="onnx", version="0.1"),))
    found = json.loads(terminal.run("reproduce", "other", "1", "--json", status=1))
    assert {each["variant"]: each["same"] for each in found["variants"]} == {
        "onnx fp32": True,
        "onnx int8-static": False,
    }
    (different,) = (each for each in found["variants"] if not each["same"])
    assert different["first_difference"].startswith("quantize-static with onnxruntime")
    assert {each["name"]: each["here"] for each in found["other_tools"]}["onnx"] == "0.1"
    said = terminal.run("reproduce", "other", "1", status=1)
    assert "other 1: not the same" in said


@pytest.mark.slow
def test_version_that_cannot_be_reproduced_says_why(terminal: Terminal, model_files: Path) -> None:
    add(terminal, "gone", "1", model_files, "--forget-files")
    out, data = str(model_files / "out"), str(model_files / "data.npz")
    terminal.run(
        "convert", str(model_files / "model.onnx"), "--calibration", data, "--out", out, "--precisions", "fp32"
    )
    terminal.run("version", "add", "gone", "2", "--draft", out)
    assert "its files were not kept" in terminal.run("reproduce", "gone", "1", status=1)
    assert "converted elsewhere" in terminal.run("reproduce", "gone", "2", status=1)
    failed = json.loads(terminal.run("reproduce", "gone", "2", "--json", status=1))
    assert failed["error"]["code"] == "NOT_KEPT"


@pytest.mark.slow
def test_alias_is_ruled_promoted_and_tells_its_history(terminal: Terminal, model_files: Path) -> None:
    add(terminal, "gate", "1", model_files)
    terminal.run("alias", "gate", "staging", "1", "--reason", "new")
    terminal.run("alias", "rule", "gate", "production", "--from", "staging", "--needs", "none", "--approvals", "1")
    assert "production is promoted from staging" in terminal.run("alias", "rule", "gate")
    assert "has a rule" in terminal.run("alias", "gate", "production", "1", status=1)
    promotion = ("promote", "gate", "--from", "staging", "--to", "production")
    assert "missing: one person must approve, nobody did" in terminal.run(*promotion, "--dry-run")
    assert "one person must approve" in terminal.run(*promotion, status=1)
    assert "production of gate points at 1 now" in terminal.run(*promotion, "--approve", "--reason", "checked")
    assert "promoted" in terminal.run("alias", "history", "gate", "production")
    rows = terminal.json("alias", "history", "gate")
    assert isinstance(rows, list)
    assert [(row["alias"], row["reason"]) for row in rows] == [("production", "checked"), ("staging", "new")]
    terminal.run("alias", "gate", "production", "--force", "--reason", "recalled")
    assert "recalled" in terminal.run("alias", "history", "gate", "production")
    terminal.run("alias", "rule", "gate", "production", "--remove")
    assert "every alias of gate has no rule" in terminal.run("alias", "rule", "gate")
    assert "expected rollout or none" in terminal.run(
        "alias", "rule", "gate", "production", "--from", "staging", "--needs", "luck", status=1
    )


@pytest.mark.slow
def test_version_and_model_are_archived_and_come_back(terminal: Terminal, model_files: Path) -> None:
    add(terminal, "old", "1", model_files)
    add(terminal, "old", "2", model_files)
    terminal.run("alias", "old", "production", "2")
    assert "alias production points at 2" in terminal.run("version", "archive", "old", "2", status=1)
    terminal.run("version", "archive", "old", "1", "--reason", "superseded")
    shown = dictionary(terminal.json("model", "show", "old"))
    assert [each["version"] for each in shown["all_versions"]] == ["2"]
    assert len(dictionary(terminal.json("model", "show", "old", "--archived"))["all_versions"]) == 2
    assert "is archived" in terminal.run("alias", "old", "production", "1", status=1)
    assert "DEVICE" in terminal.run("version", "history", "old", "1")
    terminal.run("version", "unarchive", "old", "1")
    terminal.run("alias", "old", "production")
    terminal.run("model", "archive", "old")
    assert "old" not in terminal.run("model", "list")
    assert "old" in terminal.run("model", "list", "--archived")
    terminal.run("model", "unarchive", "old")
    assert "nothing to change" in terminal.run("model", "set", "old", status=1)
