"""The archive, where a version was, and how it was converted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from pinnace_server.domain.aliases import REASON_CHARS_MAX
from pinnace_server.domain.lineage import Origin as OriginRecord
from pinnace_server.domain.stays import Stay as StayRecord
from pinnace_server.http.schemas.body import asked, like
from pinnace_server.http.schemas.catalogue import DIGEST, OTHER_DIGEST

_STAY = {
    "since_s": 1795438900.0,
    "since_device_s": 1795438899.2,
    "until_s": 1795442500.0,
    "until_device_s": 1795442499.0,
    "left_for": "3",
}
_FILE = {"name": "source-digits.onnx", "digest": DIGEST, "size_bytes": 103424, "kept": True}


class Reason(BaseModel):
    """Why."""

    model_config = asked({"reason": "superseded"})

    reason: str = Field(default="", max_length=REASON_CHARS_MAX)


class Stay(BaseModel):
    """A stretch of time in which a device served a version."""

    model_config = like(_STAY)

    since_s: float = Field(description="When the server learnt that the device kept it.")
    since_device_s: float = Field(description="When it was so, by the device's own clock.")
    until_s: float | None = Field(description="Null: no receipt says that it left.")
    until_device_s: float | None
    left_for: str | None = Field(description="The version that it serves instead; null beside a time: none.")


class DeviceStays(BaseModel):
    """When one device served a version, oldest first."""

    model_config = like({"device": "camera-3f9c2a", "stays": [_STAY]})

    device: str
    stays: list[Stay]

    @classmethod
    def of(cls, device: str, stays: Sequence[StayRecord]) -> DeviceStays:
        """Return records as a body."""
        return cls(
            device=device,
            stays=[
                Stay(
                    since_s=stay.since_s,
                    since_device_s=stay.since_device_s,
                    until_s=stay.until_s,
                    until_device_s=stay.until_device_s,
                    left_for=stay.left_for,
                )
                for stay in stays
            ],
        )


class OriginFile(BaseModel):
    """A file of a conversion. `name` is what it is called in the conversion's folder."""

    model_config = like(_FILE)

    name: str
    digest: str
    size_bytes: int | None = Field(description="Null: it is not here.")
    kept: bool = Field(description="Whether it can be downloaded.")


class Origin(BaseModel):
    """How a version was converted. Null is "not known": it is older than these records, or a draft from elsewhere."""

    model_config = like(
        {
            "model": "digits",
            "version": "2",
            "release": OTHER_DIGEST,
            "request": {"source": DIGEST, "seed": 0},
            "report": {"candidates": []},
            "files": [_FILE],
            "reproducible": True,
            "why_not": "",
        }
    )

    model: str
    version: str
    release: str
    request: dict[str, Any] | None = Field(description="What the converter was asked.")
    report: dict[str, Any] | None = Field(description="What it tried, with which tools, and what came of it.")
    files: list[OriginFile]
    reproducible: bool = Field(description="Whether the conversion can be run again with what is here.")
    why_not: str

    @classmethod
    def of(cls, origin: OriginRecord, release: str, files: list[OriginFile], why_not: str) -> Origin:
        """Return a record as a body."""
        return cls(
            model=origin.model,
            version=origin.version,
            release=release,
            request=json.loads(origin.request) if origin.request else None,
            report=json.loads(origin.report) if origin.report else None,
            files=files,
            reproducible=not why_not,
            why_not=why_not,
        )
