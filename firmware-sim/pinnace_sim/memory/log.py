"""The append-only log, claim tokens and jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pinnace_contract.ids import ModelName
from pinnace_server.domain.queries import EventQuery, Listing, Page
from pinnace_server.domain.records import ClaimRecord, Event, Job, JobId, JobState, TokenId
from pinnace_sim.memory.lists import contains, cut
from pinnace_sim.memory.tables import Disk

_UNFINISHED: Final = (JobState.QUEUED, JobState.RUNNING)


class MemoryEvents:
    """``ports.Events``: the event of number ``n`` stands at ``n - 1``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def append(self, event: Event) -> int:
        number = len(self._disk.events) + 1
        self._disk.undo.append(self._disk.events, replace(event, number=number, data=dict(event.data)))
        return number

    def listing(self, query: EventQuery) -> Listing[Event]:
        if query.after is None:
            return cut([event for event in reversed(self._disk.events) if _is_asked(event, query)], query.page)
        newer = self._disk.events[max(query.after, 0) :]
        return cut([event for event in newer if _is_asked(event, query)], query.page)

    def last_number(self) -> int:
        return len(self._disk.events)


class MemoryClaims:
    """``ports.Claims``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def get(self, token: TokenId) -> ClaimRecord | None:
        return self._disk.claims.get(token)

    def of_hash(self, secret_hash: str) -> ClaimRecord | None:
        token = self._disk.claim_of_hash.get(secret_hash)
        return None if token is None else self._disk.claims[token]

    def save(self, claim: ClaimRecord) -> None:
        disk, undo = self._disk, self._disk.undo
        if disk.claim_of_hash.get(claim.secret_hash, claim.id) != claim.id:
            raise undo.violated("the secret is another claim token's")
        had = disk.claims.get(claim.id)
        if had is not None:
            undo.drop(disk.claim_of_hash, had.secret_hash)
        undo.put(disk.claim_of_hash, claim.secret_hash, claim.id)
        undo.put(disk.claims, claim.id, replace(claim, labels=dict(claim.labels)))

    def remove(self, token: TokenId) -> bool:
        had = self._disk.claims.get(token)
        if had is None:
            return False
        self._disk.undo.drop(self._disk.claim_of_hash, had.secret_hash)
        self._disk.undo.drop(self._disk.claims, token)
        return True

    def listing(self, page: Page) -> Listing[ClaimRecord]:
        return cut(sorted(self._disk.claims.values(), key=lambda each: (-each.created_at_s, each.id)), page)


class MemoryJobs:
    """``ports.Jobs``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def get(self, job: JobId) -> Job | None:
        return self._disk.jobs.get(job)

    def save(self, job: Job) -> None:
        self._disk.undo.put(self._disk.jobs, job.id, job)

    def listing(self, page: Page, model: ModelName | None = None) -> Listing[Job]:
        found = [each for each in self._disk.jobs.values() if model is None or each.model == model]
        return cut(sorted(found, key=lambda each: (-each.created_at_s, each.id)), page)

    def unfinished(self) -> Sequence[Job]:
        found = [each for each in self._disk.jobs.values() if each.state in _UNFINISHED]
        return sorted(found, key=lambda each: (each.created_at_s, each.id))


def _is_asked(event: Event, query: EventQuery) -> bool:
    return (
        (not query.text or contains(event.summary, query.text) or contains(event.device, query.text))
        and (not query.kinds or event.kind in query.kinds)
        and (query.severity is None or event.severity is query.severity)
        and (not query.actor or event.actor == query.actor)
        and (query.device is None or event.device == query.device)
        and (query.model is None or event.model == query.model)
        and (query.version is None or event.version == query.version)
        and (query.rollout is None or event.rollout == query.rollout)
        and (query.since_s is None or event.at_s >= query.since_s)
    )
