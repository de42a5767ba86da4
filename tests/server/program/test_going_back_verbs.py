"""Withdrawing, replacing and restoring at the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace_server.cli import main, withdrawal
from pinnace_server.db.store import SqlStore
from pinnace_server.domain.queries import EventQuery
from pinnace_server.domain.records import EventKind
from tests.brokers import running_mosquitto
from tests.needs import need
from tests.server.program.running import Serving, serving
from tests.server.program.test_registry_verbs import add, dictionary
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


@pytest.mark.slow
def test_version_is_withdrawn_and_says_so_everywhere(terminal: Terminal, model_files: Path) -> None:
    add(terminal, "linear", "1", model_files)
    terminal.run("alias", "linear", "production", "1")
    seen = terminal.run("withdraw", "linear", "@production", "--mode", "stop", "--security", "--dry-run")
    assert "serving it: none" in seen
    assert "going dark, having nothing else that may run: none" in seen
    assert "still pointing at it: production" in seen
    assert "the next version has security epoch 1 or more" in seen
    assert dictionary(terminal.json("version", "show", "linear", "1"))["withdrawn"] is None

    said = terminal.run("withdraw", "linear", "1", "--mode", "retire", "--security", "--reason", "leaks faces")
    assert "version 1 of linear is withdrawn (retire)" in said
    shown = terminal.run("version", "show", "linear", "1")
    assert "by admin: leaks faces" in shown
    assert "1 (withdrawn: retire)" in terminal.run("model", "show", "linear")
    again = terminal.run("withdraw", "linear", "1", "--mode", "retire", "--security", "--reason", "leaks faces")
    assert "as it was before" in again
    assert "was withdrawn" in terminal.run("assign", "linear", "1", status=1)
    done = dictionary(terminal.json("withdraw", "linear", "1", "--mode", "stop", "--reason", "at once"))
    assert (done["version"]["withdrawn"], done["did"]["before"]) == ("stop", "retire")
    assert "is not taken back" in terminal.run("withdraw", "linear", "1", "--mode", "retire", "--reason", "x", status=1)
    add(terminal, "linear", "2", model_files)
    assert dictionary(terminal.json("version", "show", "linear", "2"))["epoch"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("withdraw", "none", "1", "--mode", "stop", "--reason", "x"), "there is no model 'none'"),
        (("withdraw", "none", "1", "--mode", "stop"), "reason"),
        (("device", "replace", "one", "other"), "there is no device 'one'"),
        (("restore", "--data-dir", "nowhere"), "expected a database that was put back from a backup at nowhere"),
        (("restore",), "another server works in"),
        (("restore", "--era", "0"), "another server works in"),
    ],
)
def test_error_is_one_line_with_what_to_do(terminal: Terminal, words: tuple[str, ...], said: str) -> None:
    assert said in terminal.run(*words, status=1)


def test_words_of_a_preview_name_some_devices_and_count_all() -> None:
    seen = {
        "mode": "stop",
        "serving": [f"camera-{n}" for n in range(9)],
        "dark": ["camera-1"],
        "told": 1,
        "rollouts": ["r-1"],
        "aliases": [],
        "least_next_epoch": 0,
        "before": "retire",
    }
    words = withdrawal._words(seen)
    assert "serving it: 9 (camera-0, camera-1, camera-2, camera-3, camera-4 …)" in words
    assert "having nothing else that may run: 1 (camera-1)" in words
    assert "told: 1 device\n" in words
    assert "halted: r-1" in words
    assert "withdrawn before: retire" in words


def test_restore_begins_a_new_era_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(tmp_path) as server:
        pass
    assert server.ended() == 0
    data = str(tmp_path / "pinnace-data")
    assert main(["restore", "--data-dir", data, "--reason", "the disk died"]) == 0
    assert "era 1 begins: 0 device(s)" in capsys.readouterr().out
    assert main(["restore", "--data-dir", data, "--era", "7", "--json"]) == 0
    assert '"era": 7' in capsys.readouterr().out
    assert main(["restore", "--data-dir", data, "--era", "7"]) == 1
    assert "expected an era of 8 to" in capsys.readouterr().err
    store = SqlStore(tmp_path / "pinnace-data" / "pinnace.db")
    with store.read() as tables:
        events = tables.events.listing(EventQuery(kinds=(EventKind.SERVER_RESTORED,), after=0)).rows
    store.close()
    assert [event.data["reason"] for event in events] == ["the disk died", ""]
