"""A server without a broker: a real database and real blobs in a folder, a clock that is moved, a signer and a broker
of the test's own, and devices that sign what they say."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from pinnace_contract import codec, envelope, ids
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import (
    BootId,
    DeviceId,
    Digest,
    IncarnationId,
    KeyId,
    ModelName,
    ReleaseId,
    VersionName,
)
from pinnace_contract.latest import (
    Ack,
    AssignmentSet,
    Baseline,
    Block,
    Cause,
    ConfidenceBaseline,
    Datatype,
    Enrolled,
    EnrolRequest,
    Entry,
    ErrorCount,
    Golden,
    IoContract,
    Labels,
    MessageKey,
    ModelState,
    Outcome,
    Phase,
    Precision,
    Predictions,
    Presence,
    Receipt,
    Release,
    Report,
    Reported,
    Running,
    Runtime,
    TensorSpec,
    Tolerance,
    Variant,
    Want,
    parse_claim_token,
)
from pinnace_contract.topics import Down, DownTopic, Topic, Up, UpTopic
from pinnace_converters import chunks
from pinnace_server.blobs.directory import DirectoryBlobs
from pinnace_server.db.store import SqlStore
from pinnace_server.device_keys import P256Keys
from pinnace_server.domain import eras
from pinnace_server.domain.queries import EventQuery, Page
from pinnace_server.domain.records import Device, Event, EventKind, Member, Rollout, Version
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.errors import SigningRefused
from pinnace_server.service.aliases import Aliases
from pinnace_server.service.archive import Archive
from pinnace_server.service.catalogue import Catalogue
from pinnace_server.service.changes import ChangeHub
from pinnace_server.service.controller import Controller
from pinnace_server.service.enrolment import Enrolment
from pinnace_server.service.fleet import Fleet
from pinnace_server.service.ingest import Ingest
from pinnace_server.service.ports import Listed, SignatureState, Store, World
from pinnace_server.service.replacing import Replacing
from pinnace_server.service.restoring import Restoring
from pinnace_server.service.rollouts import Rollouts
from pinnace_server.service.steering import Steering
from pinnace_server.service.withdrawing import Withdrawing

NOON = 1_795_435_200.0
MODEL = ModelName("digits")
SHARE_BELOW = 0.1


@dataclass(slots=True)
class Clock:
    """Stands still until it is moved."""

    at_s: float = NOON

    def now(self) -> float:
        return self.at_s

    def move(self, seconds: float) -> None:
        self.at_s += seconds


class Counted:
    """Chance that can be foretold."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def secret_hex(self, size_bytes: int) -> str:
        return f"{next(self._numbers):0{2 * size_bytes}x}"


class Signer:
    """Refuses what the real one refuses, and signs messages with a real key. ``highest`` is what it persists."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self._message_key = MessageKey(keyid=KeyId(ids.digest_of(public)), public_hex=public.hex())
        self.releases: list[ReleaseId] = []
        self.highest: dict[DeviceId, AssignmentSet] = {}
        self.refuses: Callable[[AssignmentSet], bool] = lambda _: False
        self.begun = 0

    def message_key(self) -> MessageKey:
        return self._message_key

    def sign_message(self, signed_bytes: bytes) -> bytes:
        return self._key.sign(signed_bytes)

    def verify(self, keyid: KeyId, signed_bytes: bytes, signature: bytes) -> None:
        assert keyid == self._message_key.keyid
        self._key.public_key().verify(signature, signed_bytes)

    def image_roots(self) -> tuple[bytes, ...]:
        return (b"image root 1",)

    def director_roots(self) -> tuple[bytes, ...]:
        return (b"director root 1",)

    def add_release(self, release: bytes) -> ReleaseId:
        self.releases.append(ReleaseId(ids.digest_of(release)))
        return self.releases[-1]

    def image_metadata(self) -> tuple[tuple[Topic, bytes], ...]:
        return ()

    def listed(self, model: ModelName, release: ReleaseId) -> Listed:
        return Listed(state=SignatureState.VERIFIED if release in self.releases else SignatureState.UNSIGNED)

    def renew_image(self) -> bool:
        return False

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def desired(self, assignments: AssignmentSet, releases: Mapping[ReleaseId, bytes]) -> bytes:
        had = self.highest.get(assignments.device)
        if eras.era_of(assignments.generation) < self.begun:
            raise SigningRefused(f"generation {assignments.generation} is of an era that is over")
        if self.refuses(assignments) or (had is not None and assignments.generation < had.generation):
            raise SigningRefused(f"generation {assignments.generation} is refused")
        if had is not None and had.generation == assignments.generation and had.entries != assignments.entries:
            raise SigningRefused(f"generation {assignments.generation} was already signed with other entries")
        controls = {entry.arms.control for entry in assignments.entries if entry.arms}
        assert {entry.release for entry in assignments.entries if entry.release} | controls == set(releases)
        self.highest[assignments.device] = assignments
        return codec.to_json(assignments)

    def era(self) -> int:
        return self.begun

    def raise_era(self, era: int) -> None:
        assert era > self.begun
        self.begun = era

    def generations(self) -> Mapping[DeviceId, int]:
        return {device: each.generation for device, each in self.highest.items()}

    def refresh_due(self, now_s: float) -> tuple[DeviceId, ...]:
        return ()

    def refresh(self, device: DeviceId) -> bytes | None:
        had = self.highest.get(device)
        return None if had is None else codec.to_json(had)

    def all_desired(self) -> Iterable[tuple[Topic, bytes]]:
        return ()


@dataclass
class Broker:
    """Keeps what was published."""

    sent: list[tuple[Topic, bytes]] = field(default_factory=list)
    retained: dict[Topic, bytes] = field(default_factory=dict)

    def publish(self, topic: Topic, payload: bytes, *, retained: bool = False, qos: int = 1) -> None:
        self.sent.append((topic, payload))
        if retained:
            self.retained[topic] = payload

    def desired(self, device: DeviceId) -> AssignmentSet | None:
        payload = self.retained.get(DownTopic(device=device, channel=Down.DESIRED))
        return codec.from_json(AssignmentSet, payload) if payload else None

    def acks(self, device: DeviceId, verify: envelope.Verify) -> list[Ack]:
        topic = DownTopic(device=device, channel=Down.ACK)
        return [envelope.unseal(Ack, payload, verify) for sent, payload in self.sent if sent == topic]


@dataclass(slots=True)
class Courier:
    """Takes wishes for chunks."""

    wants: list[Want] = field(default_factory=list)

    def wanted(self, want: Want) -> None:
        self.wants.append(want)


class ClosableStore(Store, Protocol):
    """A store that a server lets go of when it ends."""

    def close(self) -> None: ...


class Server:
    """Every service over one folder and one database; ``restart`` is a new process on the same disk."""

    def __init__(self, folder: Path, open_store: Callable[[], ClosableStore] | None = None) -> None:
        """``open_store`` opens the database again at each start; by default it is SQL in the folder."""
        self.folder = folder
        self._open_store = open_store or (lambda: SqlStore(folder / "pinnace.db", durable=False))
        self.clock, self.chance, self.signer, self.broker, self.courier = (
            Clock(),
            Counted(),
            Signer(),
            Broker(),
            Courier(),
        )
        self.store = self._open_store()
        self._compose()

    def _compose(self) -> None:
        self.changes = ChangeHub()
        self.blobs = DirectoryBlobs(self.folder / "blobs")
        self.world = World(
            store=self.store,
            blobs=self.blobs,
            signing=self.signer,
            publisher=self.broker,
            device_keys=P256Keys(),
            chance=self.chance,
            clock=self.clock,
            changes=self.changes,
            endpoints=("mqtt://127.0.0.1:1883",),
        )
        self.catalogue = Catalogue(self.world)
        self.aliases = Aliases(self.world)
        self.archive = Archive(self.world)
        self.enrolment = Enrolment(self.world)
        self.fleet = Fleet(self.world)
        self.rollouts, self.steering = Rollouts(self.world), Steering(self.world)
        self.withdrawing = Withdrawing(self.world, self.rollouts)
        self.replacing = Replacing(self.world, self.rollouts)
        self.restoring = Restoring(self.store, self.signer, self.clock)
        self.controller = Controller(self.world, self.rollouts)
        self.ingest = Ingest(self.world, self.courier)

    def restart(self) -> None:
        self.store.close()
        self.store = self._open_store()
        self._compose()

    def close(self) -> None:
        self.store.close()

    # --- shorthands for tests --------------------------------------------------------------------------------------

    def version(
        self, name: str = "1", *, model: ModelName = MODEL, runtimes: tuple[Runtime, ...] = (Runtime.ONNX,)
    ) -> Version:
        """Register a version whose weights are some bytes."""
        self.catalogue.add_model(model, "", "test")
        draft = draft_of(name, runtimes)
        files = {digest: self._file(content) for digest, content in draft.contents.items()}
        return self.catalogue.register(model=model, version=VersionName(name), draft=draft, files=files, actor="test")

    def device(
        self, name: str = "camera", *, labels: Mapping[str, str] | None = None, online: bool = True
    ) -> TestedDevice:
        """Enrol a device; it says that it is there, and what it runs (nothing)."""
        claim = self.enrolment.create(uses=1, life_s=3600, labels=labels, actor="test")
        device = TestedDevice(self, name)
        device.enrol(claim.text)
        if online:
            device.birth()
            device.say()
        return device

    def assign(self, version: Version, selected: str = "") -> Rollout:
        """Assign and let the controller do its work."""
        rollout = self.rollouts.assign(model=version.model, version=version.version, selected=selected, actor="test")
        self.controller.tick()
        return rollout

    def climb(self, version: Version, actor: str = "test", **policy: object) -> Rollout:
        """Begin a rollout in waves of every device, unless the policy says otherwise; the controller looks once."""
        read = reading.read({"cohort": "", **policy})
        rollout = self.steering.begin(model=version.model, version=version.version, policy=read, actor=actor)
        self.controller.tick()
        return rollout

    def rollout(self, rollout: Rollout) -> Rollout:
        return self.rollouts.progress(rollout.id).rollout

    def members(self, rollout: Rollout) -> dict[DeviceId, Member]:
        with self.store.read() as tables:
            return {member.device: member for member in tables.rollouts.members(rollout.id)}

    def known(self, device: TestedDevice) -> Device:
        return self.fleet.device(device.id).seen.device

    def events(self, kind: EventKind | None = None) -> list[Event]:
        """Every event of a kind, oldest first."""
        with self.store.read() as tables:
            query = EventQuery(kinds=(kind,) if kind else (), after=0, page=Page(limit=10_000))
            return list(tables.events.listing(query).rows)

    def _file(self, content: bytes) -> Path:
        path = self.folder / ids.digest_of(content)
        if not path.exists():  # never written over: another thread may be registering the same content
            unfinished = path.with_suffix(f".{threading.get_ident()}")
            unfinished.write_bytes(content)
            unfinished.replace(path)
        return path


class TestedDevice:
    """What an agent says, without an agent: it numbers, signs and sends."""

    __test__ = False

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.incarnation = IncarnationId(server.chance.secret_hex(16))
        self.boot = BootId(server.chance.secret_hex(16))
        self.id = DeviceId("")
        self.connection = self.seq = self.counter = self.report_seq = 0
        self.current: Running | None = None
        self.last_good: tuple[Running, ...] = ()

    @property
    def keyid(self) -> KeyId:
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return KeyId(ids.digest_of(public))

    def request(self, claim: str, **changes: object) -> EnrolRequest:
        """The request that it would enrol with."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self._key, hashes.SHA256())
        request = EnrolRequest(
            secret_hex=parse_claim_token(claim).secret_hex,
            csr_pem=csr.public_bytes(serialization.Encoding.PEM).decode(),
            incarnation=self.incarnation,
            name=self.name,
            runtimes=(Runtime.ONNX,),
        )
        return dataclasses.replace(request, **changes)  # type: ignore[arg-type]

    def enrol(self, claim: str) -> Enrolled:
        answer = self.server.enrolment.enrol(self.request(claim))
        self.id = answer.device
        return answer

    def new_store(self) -> None:
        """Lose the store and keep the identity."""
        self.incarnation = IncarnationId(self.server.chance.secret_hex(16))
        self.boot = BootId(self.server.chance.secret_hex(16))
        self.connection = self.seq = self.counter = self.report_seq = 0
        self.current, self.last_good = None, ()

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def sealed(self, message: codec.Message) -> bytes:
        return envelope.seal(message, self.keyid, self.sign)

    def send(self, channel: Up, message: codec.Message) -> bytes:
        sealed = self.sealed(message)
        self.server.ingest.receive(str(UpTopic(device=self.id, channel=channel)), sealed)
        return sealed

    def presence(self, *, online: bool = True, **changes: object) -> Presence:
        presence = Presence(
            device=self.id,
            incarnation=self.incarnation,
            seq=self.seq,
            boot=self.boot,
            connection=self.connection,
            online=online,
            agent_version="0.1.0",
            hardware="test",
            runtimes=(Runtime.ONNX,),
            report_every_s=60,
            at_s=self.server.clock.now(),
        )
        return dataclasses.replace(presence, **changes)  # type: ignore[arg-type]

    def birth(self) -> None:
        self.connection += 1
        self.seq += 1
        self.send(Up.STATE, self.presence())

    def send_birth(self, report_every_s: int) -> None:
        """Be born with another cadence."""
        self.connection += 1
        self.seq += 1
        self.send(Up.STATE, self.presence(report_every_s=report_every_s))

    def will(self, **changes: object) -> None:
        self.send(Up.STATE, self.presence(online=False, **changes))

    def state(self, **changes: object) -> ModelState:
        state = ModelState(model=MODEL, generation=0, phase=Phase.IDLE, current=self.current, last_good=self.last_good)
        return dataclasses.replace(state, **changes)  # type: ignore[arg-type]

    def say(self, *states: ModelState, generation: int | None = None) -> None:
        """Send ``reported``; by default that it is idle with what it runs, and has applied what it was told."""
        self.seq += 1
        told = self.told()
        applied = (told.generation if told else 0) if generation is None else generation
        entry = self.entry()
        idle = (self.state(generation=entry.generation if entry else 0),) if self.current or entry else ()
        self.send(
            Up.REPORTED,
            Reported(
                device=self.id,
                incarnation=self.incarnation,
                seq=self.seq,
                boot=self.boot,
                generation=applied,
                models=states or idle,
                at_s=self.server.clock.now(),
            ),
        )

    def told(self) -> AssignmentSet | None:
        told = self.server.broker.desired(self.id)
        return told if told and told.incarnation == self.incarnation else None

    def entry(self, model: ModelName = MODEL) -> Entry | None:
        told = self.told()
        return told.entry(model) if told else None

    def receipt(self, outcome: Outcome, **changes: object) -> Receipt:
        """A receipt for what it was told last."""
        entry = self.entry()
        assert entry is not None, "it was told nothing"
        self.counter += 1
        receipt = Receipt(
            device=self.id,
            incarnation=self.incarnation,
            counter=self.counter,
            boot=self.boot,
            model=MODEL,
            generation=entry.generation,
            attempt=entry.attempt,
            outcome=outcome,
            release=entry.release,
            variant=entry.variants[0] if entry.variants else None,
            version=self._name(entry.release),
            at_s=self.server.clock.now(),
        )
        return dataclasses.replace(receipt, **changes)  # type: ignore[arg-type]

    def commit(self) -> Receipt:
        """Do what it was told, and say so."""
        entry = self.entry()
        assert entry is not None, "it was told nothing"
        receipt = self.receipt(Outcome.COMMITTED)
        good = [*([self.current] if self.current else []), *self.last_good]
        if entry.release is None:
            self.current, self.last_good = None, ()
        else:
            with self.server.store.read() as tables:
                version = tables.versions.of_release(entry.release)
            assert version is not None
            running = Running(
                release=entry.release,
                variant=entry.variants[0],
                version=version.version,
                sequence=version.sequence,
            )
            left = {entry.release} | ({self.current.release} if entry.intent == "rollback" and self.current else set())
            self.current, self.last_good = running, tuple(each for each in good if each.release not in left)
        self.send(Up.RECEIPT, receipt)
        self.say()
        return receipt

    def end(self, outcome: Outcome, cause: Cause = Cause.NONE, detail: str = "") -> Receipt:
        """End badly: what it ran before goes on."""
        receipt = self.receipt(outcome, cause=cause, detail=detail)
        self.send(Up.RECEIPT, receipt)
        self.say()
        return receipt

    def report(self, *blocks: Block, **changes: object) -> Report:
        self.report_seq += 1
        now = self.server.clock.now()
        report = Report(
            device=self.id,
            incarnation=self.incarnation,
            boot=self.boot,
            seq_from=self.report_seq,
            seq_to=self.report_seq,
            from_s=now - 60,
            to_s=now,
            blocks=blocks,
        )
        return dataclasses.replace(report, **changes)  # type: ignore[arg-type]

    def answers(
        self, n: int, *, errors: int = 0, below: int = 0, labels: int = 0, label_errors: int = 0, p95_ms: float = 2.0
    ) -> None:
        """Report answers of what it runs."""
        assert self.current is not None
        latency = Histogram()
        for _ in range(min(n, 20)):
            latency.add(p95_ms / 1000)
        block = Block(
            model=MODEL,
            release=self.current.release,
            variant=self.current.variant,
            n=n,
            errors=(ErrorCount(name="runtime", n=errors),) if errors else (),
            latency=latency.to_wire(),
            predictions=Predictions(n=n, below=below),
            labels=Labels(n=labels, errors=label_errors) if labels else None,
        )
        self.send(Up.REPORT, self.report(block))

    def acks(self) -> list[Ack]:
        return self.server.broker.acks(self.id, self.server.signer.verify)

    def _name(self, release: ReleaseId | None) -> VersionName | None:
        if release is None:
            return None
        with self.server.store.read() as tables:
            version = tables.versions.of_release(release)
        return version.version if version else None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeDraft:
    """What a converter would have handed over."""

    variants: tuple[Variant, ...]
    golden: Golden
    baseline: bytes
    contents: Mapping[Digest, bytes]

    def release(
        self, *, model: ModelName, version: VersionName, sequence: int, epoch: int, created_at_s: int
    ) -> Release:
        return Release(
            model=model,
            version=version,
            sequence=sequence,
            epoch=epoch,
            created_at_s=created_at_s,
            contract=IoContract(
                inputs=(TensorSpec(name="image", datatype=Datatype.FP32, shape=(-1, 64)),),
                outputs=(TensorSpec(name="digit", datatype=Datatype.FP32, shape=(-1, 10)),),
            ),
            variants=self.variants,
            golden=self.golden,
            baseline=chunks.cut(self.baseline),
        )


def draft_of(name: str, runtimes: tuple[Runtime, ...] = (Runtime.ONNX,)) -> MadeDraft:
    """A draft whose files are some bytes, other ones for each name."""
    golden = f"golden of {name}".encode()
    confidence = ConfidenceBaseline(
        output="digit", samples=1000, threshold=0.6, share_below=SHARE_BELOW, bins=(0,) * 16
    )
    baseline = codec.to_json(Baseline(confidence=confidence))
    weights = [f"weights of {name} for {runtime}".encode() * 9000 for runtime in runtimes]
    variants = tuple(
        Variant(blob=chunks.cut(content), runtime=runtime, precision=Precision.FP32, peak_memory_bytes=1)
        for runtime, content in zip(runtimes, weights, strict=True)
    )
    tolerances = tuple(Tolerance(runtime=runtime, precision=Precision.FP32) for runtime in runtimes)
    return MadeDraft(
        variants=variants,
        golden=Golden(blob=chunks.cut(golden), vectors=1, tolerances=tolerances),
        baseline=baseline,
        contents={ids.digest_of(content): content for content in (golden, baseline, *weights)},
    )
