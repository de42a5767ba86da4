"""The signer in this process: both repositories and the message key behind one door, safe to call from any thread.

Owns the folders ``signing/`` and ``keys/`` of the data directory and what happens at the first start. A signer in a
process of its own will stand behind the same port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Self

from tuf.api.metadata import Root

from pinnace_contract.ids import DeviceId, KeyId, ModelName, ReleaseId
from pinnace_contract.latest import AssignmentSet, MessageKey
from pinnace_contract.topics import Down, DownTopic, Topic
from pinnace_server.service.ports import Listed
from pinnace_server.signing import inspection, metadata
from pinnace_server.signing import keys as key_files
from pinnace_server.signing.director import Director
from pinnace_server.signing.errors import KeyRefused
from pinnace_server.signing.image import ImageRepository
from pinnace_server.signing.keys import KeyName, Keys
from pinnace_server.signing.store import Store

KEYS_FOLDER: Final = "keys"
STORE_FOLDER: Final = "signing"


class LocalSigning:
    """Implements the ``Signing`` port of the services."""

    def __init__(self, store: Store, keys: Keys, now_s: Callable[[], float]) -> None:
        self._store = store
        self._keys = keys
        self._image = ImageRepository(store, keys, now_s)
        self._director = Director(store, keys, now_s)

    @classmethod
    def open(cls, data: Path, now_s: Callable[[], float]) -> Self:
        """Open the signer of a data directory; the first time, make its keys and roots.

        Raises:
            KeyRefused, StoreDamaged, StoreUnavailable
        """
        key_folder = data / KEYS_FOLDER
        # The store is made before the first key: keys without a store are a store that was lost, not a first start.
        store = Store.open(data / STORE_FOLDER, create=not key_files.any_in(key_folder))
        try:
            with store.transaction():
                first_start = not store.files("image", Root.type)
            signing = cls.over(store, key_files.load(key_folder, first_start=first_start), now_s)
            with store.transaction():
                signing._check_keys(key_folder)
        except BaseException:
            store.close()
            raise
        return signing

    @classmethod
    def over(cls, store: Store, keys: Keys, now_s: Callable[[], float]) -> Self:
        """Return the signer over an open store and its keys; the first time, sign the first roots."""
        signing = cls(store, keys, now_s)
        with store.transaction():
            if not store.files("image", Root.type):
                signing._image.found()
                signing._director.found()
        return signing

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def message_key(self) -> MessageKey:
        """Return the public part of the key of ``ack`` and ``cmd``."""
        public = self._keys[KeyName.MESSAGES].public_key
        return MessageKey(keyid=KeyId(public.keyid), public_hex=str(public.keyval["public"]))

    def sign_message(self, signed_bytes: bytes) -> bytes:
        """Return the message key's signature, 64 bytes."""
        return bytes.fromhex(self._keys[KeyName.MESSAGES].sign(signed_bytes).signature)

    def image_roots(self) -> tuple[bytes, ...]:
        """Return every root of the image repository, the first one first."""
        with self._store.transaction():
            return self._image.roots()

    def director_roots(self) -> tuple[bytes, ...]:
        """Return every root of the director repository, the first one first."""
        with self._store.transaction():
            return self._director.roots()

    def add_release(self, release: bytes) -> ReleaseId:
        """List a release in the image repository; publish ``image_metadata()`` afterwards.

        Raises:
            ReleaseRefused, StoreUnavailable
        """
        with self._store.transaction():
            return self._image.add(release)

    def image_metadata(self) -> tuple[tuple[Topic, bytes], ...]:
        """Return all that is retained under ``meta/``, in the order to publish it.

        An empty payload clears the topic of a version that is kept no longer.
        """
        with self._store.transaction():
            return *self._director.retained(), *self._image.retained()

    def renew_image(self) -> bool:
        """Sign the image repository anew when its expiry comes near; True: publish ``image_metadata()``."""
        with self._store.transaction():
            return self._image.renew()

    def listed(self, model: ModelName, release: ReleaseId) -> Listed:
        """Check the image repository's own signatures and return what they say of a release."""
        return inspection.listed(self.image_roots(), self.image_metadata(), model, release)

    def together(self) -> AbstractContextManager[None]:
        """Keep what is signed inside the block with one wait for the disk; show it to nobody before the block ends."""
        return self._store.transaction()

    def desired(self, assignments: AssignmentSet, releases: Mapping[ReleaseId, bytes]) -> bytes:
        """Return the payload of ``down/{id}/desired`` for this set.

        Raises:
            GenerationRefused: smaller than the highest signed, or equal with other entries.
            EraRefused: reserved before the server was put back from a backup.
            SetRefused, NotSignable: the set cannot be signed as it stands.
            StoreUnavailable: nothing was issued.
        """
        with self._store.transaction():
            return self._director.desired(assignments, releases)

    def era(self) -> int:
        """Return the era below which no generation is signed."""
        with self._store.transaction():
            return self._director.era()

    def raise_era(self, era: int) -> None:
        """Begin a later era; publish ``image_metadata()`` afterwards: its versions are above all of before it."""
        with self._store.transaction():
            self._director.raise_era(era)
            self._image.renumber(era)

    def generations(self) -> Mapping[DeviceId, int]:
        """Return the highest generation that was ever signed for each device."""
        with self._store.transaction():
            return self._store.generations()

    def refresh_due(self, now_s: float) -> tuple[DeviceId, ...]:
        """Return the devices whose ``desired`` should be refreshed and published again, the oldest first."""
        with self._store.transaction():
            return self._director.refresh_due(now_s)

    def refresh(self, device: DeviceId) -> bytes | None:
        """Return the device's ``desired`` with a timestamp that is not due; None: it never had one."""
        with self._store.transaction():
            record = self._director.last(device)
            return None if record is None else self._director.refreshed(record)

    def all_desired(self) -> Iterable[tuple[Topic, bytes]]:
        """Yield every device's ``desired`` as it should stand on the broker, one device at a time."""
        with self._store.transaction():
            devices = self._store.devices()
        for device in devices:
            message = self.refresh(device)
            if message is not None:
                yield DownTopic(device=device, channel=Down.DESIRED), message

    def _check_keys(self, folder: Path) -> None:
        for repository, roots in (("image", self._image.roots()), ("director", self._director.roots())):
            for role, named in metadata.read_root(roots[-1]).roles.items():
                key = KeyName(f"{repository}-{role}")
                if self._keys[key].public_key.keyid not in named.keyids:
                    raise KeyRefused(folder / f"{key}.pem", "the root metadata names another key for this role")
