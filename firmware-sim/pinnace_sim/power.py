"""The power goes: how a piece of the agent ends that nothing of the agent may survive."""

from __future__ import annotations


class PowerCut(BaseException):
    """The power is gone: nobody catches it and goes on."""


class Stuck(PowerCut):
    """One turn of the agent waited for a day, in which the world stood still: so long the device is as good as off."""
