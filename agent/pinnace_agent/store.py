"""The device's store: one directory that a power cut at any instruction leaves with a working model and a true state.

    state.json(+bak)       the one commit point                blobs/<sha256>      immutable content
    releases/<id>.json     verified release files              parts/<sha256>      blobs on their way
    metadata/<unit>        signed metadata, each unit whole    identity/<name>     keys and certificates, 0600
    spool/                 reports waiting for a link          tmp/                garbage after a crash

The order that keeps it so: reserve space, write and hash, fsync the file, rename, fsync the directory, the release file
the same way, then the state, and only then whatever the state allows: a start, a collection of garbage. Deciding is
left to ``core``; which bytes are signed is left to ``trust``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cbor2

from pinnace_agent import store_blobs, store_spool, store_state
from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.slot import Servable
from pinnace_agent.store_blobs import DigestMismatch, NoRoom, Part
from pinnace_agent.store_port import Files, StorageBroken, read_whole, write_durably
from pinnace_agent.store_spool import Spooled
from pinnace_agent.store_state import Loaded
from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import Digest, ReleaseId, digest_of
from pinnace_contract.latest import RELEASE_BYTES_MAX, Blob, DroppedRange, Release, ReportRange

RELEASES: Final = "releases"
METADATA: Final = "metadata"
IDENTITY: Final = "identity"
TMP: Final = "tmp"
METADATA_BYTES_MAX: Final = 16 * 1024 * 1024  # every root ever, and the delegated targets of large repositories
IDENTITY_BYTES_MAX: Final = 64 * 1024
_DIRECTORIES: Final = (store_blobs.BLOBS, store_blobs.PARTS, RELEASES, METADATA, TMP, store_spool.SPOOL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What garbage collection did. A kept release whose file cannot be read stops it: better full than empty."""

    files: int = 0
    freed_bytes: int = 0
    unreadable: tuple[ReleaseId, ...] = ()


class Store:
    """Everything on the device's disk. One process at a time (``filesystem.locked``), one thread of it.

    ``finish`` alone may run on a thread beside, for it only reads, and renames what no other call writes.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._saves = 0
        self._spooled: tuple[Spooled, ...] | None = None  # two weeks offline are 20,000 files

    def open(self) -> Loaded | None:
        """Make the directories, sweep what a crash left, and return the state; None for a new store.

        Raises:
            StateLost: the state cannot be read; nothing was changed.
            StorageFull, StorageBroken
        """
        for name in _DIRECTORIES:
            self._files.make_dir(name)
        self._files.make_dir(IDENTITY)
        loaded = store_state.load(self._files)
        self._saves = loaded.saves if loaded else 0
        for name in self._files.names(TMP):
            self._files.remove(f"{TMP}/{name}")
        self._files.sync_dir("")
        if loaded is not None and loaded.damage:
            self.save(loaded.state)
        return loaded

    # --- state ---------------------------------------------------------------------------------------------------

    def save(self, state: DeviceState) -> None:
        """Make this the state of the device, durably. Act on it only afterwards.

        Raises:
            StorageFull, StorageBroken: the last state is still there; do not act on the new one.
        """
        store_state.save(self._files, state, self._saves + 1)
        self._saves += 1

    # --- releases and blobs --------------------------------------------------------------------------------------

    def add_release(self, release: ReleaseId, data: bytes) -> None:
        """Keep a release file whose signatures were checked.

        Raises:
            DigestMismatch: the bytes are another file.
        """
        if digest_of(data) != Digest(release):
            raise DigestMismatch(f"release file {release[:12]}", Digest(release), digest_of(data))
        write_durably(self._files, f"{RELEASES}/{release}.json", data)

    def release_bytes(self, release: ReleaseId) -> bytes | None:
        """Return the release file as signed, or None if it is not here, or no longer what it was."""
        data = read_whole(self._files, f"{RELEASES}/{release}.json", RELEASE_BYTES_MAX)
        return data if data is not None and digest_of(data) == Digest(release) else None

    def release_path(self, release: ReleaseId) -> Path:
        """Return where a release file lies, for the worker."""
        return self._files.location(f"{RELEASES}/{release}.json")

    def release(self, release: ReleaseId) -> Release | None:
        """Return a release that was kept, or None."""
        data = self.release_bytes(release)
        try:
            return None if data is None else codec.from_json(Release, data)
        except ContractError:
            return None  # an agent that was downgraded may hold files that it cannot read

    def reserve(self, blobs: Iterable[Blob], kept: Iterable[Servable]) -> tuple[Part, ...]:
        """Reserve the space for everything that is missing of the blobs, and return what to fetch.

        Raises:
            NoRoom: says what collecting garbage with ``kept`` would free.
            ChunksInvalid: a chunk list does not add up.
            StorageFull, StorageBroken
        """
        wanted = tuple(blobs)
        need, have = store_blobs.need_bytes(self._files, wanted), self._files.free_bytes()
        if need > have:
            raise NoRoom(need, have, sum(size for _, size in self._garbage(kept)[0]))
        parts = (store_blobs.open_part(self._files, blob) for blob in wanted)
        return tuple(part for part in parts if not store_blobs.has(self._files, part.blob))

    def put_chunk(self, part: Part, index: int, data: bytes) -> bool:
        """Write one chunk of a part; False if it was there already.

        Raises:
            DigestMismatch, StorageFull, StorageBroken
        """
        return store_blobs.put(self._files, part, index, data)

    def finish(self, blobs: Iterable[Blob]) -> None:
        """Hash every blob whole, make it durable and give it its name.

        Raises:
            DigestMismatch, StorageFull, StorageBroken
        """
        for blob in blobs:
            store_blobs.finish(self._files, blob)

    def has(self, blob: Blob) -> bool:
        """Tell whether a blob is here."""
        return store_blobs.has(self._files, blob)

    def blob_path(self, digest: Digest) -> Path:
        """Return where a blob lies, for the worker, which hashes it again as it loads it."""
        return self._files.location(store_blobs.path_of(digest))

    def collect_garbage(self, kept: Iterable[Servable]) -> Collected:
        """Remove every release file, blob and part that nothing in ``kept`` needs; only after the state was saved."""
        garbage, unreadable = self._garbage(kept)
        for path, _ in garbage:
            self._files.remove(path)
        return Collected(files=len(garbage), freed_bytes=sum(size for _, size in garbage), unreadable=unreadable)

    def _garbage(self, kept: Iterable[Servable]) -> tuple[tuple[tuple[str, int], ...], tuple[ReleaseId, ...]]:
        names: set[str] = set()
        unreadable: set[ReleaseId] = set()
        for servable in kept:
            name = f"{servable.release}.json"
            if self._files.size_bytes(f"{RELEASES}/{name}") is None:
                continue  # without its release file nothing can be served, so there is nothing to protect
            names.add(name)
            release = self.release(servable.release)
            variant = release.variant(servable.variant) if release else None
            if release is None:
                unreadable.add(servable.release)
            elif variant is not None:
                names.update(blob.digest for blob in release.blobs(variant))
        if unreadable:
            return (), tuple(sorted(unreadable))
        found = []
        for folder in (RELEASES, store_blobs.BLOBS, store_blobs.PARTS):
            for name in self._files.names(folder):
                if name not in names:
                    found.append((f"{folder}/{name}", self._files.size_bytes(f"{folder}/{name}") or 0))
        return tuple(found), ()

    # --- metadata and identity -----------------------------------------------------------------------------------

    def save_metadata(self, unit: str, parts: Mapping[str, bytes]) -> None:
        """Replace a unit of signed metadata: after a power cut all of the old files are there, or all of the new."""
        write_durably(self._files, f"{METADATA}/{_name(unit)}", cbor2.dumps(dict(parts), canonical=True))

    def metadata(self, unit: str) -> dict[str, bytes]:
        """Return a unit of signed metadata; empty if there is none, or the disk has damaged it.

        What it holds is verified by whoever reads it: this is bytes.
        """
        data = read_whole(self._files, f"{METADATA}/{_name(unit)}", METADATA_BYTES_MAX)
        try:
            tree = {} if data is None else codec.parse_cbor(unit, data)
        except ContractError:
            return {}
        if not isinstance(tree, dict):
            return {}
        return {name: part for name, part in tree.items() if isinstance(name, str) and isinstance(part, bytes)}

    def save_identity(self, name: str, data: bytes) -> None:
        """Keep a key or a certificate where only the agent's user can read it."""
        write_durably(self._files, f"{IDENTITY}/{_name(name)}", data)

    def identity(self, name: str) -> bytes | None:
        """Return a key or a certificate, or None."""
        return read_whole(self._files, f"{IDENTITY}/{_name(name)}", IDENTITY_BYTES_MAX)

    # --- spool ---------------------------------------------------------------------------------------------------

    def spool(self, report: DroppedRange, sealed: bytes, at_s: float) -> None:
        """Keep a sealed report (``report`` says which) until it is acknowledged; the oldest make room."""
        self._spooled = None
        store_spool.put(self._files, report, sealed, at_s)

    def spooled(self) -> tuple[Spooled, ...]:
        """Return the reports that wait, the oldest first."""
        if self._spooled is None:
            self._spooled = store_spool.waiting(self._files)
        return self._spooled

    def spooled_bytes(self, spooled: Spooled) -> bytes | None:
        """Return a sealed report."""
        return store_spool.read(self._files, spooled)

    def acknowledge(self, ranges: Iterable[ReportRange]) -> None:
        """Remove reports that are in the server's database."""
        waiting, self._spooled = self.spooled(), None  # read again, should the disk fail in the middle
        self._spooled = store_spool.acknowledge(self._files, ranges, waiting)

    def dropped(self) -> tuple[DroppedRange, ...]:
        """Return the ranges of reports that had to go unsent."""
        return store_spool.dropped(self._files)

    def forget_dropped(self, told: Iterable[DroppedRange]) -> None:
        """Forget ranges that the server was told of."""
        store_spool.forget_dropped(self._files, told)


def _name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise StorageBroken("name", ascii(name), "expected a plain file name")
    return name
