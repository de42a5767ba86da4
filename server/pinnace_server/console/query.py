"""The state of a list, both ways: from a page's address to a query, and from a query to the address of its neighbour.

One object holds filter, order and page, so that the count, the rows and the links can never disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Self
from urllib.parse import urlencode

from pinnace_server.domain.records import RolloutState, Status

PAGE_SIZES = (25, 50, 100)
PAGE_MAX = 4_000  # times 25 is the 100,000 devices to which OFFSET stays quick
TEXT_CHARS_MAX = 200


class DeviceOrder(StrEnum):
    """What the device list can be sorted by; a minus in the address turns it round."""

    NAME = "name"
    STATUS = "status"
    VERSION = "version"
    P95 = "p95"
    SEEN = "seen"
    AGENT = "agent"


def _text(given: Mapping[str, str], name: str) -> str:
    return given.get(name, "").strip()[:TEXT_CHARS_MAX]


def _page(given: Mapping[str, str]) -> int:
    text = given.get("page", "")
    return min(int(text), PAGE_MAX) if text.isascii() and text.isdecimal() and 0 < len(text) < 8 and int(text) else 1


def _size(given: Mapping[str, str]) -> int:
    wanted = given.get("size", "")
    return next((size for size in PAGE_SIZES if str(size) == wanted), PAGE_SIZES[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """What every list has. Fields that are as they come are left out of the address."""

    page: int = 1
    size: int = PAGE_SIZES[0]

    @property
    def offset(self) -> int:
        """How many rows come before this page."""
        return (self.page - 1) * self.size

    def to(self, **changes: object) -> str:
        """Return the query part of the address with these changes; a changed filter starts again at page 1."""
        return self._address({"page": 1} | changes)

    def address(self) -> str:
        """Return ``?name=value…``, or ``?`` alone when nothing differs from the plain list."""
        return self._address({})

    def _address(self, changes: Mapping[str, object]) -> str:
        plain = type(self)()
        pairs = [(field.name, changes.get(field.name, getattr(self, field.name))) for field in fields(self)]
        return "?" + urlencode([(name, str(value)) for name, value in pairs if value != getattr(plain, name)])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceQuery(ListQuery):
    """Filter, order and page of the device list. Whatever the address says that makes no sense counts as not said."""

    q: str = ""
    status: Status | None = None
    model: str = ""
    version: str = ""
    label: str = ""
    sort: str = DeviceOrder.NAME.value

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Read the parameters of an address."""
        status, sort = given.get("status", ""), given.get("sort", "")
        return cls(
            page=_page(given),
            size=_size(given),
            q=_text(given, "q"),
            status=Status(status) if status in set(Status) else None,
            model=_text(given, "model"),
            version=_text(given, "version"),
            label=_text(given, "label"),
            sort=sort if sort.removeprefix("-") in set(DeviceOrder) else DeviceOrder.NAME.value,
        )

    @property
    def order(self) -> DeviceOrder:
        """What to sort by."""
        return DeviceOrder(self.sort.removeprefix("-"))

    @property
    def descending(self) -> bool:
        """Whether the largest comes first."""
        return self.sort.startswith("-")

    @property
    def filtered(self) -> bool:
        """Whether anything narrows the list."""
        return bool(self.q or self.status or self.model or self.version or self.label)

    def sorted_by(self, order: str) -> str:
        """Return the address sorted by a column: ascending first, and turned round when it already is."""
        return self.to(sort=f"-{order}" if self.sort == order else order)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery(ListQuery):
    """Filter and page of the log."""

    q: str = ""
    kind: str = ""
    device: str = ""
    model: str = ""
    actor: str = ""
    rollout: str = ""

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Read the parameters of an address."""
        texts = {name: _text(given, name) for name in ("q", "kind", "device", "model", "actor", "rollout")}
        return cls(page=_page(given), size=_size(given), **texts)

    @property
    def filtered(self) -> bool:
        """Whether anything narrows the log."""
        return bool(self.q or self.kind or self.device or self.model or self.actor or self.rollout)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutQuery(ListQuery):
    """Filter and page of the rollouts."""

    state: RolloutState | None = None
    model: str = ""

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Read the parameters of an address."""
        state = given.get("state", "")
        known = RolloutState(state) if state in set(RolloutState) else None
        return cls(page=_page(given), size=_size(given), state=known, model=_text(given, "model"))

    @property
    def filtered(self) -> bool:
        """Whether anything narrows the list."""
        return bool(self.state or self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainQuery(ListQuery):
    """Only a page."""

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Read the parameters of an address."""
        return cls(page=_page(given), size=_size(given))
