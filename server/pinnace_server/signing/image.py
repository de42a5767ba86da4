"""The image repository: says what a release is. One targets file lists every release by path, length and hash.

Consistent snapshots; the current and the previous version are kept, so that a device that holds an older timestamp
still finds the files it names. Which device gets a release is left to ``director.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from pinnace_contract import codec
from pinnace_contract.desired import target_path
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import Digest, ReleaseId, digest_of
from pinnace_contract.latest import Release
from pinnace_contract.topics import MetadataTopic, Repository, RootTopic, TimestampTopic, Topic
from pinnace_server.signing import metadata
from pinnace_server.signing.errors import ReleaseRefused
from pinnace_server.signing.keys import KeyName, Keys
from pinnace_server.signing.store import SignedFile, Store

VERSIONS_KEPT: Final = 2
VERSIONS_CLEARED: Final = 4  # topics of so many versions before the kept ones are cleared again, if a clearing was lost

_NAME: Final = str(Repository.IMAGE)


class ImageRepository:
    """Versions of the four roles' files; every method is for the inside of a transaction of the store."""

    def __init__(self, store: Store, keys: Keys, now_s: Callable[[], float]) -> None:
        self._store = store
        self._keys = keys
        self._now_s = now_s

    def found(self) -> None:
        """Sign the first version of everything, with no releases."""
        signers = {
            Root.type: self._keys[KeyName.IMAGE_ROOT],
            Targets.type: self._keys[KeyName.IMAGE_TARGETS],
            Snapshot.type: self._keys[KeyName.IMAGE_SNAPSHOT],
            Timestamp.type: self._keys[KeyName.IMAGE_TIMESTAMP],
        }
        self._add(Root.type, 1, metadata.root(version=1, signers=signers, now_s=self._now_s()))
        self._sign({})

    def add(self, release: bytes) -> ReleaseId:
        """List a release; one that is listed already changes nothing.

        Raises:
            ReleaseRefused: the bytes are not a release.
        """
        try:
            model = codec.from_json(Release, release).model
        except ContractError as error:
            raise ReleaseRefused(str(error)) from error
        release_id = ReleaseId(digest_of(release))
        files, path = self._files(), target_path(model, release_id)
        if path not in files:
            self._sign(files | {path: (len(release), Digest(release_id))})
        return release_id

    def renumber(self, era: int) -> None:
        """Sign everything anew, above all versions of before an era."""
        self._sign(self._files(), era)

    def renew(self) -> bool:
        """Sign everything anew if little of its life is left; tell whether that was so."""
        due = any(
            metadata.renewal_due(self._store.signed_at_s(_NAME, role), metadata.IMAGE_LIFE_S, self._now_s())
            for role in (Targets.type, Snapshot.type, Timestamp.type)
        )
        if due:
            self._sign(self._files())
        return due

    def roots(self) -> tuple[bytes, ...]:
        """Return every root there ever was, the first one first."""
        return tuple(file.body for file in reversed(self._store.files(_NAME, Root.type)))

    def retained(self) -> tuple[tuple[Topic, bytes], ...]:
        """Return what stands on ``meta/image/`` in the order to publish it: a file is there before it is named.

        Last come topics of versions that are kept no longer, with the empty payload that clears a retained message.
        """
        roots: list[tuple[Topic, bytes]] = [
            (RootTopic(repository=Repository.IMAGE, version=number), body)
            for number, body in enumerate(self.roots(), 1)
        ]
        files, cleared = list[tuple[Topic, bytes]](), list[tuple[Topic, bytes]]()
        for role in (Targets.type, Snapshot.type):
            kept = self._store.files(_NAME, role)
            files += [(MetadataTopic(role=role, version=file.version), file.body) for file in reversed(kept)]
            oldest = kept[-1].version
            cleared += [
                (MetadataTopic(role=role, version=version), b"")
                for version in range(max(1, oldest - VERSIONS_CLEARED), oldest)
            ]
        return *roots, *files, (TimestampTopic(), self._newest(Timestamp.type).body), *cleared

    def _sign(self, files: dict[str, tuple[int, Digest]], era: int = 0) -> None:
        now_s, life_s = self._now_s(), metadata.IMAGE_LIFE_S
        version = self._next(Targets.type, era)
        targets = metadata.targets(
            version=version, files=files, signer=self._keys[KeyName.IMAGE_TARGETS], now_s=now_s, life_s=life_s
        )
        self._add(Targets.type, version, targets)
        snapshot_version = self._next(Snapshot.type, era)
        snapshot = metadata.snapshot(
            version=snapshot_version,
            targets_version=version,
            targets=targets,
            signer=self._keys[KeyName.IMAGE_SNAPSHOT],
            now_s=now_s,
            life_s=life_s,
        )
        self._add(Snapshot.type, snapshot_version, snapshot)
        timestamp_version = self._next(Timestamp.type, era)
        timestamp = metadata.timestamp(
            version=timestamp_version,
            snapshot_version=snapshot_version,
            snapshot=snapshot,
            signer=self._keys[KeyName.IMAGE_TIMESTAMP],
            now_s=now_s,
            life_s=life_s,
        )
        self._add(Timestamp.type, timestamp_version, timestamp)

    def _files(self) -> dict[str, tuple[int, Digest]]:
        listed = metadata.read_targets(self._newest(Targets.type).body).targets
        return {path: (file.length, Digest(file.hashes["sha256"])) for path, file in listed.items()}

    def _newest(self, role: str) -> SignedFile:
        return self._store.files(_NAME, role)[0]

    def _next(self, role: str, era: int) -> int:
        kept = self._store.files(_NAME, role)
        return metadata.next_version(kept[0].version if kept else 0, era)

    def _add(self, role: str, version: int, body: bytes) -> None:
        self._store.add_file(
            SignedFile(repository=_NAME, role=role, version=version, signed_at_s=self._now_s(), body=body)
        )
        if role == Root.type:
            return
        kept = self._store.files(_NAME, role)[:VERSIONS_KEPT]  # an era leaves a gap between two versions
        self._store.drop_files(_NAME, role, below_version=kept[-1].version)
