"""Where uploads wait: hostile until a conversion has looked at them, and gone after a day.

Nothing here is ever sent to a device. Files are named by their digest, so that an upload that is repeated is one file.
"""

from __future__ import annotations

import errno
import hashlib
import secrets
import threading
import time
from pathlib import Path
from typing import Final

from pinnace_contract import ids
from pinnace_contract.ids import Digest
from pinnace_server.errors import Code, NotFound, Refused, TooLarge, Unavailable

KEPT_S: Final = 24 * 3600.0


class Quarantine:
    """Uploaded files by digest. Safe for use by many threads."""

    def __init__(self, root: Path, *, file_bytes_max: int, total_bytes_max: int) -> None:
        self._root = root
        self._file_bytes_max = file_bytes_max
        self._total_bytes_max = total_bytes_max
        self._lock = threading.Lock()
        self._reserved = 0
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in root.glob("*.part"):
            leftover.unlink(missing_ok=True)

    def begin(self) -> Upload:
        """Start receiving a file; whatever happens, ``finish`` or ``abandon`` it."""
        self.sweep(KEPT_S)
        return Upload(self._root / f"{secrets.token_hex(8)}.part", self)

    def path(self, digest: Digest) -> Path:
        """Return where an uploaded file is.

        Raises:
            NotFound: never uploaded, or longer ago than a day.
        """
        path = self._root / digest
        if not ids.fits(Digest, digest) or not path.is_file():
            raise NotFound("upload", digest[:64], hint="uploads are kept for a day: send the file again")
        return path

    def forget(self, digest: Digest) -> None:
        """Delete an upload."""
        if ids.fits(Digest, digest):
            (self._root / digest).unlink(missing_ok=True)

    def sweep(self, older_than_s: float) -> int:
        """Delete what has waited too long; return how many files went."""
        limit, gone = time.time() - older_than_s, 0
        for path in self._root.iterdir():
            try:
                if path.suffix != ".part" and path.stat().st_mtime < limit:
                    path.unlink()
                    gone += 1
            except FileNotFoundError:  # another thread was quicker
                continue
        return gone

    def reserve(self, received: int, more: int) -> None:
        """Let an upload grow by ``more`` bytes.

        Raises:
            TooLarge: the file, or all uploads together, would be over their limit.
        """
        if received + more > self._file_bytes_max:
            raise TooLarge(
                f"an upload has at most {self._file_bytes_max} bytes here, this one has more",
                hint="raise --upload-bytes-max if the model really is that large",
            )
        with self._lock:
            if self._held() + self._reserved + more > self._total_bytes_max:
                raise TooLarge(
                    f"all waiting uploads together may have {self._total_bytes_max} bytes",
                    hint="wait for the conversions, or cancel some",
                )
            self._reserved += more

    def release(self, size: int) -> None:
        """Give back what an upload reserved, now that it is a file or gone."""
        with self._lock:
            self._reserved -= size

    def settle(self, part: Path, digest: Digest) -> None:
        """Give a received file its name."""
        path = self._root / digest
        part.replace(path)
        path.touch()

    def _held(self) -> int:
        total = 0
        for path in self._root.iterdir():
            try:
                total += path.stat().st_size if path.suffix != ".part" else 0
            except FileNotFoundError:
                continue
        return total


class Upload:
    """One file on its way in. For one thread at a time."""

    def __init__(self, part: Path, quarantine: Quarantine) -> None:
        self._part = part
        self._quarantine = quarantine
        self._hasher = hashlib.sha256()
        self._file = part.open("xb")
        self.size_bytes = 0

    def write(self, piece: bytes) -> None:
        """Add some bytes.

        Raises:
            TooLarge, Unavailable
        """
        self._quarantine.reserve(self.size_bytes, len(piece))
        self.size_bytes += len(piece)
        self._hasher.update(piece)
        try:
            self._file.write(piece)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Unavailable(
                    "the disk is full: the upload was not kept", hint="make room and try again", code=Code.NO_ROOM
                ) from error
            raise

    def finish(self, expected: Digest | None = None) -> Digest:
        """Close the file and return its digest.

        Raises:
            Refused: empty, or not the content that was announced.
        """
        digest = Digest(self._hasher.hexdigest())
        try:
            self._file.close()
            if self.size_bytes == 0:
                raise Refused("the upload is empty", hint="send the file as the body of the request")
            if expected is not None and expected != digest:
                raise Refused(
                    f"expected content with digest {expected[:12]}…, received {digest[:12]}…",
                    hint="the upload was damaged on the way: send it again",
                )
            self._quarantine.settle(self._part, digest)
        finally:
            self._end()
        return digest

    def abandon(self) -> None:
        """Forget what was received; harmless after ``finish``."""
        self._file.close()
        self._end()

    def _end(self) -> None:
        self._part.unlink(missing_ok=True)
        self._quarantine.release(self.size_bytes)
        self.size_bytes = 0
