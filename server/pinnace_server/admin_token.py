"""The one token that opens the API and the console: made at the first start, printed once, kept as a hash.

Beside the hash lies the token itself, readable by its owner only, for the command line of the same user: whoever can
read this folder holds the signing keys anyway. Remove the file to keep the hash alone.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinnace_server.service.door import TOKEN_BYTES, hash_of

HASH_FILE: Final = "admin-token.hash"
TOKEN_FILE: Final = "admin-token"  # noqa: S105 -- a file's name
# So that no token begins with "-", which `--token TOKEN` would take for an option, and a scanner knows one that leaked.
TOKEN_PREFIX: Final = "pna_"  # noqa: S105 -- what tokens begin with


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminToken:
    """What is kept, and the token itself where it was made just now."""

    token_hash: str
    fresh: str | None


def load_or_make(data: Path) -> AdminToken:
    """Return the token of a data directory; the first time, make it."""
    kept = data / HASH_FILE
    if kept.exists():
        return AdminToken(token_hash=kept.read_text().strip(), fresh=None)
    token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    # The hash last: a start that is cut off before it makes another token.
    _write(data / TOKEN_FILE, token)
    _write(kept, hash_of(token))
    return AdminToken(token_hash=hash_of(token), fresh=token)


def read(data: Path) -> str | None:
    """Return the token that lies in a data directory, if it does and may be read."""
    try:
        return (data / TOKEN_FILE).read_text().strip() or None
    except OSError:
        return None


def _write(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
