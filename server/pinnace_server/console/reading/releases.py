"""Release files, which never change: read from the catalogue once and kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from pinnace_contract.ids import ReleaseId
from pinnace_contract.latest import Release
from pinnace_server.service.ports import Tables

KEPT_MAX = 256  # of at most 256 KiB each, usually a tenth; more than a fleet runs at once


class ReleaseCache:
    """Remembers releases by id. Safe for use by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[ReleaseId, Release] = OrderedDict()

    def some(self, tables: Tables, wanted: Iterable[ReleaseId]) -> dict[ReleaseId, Release]:
        """Return those of these releases that the catalogue knows."""
        found: dict[ReleaseId, Release] = {}
        for release in wanted:
            body = self._one(tables, release)
            if body is not None:
                found[release] = body
        return found

    def _one(self, tables: Tables, release: ReleaseId) -> Release | None:
        with self._lock:
            if release in self._kept:
                self._kept.move_to_end(release)
                return self._kept[release]
        version = tables.versions.of_release(release)
        if version is None:
            return None
        with self._lock:
            self._kept[release] = version.body
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return version.body
