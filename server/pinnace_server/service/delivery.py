"""Unicast of chunks: takes what devices want and sends it, paced, one thread for all. Implements the ``Delivery`` port.

Chunks are read when they are sent, so memory does not grow with the fleet; nothing is remembered over a restart,
because a device asks again until its blob is whole. Which chunk is next is decided in ``wishes.py``; who may have a
blob, by the catalog.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from pinnace_contract.ids import DeviceId, Digest
from pinnace_contract.latest import CHUNK_BYTES_MAX, STATUS_GONE, STATUS_NOT_FOUND, Blob, Data, Want
from pinnace_contract.topics import Down, DownTopic, Topic
from pinnace_server.errors import NotFound
from pinnace_server.service.wishes import DEVICES_MAX, Parcel, Rates, Wishes

BACKLOG_BYTES_MAX: Final = 1024 * 1024  # what the connection may hold back before sending waits for it
BACKLOG_WAIT_S: Final = 0.005
ERROR_WAIT_S: Final = 1.0
KNOWN_SIZES_MAX: Final = 256

_log = logging.getLogger(__name__)


class Withheld(IntEnum):
    """Why a device does not get a blob: nothing of its assignment names it, or its release was withdrawn."""

    NOT_FOUND = STATUS_NOT_FOUND
    GONE = STATUS_GONE


class Catalog(Protocol):
    """Knows what each device may have."""

    def offered(self, device: DeviceId, blob: Digest) -> Blob | Withheld:
        """Return a blob that the device's current assignment names, a release file included (its chunk list may be
        empty), or why it gets none."""
        ...


class ReadableBlobs(Protocol):
    """The part of the blob store that delivery needs."""

    def read(self, digest: Digest, offset: int = 0, size: int | None = None) -> bytes: ...


class Outlet(Protocol):
    """The part of the gateway that delivery needs."""

    def publish(self, topic: Topic, payload: bytes, *, retained: bool = False, qos: int = 1) -> None: ...

    def waiting_out_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStatus:
    """What the console shows."""

    devices: int
    chunks_waiting: int
    chunks_sent: int
    bytes_sent: int
    refused: int


class PacedDelivery:
    """Serves wants until it is stopped."""

    def __init__(
        self,
        blobs: ReadableBlobs,
        catalog: Catalog,
        outlet: Outlet,
        *,
        rates: Rates | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._blobs = blobs
        self._catalog = catalog
        self._outlet = outlet
        self._monotonic_s = monotonic_s
        self._wishes = Wishes(rates)
        # Every device of a wave wants the same blobs: one tuple for all of them.
        self._known_sizes: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._changed = threading.Condition()
        self._asked: dict[tuple[DeviceId, Digest], Want] = {}
        self._stopping = False
        self._chunks_sent = self._bytes_sent = self._refused = 0
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """End after the chunk at hand."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def wanted(self, want: Want) -> None:
        """Take a wish; a newer one for the same blob replaces it. Returns at once, from any thread."""
        with self._changed:
            key = want.device, want.blob
            if key in self._asked or len(self._asked) < DEVICES_MAX:
                self._asked[key] = want
                self._changed.notify()

    def status(self) -> DeliveryStatus:
        """Return what there is to show."""
        with self._changed:
            return DeliveryStatus(
                devices=self._wishes.devices,
                chunks_waiting=self._wishes.chunks,
                chunks_sent=self._chunks_sent,
                bytes_sent=self._bytes_sent,
                refused=self._refused,
            )

    def step(self) -> float | None:
        """Do one thing; return how long there is nothing else to do (0: go on), None when nothing is wanted."""
        with self._changed:
            asked, self._asked = self._asked, {}
        for want in asked.values():
            self._accept(want)
        if self._outlet.waiting_out_bytes() > BACKLOG_BYTES_MAX:
            return BACKLOG_WAIT_S
        with self._changed:
            found = self._wishes.next(self._monotonic_s())
        if isinstance(found, Parcel):
            self._send(found)
            return 0.0
        return found

    def _accept(self, want: Want) -> None:
        offered = self._catalog.offered(want.device, want.blob)
        if isinstance(offered, Withheld):
            self._refuse(want.device, want.blob, offered)
            return
        sizes = self._sizes(offered, plain=not want.missing)
        missing = _indices(want.missing, len(sizes)) if want.missing else range(len(sizes))
        with self._changed:
            self._wishes.want(
                self._monotonic_s(),
                device=want.device,
                blob=want.blob,
                sizes=sizes,
                missing=missing,
                window=want.window,
            )

    def _sizes(self, blob: Blob, *, plain: bool) -> tuple[int, ...]:
        # A device without the chunk list cuts as everybody can: at every CHUNK_BYTES_MAX. Nothing at all is one chunk.
        sizes = () if plain else tuple(chunk.size_bytes for chunk in blob.chunks)
        if not sizes:
            starts = range(0, max(1, blob.size_bytes), CHUNK_BYTES_MAX)
            sizes = tuple(min(CHUNK_BYTES_MAX, blob.size_bytes - start) for start in starts)
        if len(self._known_sizes) >= KNOWN_SIZES_MAX:
            self._known_sizes.clear()
        return self._known_sizes.setdefault(sizes, sizes)

    def _send(self, parcel: Parcel) -> None:
        try:
            payload = self._blobs.read(parcel.blob, parcel.offset, parcel.size_bytes)
        except NotFound:
            _log.error("blob %s is offered to %s and is not in the store", parcel.blob, parcel.device)
            self._refuse(parcel.device, parcel.blob, Withheld.NOT_FOUND)
            return
        data = Data(blob=parcel.blob, index=parcel.index, payload=payload)
        self._publish(parcel.device, data)
        self._chunks_sent += 1
        self._bytes_sent += len(payload)

    def _refuse(self, device: DeviceId, blob: Digest, why: Withheld) -> None:
        with self._changed:
            self._wishes.drop(device, blob)
        self._refused += 1
        self._publish(device, Data(blob=blob, index=0, status=int(why)))

    def _publish(self, device: DeviceId, data: Data) -> None:
        self._outlet.publish(DownTopic(device=device, channel=Down.DATA), data.to_bytes(), qos=0)

    def _run(self) -> None:
        while True:
            try:
                wait_s = self.step()
            except Exception:  # a database that is away must not end delivery; devices ask again
                _log.exception("delivery failed and goes on")
                wait_s = ERROR_WAIT_S
            with self._changed:
                if not self._stopping and not self._asked and wait_s != 0:
                    self._changed.wait(wait_s)
                if self._stopping:
                    return


def _indices(bitmap: bytes, count: int) -> Iterator[int]:
    """Return the numbers of the bits that are set, those beyond the blob's end left out."""
    return (n for n in range(min(count, len(bitmap) * 8)) if bitmap[n // 8] >> n % 8 & 1)
