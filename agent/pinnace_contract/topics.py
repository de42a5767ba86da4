"""Topics, both ways: the only place that builds or parses a topic string.

``up`` and ``down`` are separate trees, so that one pattern line of a broker's ACL each gives a device its rights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from pinnace_contract import ids
from pinnace_contract.errors import BadTopic
from pinnace_contract.ids import CommandId, DeviceId, StatementId, WaveId

PREFIX: Final = "pinnace/v1"
TOPIC_CHARS_MAX: Final = 256


class Repository(StrEnum):
    """The metadata repositories whose roots are published."""

    IMAGE = "image"
    DIRECTOR = "director"
    OFFLINE = "offline"


class Up(StrEnum):
    """What a device sends under ``up/{id}/``."""

    STATE = "state"
    REPORTED = "reported"
    RECEIPT = "receipt"
    REPORT = "report"
    WANT = "want"


class Down(StrEnum):
    """What the server sends under ``down/{id}/``."""

    DESIRED = "desired"
    ACK = "ack"
    DATA = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpTopic:
    """``up/{device}/{channel}``."""

    device: DeviceId
    channel: Up

    def __str__(self) -> str:
        return f"{PREFIX}/up/{_checked(DeviceId, self.device)}/{self.channel}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DownTopic:
    """``down/{device}/{channel}``."""

    device: DeviceId
    channel: Down

    def __str__(self) -> str:
        return f"{PREFIX}/down/{_checked(DeviceId, self.device)}/{self.channel}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandTopic:
    """``down/{device}/cmd/{command}``."""

    device: DeviceId
    command: CommandId

    def __str__(self) -> str:
        return f"{PREFIX}/down/{_checked(DeviceId, self.device)}/cmd/{_checked(CommandId, self.command)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTopic:
    """``up/{device}/res/{command}``."""

    device: DeviceId
    command: CommandId

    def __str__(self) -> str:
        return f"{PREFIX}/up/{_checked(DeviceId, self.device)}/res/{_checked(CommandId, self.command)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastTopic:
    """``blob/{wave}/{segment}/{chunk}``."""

    wave: WaveId
    segment: int
    chunk: int

    def __str__(self) -> str:
        return f"{PREFIX}/blob/{_checked(WaveId, self.wave)}/{self.segment:d}/{self.chunk:d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementTopic:
    """``meta/statement/{id}``."""

    statement: StatementId

    def __str__(self) -> str:
        return f"{PREFIX}/meta/statement/{_checked(StatementId, self.statement)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RootTopic:
    """``meta/{repository}/root/{version}``."""

    repository: Repository
    version: int

    def __str__(self) -> str:
        return f"{PREFIX}/meta/{self.repository}/root/{self.version:d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampTopic:
    """``meta/image/timestamp``."""

    def __str__(self) -> str:
        return f"{PREFIX}/meta/image/timestamp"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataTopic:
    """``meta/image/{role}.{version}``: snapshot, targets and delegated roles, under their consistent-snapshot names."""

    role: str
    version: int

    def __str__(self) -> str:
        if _ROLE.fullmatch(self.role) is None:
            raise BadTopic(self.role, "a role name is lower-case letters, digits and -, at most 64")
        return f"{PREFIX}/meta/image/{self.role}.{self.version:d}"


Topic = (
    UpTopic
    | DownTopic
    | CommandTopic
    | ResultTopic
    | BroadcastTopic
    | StatementTopic
    | RootTopic
    | TimestampTopic
    | MetadataTopic
)

_ROLE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_UP: Final = frozenset(str(channel) for channel in Up)
_DOWN: Final = frozenset(str(channel) for channel in Down)
_REPOSITORIES: Final = frozenset(str(repository) for repository in Repository)
_PARSED: Final = 1_024  # of at most so many characters each; what is refused is not kept
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")


@lru_cache(maxsize=_PARSED)
def parse(topic: str) -> Topic:
    """Return what a topic string says.

    Raises:
        BadTopic: not a topic of this contract.
    """
    if len(topic) > TOPIC_CHARS_MAX:
        raise BadTopic(topic, f"longer than {TOPIC_CHARS_MAX} characters")
    if not topic.startswith(PREFIX + "/"):
        raise BadTopic(topic, f"expected it to begin with {PREFIX}/")
    tree, *rest = topic[len(PREFIX) + 1 :].split("/")
    match tree, rest:
        case "up", [device, "res", command]:
            return ResultTopic(device=_device(topic, device), command=CommandId(_id(topic, CommandId, command)))
        case "up", [device, channel] if channel in _UP:
            return UpTopic(device=_device(topic, device), channel=Up(channel))
        case "down", [device, "cmd", command]:
            return CommandTopic(device=_device(topic, device), command=CommandId(_id(topic, CommandId, command)))
        case "down", [device, channel] if channel in _DOWN:
            return DownTopic(device=_device(topic, device), channel=Down(channel))
        case "blob", [wave, segment, chunk]:
            return BroadcastTopic(
                wave=WaveId(_id(topic, WaveId, wave)), segment=_number(topic, segment), chunk=_number(topic, chunk)
            )
        case "meta", ["statement", statement]:
            return StatementTopic(statement=StatementId(_id(topic, StatementId, statement)))
        case "meta", [repository, "root", version] if repository in _REPOSITORIES:
            return RootTopic(repository=Repository(repository), version=_number(topic, version))
        case "meta", ["image", "timestamp"]:
            return TimestampTopic()
        case "meta", ["image", name]:
            role, dot, version = name.rpartition(".")
            if not dot or _ROLE.fullmatch(role) is None:
                raise BadTopic(topic, "expected ROLE.VERSION at the end")
            return MetadataTopic(role=role, version=_number(topic, version))
        case _:
            raise BadTopic(topic, "no message of this contract has such a topic")


def device_filters(device: DeviceId) -> tuple[str, ...]:
    """Return the subscriptions of one device."""
    return f"{PREFIX}/down/{_checked(DeviceId, device)}/#", f"{PREFIX}/meta/#"


def server_filters() -> tuple[str, ...]:
    """Return the subscriptions of the server."""
    return (f"{PREFIX}/up/#",)


def wave_filter(wave: WaveId) -> str:
    """Return the subscription to one wave's broadcast."""
    return f"{PREFIX}/blob/{_checked(WaveId, wave)}/#"


def _checked(kind: object, value: str) -> str:
    if not ids.fits(kind, value):
        raise BadTopic(value, f"not a {getattr(kind, '__name__', kind)}")
    return value


def _id(topic: str, kind: object, value: str) -> str:
    if not ids.fits(kind, value):
        raise BadTopic(topic, f"{ascii(value)[:40]} is not a {getattr(kind, '__name__', kind)}")
    return value


def _device(topic: str, value: str) -> DeviceId:
    return DeviceId(_id(topic, DeviceId, value))


def _number(topic: str, value: str) -> int:
    if _NUMBER.fullmatch(value) is None:
        raise BadTopic(topic, f"{ascii(value)[:40]} is not a number")
    return int(value)
