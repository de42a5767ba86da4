"""What can go wrong inside the core: only our own mistakes. Everything else is an outcome with a cause."""

from __future__ import annotations

from pinnace_contract.latest import Phase


class CoreError(Exception):
    """The agent's own logic was driven in a way that it does not allow: a bug, so crash, restart and recover."""


class IllegalEvent(CoreError):
    """The table of the lifecycle has no row for this event in this phase."""

    def __init__(self, model: str, phase: Phase, event: str) -> None:
        self.model, self.phase, self.event = model, phase, event
        super().__init__(f"model {model}: {event} cannot happen in phase {phase}; lifecycle.TABLE has no such row")


class IllegalMove(CoreError):
    """A handler moved to a phase that its row of the table does not name."""

    def __init__(self, model: str, phase: Phase, event: str, found: Phase) -> None:
        self.model, self.phase, self.event, self.found = model, phase, event, found
        super().__init__(f"model {model}: {event} in phase {phase} led to {found}, which its row does not allow")


class UnknownModel(CoreError):
    """An event for a model that the device has no slot for."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(f"no slot for model {model}; events are only for models that were assigned or declared")
