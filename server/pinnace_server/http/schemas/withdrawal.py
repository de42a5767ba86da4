"""Withdrawing a version, and putting a device in the place of another."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from pinnace_contract.latest import WithdrawMode
from pinnace_server.domain.aliases import REASON_CHARS_MAX
from pinnace_server.http.schemas.body import asked, like
from pinnace_server.http.schemas.catalogue import VERSION, Version
from pinnace_server.service import withdrawing

_PREVIEW = {
    "model": "digits",
    "version": "2",
    "mode": "stop",
    "before": None,
    "serving": ["camera-7-a1b2c3", "camera-8-d4e5f6"],
    "dark": ["camera-8-d4e5f6"],
    "told": 12,
    "rollouts": ["r-0a1b2c3d4e"],
    "aliases": ["production"],
    "least_next_epoch": 0,
}


class Mode(StrEnum):
    """`retire`: no device starts it any more, and what runs runs on. `stop`: it is unloaded now."""

    RETIRE = "retire"
    STOP = "stop"


class WithdrawalChoice(BaseModel):
    """How a version would be withdrawn."""

    model_config = asked({"mode": "stop", "security": False})

    mode: Mode
    security: bool = Field(default=False, description="Raise the security epoch of the next version above this one's.")

    def wire(self) -> WithdrawMode:
        """Return the mode as devices are told it."""
        return WithdrawMode(self.mode.value)


class NewWithdrawal(WithdrawalChoice):
    """A withdrawal to make."""

    model_config = asked({"mode": "stop", "reason": "reads zeros as eights", "confirm_dark": 1})

    reason: str = Field(min_length=1, max_length=REASON_CHARS_MAX, description="The log keeps it.")
    confirm_dark: int | None = Field(
        default=None, ge=0, description="How many devices go dark with `stop`; asked for where there are any."
    )


class WithdrawalPreview(BaseModel):
    """What a withdrawal would do, by what devices said last."""

    model_config = like(_PREVIEW)

    model: str
    version: str
    mode: str
    before: str | None = Field(description="How it is withdrawn already.")
    serving: list[str] = Field(description="Devices that serve it now.")
    dark: list[str] = Field(description="Those of them that have nothing else that may run; with `stop` only.")
    told: int = Field(description="Devices that get a new set.")
    rollouts: list[str] = Field(description="Active rollouts of it, which are halted.")
    aliases: list[str] = Field(description="Aliases that point at it, and stay there until somebody moves them.")
    least_next_epoch: int = Field(description="The least security epoch of the next version; 0: nothing is asked.")

    @classmethod
    def of(cls, seen: withdrawing.Preview) -> WithdrawalPreview:
        """Return a preview as a body."""
        return cls(
            model=seen.model,
            version=seen.version,
            mode=seen.mode.value,
            before=seen.before.mode.value if seen.before else None,
            serving=list(seen.serving),
            dark=list(seen.dark),
            told=len(seen.told),
            rollouts=list(seen.rollouts),
            aliases=[str(alias) for alias in seen.aliases],
            least_next_epoch=seen.least_next_epoch,
        )


class Withdrawn(BaseModel):
    """A version that is withdrawn, what that did, and the rollouts that move devices back."""

    model_config = like({"version": VERSION | {"withdrawn": "stop"}, "did": _PREVIEW, "rollbacks": ["r-1b2c3d4e5f"]})

    version: Version
    did: WithdrawalPreview
    rollbacks: list[str]


class Replacement(BaseModel):
    """Which device takes the place, and why."""

    model_config = asked({"by": "camera-9-0718ab", "reason": "lens broken"})

    by: str = Field(max_length=63, description="An active device, by id.")
    reason: str = Field(default="", max_length=REASON_CHARS_MAX)


class Replaced(BaseModel):
    """The device that took the place, and what becomes of each model."""

    model_config = like({"device": "camera-9-0718ab", "rollouts": ["r-1b2c3d4e5f"], "left_out": {}})

    device: str
    rollouts: list[str] = Field(description="One for each model that it is given.")
    left_out: dict[str, str] = Field(description="Models that it is not given, and why.")
