"""The folder that a conversion leaves: all of it or nothing, whatever happens in between."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pinnace_contract.ids import Digest
from pinnace_converters.draft import BLOBS_FOLDER, DRAFT_FILE
from pinnace_converters.errors import OutputUnusable


def check(out: Path) -> None:
    """Refuse a folder that holds anything but an earlier conversion's results, before work is put into new ones.

    Raises:
        OutputUnusable
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputUnusable(f"{out} is a file; expected a folder, or a name that is free")
    foreign = sorted(path.name for path in out.iterdir() if path.name not in (DRAFT_FILE, BLOBS_FOLDER))
    if foreign:
        raise OutputUnusable(f"{out} holds {foreign[0]!r}, which no conversion made; name an empty or a new folder")


def write(out: Path, blobs: Mapping[Digest, bytes], draft: bytes) -> None:
    """Put the results in place of whatever ``check`` allowed there.

    Raises:
        OutputUnusable: they cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _beside(out) as folder:
            (folder / BLOBS_FOLDER).mkdir()
            for digest, content in blobs.items():
                (folder / BLOBS_FOLDER / digest).write_bytes(content)
            (folder / DRAFT_FILE).write_bytes(draft)
            check(out)
            if out.exists():
                shutil.rmtree(out)
            folder.replace(out)
    except OSError as error:
        raise OutputUnusable(f"cannot write {out}: {error.strerror or error}") from error


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """Give a folder on the same file system, so that one rename puts it in place."""
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
