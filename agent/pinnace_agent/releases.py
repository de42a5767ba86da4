"""Release files: checked against both repositories before they are stored, read back by their digest after.

What is stored was verified, and its name is its digest, so reading it back needs no signature: expiry stops installs,
never what is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from pinnace_agent import trust
from pinnace_agent.belief import Belief
from pinnace_agent.core.device import DeviceState
from pinnace_agent.errors import DeviceTrouble
from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import ModelName, ReleaseId, digest_of
from pinnace_contract.latest import Cause, Release

PARSED_MAX: Final = 4  # a release is up to 256 KiB of JSON, and each is read a few times while it is installed


class ReleaseLost(DeviceTrouble):
    """A release file that should be in the store is not, or is damaged."""

    cause = Cause.DIGEST_MISMATCH


class Files(Protocol):
    """Where release files lie."""

    def release_bytes(self, release: ReleaseId) -> bytes | None: ...


class Releases:
    """The releases that this device has or is asked to get."""

    def __init__(self, files: Files, belief: Belief, state: Callable[[], DeviceState]) -> None:
        self._files, self._belief, self._state = files, belief, state
        self._parsed: dict[ReleaseId, Release] = {}

    def check(self, model: ModelName, release: ReleaseId, data: bytes | None) -> Release | None:
        """Verify the bytes of a release that is being offered; with None, only that both repositories list it.

        Raises:
            Refused, NotYet: see ``trust.read_release``.
        """
        slot = self._state().slot(model)
        entry = slot.work.entry if slot is not None and slot.work is not None else None
        if entry is None or entry.release != release:
            return None  # given up meanwhile
        if data is None:
            trust.check_listed(self._belief.trusted, entry)
            return None
        return trust.read_release(self._belief.trusted, entry, data)

    def stored(self, release: ReleaseId) -> Release:
        """Return a release from the store.

        Raises:
            ReleaseLost
        """
        if release in self._parsed:
            return self._parsed[release]
        data = self._files.release_bytes(release)
        if data is None:
            raise ReleaseLost(f"release {release[:12]} is not in the store any more")
        if ReleaseId(digest_of(data)) != release:
            raise ReleaseLost(f"release {release[:12]} is damaged on the disk")
        try:
            parsed = codec.from_json(Release, data)
        except ContractError as error:
            raise ReleaseLost(f"release {release[:12]} cannot be read: {error}") from error
        self._parsed[release] = parsed
        while len(self._parsed) > PARSED_MAX:
            del self._parsed[next(iter(self._parsed))]
        return parsed
