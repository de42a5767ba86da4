"""Makes the data directory of a server with a fleet, once for all that is measured over it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pinnace_server.signing.local import STORE_FOLDER
from pinnace_server.signing.store import FILE_NAME, Store
from planner_tick import fleet
from planner_tick.fleet import Place, Told
from planner_tick.server import Server, opened


def fill(data: Path, devices: int, times: int, kind: str) -> dict[str, float]:
    """Fill a data directory; return what it took."""
    del times
    began_s = time.perf_counter()
    data.mkdir(parents=True)
    with opened(data, durable=False) as server:
        server.add_versions(data)
        told = server.told(kind)
        everybody = fleet.places(devices, told.policy)
        with server.world.store.write() as tables:
            fleet.fill(tables, told, everybody)
        _sign_one(server, told, everybody[0])
    _copy_signed(data, everybody, told)
    return {"s": time.perf_counter() - began_s}


def _sign_one(server: Server, told: Told, place: Place) -> None:
    with server.world.store.read() as tables:
        desired = tables.assignments.desired(place.device)
    assert desired is not None
    signing, blobs = server.world.signing, server.world.blobs
    signing.desired(desired.assignments, {each.release: blobs.read(each.release) for each in (told.first, told.second)})


def _copy_signed(data: Path, everybody: Sequence[Place], told: Told) -> None:
    """Give every device what the first was issued: the signer's table has its size, and nobody waits for signatures."""
    store = Store.open(data / STORE_FOLDER, create=False)
    with store.transaction():
        one = store.device(everybody[0].device)
        assert one is not None
        for place in everybody:
            newest = place.state is not fleet.MemberState.WAITING
            if told.lease_s and place.state is fleet.MemberState.ASSIGNED:
                newest = False  # its set is signed again with what is decided, and these entries are the first device's
            generation = place.generation + newest
            at_s = fleet.NOW_S - place.number % 80_000
            store.put_device(replace(one, device=place.device, generation=generation, timestamp_at_s=at_s))
    store.close()
    assert (data / STORE_FOLDER / FILE_NAME).stat().st_size
