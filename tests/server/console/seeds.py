"""A small real database behind the console: two versions, six devices, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pinnace_contract import codec
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import DeviceId, Digest, IncarnationId, KeyId, ReleaseId, RolloutId, VersionName, digest_of
from pinnace_contract.latest import (
    Cause,
    Entry,
    Health,
    Intent,
    ModelState,
    Outcome,
    Phase,
    Precision,
    Release,
    Running,
    Runtime,
)
from pinnace_contract.topics import Topic
from pinnace_server.db.store import SqlStore
from pinnace_server.domain.policy import PLAIN_TERMS
from pinnace_server.domain.records import (
    Assignment,
    Device,
    DeviceState,
    Event,
    EventKind,
    Member,
    MemberState,
    Minute,
    Model,
    ReceiptRecord,
    Rollout,
    RolloutState,
    Severity,
    Slot,
    Version,
)
from pinnace_server.service import observing
from pinnace_server.service.changes import ChangeHub
from pinnace_server.service.door import TokenDoor, hash_of
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.rollouts import Rollouts
from pinnace_server.signing.local import LocalSigning
from tests.contract.examples import MODEL, RECEIPT, RELEASE, digest
from tests.server.console.fleet import TOKEN

NOW_S = 1_795_435_200.0
BLOB = RELEASE.variants[0]


@dataclass(slots=True)
class HandClock:
    now_s: float = NOW_S

    def now(self) -> float:
        return self.now_s


class Counting:
    """Ids that are told apart, and nothing more."""

    def __init__(self) -> None:
        self.given = 0

    def secret_hex(self, size_bytes: int) -> str:
        self.given += 1
        return f"{self.given:0{2 * size_bytes}x}"


class Silent:
    """Whatever is published or asked of it goes nowhere: the console sends nothing itself."""

    def publish(self, topic: Topic, payload: bytes, *, retained: bool = False, qos: int = 1) -> None: ...
    def check(self, public_key_pem: str, signed_bytes: bytes, signature: bytes) -> None: ...
    def of_request(self, csr_pem: str) -> tuple[KeyId, str]:
        raise NotImplementedError

    def add(self, source: BinaryIO | Path | bytes, *, size_bytes_max: int | None = None) -> Digest:
        raise NotImplementedError

    def has(self, digest: Digest) -> bool:
        return False

    def size(self, digest: Digest) -> int:
        return 0

    def read(self, digest: Digest, offset: int = 0, size: int | None = None) -> bytes:
        return b""

    def open(self, digest: Digest) -> BinaryIO:
        return BytesIO()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    world: World
    rollouts: Rollouts
    door: TokenDoor
    clock: HandClock


def release(version: str, sequence: int) -> Release:
    onnx = replace(
        BLOB, runtime=Runtime.ONNX, precision=Precision.FP32, blob=replace(BLOB.blob, digest=digest(f"w{version}"))
    )
    return replace(RELEASE, version=VersionName(version), sequence=sequence, variants=(onnx,))


def running(version: str, sequence: int) -> Running:
    made = release(version, sequence)
    return Running(
        release=ReleaseId(digest_of(codec.to_json(made))),
        variant=made.variants[0].digest,
        version=made.version,
        sequence=sequence,
    )


OLD, NEW = running("6", 6), running("7", 7)


def seeded(folder: Path) -> Seeded:
    clock = HandClock()
    silent = Silent()
    world = World(
        store=SqlStore(folder / "pinnace.db", durable=False),
        blobs=silent,
        signing=LocalSigning.open(folder, clock.now),
        publisher=silent,
        device_keys=silent,
        chance=Counting(),
        clock=clock,
        changes=ChangeHub(),
        endpoints=("mqtt://127.0.0.1:1883",),
    )
    with world.store.write() as tables:
        _catalogue(tables, world)
        _fleet(tables)
        _rollout(tables)
    return Seeded(world=world, rollouts=Rollouts(world), door=TokenDoor(hash_of(TOKEN)), clock=clock)


def _catalogue(tables: Tables, world: World) -> None:
    about = "finds scratches"
    tables.models.add(Model(name=MODEL, description=about, created_at_s=NOW_S - 9e5, updated_at_s=NOW_S - 60))
    for name, sequence in (("6", 6), ("7", 7)):
        body = release(name, sequence)
        data = codec.to_json(body)
        tables.versions.add(
            Version(
                model=MODEL,
                version=VersionName(name),
                release=world.signing.add_release(data),
                body=body,
                size_bytes=len(data),
                created_at_s=NOW_S - 3600 * (8 - sequence),
                actor="admin",
                card="for tests",
            )
        )


def device(name: str, **changes: object) -> Device:
    plain = Device(
        id=DeviceId(name),
        name=name,
        key=KeyId(digest(name)),
        public_key_pem=f"key of {name}",
        state=DeviceState.ACTIVE,
        labels={"site": "lyon" if name < "press-4" else "ulm"},
        hardware="pi4",
        runtimes=(Runtime.ONNX,),
        agent_version="0.1.0",
        incarnation=IncarnationId("1" * 32),
        enrolled_at_s=NOW_S - 9e4,
        online=True,
        seen_at_s=NOW_S - 10,
        report_every_s=60,
        p95_ms=8.25,
        health=Health(cpu_share=0.5, temperature_c=51.0),
        health_at_s=NOW_S - 10,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def _fleet(tables: Tables) -> None:
    for one in (
        device("press-1"),
        device("press-2", updating=True),
        device("press-3", degraded=True),
        device("press-4", online=False, seen_at_s=NOW_S - 7200),
        device("press-5", state=DeviceState.PENDING, online=False, seen_at_s=None),
        device("press-6", state=DeviceState.QUARANTINED, cause=Cause.CLONE_SUSPECTED),
    ):
        tables.devices.save(one)
    say(tables, "press-1", ModelState(model=MODEL, generation=2, phase=Phase.IDLE, current=NEW, last_good=(NEW, OLD)))
    trial = ModelState(model=MODEL, generation=2, phase=Phase.FETCHING, current=OLD, candidate=NEW)
    say(tables, "press-2", replace(trial, fetched_bytes=25, fetch_bytes=100))
    say(tables, "press-3", ModelState(model=MODEL, generation=2, phase=Phase.IDLE, current=OLD, last_good=(OLD,)))
    say(tables, "press-4", ModelState(model=MODEL, generation=1, phase=Phase.IDLE, current=OLD, last_good=(OLD,)))
    latency = Histogram()
    for _ in range(100):
        latency.add(0.008)
    for minute in (3, 2, 0):
        tables.reports.merge(
            Minute(
                device=DeviceId("press-1"),
                model=MODEL,
                release=NEW.release,
                variant=NEW.variant,
                minute=int(NOW_S // 60) - minute,
                n=102,
                errors={"runtime": 2},
                latency=latency.buckets,
            )
        )


def say(tables: Tables, name: str, state: ModelState) -> None:
    said = Slot(
        device=DeviceId(name), model=MODEL, state=state, incarnation=IncarnationId("1" * 32), seq=4, said_at_s=NOW_S
    )
    tables.devices.save_slots(DeviceId(name), [said])


def _rollout(tables: Tables) -> None:
    rollout = Rollout(
        id=RolloutId("r-1"),
        model=MODEL,
        version=VersionName("7"),
        release=NEW.release,
        intent=Intent.UPGRADE,
        policy=observing.terms_text(PLAIN_TERMS),
        state=RolloutState.ACTIVE,
        actor="admin",
        created_at_s=NOW_S - 600,
    )
    tables.rollouts.save(rollout)
    outcomes = {
        "press-1": (MemberState.COMMITTED, Outcome.COMMITTED, Cause.NONE),
        "press-2": (MemberState.ASSIGNED, None, Cause.NONE),
        "press-3": (MemberState.REVERTED, Outcome.REVERTED, Cause.CRASHED),
        "press-4": (MemberState.ASSIGNED, None, Cause.NONE),
    }
    for name, (state, outcome, cause) in outcomes.items():
        one = DeviceId(name)
        tables.rollouts.save_members(
            [Member(rollout=rollout.id, device=one, release=NEW.release, state=state, changed_at_s=NOW_S)]
        )
        tables.assignments.save(
            Assignment(
                device=one,
                model=MODEL,
                entry=Entry(model=MODEL, generation=2, release=NEW.release, variants=(NEW.variant,)),
                rollout=rollout.id,
                actor="admin",
                assigned_at_s=NOW_S - 600,
                outcome=outcome,
                cause=cause,
                detail="three crashes within 12 s" if cause is Cause.CRASHED else "",
                ended_at_s=NOW_S - 120 if outcome else None,
            )
        )
        if outcome is not None:
            body = replace(RECEIPT, device=one, outcome=outcome, cause=cause, release=NEW.release)
            body = replace(body, version=NEW.version)
            tables.receipts.add(ReceiptRecord(id=body.id, body=body, received_at_s=NOW_S - 120))
    for number, (kind, severity) in enumerate(
        [
            (EventKind.ROLLOUT_CREATED, Severity.INFO),
            (EventKind.RECEIPT_COMMITTED, Severity.INFO),
            (EventKind.RECEIPT_REVERTED, Severity.ERROR),
        ]
    ):
        tables.events.append(
            Event(
                at_s=NOW_S - 600 + number,
                kind=kind,
                actor="admin" if number == 0 else f"device:press-{number}",
                summary=f"{kind} of press-{number}",
                severity=severity,
                device=DeviceId(f"press-{number}") if number else None,
                model=MODEL,
            )
        )
