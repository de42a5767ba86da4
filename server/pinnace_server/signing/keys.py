"""The keys of every role as private files, made at the first start and never replaced by themselves.

Owns the files and what may be wrong with them. Which role may sign what is said by the root metadata (``metadata.py``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from pinnace_server.signing.errors import KeyRefused

KEY_BYTES_MAX: Final = 16 * 1024  # a PEM of Ed25519 has 119 bytes; anything near this is another file
_OTHERS: Final = 0o077


class KeyName(StrEnum):
    """One key for each role of each repository, and the one for messages. Also the names of the files."""

    IMAGE_ROOT = "image-root"
    IMAGE_TARGETS = "image-targets"
    IMAGE_SNAPSHOT = "image-snapshot"
    IMAGE_TIMESTAMP = "image-timestamp"
    DIRECTOR_ROOT = "director-root"
    DIRECTOR_TARGETS = "director-targets"
    DIRECTOR_SNAPSHOT = "director-snapshot"
    DIRECTOR_TIMESTAMP = "director-timestamp"
    MESSAGES = "messages"


Keys = Mapping[KeyName, CryptoSigner]


def any_in(folder: Path) -> bool:
    """Tell whether a key was ever made in this folder."""
    return any(_path(folder, name).exists() for name in KeyName)


def load(folder: Path, *, first_start: bool) -> Keys:
    """Return every key; at the first start, make those that are not there yet.

    Later a missing key is an error: a new one would be in no root that a device trusts.

    Raises:
        KeyRefused
    """
    if first_start:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {name: _load_or_make(_path(folder, name), first_start=first_start) for name in KeyName}


def _path(folder: Path, name: KeyName) -> Path:
    return folder / f"{name}.pem"


def _load_or_make(path: Path, *, first_start: bool) -> CryptoSigner:
    if path.exists():
        return _load(path)
    if not first_start:
        raise KeyRefused(path, "the key is missing, and devices trust no other")
    signer = CryptoSigner.generate_ed25519()
    _write(path, signer.private_bytes)
    return signer


def _load(path: Path) -> CryptoSigner:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(KEY_BYTES_MAX)
    except OSError as error:
        raise KeyRefused(path, f"expected a readable key file, found {error.strerror}") from error
    if mode & _OTHERS:
        raise KeyRefused(
            path,
            f"expected a file that only its owner can read, found mode {mode & 0o777:o}",
            hint="run chmod 600 on it",
        )
    try:
        key = load_pem_private_key(data, password=None)
    except Exception as error:  # whatever the parser meets, the file is not a key
        raise KeyRefused(path, "expected an unencrypted PKCS#8 key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyRefused(path, f"expected an Ed25519 key, found {type(key).__name__}")
    return CryptoSigner(key)


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
