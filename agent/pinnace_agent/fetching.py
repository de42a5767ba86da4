"""Getting release files and blobs onto the disk: which transfer is under way for which model, and what came of it.

Chunks are checked against the signed release before they are written; the disk is the store's, topics and envelopes are
the daemon's (``ask`` sends a wish, ``received`` takes what came). Runs on the daemon's one thread.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from pinnace_agent import transfer
from pinnace_agent.core import effects, events
from pinnace_agent.core.slot import Servable
from pinnace_agent.errors import AgentError, NotYet
from pinnace_agent.store_blobs import DigestMismatch, Part
from pinnace_contract.ids import Digest, ModelName, ReleaseId, digest_of
from pinnace_contract.latest import (
    CHUNK_BYTES_MAX,
    STATUS_OK,
    Blob,
    Cause,
    Data,
    Release,
)

log = logging.getLogger(__name__)

BAD_CHUNKS_MAX: Final = 5  # the same chunk, wrong this often, is wrong at its source
PROGRESS_EVERY_S: Final = 1.0
MIXED_MAX_S: Final = 600.0  # how long a release may be unlisted before that is an error

CoreEvent = tuple[ModelName, events.Event]


class Files(Protocol):
    """What the store keeps for transfers."""

    def release_bytes(self, release: ReleaseId) -> bytes | None: ...
    def add_release(self, release: ReleaseId, data: bytes) -> None: ...
    def reserve(self, blobs: Iterable[Blob], kept: Iterable[Servable]) -> tuple[Part, ...]: ...
    def put_chunk(self, part: Part, index: int, data: bytes) -> bool: ...


Check = Callable[[ModelName, ReleaseId, bytes | None], Release | None]
"""``check(model, release, data)`` verifies bytes, or with None only that both repositories list them."""
Ask = Callable[[Digest, int, bytes], bool]
"""``ask(blob, chunks, bitmap)`` sends a wish; False when there is no connection."""


@dataclass(slots=True, kw_only=True)
class _ReleaseJob:
    effect: effects.FetchRelease
    wish: transfer.Wish
    pieces: dict[int, bytes] = field(default_factory=dict)
    wrong: int = 0
    unlisted_since_s: float | None = None


@dataclass(slots=True, kw_only=True)
class _BlobsJob:
    effect: effects.Fetch
    parts: list[Part]
    done_bytes: int
    told_s: float
    wish: transfer.Wish | None = None
    wrong: dict[int, int] = field(default_factory=dict)

    @property
    def part(self) -> Part | None:
        """The blob under way."""
        return self.parts[0] if self.parts else None


class Fetching:
    """All transfers of a device, one for each model."""

    def __init__(
        self,
        *,
        files: Files,
        check: Check,
        ask: Ask,
        kept: Callable[[], tuple[Servable, ...]],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._files, self._check, self._ask = files, check, ask
        self._clock, self._chance, self._kept = clock, chance, kept
        self._jobs: dict[ModelName, _ReleaseJob | _BlobsJob] = {}
        self._out: list[CoreEvent] = []

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._jobs)

    def take(self) -> list[CoreEvent]:
        """Return what the lifecycle must hear of, in order."""
        out, self._out = self._out, []
        return out

    def fetch_release(self, effect: effects.FetchRelease) -> None:
        """Begin to get a release file."""
        pieces = max(1, -(-effect.size_bytes // CHUNK_BYTES_MAX))
        wish = transfer.Wish(blob=Digest(effect.release), chunks=pieces, missing=frozenset(range(pieces)))
        self._jobs[effect.model] = _ReleaseJob(effect=effect, wish=wish)
        self.tick()

    def fetch(self, effect: effects.Fetch, release: Release) -> None:
        """Begin to get every blob of a variant that is not here yet."""
        variant = release.variant(effect.variant)
        assert variant is not None
        wanted = release.blobs(variant)
        try:
            parts = self._files.reserve(wanted, self._kept())
        except AgentError as error:
            self._emit(effect.model, events.FetchFailed(ticket=effect.ticket, cause=error.cause, detail=str(error)))
            return
        done_bytes = sum(blob.size_bytes for blob in wanted) - sum(part.blob.size_bytes for part in parts)
        self._jobs[effect.model] = _BlobsJob(
            effect=effect, parts=list(parts), done_bytes=done_bytes, told_s=self._clock()
        )
        self.tick()

    def stop(self, model: ModelName) -> None:
        """Ask for nothing more."""
        self._jobs.pop(model, None)

    def reconnected(self) -> None:
        """What was asked for may be lost: ask again at once."""
        for job in self._jobs.values():
            if job.wish is not None:
                job.wish = transfer.forgotten(job.wish)
        self.tick()

    def tick(self) -> None:
        """Ask for what is missing and not on its way."""
        for model, job in list(self._jobs.items()):
            if isinstance(job, _ReleaseJob):
                self._go_on_release(model, job)
            else:
                self._go_on_blobs(model, job)

    def received(self, data: Data) -> None:
        """Take a chunk, for whichever model asked for it."""
        for model, job in list(self._jobs.items()):
            if job.wish is None or job.wish.blob != data.blob:
                continue
            if data.status == STATUS_OK:
                if isinstance(job, _ReleaseJob):
                    self._take_piece(model, job, data)
                else:
                    self._take_chunk(model, job, data)
            else:
                # Unsigned, so it only slows asking down: what a device must stop doing is said in a signed set.
                log.info("the server does not have %s for this device (%s); asking again", data.blob[:12], data.status)
        self.tick()

    # --- release files -------------------------------------------------------------------------------------------

    def _go_on_release(self, model: ModelName, job: _ReleaseJob) -> None:
        release = job.effect.release
        try:
            self._check(model, release, None)
            data = self._files.release_bytes(release)
            if data is not None:
                self._release_is_here(model, job, data)
                return
        except NotYet as error:
            self._wait_for_listing(model, job, str(error))
            return
        except AgentError as error:
            self._fail(model, error.cause, str(error))
            return
        job.unlisted_since_s = None
        self._ask_for(job)

    def _wait_for_listing(self, model: ModelName, job: _ReleaseJob, why: str) -> None:
        now_s = self._clock()
        if job.unlisted_since_s is None:
            job.unlisted_since_s = now_s
        if now_s - job.unlisted_since_s > MIXED_MAX_S:
            self._fail(model, Cause.META_INCONSISTENT, f"{why}, for {MIXED_MAX_S:.0f} s")

    def _take_piece(self, model: ModelName, job: _ReleaseJob, data: Data) -> None:
        if data.index not in job.wish.missing:
            return
        job.pieces[data.index] = data.payload
        job.wish = transfer.arrived(job.wish, data.index, self._clock())
        if not job.wish.complete:
            return
        whole = b"".join(job.pieces[index] for index in range(job.wish.chunks))
        if ReleaseId(digest_of(whole)) != job.effect.release:
            job.wrong += 1
            if job.wrong >= BAD_CHUNKS_MAX:
                self._fail(
                    model,
                    Cause.DIGEST_MISMATCH,
                    f"what the server sends as this release is something else, {job.wrong} times",
                )
                return
            job.pieces.clear()
            job.wish = transfer.started_over(job.wish)
            return
        try:
            self._release_is_here(model, job, whole)
        except AgentError as error:
            self._fail(model, error.cause, str(error))

    def _release_is_here(self, model: ModelName, job: _ReleaseJob, data: bytes) -> None:
        release = self._check(model, job.effect.release, data)
        assert release is not None
        self._files.add_release(job.effect.release, data)
        del self._jobs[model]
        self._emit(model, events.ReleaseRead(ticket=job.effect.ticket, release_id=job.effect.release, release=release))

    # --- blobs ---------------------------------------------------------------------------------------------------

    def _go_on_blobs(self, model: ModelName, job: _BlobsJob) -> None:
        pace_s = 0.0
        while job.wish is None or job.wish.complete:
            if job.wish is not None:
                pace_s = job.wish.pace_s
                job.done_bytes += job.parts.pop(0).blob.size_bytes
                job.wish, job.wrong = None, {}
            part = job.part
            if part is None:
                del self._jobs[model]
                self._emit(model, events.Fetched(ticket=job.effect.ticket))
                return
            chunks = len(part.blob.chunks)
            missing = frozenset(part.missing)
            job.wish = transfer.Wish(blob=part.blob.digest, chunks=chunks, missing=missing, pace_s=pace_s)
        self._ask_for(job)

    def _take_chunk(self, model: ModelName, job: _BlobsJob, data: Data) -> None:
        if job.wish is None or job.part is None or data.index not in job.wish.missing:
            return
        try:
            self._files.put_chunk(job.part, data.index, data.payload)
        except DigestMismatch:
            self._count_wrong(model, job, data)
        except AgentError as error:
            self._fail(model, error.cause, str(error))
        else:
            job.wish = transfer.arrived(job.wish, data.index, self._clock())
            self._tell_progress(model, job)

    def _count_wrong(self, model: ModelName, job: _BlobsJob, data: Data) -> None:
        assert job.wish is not None
        job.wrong[data.index] = job.wrong.get(data.index, 0) + 1
        if job.wrong[data.index] < BAD_CHUNKS_MAX:
            job.wish = transfer.refused(job.wish, data.index, self._clock())
            return
        self._fail(
            model,
            Cause.DIGEST_MISMATCH,
            f"chunk {data.index} of {data.blob[:12]} is not what the signed release lists, {BAD_CHUNKS_MAX} times: "
            "the server's copy is damaged or was replaced",
        )

    def _tell_progress(self, model: ModelName, job: _BlobsJob) -> None:
        now_s = self._clock()
        if now_s - job.told_s < PROGRESS_EVERY_S or job.part is None:
            return
        job.told_s = now_s
        here = job.done_bytes + job.part.held_bytes
        self._emit(model, events.ChunksFetched(ticket=job.effect.ticket, fetched_bytes=here))

    # --- both ----------------------------------------------------------------------------------------------------

    def _ask_for(self, job: _ReleaseJob | _BlobsJob) -> None:
        if job.wish is None:
            return
        asked, bitmap = transfer.ask(job.wish, self._clock(), self._chance)
        if bitmap is None or self._ask(job.wish.blob, job.wish.chunks, bitmap):
            job.wish = asked

    def _fail(self, model: ModelName, cause: Cause, detail: str) -> None:
        job = self._jobs.pop(model)
        if isinstance(job, _ReleaseJob):
            self._emit(model, events.ReleaseRefused(ticket=job.effect.ticket, cause=cause, detail=detail))
        else:
            self._emit(model, events.FetchFailed(ticket=job.effect.ticket, cause=cause, detail=detail))

    def _emit(self, model: ModelName, event: events.Event) -> None:
        self._out.append((model, event))
