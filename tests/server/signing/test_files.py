"""Keys and store on the disk: made once, private, and an error rather than a guess when something harmed them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from pinnace_server.errors import StartRefused
from pinnace_server.signing.errors import KeyRefused, NotSignable, StoreDamaged
from pinnace_server.signing.keys import KeyName
from pinnace_server.signing.metadata import IMAGE_LIFE_S, targets
from tests.server.signing.world import DEVICE, START_S, HandClock, assignment, issue, open_signing


@pytest.fixture
def used(tmp_path: Path, clock: HandClock) -> Path:
    """A data directory whose signer has signed and was closed."""
    signing = open_signing(tmp_path, clock)
    issue(signing, assignment(1))
    signing.close()
    return tmp_path


def test_one_private_key_for_each_role(used: Path) -> None:
    files = sorted((used / "keys").iterdir())
    assert [file.name for file in files] == sorted(f"{name}.pem" for name in KeyName)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert len({file.read_bytes() for file in files}) == len(KeyName)


def test_restart_keeps_keys_and_roots(used: Path, clock: HandClock) -> None:
    first, second = open_signing(used, clock), open_signing(used, clock)
    assert first.image_roots() == second.image_roots()
    assert first.director_roots() == second.director_roots()
    assert first.message_key() == second.message_key()
    first.close()
    second.close()


def test_first_start_that_was_cut_off_is_finished_by_the_next(tmp_path: Path, clock: HandClock) -> None:
    whole = tmp_path / "whole"
    signing = open_signing(whole, clock)
    signing.close()
    cut = tmp_path / "cut"
    (cut / "signing").mkdir(parents=True)
    (cut / "signing" / "signing.db").touch()
    shutil.copytree(whole / "keys", cut / "keys")
    kept = (cut / "keys" / "director-root.pem").read_bytes()
    (cut / "keys" / "messages.pem").rename(cut / "keys" / ".messages.pem.new")
    finished = open_signing(cut, clock)
    issue(finished, assignment(1))
    assert (cut / "keys" / "director-root.pem").read_bytes() == kept
    assert not (cut / "keys" / ".messages.pem.new").exists()
    finished.close()


def _flip(path: Path, needle: bytes) -> None:
    data = path.read_bytes()
    assert needle in data
    path.write_bytes(data.replace(needle, needle[:-1] + bytes([needle[-1] ^ 1])))


def _edit_row(data: Path) -> None:
    with sqlite3.connect(data / "signing" / "signing.db") as connection:
        assert connection.execute("UPDATE device SET generation = 0").rowcount == 1
    connection.close()


KEYS_AND_STORE: list[tuple[str, Callable[[Path], object], type[StartRefused], str]] = [
    ("a key is missing", lambda d: (d / "keys/image-root.pem").unlink(), KeyRefused, "restore the file from a backup"),
    ("a key is open to others", lambda d: (d / "keys/image-root.pem").chmod(0o644), KeyRefused, "chmod 600"),
    ("a key is no key", lambda d: (d / "keys/image-root.pem").write_text("x"), KeyRefused, "PKCS#8"),
    (
        "a key of another role",
        lambda d: shutil.copy(d / "keys/messages.pem", d / "keys/director-targets.pem"),
        KeyRefused,
        "names another key",
    ),
    ("the store is missing", lambda d: shutil.rmtree(d / "signing"), StoreDamaged, "the store is missing"),
    ("the store is no database", lambda d: (d / "signing/signing.db").write_text("x" * 9000), StoreDamaged, "database"),
    ("a row was edited", _edit_row, StoreDamaged, "not what was written"),
    (
        "a bit of a row flipped",
        lambda d: _flip(d / "signing/signing.db", b"line-1-camera"),
        StoreDamaged,
        "not what was written",
    ),
]


@pytest.mark.parametrize(("harm", "error", "says"), [pytest.param(*row[1:], id=row[0]) for row in KEYS_AND_STORE])
def test_damaged_file_stops_the_signer_with_what_to_do(
    used: Path, clock: HandClock, harm: Callable[[Path], object], error: type[StartRefused], says: str
) -> None:
    harm(used)
    with pytest.raises(error, match=says):
        open_signing(used, clock).refresh(DEVICE)


def test_fraction_under_a_signature_is_refused() -> None:
    with pytest.raises(NotSignable, match="fractions"):
        targets(
            version=1,
            files={},
            signer=CryptoSigner.generate_ed25519(),
            now_s=START_S,
            life_s=IMAGE_LIFE_S,
            fields={"share": 0.5},
        )
