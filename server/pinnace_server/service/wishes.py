"""Which chunk goes to which device next: windows, fairness and pace. Times are arguments; nothing is read or sent here.

A ``want`` grants a window: so many of its missing chunks, and no more until the next one. Sending is fair by time: each
chunk moves its device's next turn by the time it takes at the device's rate, and the earliest turn is served first.
Only so many devices are served at a time and the others wait in line: sent a chunk each in turn, a large fleet would
wait for each next one until it is overdue. Chunks are QoS 0, and a broker drops what comes too fast for its queues
without a word: hence a rate for each device, and one for all, which ``pace.py`` adapts.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pinnace_contract.ids import DeviceId, Digest
from pinnace_server.service.pace import IN_FLIGHT_S, Pace

MIB: Final = 1024 * 1024
DEVICE_BYTES_S: Final = 8 * MIB
DEVICE_BURST_BYTES: Final = MIB // 4  # four chunks at once: small models do not wait
TOTAL_BYTES_S: Final = 64 * MIB  # what one broker process passes on without falling behind
TOTAL_BURST_BYTES: Final = MIB
SERVED_MAX: Final = 64  # devices at a time: together they are sent what a broker can take, and each its window soon
DEVICES_MAX: Final = 20_000
WISHES_MAX: Final = 8  # blobs that one device can be sent at the same time
FORGET_AFTER_S: Final = 60.0
FORGET_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Bytes for each second, and how much may go at once after a pause."""

    device_bytes_s: float = DEVICE_BYTES_S
    device_burst_bytes: float = DEVICE_BURST_BYTES
    total_bytes_s: float = TOTAL_BYTES_S
    total_burst_bytes: float = TOTAL_BURST_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One chunk to send now."""

    device: DeviceId
    blob: Digest
    index: int
    offset: int
    size_bytes: int


@dataclass(slots=True, kw_only=True)
class _Wish:
    queued: deque[int]
    sent_at_s: dict[int, float]
    sizes: tuple[int, ...]
    asked_at_s: float


@dataclass(slots=True, kw_only=True)
class _Queue:
    """One device's wishes, in the order they are served, and when its next turn is."""

    wishes: dict[Digest, _Wish] = field(default_factory=dict)
    turn_s: float
    waiting: bool = False


class Wishes:
    """Everything that devices want now. Not safe for use by many threads."""

    def __init__(self, rates: Rates | None = None) -> None:
        self._rates = rates or Rates()
        self._queues: dict[DeviceId, _Queue] = {}
        self._turns: list[tuple[float, int, DeviceId]] = []
        self._line: deque[DeviceId] = deque()
        self._pace = Pace(self._rates.total_bytes_s)
        self._order = itertools.count()
        self._total_turn_s = float("-inf")
        self._forgot_at_s = float("-inf")

    @property
    def devices(self) -> int:
        """Devices that are remembered."""
        return len(self._queues)

    @property
    def chunks(self) -> int:
        """Chunks that are to be sent."""
        return sum(len(wish.queued) for each in self._queues.values() for wish in each.wishes.values())

    def want(
        self,
        now_s: float,
        *,
        device: DeviceId,
        blob: Digest,
        sizes: tuple[int, ...],
        missing: Iterable[int],
        window: int,
    ) -> None:
        """Replace what a device wants of a blob. ``sizes`` are its chunks' sizes, ``missing`` indices into them.

        A chunk that was sent a moment ago is on its way: it counts into the window and is not sent again.
        """
        if device not in self._queues and len(self._queues) >= DEVICES_MAX:
            return  # the device asks again
        each = self._queues.setdefault(device, _Queue(turn_s=now_s))
        previous = each.wishes.pop(blob, None)
        if previous is None and len(each.wishes) >= WISHES_MAX:
            del each.wishes[min(each.wishes, key=lambda known: each.wishes[known].asked_at_s)]
        wanted = list(missing)
        sent = previous.sent_at_s if previous else {}
        sent_at_s = {index: sent[index] for index in wanted if index in sent}
        self._pace.late(now_s, sum(now_s - at_s >= IN_FLIGHT_S for at_s in sent_at_s.values()))
        in_flight_s = self._pace.in_flight_s
        sent_at_s = {index: at_s for index, at_s in sent_at_s.items() if now_s - at_s < in_flight_s}
        granted = [index for index in wanted if index not in sent_at_s][: max(0, window - len(sent_at_s))]
        each.wishes[blob] = _Wish(queued=deque(granted), sent_at_s=sent_at_s, sizes=sizes, asked_at_s=now_s)
        self._line_up(device, each)

    def drop(self, device: DeviceId, blob: Digest) -> None:
        """Forget a wish that cannot be granted."""
        if device in self._queues:
            self._queues[device].wishes.pop(blob, None)

    def next(self, now_s: float) -> Parcel | float | None:
        """Return what to send now, or how many seconds nothing may be sent, or None: nothing is wanted."""
        self._forget(now_s)
        rates = self._rates
        while self._admitted(now_s):
            turn_s, _, device = self._turns[0]
            each = self._queues[device]
            found = next(((blob, wish) for blob, wish in each.wishes.items() if wish.queued), None)
            if found is None:
                heapq.heappop(self._turns)
                each.waiting = False
                continue
            wait_s = max(
                turn_s - rates.device_burst_bytes / rates.device_bytes_s,
                self._total_turn_s - rates.total_burst_bytes / self._pace.bytes_s,
            )
            if wait_s > now_s:
                return wait_s - now_s
            heapq.heappop(self._turns)
            each.waiting = False
            return self._take(now_s, device, each, *found)
        return None

    def _take(self, now_s: float, device: DeviceId, each: _Queue, blob: Digest, wish: _Wish) -> Parcel:
        index = wish.queued.popleft()
        wish.sent_at_s[index] = now_s
        size = wish.sizes[index]
        each.turn_s = max(each.turn_s, now_s) + size / self._rates.device_bytes_s
        self._total_turn_s = max(self._total_turn_s, now_s) + size / self._pace.bytes_s
        self._pace.sent(now_s)
        if not wish.queued:  # the next one of this device first, when both are asked for again
            each.wishes[blob] = each.wishes.pop(blob)
        if any(wish.queued for wish in each.wishes.values()):
            each.waiting = True
            self._serve(now_s, device, each)
        return Parcel(device=device, blob=blob, index=index, offset=sum(wish.sizes[:index]), size_bytes=size)

    def _line_up(self, device: DeviceId, each: _Queue) -> None:
        if each.waiting or not any(wish.queued for wish in each.wishes.values()):
            return
        each.waiting = True
        self._line.append(device)

    def _admitted(self, now_s: float) -> bool:
        """Serve who waits in line as far as there is a place; tell whether anybody is served."""
        while self._line and len(self._turns) < SERVED_MAX:
            device = self._line.popleft()
            self._serve(now_s, device, self._queues[device])
        return bool(self._turns)

    def _serve(self, now_s: float, device: DeviceId, each: _Queue) -> None:
        # Time that was not used is not saved up, or one long idle device would hold up all others.
        each.turn_s = max(each.turn_s, now_s)
        heapq.heappush(self._turns, (each.turn_s, next(self._order), device))

    def _forget(self, now_s: float) -> None:
        if now_s - self._forgot_at_s < FORGET_EVERY_S:
            return
        self._forgot_at_s = now_s
        for device, each in list(self._queues.items()):
            for blob, wish in list(each.wishes.items()):
                if not wish.queued and now_s - wish.asked_at_s >= FORGET_AFTER_S:
                    del each.wishes[blob]
            if not each.wishes and not each.waiting:
                del self._queues[device]
