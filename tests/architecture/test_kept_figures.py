"""What a benchmark measured is kept by parts, since a whole run takes hours."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import figures
from benchmarks.figures import Figure


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "results")
    return tmp_path / "results" / "some.json"


def of(figure: str, value: float = 1.0) -> Figure:
    return Figure(figure=figure, value=value, unit="s", aim="<= 2")


def kept(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(results.read_text())
    return found


def test_a_part_replaces_its_own_figures_and_no_others(results: Path) -> None:
    figures.keep("some", "first", [of("a"), of("gone")])
    figures.keep("some", "second", [of("b")])
    figures.keep("some", "first", [of("a", 3.0)])
    found = kept(results)["figures"]
    assert [(each["figure"], each["value"], each["holds"]) for each in found] == [("b", 1.0, True), ("a", 3.0, False)]
    assert all(each["date"] and each["commit"] for each in found)


def test_figures_of_another_machine_do_not_stay(results: Path) -> None:
    figures.keep("some", "first", [of("a")])
    results.write_text(json.dumps(kept(results) | {"machine": "a faster one"}))
    figures.keep("some", "second", [of("b")])
    assert [each["figure"] for each in kept(results)["figures"]] == ["b"]


@pytest.mark.parametrize(("only", "quick", "measured"), [(None, False, "ab"), ("first", False, "a"), (None, True, "")])
def test_what_was_measured_quickly_is_not_kept(results: Path, only: str | None, quick: bool, measured: str) -> None:
    def part(figure: str, was_quick: bool) -> Iterator[Figure]:
        assert was_quick is quick
        yield of(figure)

    chosen = argparse.Namespace(only=only, quick=quick, json=True)
    figures.measure("some", {"first": lambda q: part("a", q), "second": lambda q: part("b", q)}, chosen)
    found = kept(results)["figures"] if results.exists() else []
    assert "".join(each["figure"] for each in found) == measured
