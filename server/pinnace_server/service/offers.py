"""Which blobs a device may ask for: those of the releases that its current assignments name, and no others."""

from __future__ import annotations

from pinnace_contract.ids import DeviceId, Digest
from pinnace_contract.latest import Blob, WithdrawMode
from pinnace_server.domain.records import DeviceState, Version
from pinnace_server.service.delivery import Withheld
from pinnace_server.service.ports import Store


class Offers:
    """``delivery.Catalog``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def offered(self, device: DeviceId, blob: Digest) -> Blob | Withheld:
        """Return a blob that the device's assignments name, or why it gets none."""
        with self._store.read() as tables:
            known = tables.devices.get(device)
            if known is None or known.state is DeviceState.DECOMMISSIONED:
                return Withheld.NOT_FOUND
            why = Withheld.NOT_FOUND
            for assignment in tables.assignments.of([device]):
                if assignment.release is None:
                    continue
                version = tables.versions.of_release(assignment.release)
                if version is None or not _names(version, blob):
                    continue
                if version.withdrawn is WithdrawMode.STOP:
                    why = Withheld.GONE
                    continue
                return tables.versions.blob(blob) or Withheld.NOT_FOUND
            return why


def _names(version: Version, blob: Digest) -> bool:
    if blob == Digest(version.release):
        return True
    release = version.body
    return any(blob == each.digest for variant in release.variants for each in release.blobs(variant))
