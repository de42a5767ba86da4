"""Which variant a device tries first, and why."""

from __future__ import annotations

import dataclasses

from pydantic import BaseModel, Field

from pinnace_server.http.schemas.body import like
from pinnace_server.service import variant_choices

_MEASURED = {
    "variant": "int8-static",
    "p95_ms": 4.1,
    "results": 212,
    "source": "trial_receipts",
    "believed": True,
}
CHOICE = {
    "model": "digits",
    "version": "2",
    "rollout": "r-0a1b2c3d4e",
    "rule": "the fastest",
    "order": ["int8-static", "fp32"],
    "why": "int8-static because 4.1 ms p95 on jetson-orin, fp32 11 ms; from 212 receipts",
    "hardware": "jetson-orin",
    "measured": [_MEASURED],
}


class MeasuredVariant(BaseModel):
    """What is known by now of a variant on a class of hardware."""

    model_config = like(_MEASURED)

    variant: str
    p95_ms: float | None = Field(description="null: nobody measured it.")
    results: int = Field(description="How many receipts or measurements that is the mean of.")
    source: str
    believed: bool = Field(description="Whether there is enough of it to choose by.")


class VariantChoice(BaseModel):
    """Which variant a device tries first in a rollout, and why."""

    model_config = like(CHOICE)

    model: str
    version: str
    rollout: str
    rule: str = Field(description="What the policy puts first; empty: a plain assignment, which has no policy.")
    order: list[str] = Field(description="The variants in the order in which the device tries them.")
    why: str
    hardware: str
    measured: list[MeasuredVariant] = Field(description="Every variant of the version, as known today.")

    @classmethod
    def of(cls, choice: variant_choices.VariantChoice) -> VariantChoice:
        """Return a choice as a body."""
        return cls(
            model=choice.model,
            version=choice.version,
            rollout=choice.rollout,
            rule=choice.rule,
            order=list(choice.order),
            why=choice.why,
            hardware=choice.hardware,
            measured=[MeasuredVariant(**dataclasses.asdict(each)) for each in choice.measured],
        )
