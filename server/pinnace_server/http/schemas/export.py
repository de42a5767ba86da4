"""The fleet as a snapshot. What a field is called here is what it is called in the file of ``pinnace export fleet``."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from pinnace_contract.latest import Expectations, Requirements, Variant
from pinnace_server.domain import link, records
from pinnace_server.domain.records import DeviceState
from pinnace_server.http.schemas.body import like
from pinnace_server.http.schemas.catalogue import DIGEST, OTHER_DIGEST
from pinnace_server.http.schemas.fleet import Running
from pinnace_server.service import export

FORMAT: Final = "pinnace-fleet"
FORMAT_VERSION: Final = 1

_RUNNING = {"release": OTHER_DIGEST, "variant": DIGEST, "version": "1", "sequence": 1}
_MODEL = {
    "model": "digits",
    "phase": "idle",
    "current": _RUNNING,
    "last_good": [],
    "answered_an_hour": 600.0,
    "error_share": 0.002,
}
_LINK = {"window_s": 604800.0, "changes_a_day": 6.0, "online_share": 0.93}
_DEVICE = {
    "id": "camera-7-a1b2c3",
    "labels": {"site": "lyon"},
    "hardware": "raspberry-pi-5",
    "runtimes": ["onnx"],
    "agent_version": "0.1.0",
    "report_every_s": 60,
    "state": "active",
    "cause": "NONE",
    "online": True,
    "seen_at_s": 1795438900.0,
    "enrolled_at_s": 1795435200.0,
    "disk_free_bytes": 8000000000,
    "memory_free_bytes": 512000000,
    "memory_total_bytes": 4000000000,
    "health_at_s": 1795438900.0,
    "p95_ms": 3.1,
    "link": _LINK,
    "models": [_MODEL],
}
_VARIANT = {
    "digest": DIGEST,
    "runtime": "onnx",
    "precision": "fp32",
    "size_bytes": 103424,
    "peak_memory_bytes": 1200000,
}
_EXPECTS: dict[str, Any] = {"error_rate_max": 0.02, "p95": [{"hardware": "*", "p95_ms": 20.0}]}
_REQUIRES: dict[str, Any] = {"hardware": [], "agent_version": "", "memory_bytes": 0}
_VERSION = {
    "model": "digits",
    "version": "2",
    "aliases": ["production"],
    "release": OTHER_DIGEST,
    "sequence": 2,
    "withdrawn": None,
    "release_bytes": 4096,
    "other_bytes": 52000,
    "requires": _REQUIRES,
    "expects": _EXPECTS,
    "variants": [_VARIANT],
}


class ExportedModel(BaseModel):
    """One model on a device."""

    model_config = like(_MODEL)

    model: str
    phase: str
    current: Running | None = Field(description="What serves; null is no model.")
    last_good: list[Running]
    answered_an_hour: float | None = Field(
        description="Inferences an hour over the last day that the device was there; null: nothing was counted."
    )
    error_share: float | None = Field(ge=0, le=1, description="How much of that failed; null: nothing was counted.")


class ExportedLink(BaseModel):
    """What the log says of a device's link."""

    model_config = like(_LINK)

    window_s: float = Field(description="How far back was looked: a week, less for a device that is newer than that.")
    changes_a_day: float = Field(description="How often it came or went.")
    online_share: float = Field(ge=0, le=1)

    @classmethod
    def of(cls, found: link.Link | None) -> ExportedLink | None:
        """Return what was seen as a body."""
        if found is None:
            return None
        return cls(window_s=found.window_s, changes_a_day=found.changes_a_day, online_share=found.online_share)


class ExportedDevice(BaseModel):
    """One device. Null is what the server does not know."""

    model_config = like(_DEVICE)

    id: str = Field(description="With a salt, what stands for it.")
    labels: dict[str, str]
    hardware: str
    runtimes: list[str]
    agent_version: str
    report_every_s: int
    state: DeviceState
    cause: str = Field(description="Why it is quarantined.")
    online: bool
    seen_at_s: float | None
    enrolled_at_s: float
    disk_free_bytes: int | None
    memory_free_bytes: int | None
    memory_total_bytes: int | None
    health_at_s: float | None = Field(description="When it reported what is free.")
    p95_ms: float | None = Field(description="Of the newest report with inferences.")
    link: ExportedLink | None = Field(description="Null: it was never there.")
    models: list[ExportedModel]

    @classmethod
    def of(cls, profile: export.Profile) -> ExportedDevice:
        """Return a profile as a body."""
        device, health = profile.seen.device, profile.seen.device.health
        return cls(
            id=profile.id,
            labels=dict(profile.labels),
            hardware=device.hardware,
            runtimes=list(device.runtimes),
            agent_version=device.agent_version,
            report_every_s=device.report_every_s,
            state=device.state,
            cause=device.cause,
            online=profile.online,
            seen_at_s=device.seen_at_s,
            enrolled_at_s=device.enrolled_at_s,
            disk_free_bytes=health.disk_free_bytes if health else None,
            memory_free_bytes=health.memory_free_bytes if health else None,
            memory_total_bytes=health.memory_total_bytes if health else None,
            health_at_s=device.health_at_s,
            p95_ms=device.p95_ms,
            link=ExportedLink.of(profile.link),
            models=[_model(slot, profile) for slot in profile.seen.slots],
        )


class ExportedVariant(BaseModel):
    """One file of a version that a runtime can load."""

    model_config = like(_VARIANT)

    digest: str
    runtime: str
    precision: str
    size_bytes: int
    peak_memory_bytes: int

    @classmethod
    def of(cls, variant: Variant) -> ExportedVariant:
        """Return a variant as a body."""
        return cls(
            digest=variant.digest,
            runtime=variant.runtime,
            precision=variant.precision,
            size_bytes=variant.blob.size_bytes,
            peak_memory_bytes=variant.peak_memory_bytes,
        )


class ExportedRequirements(BaseModel):
    """What a device must have; empty means any."""

    model_config = like(_REQUIRES)

    hardware: list[str]
    agent_version: str
    memory_bytes: int

    @classmethod
    def of(cls, requirements: Requirements) -> ExportedRequirements:
        """Return requirements as a body."""
        return cls(
            hardware=list(requirements.hardware),
            agent_version=requirements.agent_version,
            memory_bytes=requirements.memory_bytes,
        )


class ExportedP95(BaseModel):
    """What a class of hardware is to reach; `*` is every class not named."""

    hardware: str
    p95_ms: float


class ExportedExpectations(BaseModel):
    """What a release says of itself, and a device holds its trial against."""

    model_config = like(_EXPECTS)

    error_rate_max: float
    p95: list[ExportedP95]

    @classmethod
    def of(cls, expectations: Expectations) -> ExportedExpectations:
        """Return expectations as a body."""
        return cls(
            error_rate_max=expectations.error_rate_max,
            p95=[ExportedP95(hardware=each.hardware, p95_ms=each.p95_ms) for each in expectations.p95],
        )


class ExportedVersion(BaseModel):
    """One version, and how much of it goes to a device: the release file, the other files, and one variant."""

    model_config = like(_VERSION)

    model: str
    version: str
    aliases: list[str]
    release: str
    sequence: int
    withdrawn: str | None
    release_bytes: int
    other_bytes: int = Field(description="Golden vectors, baseline and assets: every device takes them.")
    requires: ExportedRequirements
    expects: ExportedExpectations
    variants: list[ExportedVariant]

    @classmethod
    def of(cls, offered: export.Offered) -> ExportedVersion:
        """Return a version as a body."""
        version, body = offered.version, offered.version.body
        others = [body.golden.blob, *([body.baseline] if body.baseline else []), *(each.blob for each in body.assets)]
        return cls(
            model=version.model,
            version=version.version,
            aliases=list(offered.aliases),
            release=version.release,
            sequence=version.sequence,
            withdrawn=version.withdrawn,
            release_bytes=version.size_bytes,
            other_bytes=sum({blob.digest: blob.size_bytes for blob in others}.values()),
            requires=ExportedRequirements.of(body.requirements),
            expects=ExportedExpectations.of(body.expectations),
            variants=[ExportedVariant.of(variant) for variant in body.variants],
        )


class FleetExport(BaseModel):
    """A stretch of the snapshot. The file of `pinnace export fleet` is all of them together, without `total` and
    `next`."""

    model_config = like(
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "server_version": "0.1.0",
            "made_at_s": 1795438905.0,
            "anonymous": False,
            "devices": [_DEVICE],
            "versions": [_VERSION],
            "total": 1,
            "next": None,
        }
    )

    format: Literal["pinnace-fleet"] = FORMAT
    format_version: int = Field(
        default=FORMAT_VERSION, description="Fields may be added under the same number; a reader ignores what is new."
    )
    server_version: str
    made_at_s: float
    anonymous: bool
    devices: list[ExportedDevice]
    versions: list[ExportedVersion] = Field(description="Every version of every model; empty past the first stretch.")
    total: int = Field(description="How many devices there are in all.")
    next: int | None = Field(description="The offset of the next stretch; null at the end.")


def _model(slot: records.Slot, profile: export.Profile) -> ExportedModel:
    state = slot.state
    return ExportedModel(
        model=slot.model,
        phase=state.phase,
        current=Running.of(state.current),
        last_good=[one for each in state.last_good if (one := Running.of(each))],
        answered_an_hour=profile.answered_an_hour.get(slot.model),
        error_share=profile.error_share.get(slot.model),
    )
