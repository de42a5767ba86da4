"""What the console needs of the server, and nothing more: reads that fill a screen, and the few actions.

Every action has a route under /api/v1 (`actions.py`), because the same services stand behind both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pinnace_server.console import shown, shown_rollouts
from pinnace_server.console.query import DeviceQuery, EventQuery, RolloutQuery


class OverviewReads(Protocol):
    """Fills the overview and the log. Each call of these is one consistent look at the database."""

    def overview(self) -> shown.Overview: ...
    def events(self, query: EventQuery) -> shown.EventPage: ...


class RolloutReads(Protocol):
    """Fills the rollout screens. ``policy`` is YAML or JSON, as people write it.

    Raises:
        NotFound: there is no such rollout, model or version.
        Refused: a policy that cannot be read, with the path in it.
        Conflict: the version was withdrawn.
    """

    def rollouts(self, query: RolloutQuery) -> shown_rollouts.RolloutPage: ...
    def rollout(self, rollout: str) -> shown_rollouts.RolloutDetail: ...
    def preview(self, model: str, version: str, policy: str) -> shown_rollouts.RolloutPreview: ...


class FleetReads(Protocol):
    """Fills the device screens.

    Raises:
        NotFound: there is no such device.
        Refused: a selector that cannot be read.
    """

    def devices(self, query: DeviceQuery) -> shown.DevicePage: ...
    def device(self, device: str) -> shown.DeviceDetail: ...


class CatalogueReads(Protocol):
    """Fills the model screens.

    Raises:
        NotFound: there is no such model or version.
        Refused: a selector that cannot be read.
    """

    def models(self, page: int, size: int) -> shown.ModelPage: ...
    def model(self, model: str, page: int, size: int) -> shown.ModelDetail: ...
    def version(self, model: str, version: str) -> shown.VersionDetail: ...
    def match(self, model: str, version: str, selector: str) -> shown.Match: ...


class Actions(Protocol):
    """What an operator can do here. ``selector`` is in the grammar of ``domain.selector``; empty is every device.

    ``assign``, ``roll_back`` and ``retry`` return how many devices they reached, ``revert`` the version that the device
    goes to, ``begin`` the id of the rollout. ``policy`` is YAML or JSON, as people write it.

    Raises:
        ServerError: with a text for the operator.
    """

    def assign(self, *, model: str, version: str, selector: str, actor: str) -> int: ...
    def revert(self, *, device: str, model: str, actor: str) -> str: ...
    def roll_back(self, *, rollout: str, actor: str) -> int: ...
    def cancel(self, *, rollout: str, reason: str, actor: str) -> None: ...
    def begin(self, *, model: str, version: str, policy: str, reason: str, actor: str) -> str: ...
    def pause(self, *, rollout: str, reason: str, actor: str) -> None: ...
    def resume(self, *, rollout: str, reason: str, actor: str) -> None: ...
    def approve(self, *, rollout: str, wave: int, actor: str) -> None: ...
    def promote(self, *, rollout: str, wave: int, reason: str, actor: str) -> None: ...
    def retry(self, *, rollout: str, actor: str) -> int: ...


class ChangeFeed(Protocol):
    """Tells which topics changed. The listener is called from any thread and must return at once."""

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]: ...


class AdminDoor(Protocol):
    """Tells whose token this is; None when it is nobody's."""

    def actor_of(self, token: str) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleServices:
    """Everything behind the console."""

    overview: OverviewReads
    fleet: FleetReads
    catalogue: CatalogueReads
    rollouts: RolloutReads
    actions: Actions
    changes: ChangeFeed
    door: AdminDoor
    version: str
