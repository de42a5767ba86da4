"""The director repository: says which device gets which release. One root for all, and three files for each device.

Owns the numbers that only grow: a device's generation and its files' versions are stored with the bytes that carry
them before anybody sees those bytes. What a release is, is left to ``image.py``; when to assign, to the planner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from pinnace_contract import codec
from pinnace_contract.desired import ASSIGNMENT_FIELD, Desired, target_path
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import DeviceId, Digest, ReleaseId, digest_of
from pinnace_contract.latest import AssignmentSet, Entry
from pinnace_contract.topics import Repository, RootTopic, Topic
from pinnace_server.domain import eras
from pinnace_server.signing import metadata
from pinnace_server.signing.errors import EraRefused, GenerationRefused, SetRefused
from pinnace_server.signing.keys import KeyName, Keys
from pinnace_server.signing.store import DeviceRecord, SignedFile, Store

REFRESH_AFTER_S: Final = metadata.DAY_S
# Devices assigned in one wave would be refreshed in one burst for ever; each waits its own part of this longer.
REFRESH_SPREAD_S: Final = metadata.DAY_S // 4

ERA: Final = "era"  # a row of its own among the files, with the era as its version: no file, and never published
_NAME: Final = str(Repository.DIRECTOR)
_Files = Mapping[str, tuple[int, Digest]]


class Director:
    """The devices' files; every method is for the inside of a transaction of the store."""

    def __init__(self, store: Store, keys: Keys, now_s: Callable[[], float]) -> None:
        self._store = store
        self._keys = keys
        self._now_s = now_s

    def found(self) -> None:
        """Sign the first root."""
        signers = {
            Root.type: self._keys[KeyName.DIRECTOR_ROOT],
            Targets.type: self._keys[KeyName.DIRECTOR_TARGETS],
            Snapshot.type: self._keys[KeyName.DIRECTOR_SNAPSHOT],
            Timestamp.type: self._keys[KeyName.DIRECTOR_TIMESTAMP],
        }
        now_s = self._now_s()
        body = metadata.root(version=1, signers=signers, now_s=now_s)
        self._store.add_file(SignedFile(repository=_NAME, role=Root.type, version=1, signed_at_s=now_s, body=body))

    def era(self) -> int:
        """Return the era below which nothing is signed."""
        begun = self._store.files(_NAME, ERA)
        return begun[0].version if begun else 0

    def raise_era(self, era: int) -> None:
        """Write down that a later era began."""
        assert era > self.era(), "an era begins once"
        row = SignedFile(repository=_NAME, role=ERA, version=era, signed_at_s=self._now_s(), body=b"")
        self._store.add_file(row)

    def roots(self) -> tuple[bytes, ...]:
        """Return every root there ever was, the first one first."""
        return tuple(file.body for file in reversed(self._store.files(_NAME, Root.type)))

    def retained(self) -> tuple[tuple[Topic, bytes], ...]:
        """Return what stands on ``meta/director/``."""
        return tuple(
            (RootTopic(repository=Repository.DIRECTOR, version=number), body)
            for number, body in enumerate(self.roots(), 1)
        )

    def desired(self, assignments: AssignmentSet, releases: Mapping[ReleaseId, bytes]) -> bytes:
        """Return the device's ``desired`` message for this set.

        A new generation, or the same with other endpoints, site decisions or audit head, is signed anew; the same set
        gives the same bytes until its timestamp is due for a refresh.

        Raises:
            GenerationRefused: smaller than the highest signed, or equal with other entries.
            EraRefused: reserved before the server was put back from a backup.
            SetRefused: it is outside the contract's limits, or names a release that ``releases`` does not hold.
        """
        try:
            return self._desired(assignments, releases)
        except ContractError as error:
            raise SetRefused(device=assignments.device, problem=str(error)) from error

    def _desired(self, assignments: AssignmentSet, releases: Mapping[ReleaseId, bytes]) -> bytes:
        era = self.era()
        if eras.era_of(assignments.generation) < era:
            raise EraRefused(device=assignments.device, asked=assignments.generation, era=era)
        record = self._store.device(assignments.device)
        entries, carried = _digests(assignments)
        if record is not None:
            if assignments.generation < record.generation or (
                assignments.generation == record.generation and entries != record.entries
            ):
                raise GenerationRefused(
                    device=assignments.device, asked=assignments.generation, highest=record.generation
                )
            if assignments.generation == record.generation and carried == record.carried:
                return self.refreshed(record)
        files = _named_releases(assignments, releases)
        fields = {ASSIGNMENT_FIELD: codec.plain(assignments)}
        blank = _blank(assignments.device) if record is None else record
        numbered = replace(blank, generation=assignments.generation, entries=entries, carried=carried)
        return self._issue(self._sign_all(numbered, files, fields))

    def refreshed(self, record: DeviceRecord) -> bytes:
        """Return the last message, with a new timestamp, or all files anew, where their time has come."""
        now_s = self._now_s()
        if metadata.renewal_due(record.targets_at_s, metadata.DIRECTOR_LIFE_S, now_s):
            targets = metadata.read_targets(record.targets)
            files = {path: (file.length, Digest(file.hashes["sha256"])) for path, file in targets.targets.items()}
            return self._issue(self._sign_all(record, files, targets.unrecognized_fields))
        if now_s - record.timestamp_at_s >= REFRESH_AFTER_S:
            return self._issue(self._sign_timestamp(record))
        return _message(record)

    def refresh_due(self, now_s: float) -> tuple[DeviceId, ...]:
        """Return the devices whose timestamp should be signed anew, the oldest first."""
        return tuple(
            device
            for device, at_s in self._store.timestamps(now_s - REFRESH_AFTER_S)
            if now_s - at_s >= REFRESH_AFTER_S + _spread(device) * REFRESH_SPREAD_S
        )

    def last(self, device: DeviceId) -> DeviceRecord | None:
        """Return what was last issued to a device."""
        return self._store.device(device)

    def _issue(self, record: DeviceRecord) -> bytes:
        message = _message(record)  # refuses what is too large, before its version is spent
        self._store.put_device(record)
        return message

    def _sign_all(self, record: DeviceRecord, files: _Files, fields: dict[str, Any]) -> DeviceRecord:
        now_s, life_s = self._now_s(), metadata.DIRECTOR_LIFE_S
        targets_version = metadata.next_version(record.targets_version, self.era())
        snapshot_version = metadata.next_version(record.snapshot_version, self.era())
        targets = metadata.targets(
            version=targets_version,
            files=files,
            signer=self._keys[KeyName.DIRECTOR_TARGETS],
            now_s=now_s,
            life_s=life_s,
            fields=fields,
        )
        snapshot = metadata.snapshot(
            version=snapshot_version,
            targets_version=targets_version,
            targets=targets,
            signer=self._keys[KeyName.DIRECTOR_SNAPSHOT],
            now_s=now_s,
            life_s=life_s,
        )
        return self._sign_timestamp(
            replace(
                record,
                targets_at_s=now_s,
                targets_version=targets_version,
                snapshot_version=snapshot_version,
                targets=targets,
                snapshot=snapshot,
            )
        )

    def _sign_timestamp(self, record: DeviceRecord) -> DeviceRecord:
        now_s, version = self._now_s(), metadata.next_version(record.timestamp_version, self.era())
        timestamp = metadata.timestamp(
            version=version,
            snapshot_version=record.snapshot_version,
            snapshot=record.snapshot,
            signer=self._keys[KeyName.DIRECTOR_TIMESTAMP],
            now_s=now_s,
            life_s=metadata.DIRECTOR_TIMESTAMP_LIFE_S,
        )
        return replace(record, timestamp_at_s=now_s, timestamp_version=version, timestamp=timestamp)


def _digests(assignments: AssignmentSet) -> tuple[Digest, Digest]:
    """Tell what the device should run from what is only carried along and may change under one generation."""
    entries = replace(assignments, issued_at_s=0, endpoints=(), site_decisions=(), audit_head=None)
    carried = AssignmentSet(
        device=assignments.device,
        generation=0,
        issued_at_s=0,
        endpoints=assignments.endpoints,
        site_decisions=assignments.site_decisions,
        audit_head=assignments.audit_head,
    )
    return codec.contract_digest(entries), codec.contract_digest(carried)


def _named_releases(assignments: AssignmentSet, releases: Mapping[ReleaseId, bytes]) -> _Files:
    return {
        target_path(entry.model, release): _length_and_digest(assignments.device, release, releases)
        for entry in assignments.entries
        for release in _releases_of(entry)
    }


def _releases_of(entry: Entry) -> tuple[ReleaseId, ...]:
    named = (entry.release, entry.arms.control if entry.arms else None)
    return tuple(release for release in named if release is not None)


def _length_and_digest(device: DeviceId, release: ReleaseId, releases: Mapping[ReleaseId, bytes]) -> tuple[int, Digest]:
    if release not in releases:
        raise SetRefused(device=device, problem=f"release {release} is named by the set and its file was not given")
    data = releases[release]
    if ReleaseId(digest_of(data)) != release:
        raise SetRefused(device=device, problem=f"release {release} was given a file of {digest_of(data)}")
    return len(data), Digest(release)


def _blank(device: DeviceId) -> DeviceRecord:
    nothing = digest_of(b"")
    return DeviceRecord(
        device=device,
        generation=0,
        entries=nothing,
        carried=nothing,
        targets_at_s=0.0,
        timestamp_at_s=0.0,
        targets_version=0,
        snapshot_version=0,
        timestamp_version=0,
        targets=b"",
        snapshot=b"",
        timestamp=b"",
    )


def _message(record: DeviceRecord) -> bytes:
    return Desired(timestamp=record.timestamp, snapshot=record.snapshot, targets=record.targets).to_bytes()


def _spread(device: DeviceId) -> float:
    """Return a number in 0..1 that is always the same for a device and unlike its neighbours'."""
    return int(digest_of(device.encode())[:8], 16) / 0x1_0000_0000
