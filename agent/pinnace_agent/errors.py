"""What can go wrong in the agent: one root, a family per whose fault it is and whether to try again."""

from __future__ import annotations

from pinnace_contract.latest import Cause


class AgentError(Exception):
    """Root of what the agent raises on purpose; ``cause`` is the wire code that a receipt or status carries."""

    cause: Cause = Cause.NONE


class Refused(AgentError):
    """Theirs: something signed is wrong or not for this device. Never worth a retry with the same bytes."""


class NotYet(AgentError):
    """The way there: try again later."""


class DeviceTrouble(AgentError):
    """The device's own: storage, memory, a missing runtime."""
