"""Devices, enrolment, receipts, latency."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

from pydantic import BaseModel, Field

from pinnace_contract import codec
from pinnace_contract.latest import EnrolRequest
from pinnace_contract.latest import Running as RunningOfContract
from pinnace_contract.latest import Standby as StandbyOfContract
from pinnace_server.domain import records, statuses
from pinnace_server.domain.records import DeviceState, Status
from pinnace_server.http.schemas.body import asked, like
from pinnace_server.http.schemas.catalogue import DIGEST, OTHER_DIGEST
from pinnace_server.http.schemas.variant_choices import CHOICE, VariantChoice
from pinnace_server.service import fleet, telemetry

INCARNATION = "5c1b8f1ae2b04e7fa6b1d1f0c2a99d34"
_RUNNING = {"release": OTHER_DIGEST, "variant": DIGEST, "version": "2", "sequence": 2}
_WANTED = {
    "release": OTHER_DIGEST,
    "version": "2",
    "intent": "upgrade",
    "generation": 7,
    "rollout": "r-0a1b2c3d4e",
}
_SLOT = {
    "model": "digits",
    "phase": "trial",
    "cause": "NONE",
    "detail": "",
    "generation": 7,
    "attempt": 1,
    "current": {**_RUNNING, "version": "1", "sequence": 1},
    "candidate": _RUNNING,
    "standby": {**_RUNNING, "version": "1", "sequence": 1, "warm": True, "until_s": 1795525300, "cause": "NONE"},
    "last_good": [],
    "fetched_bytes": 24576,
    "fetch_bytes": 24576,
    "wanted": {
        "release": OTHER_DIGEST,
        "version": "2",
        "intent": "upgrade",
        "generation": 7,
        "rollout": "r-0a1b2c3d4e",
    },
    "outcome": None,
    "outcome_cause": "NONE",
    "outcome_detail": "",
    "said_at_s": 1795438900.0,
}
_DEVICE = {
    "id": "camera-7-a1b2c3",
    "name": "camera-7",
    "status": "updating",
    "state": "active",
    "cause": "NONE",
    "labels": {"site": "lyon"},
    "seen_at_s": 1795438900.0,
    "agent_version": "0.1.0",
    "hardware": "raspberry-pi-5",
    "runtimes": ["onnx"],
    "p95_ms": 3.1,
    "models": [_SLOT],
}
_RECEIPT = {
    "id": DIGEST,
    "device": "camera-7-a1b2c3",
    "incarnation": INCARNATION,
    "model": "digits",
    "version": "2",
    "release": OTHER_DIGEST,
    "generation": 7,
    "attempt": 1,
    "outcome": "committed",
    "cause": "NONE",
    "detail": "",
    "counted": True,
    "received_at_s": 1795439000.0,
    "receipt": {"evidence": {"kind": "live", "inferences": 100}},
}
_POINT = {
    "from_s": 1795438860.0,
    "model": "digits",
    "version": "2",
    "inferences": 600,
    "errors": 0,
    "slow": 0,
    "predictions": 600,
    "below_threshold": 58,
    "labels": 60,
    "label_errors": 1,
    "p50_ms": 1.2,
    "p95_ms": 3.1,
    "p99_ms": 4.0,
}


class Running(BaseModel):
    """One release on a device."""

    model_config = like(_RUNNING)

    release: str
    variant: str
    version: str
    sequence: int

    @classmethod
    def of(cls, running: RunningOfContract | None) -> Running | None:
        """Return what runs as a body."""
        if running is None:
            return None
        return cls(release=running.release, variant=running.variant, version=running.version, sequence=running.sequence)


class Standby(Running):
    """What served before a switch and is kept loaded, so that going back to it takes no load."""

    warm: bool = Field(description="It could answer now. If not, `cause` says why.")
    until_s: int = Field(description="How long it stays.")
    cause: str

    @classmethod
    def standing_by(cls, found: StandbyOfContract | None) -> Standby | None:
        """Return a standby as a body."""
        running = Running.of(found.running) if found is not None else None
        if found is None or running is None:
            return None
        return cls(**running.model_dump(), warm=found.warm, until_s=found.until_s, cause=found.cause)


class Wanted(BaseModel):
    """What the server last told a device about a model."""

    model_config = like(_WANTED)

    release: str | None
    version: str | None
    intent: str
    generation: int
    rollout: str


class Slot(BaseModel):
    """One model on one device: what the device last said, what is wanted, and how the last assignment ended."""

    model_config = like(_SLOT)

    model: str
    phase: str
    cause: str = Field(description="Why the phase holds.")
    detail: str
    generation: int
    attempt: int
    current: Running | None = Field(description="What serves; null is no model.")
    candidate: Running | None
    standby: Standby | None = Field(description="What is kept loaded beside what serves, after a switch.")
    last_good: list[Running]
    fetched_bytes: int
    fetch_bytes: int
    wanted: Wanted | None
    outcome: str | None = Field(description="How the wanted assignment ended; null while it is under way.")
    outcome_cause: str
    outcome_detail: str
    said_at_s: float | None

    @classmethod
    def of(cls, slot: records.Slot | None, wanted: records.Assignment | None, versions: dict[str, str]) -> Slot:
        """Return what is known and wanted of one model as a body."""
        state = slot.state if slot else None
        return cls(
            model=slot.model if slot else (wanted.model if wanted else ""),
            phase=state.phase if state else "idle",
            cause=state.cause if state else "NONE",
            detail=state.detail if state else "",
            generation=state.generation if state else 0,
            attempt=state.attempt if state else 1,
            current=Running.of(state.current if state else None),
            candidate=Running.of(state.candidate if state else None),
            standby=Standby.standing_by(state.standby if state else None),
            last_good=[one for each in (state.last_good if state else ()) if (one := Running.of(each))],
            fetched_bytes=state.fetched_bytes if state else 0,
            fetch_bytes=state.fetch_bytes if state else 0,
            wanted=_wanted(wanted, versions) if wanted else None,
            outcome=wanted.outcome if wanted else None,
            outcome_cause=wanted.cause if wanted else "NONE",
            outcome_detail=wanted.detail if wanted else "",
            said_at_s=slot.said_at_s if slot else None,
        )


class Device(BaseModel):
    """One agent's host."""

    model_config = like(_DEVICE)

    id: str
    name: str
    status: Status
    state: DeviceState
    cause: str = Field(description="Why it is quarantined.")
    labels: dict[str, str]
    seen_at_s: float | None = Field(description="When the last message that it signed arrived.")
    agent_version: str
    hardware: str
    runtimes: list[str]
    p95_ms: float | None
    models: list[Slot]

    @classmethod
    def of(cls, seen: fleet.Seen, versions: dict[str, str], now_s: float) -> Device:
        """Return a device as a body."""
        device = seen.device
        return cls(
            id=device.id,
            name=device.name,
            status=statuses.status_of(device, now_s),
            state=device.state,
            cause=device.cause,
            labels=dict(device.labels),
            seen_at_s=device.seen_at_s,
            agent_version=device.agent_version,
            hardware=device.hardware,
            runtimes=list(device.runtimes),
            p95_ms=device.p95_ms,
            models=_slots(seen, versions),
        )


class IncarnationBody(BaseModel):
    """One store that spoke under the device's identity."""

    model_config = like(
        {"incarnation": INCARNATION, "believed": True, "first_seen_s": 1795435200.0, "last_seen_s": 1795438900.0}
    )

    incarnation: str
    believed: bool
    first_seen_s: float
    last_seen_s: float


class DeviceDetail(Device):
    """One device with everything that is known."""

    model_config = like(
        _DEVICE
        | {
            "serial": "10000000a3b4",
            "key": DIGEST,
            "reported_labels": {},
            "incarnation": INCARNATION,
            "incarnations": [],
            "enrolled_at_s": 1795435200.0,
            "generation": 7,
            "reported_generation": 7,
            "refused_cause": "NONE",
            "refused_detail": "",
            "report_every_s": 60,
            "health": {"cpu_share": 0.1, "memory_free_bytes": 512000000},
            "health_at_s": 1795438900.0,
            "answered_at_s": 1795438901.0,
            "variants": [CHOICE],
        }
    )

    serial: str
    key: str = Field(description="SHA-256 of its public key.")
    reported_labels: dict[str, str] = Field(description="What the device says of itself; no selector looks at these.")
    incarnation: str
    incarnations: list[IncarnationBody]
    enrolled_at_s: float
    generation: int = Field(description="The highest that this server reserved for it.")
    reported_generation: int = Field(description="The one that it says to have applied.")
    refused_cause: str = Field(description="Why it did not follow the last thing that it was sent; NONE: it did.")
    refused_detail: str
    report_every_s: int
    health: dict[str, Any] | None
    health_at_s: float | None
    answered_at_s: float = Field(description="This server's time, to judge ages by.")
    variants: list[VariantChoice] = Field(
        description="Which variant it tries first and why, for each rollout of its that had a choice."
    )

    @classmethod
    def of_full(cls, full: fleet.SeenInFull, versions: dict[str, str]) -> DeviceDetail:
        """Return a device as a body."""
        device = full.seen.device
        incarnations = [
            IncarnationBody(
                incarnation=each.incarnation,
                believed=each.incarnation == device.incarnation,
                first_seen_s=each.first_seen_s,
                last_seen_s=each.last_seen_s,
            )
            for each in full.incarnations
        ]
        return cls(
            **dict(Device.of(full.seen, versions, full.now_s)),
            serial=device.serial,
            key=device.key,
            reported_labels=dict(device.reported_labels),
            incarnation=device.incarnation,
            incarnations=incarnations,
            enrolled_at_s=device.enrolled_at_s,
            generation=device.generation,
            reported_generation=device.reported_generation,
            refused_cause=device.reported_cause,
            refused_detail=device.reported_detail,
            report_every_s=device.report_every_s,
            health=codec.plain(device.health) if device.health else None,
            health_at_s=device.health_at_s,
            answered_at_s=full.now_s,
            variants=[VariantChoice.of(each) for each in full.variants],
        )


class DeviceChange(BaseModel):
    """What to change of a device. A label that is null is removed, others stay."""

    model_config = asked({"labels": {"site": "lyon", "old": None}})

    name: str | None = Field(default=None, min_length=1, max_length=128)
    labels: dict[str, str | None] = Field(default={}, max_length=64)


class Readmission(BaseModel):
    """Which store is the device from now on; null: the one believed in so far."""

    model_config = asked({"incarnation": INCARNATION})

    incarnation: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")


class Receipt(BaseModel):
    """How one assignment of one model ended on one device, signed by the device."""

    model_config = like(_RECEIPT)

    id: str
    device: str
    incarnation: str
    model: str
    version: str | None
    release: str | None
    generation: int
    attempt: int
    outcome: str
    cause: str
    detail: str
    counted: bool = Field(description="False: kept, but no evidence, because the device may be two.")
    received_at_s: float
    receipt: dict[str, Any] = Field(
        description="Everything that was signed, see the device contract; and the version, if it was not read yet."
    )

    @classmethod
    def of(cls, record: records.ReceiptRecord) -> Receipt:
        """Return a record as a body."""
        body = record.body
        return cls(
            id=record.id,
            device=body.device,
            incarnation=body.incarnation,
            model=body.model,
            version=body.version,
            release=body.release,
            generation=body.generation,
            attempt=body.attempt,
            outcome=body.outcome,
            cause=body.cause,
            detail=body.detail,
            counted=record.counted,
            received_at_s=record.received_at_s,
            receipt=plain_body(body),
        )


class Point(BaseModel):
    """One model on one device in one minute. Percentiles are null without inferences."""

    model_config = like(_POINT)

    from_s: float
    model: str
    version: str | None
    inferences: int
    errors: int
    slow: int
    predictions: int
    below_threshold: int
    labels: int
    label_errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, point: telemetry.Point) -> Point:
        """Return a point as a body."""
        counts = point.counts
        return cls(
            from_s=point.minute * 60.0,
            model=point.model,
            version=point.version,
            inferences=counts.n,
            errors=counts.errors,
            slow=point.slow,
            predictions=counts.predictions,
            below_threshold=counts.below,
            labels=counts.labels,
            label_errors=counts.label_errors,
            p50_ms=point.p50_ms,
            p95_ms=point.p95_ms,
            p99_ms=point.p99_ms,
        )


class Series(BaseModel):
    """The last minutes of a device, oldest first; minutes without a report are left out."""

    model_config = like({"points": [_POINT]})

    points: list[Point]


class NewClaimToken(BaseModel):
    """A claim token to make."""

    model_config = asked({"uses": 5, "life_s": 86400, "note": "line 3", "labels": {"site": "lyon"}})

    uses: int = Field(default=1, ge=1, le=10_000, description="For how many devices.")
    life_s: int = Field(default=86_400, ge=1, le=400 * 86_400)
    note: str = Field(default="", max_length=256)
    serial_pattern: str = Field(default="", max_length=128, description="A glob; empty allows any serial number.")
    labels: dict[str, str] = Field(default={}, max_length=64, description="What its devices are labelled with.")


class ReportRange(BaseModel):
    """Report numbers of one run of an agent that are accounted for."""

    model_config = like(
        {"device": "camera-7-a1b2c3", "boot": INCARNATION, "seq_from": 1, "seq_to": 1440, "dropped": False}
    )

    device: str
    boot: str = Field(description="Names the run; numbers begin at 1 in each.")
    seq_from: int
    seq_to: int
    dropped: bool = Field(description="The device had no room for them, threw them away and said so.")

    @classmethod
    def of(cls, received: records.ReceivedRange) -> ReportRange:
        """Return a range as a body."""
        return cls(
            device=received.device,
            boot=received.boot,
            seq_from=received.seq_from,
            seq_to=received.seq_to,
            dropped=received.dropped,
        )


class ClaimToken(BaseModel):
    """A claim token without its secret."""

    model_config = like(
        {
            "id": "0a1b2c3d4e5f",
            "note": "line 3",
            "uses_left": 5,
            "expires_s": 1795521600.0,
            "serial_pattern": "",
            "labels": {"site": "lyon"},
            "actor": "admin",
            "created_at_s": 1795435200.0,
        }
    )

    id: str
    note: str
    uses_left: int
    expires_s: float
    serial_pattern: str
    labels: dict[str, str]
    actor: str
    created_at_s: float

    @classmethod
    def of(cls, claim: records.ClaimRecord) -> ClaimToken:
        """Return a record as a body."""
        return cls(
            id=claim.id,
            note=claim.note,
            uses_left=claim.uses_left,
            expires_s=claim.expires_s,
            serial_pattern=claim.serial_pattern,
            labels=dict(claim.labels),
            actor=claim.actor,
            created_at_s=claim.created_at_s,
        )


class MadeClaimToken(BaseModel):
    """A claim token with its secret: shown this once."""

    model_config = like({"token": "pnc1.eyJ…", "claim": {"id": "0a1b2c3d4e5f", "uses_left": 5}})

    token: str
    claim: ClaimToken


class LabelBody(BaseModel):
    """What a device says of itself."""

    model_config = like({"key": "line", "value": "3"})

    key: str = Field(max_length=63)
    value: str = Field(max_length=128)


class EnrolBody(BaseModel):
    """A device's request: `enrol-request` of the device contract. Fields that are not known are ignored."""

    model_config = like(
        {
            "secret_hex": "0" * 64,
            "csr_pem": "-----BEGIN CERTIFICATE REQUEST-----\n…",
            "incarnation": INCARNATION,
            "name": "camera-7",
            "runtimes": ["onnx"],
        }
    )

    secret_hex: str = Field(min_length=64, max_length=64, description="Of the claim token.")
    csr_pem: str = Field(max_length=8192, description="A PKCS#10 request over the device's P-256 key.")
    incarnation: str = Field(pattern="^[0-9a-f]{32}$", description="A random id made with the device's store.")
    name: str = Field(default="", max_length=128)
    serial: str = Field(default="", max_length=128)
    hardware: str = Field(default="", max_length=64)
    agent_version: str = Field(default="", max_length=32)
    runtimes: list[str] = Field(default=[], max_length=8)
    labels: list[LabelBody] = Field(default=[], max_length=64)

    def request(self) -> EnrolRequest:
        """Return the request as the contract reads it."""
        return codec.from_plain(EnrolRequest, self.model_dump())


class EnrolledBody(BaseModel):
    """The device's identity: `enrolled` of the device contract. Roots are base64, the first one first."""

    model_config = like(
        {
            "device": "camera-7-a1b2c3",
            "endpoints": ["mqtt://127.0.0.1:1883"],
            "image_roots": ["ewogInNpZ25lZC…"],
            "director_roots": ["ewogInNpZ25lZC…"],
        }
    )

    device: str
    endpoints: list[str]
    image_roots: list[str]
    director_roots: list[str]


def _wanted(assignment: records.Assignment, versions: dict[str, str]) -> Wanted:
    return Wanted(
        release=assignment.release,
        version=versions.get(assignment.release) if assignment.release else None,
        intent=assignment.entry.intent,
        generation=assignment.entry.generation,
        rollout=assignment.rollout,
    )


def _slots(seen: fleet.Seen, versions: dict[str, str]) -> list[Slot]:
    slots = {slot.model: slot for slot in seen.slots}
    wanted = {assignment.model: assignment for assignment in seen.assignments}
    return [Slot.of(slots.get(model), wanted.get(model), versions) for model in sorted({*slots, *wanted})]


def plain_body(value: object) -> Any:
    """Return a part of a message that a device signed as JSON. Unlike the codec it lets through what a newer device
    said and this server does not know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain_body(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if getattr(value, field.name) != field.default
        }
    if isinstance(value, tuple):
        return [plain_body(each) for each in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
