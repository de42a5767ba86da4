"""Settings: from the command line, then the file, then the defaults; each documented, each checked."""

from __future__ import annotations

from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pinnace_agent import settings
from pinnace_agent.cli import main
from pinnace_agent.settings import BadSetting, Settings
from pinnace_agent.version import AGENT_VERSION

MANUAL = Path(__file__).parents[2] / "docs" / "operating-an-agent.md"


def test_every_setting_is_in_the_manual() -> None:
    text = MANUAL.read_text()
    missing = [field.name for field in fields(Settings) if f"| `{field.name}` |" not in text]
    assert missing == []


def test_the_version_is_that_of_the_package() -> None:
    assert version("pinnace") == AGENT_VERSION


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('report_every_s = 30\nhardware = "pi4"\n[loopback_ports]\n')
    found = settings.read({"report_every_s": 5, "store": str(tmp_path)}, config)
    assert (found.report_every_s, found.hardware) == (5, "pi4")
    assert found.run_dir == tmp_path / "run"


def test_the_store_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.STORE_VARIABLE, str(tmp_path / "s"))
    assert settings.read({}, None).store == tmp_path / "s"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"report_every_s": 0}, "report_every_s: expected a number from 1"),
    ({"report_every_s": 1.5}, "whole number"),
    ({"report_every_s": "soon"}, "report_every_s"),
    ({"worker_threads": True}, "worker_threads"),
    ({"log_level": "loud"}, "debug, info"),
    ({"hardware": "a b"}, "hardware"),
    ({"colour": "red"}, "unknown setting 'colour'"),
    ({"loopback_ports": ["digits=80"]}, "loopback_token_file"),
    ({"loopback_ports": ["digits"], "loopback_token_file": "t"}, "MODEL=PORT"),
    ({"loopback_ports": {"Digits": 80}, "loopback_token_file": "t"}, "MODEL=PORT"),
]


@pytest.mark.parametrize(("given", "said"), BAD, ids=[row[1] for row in BAD])
def test_a_bad_setting_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        settings.read(given, None)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("= 1")
    with pytest.raises(BadSetting, match=r"agent.toml: expected TOML"):
        settings.read({}, config)
    with pytest.raises(BadSetting, match="readable"):
        settings.read({}, tmp_path / "none.toml")


def test_running_without_an_identity_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--store", str(tmp_path / "s")]) == 2
    assert "pinnace-agent enroll" in capsys.readouterr().err


def test_a_claim_token_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enroll", "--store", str(tmp_path), "--server", "http://127.0.0.1:1", "--token", "hunter2"]) == 2
    assert "claim token" in capsys.readouterr().err


def test_status_without_an_agent_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--store", str(tmp_path)]) == 2
    assert "no agent answers" in capsys.readouterr().err
