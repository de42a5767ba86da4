"""Rows to store: small names and numbers, and everything that a case does not care about filled in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeVar

from sqlalchemy.exc import IntegrityError

from pinnace_contract.ids import (
    BootId,
    DeviceId,
    Digest,
    IncarnationId,
    KeyId,
    ModelName,
    ReceiptId,
    ReleaseId,
    RolloutId,
    VersionName,
)
from pinnace_contract.latest import (
    AssignmentSet,
    Blob,
    Chunk,
    Entry,
    Intent,
    ModelState,
    Outcome,
    Phase,
    Receipt,
    Running,
)
from pinnace_server.domain.records import (
    Assignment,
    ClaimRecord,
    DesiredSet,
    Device,
    DeviceState,
    Event,
    EventKind,
    Incarnation,
    Job,
    JobId,
    JobState,
    Member,
    MemberState,
    Minute,
    Model,
    ReceiptRecord,
    ReceivedRange,
    Rollout,
    RolloutState,
    Slot,
    TokenId,
    Version,
)
from pinnace_server.domain.stretches import Stretch
from pinnace_server.service.ports import Store, Tables
from pinnace_sim.memory.errors import Violated
from tests.server.world import draft_of

NOW: Final = 1_000_000.0
VIOLATED: Final = (IntegrityError, Violated)  # what each of the two says of a row that cannot be

DIGITS: Final = ModelName("digits")
WORDS: Final = ModelName("words")
BOOT: Final = BootId("b" * 32)
FIRST: Final = IncarnationId("1" * 32)
SECOND: Final = IncarnationId("2" * 32)

T = TypeVar("T")


def written(store: Store, change: Callable[[Tables], T]) -> T:
    """Do something in a transaction of its own."""
    with store.write() as tables:
        return change(tables)


def undone(store: Store, change: Callable[[Tables], object]) -> None:
    """Do something in a transaction that fails at its end."""
    with suppress(ZeroDivisionError), store.write() as tables:
        change(tables)
        raise ZeroDivisionError


def digest(name: str) -> Digest:
    return Digest(hashlib.sha256(name.encode()).hexdigest())


def release(name: str) -> ReleaseId:
    return ReleaseId(digest(f"release {name}"))


def camera(n: int) -> DeviceId:
    return DeviceId(f"camera-{n}")


def device(n: int, **changes: object) -> Device:
    made = Device(
        id=camera(n),
        key=KeyId(f"{n:064x}"),
        public_key_pem="",
        state=DeviceState.ACTIVE,
        incarnation=FIRST,
        enrolled_at_s=0.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def fleet(store: Store, n: int) -> None:
    """Store this many devices, from 1."""
    with store.write() as tables:
        for each in range(1, n + 1):
            tables.devices.save(device(each))


def incarnation(n: int, which: IncarnationId, first_seen_s: float) -> Incarnation:
    return Incarnation(device=camera(n), incarnation=which, first_seen_s=first_seen_s, last_seen_s=first_seen_s)


def running(version: str) -> Running:
    return Running(release=release(version), variant=digest(f"variant {version}"), version=VersionName(version))


def slot(n: int, model: ModelName = DIGITS, version: str | None = None) -> Slot:
    state = ModelState(model=model, generation=1, phase=Phase.IDLE, current=running(version) if version else None)
    return Slot(device=camera(n), model=model, state=state, incarnation=FIRST, seq=1, said_at_s=NOW)


def entry(model: ModelName, version: str | None = "1", generation: int = 1) -> Entry:
    return Entry(model=model, generation=generation, release=release(version) if version else None)


def assignment(n: int, model: ModelName = DIGITS, rollout: str = "r1", **changes: object) -> Assignment:
    made = Assignment(
        device=camera(n),
        model=model,
        entry=entry(model),
        rollout=RolloutId(rollout),
        actor="test",
        assigned_at_s=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def desired(n: int, generation: int = 1, *, signed: bool = False, made_for: IncarnationId | None = FIRST) -> DesiredSet:
    assignments = AssignmentSet(
        device=camera(n), incarnation=made_for, generation=generation, issued_at_s=0, entries=(entry(DIGITS),)
    )
    return DesiredSet(device=camera(n), assignments=assignments, signed_at_s=NOW if signed else None)


def rollout(name: str, **changes: object) -> Rollout:
    made = Rollout(
        id=RolloutId(name),
        model=DIGITS,
        version=VersionName("1"),
        release=release("1"),
        intent=Intent.UPGRADE,
        state=RolloutState.ACTIVE,
        actor="test",
        created_at_s=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def member(rollout: str, n: int, **changes: object) -> Member:
    made = Member(
        rollout=RolloutId(rollout),
        device=camera(n),
        release=release("1"),
        variants=(digest("a"), digest("b")),
        state=MemberState.WAITING,
        changed_at_s=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def stretch(n: int, number: int, **changes: object) -> Stretch:
    made = Stretch(device=camera(n), model=DIGITS, release=release("1"), number=number)
    return replace(made, **changes)  # type: ignore[arg-type]


def receipt(
    n: int, counter: int = 1, *, named: str = "", at_s: float = NOW, counted: bool = True, **said: object
) -> ReceiptRecord:
    body = Receipt(
        device=camera(n),
        incarnation=FIRST,
        counter=counter,
        boot=BOOT,
        model=DIGITS,
        generation=1,
        outcome=Outcome.COMMITTED,
        release=release("1"),
        version=VersionName("1"),
        at_s=NOW,
    )
    body = replace(body, **said)  # type: ignore[arg-type]
    return ReceiptRecord(
        id=ReceiptId(named or body.id), body=body, envelope=b"signed", received_at_s=at_s, counted=counted
    )


def minute(n: int, at: int, /, **counted: object) -> Minute:
    made = Minute(device=camera(n), model=DIGITS, release=release("1"), variant=digest("variant"), minute=at)
    return replace(made, **counted)  # type: ignore[arg-type]


def received(seq_from: int, seq_to: int, *, n: int = 1, dropped: bool = False) -> ReceivedRange:
    return ReceivedRange(device=camera(n), boot=BOOT, seq_from=seq_from, seq_to=seq_to, dropped=dropped)


def model(name: ModelName = DIGITS, **changes: object) -> Model:
    return replace(Model(name=name, created_at_s=1.0, updated_at_s=1.0), **changes)  # type: ignore[arg-type]


def version(name: str, sequence: int, *, of: ModelName = DIGITS, **changes: object) -> Version:
    body = draft_of(f"{of} {name}").release(
        model=of, version=VersionName(name), sequence=sequence, epoch=0, created_at_s=int(NOW)
    )
    made = Version(
        model=of,
        version=VersionName(name),
        release=release(f"{of} {name}"),
        body=body,
        size_bytes=1,
        created_at_s=NOW + sequence,
        actor="test",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def blob(name: str) -> Blob:
    return Blob(digest=digest(name), size_bytes=3, chunks=(Chunk(digest=digest(name), size_bytes=3),))


def event(summary: str, **changes: object) -> Event:
    made = Event(at_s=NOW, kind=EventKind.MODEL_ADDED, actor="test", summary=summary)
    return replace(made, **changes)  # type: ignore[arg-type]


def claim(name: str, **changes: object) -> ClaimRecord:
    made = ClaimRecord(
        id=TokenId(name), secret_hash=f"hash of {name}", uses_left=1, expires_s=NOW, actor="test", created_at_s=NOW
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def job(name: str, **changes: object) -> Job:
    made = Job(
        id=JobId(name),
        model=DIGITS,
        version=VersionName("1"),
        state=JobState.QUEUED,
        actor="test",
        created_at_s=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]
