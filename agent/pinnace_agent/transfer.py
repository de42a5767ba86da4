"""Asking for a blob's missing chunks: pure decisions on what to ask and when to ask again.

Bytes, files and topics are the daemon's. A device asks for up to a window of chunks, and again when they have come or
when they are overdue; back-off with jitter keeps a fleet behind a dead server from asking all at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.ids import Digest

WINDOW_CHUNKS: Final = 16  # 1 MiB in flight: fills a fast link, small enough for a broker's queue
OVERDUE_S: Final = 2.0  # after the last chunk, or the question, that nothing followed
OVERDUE_MAX_S: Final = 60.0
WRONG_AGAIN_S: Final = 1.0
PACES: Final = 4.0  # so many times as long as chunks take on this link: asked sooner, a slow one fills with duplicates


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One blob under way: which chunks are missing, which of them were asked for, and since when nothing came.

    ``pace_s`` is how long the link takes for a chunk, as far as it has shown; slower ones count at once.
    """

    blob: Digest
    chunks: int
    missing: frozenset[int]
    asked: frozenset[int] = frozenset()
    quiet_since_s: float | None = None
    tries: int = 0
    pace_s: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every chunk is there."""
        return not self.missing


def overdue_after_s(tries: int, pace_s: float = 0.0) -> float:
    """Return how long to wait for an answer after ``tries`` unanswered questions, on a link of this pace."""
    return min(OVERDUE_MAX_S, max(OVERDUE_S, PACES * pace_s) * 2.0 ** min(tries, 16))


def ask(wish: Wish, now_s: float, chance: random.Random) -> tuple[Wish, bytes | None]:
    """Return the bitmap to ask with, or None while an answer may still come.

    ``now_s`` is monotonic time. A question names every missing chunk; the server sends the first window of them.
    """
    if wish.complete:
        return wish, None
    if wish.asked and wish.quiet_since_s is not None:
        patience_s = overdue_after_s(wish.tries, wish.pace_s) * chance.uniform(0.8, 1.2)
        if now_s - wish.quiet_since_s < patience_s:
            return wish, None
        wish = replace(wish, tries=wish.tries + 1)
    first = frozenset(sorted(wish.missing)[:WINDOW_CHUNKS])
    return replace(wish, asked=first, quiet_since_s=now_s), bitmap(wish.missing, wish.chunks)


def arrived(wish: Wish, index: int, now_s: float) -> Wish:
    """Count one chunk that was verified and is on disk; duplicates change nothing."""
    if index not in wish.missing:
        return wish
    took_s = 0.0 if wish.quiet_since_s is None else now_s - wish.quiet_since_s
    return replace(
        wish,
        missing=wish.missing - {index},
        asked=wish.asked - {index},
        quiet_since_s=now_s,
        tries=0,
        pace_s=max(took_s, (3 * wish.pace_s + took_s) / 4),
    )


def bitmap(indices: frozenset[int], chunks: int) -> bytes:
    """Return bit ``n % 8`` of byte ``n // 8`` set for each index."""
    bits = bytearray((chunks + 7) // 8)
    for index in indices:
        bits[index // 8] |= 1 << (index % 8)
    return bytes(bits)


def refused(wish: Wish, index: int, now_s: float) -> Wish:
    """A chunk came, but not the right one: ask for it again, not at once and without backing off further.

    At once would only bring the same again: a server does not repeat a chunk that it has just sent.
    """
    wish = replace(wish, asked=wish.asked - {index}, tries=0)
    if wish.asked:
        return wish
    return replace(wish, asked=frozenset({index}), quiet_since_s=now_s - OVERDUE_S + WRONG_AGAIN_S)


def forgotten(wish: Wish) -> Wish:
    """What was asked for may be lost with the connection: nothing is on its way."""
    return replace(wish, asked=frozenset(), quiet_since_s=None, tries=0)


def started_over(wish: Wish) -> Wish:
    """Nothing that came is of use."""
    return replace(forgotten(wish), missing=frozenset(range(wish.chunks)))
