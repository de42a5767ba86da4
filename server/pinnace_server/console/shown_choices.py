"""What a device's page shows of the choice between variants: values only, already worked out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DealtVariant:
    """A variant of a version as a device was dealt it.

    ``place`` is its turn, from 1, None where the device may not run it. ``p95_ms`` and ``results`` are of the device's
    class of hardware, today; None: nobody measured. ``believed``: there is enough of it to choose by.
    """

    name: str
    place: int | None
    p95_ms: float | None = None
    results: int = 0
    believed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which variant a device tries first in a rollout, and why. ``rule`` is empty for a plain assignment."""

    model: str
    version: str
    rollout: str
    rule: str
    why: str
    hardware: str
    variants: tuple[DealtVariant, ...]
