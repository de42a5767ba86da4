"""What all bodies share, and the page of a list."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from pinnace_server.domain.queries import Page

T = TypeVar("T")
Example = dict[str, Any]


def like(example: Example) -> ConfigDict:
    """Return the configuration of an answer's body, with an example of it."""
    return ConfigDict(frozen=True, json_schema_extra={"examples": [example]})


def asked(example: Example) -> ConfigDict:
    """Return the configuration of a request's body: what is misspelt is refused, not ignored."""
    return ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [example]})


class Listed(BaseModel, Generic[T]):
    """A stretch of a list."""

    model_config = ConfigDict(frozen=True)

    items: list[T]
    total: int = Field(description="How many there are in all.")
    next: int | None = Field(description="The offset of the next stretch; null at the end.")


def listed(items: list[T], total: int, page: Page) -> Listed[T]:
    """Return a stretch with the offset of the next."""
    end = page.offset + len(items)
    return Listed(items=items, total=total, next=end if items and end < total else None)
