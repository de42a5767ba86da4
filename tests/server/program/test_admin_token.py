"""The admin token, as an operator hands it on."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from pinnace_server import admin_token
from pinnace_server.service.door import hash_of


def test_no_token_can_be_taken_for_an_option_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _bytes: "-one-in-64-begins-so")
    made = admin_token.load_or_make(tmp_path)
    assert made.fresh is not None
    assert not made.fresh.startswith("-")
    assert admin_token.read(tmp_path) == made.fresh
    assert made.token_hash == hash_of(made.fresh)


def test_a_token_of_an_older_server_stays(tmp_path: Path) -> None:
    (tmp_path / admin_token.HASH_FILE).write_text(hash_of("-older") + "\n")
    assert admin_token.load_or_make(tmp_path) == admin_token.AdminToken(token_hash=hash_of("-older"), fresh=None)
