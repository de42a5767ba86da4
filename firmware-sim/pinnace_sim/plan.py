"""A world before it begins: everything that decides what will happen in it, as data that a log carries.

Two worlds of one plan write the same log. A plan is made by a story (``stories.py``), read back from a log by
``replay``, and cut down by ``shrink``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

from pinnace_contract.latest import Runtime
from pinnace_sim.faults import NO_MESSAGE_FAULTS, FaultKind, Incident, MessageFaults
from pinnace_sim.links import Course, LinkRow


class Nature(StrEnum):
    """What a version turns out to be like on a device."""

    GOOD = "good"
    WRONG = "wrong"  # its golden vectors are answered otherwise than recorded
    UNLOADABLE = "unloadable"
    CRASHES = "crashes"
    HANGS = "hangs"
    ERRORS = "errors"
    SLOW = "slow"
    UNSURE = "unsure"  # passes everything here; the server sees that it is unsure of its answers
    CONTRARY = "contrary"  # passes everything here, sure of answers that are not its predecessor's


class OrderKind(StrEnum):
    """What an operator does."""

    REGISTER = "register"
    ASSIGN = "assign"
    REVERT = "revert"
    ROLL_BACK = "roll_back"
    CANCEL = "cancel"
    READMIT = "readmit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One thing that an operator does: with a version, or to a device, or to the last rollout.

    ``trial_inferences`` 0 is no trial, ``who`` empty every device; ``epoch`` is the security epoch of a new version.
    """

    at_s: float
    kind: OrderKind
    version: str = ""
    nature: Nature = Nature.GOOD
    who: str = ""
    epoch: int = 0
    trial_inferences: int = 20
    trial_s: int = 120
    contact: bool = True
    contact_s: int = 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """One device: how often it reports, how many inferences an hour its applications ask for, its disk and link.

    ``natures``: versions that are otherwise here than elsewhere. ``trace`` names the rows of ``Plan.links`` that its
    link follows; without it the link carries ``bytes_s`` at all times.
    """

    name: str
    report_every_s: int = 60
    inferences_an_hour: float = 600.0
    disk_bytes: int = 1 << 30
    memory_bytes: int = 1 << 30
    memory_total_bytes: int = 1 << 30
    bytes_s: float = 1_000_000.0
    natures: tuple[tuple[str, Nature], ...] = ()
    trace: str = ""
    hardware: str = "sim"
    agent_version: str = "0.1.0"
    runtimes: tuple[Runtime, ...] = (Runtime.ONNX,)

    def nature_of(self, version: str, elsewhere: Nature) -> Nature:
        """Return what a version is like on this device."""
        return dict(self.natures).get(version, elsewhere)

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Self:
        """Read one back; a log of an older version has no natures and no runtimes."""
        natures = tuple((version, Nature(nature)) for version, nature in tree.get("natures", ()))
        runtimes = tuple(Runtime(each) for each in tree.get("runtimes", (Runtime.ONNX,)))
        values: dict[str, Any] = {**tree, "natures": natures, "runtimes": runtimes}
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole world. After ``hours`` the faults stop; what must come about has ``calm_hours`` to do so."""

    seed: int
    hours: float
    calm_hours: float
    devices: tuple[DevicePlan, ...]
    orders: tuple[Order, ...]
    messages: MessageFaults = NO_MESSAGE_FAULTS
    incidents: tuple[Incident, ...] = ()
    weights_bytes: int = 100_000
    links: tuple[LinkRow, ...] = ()
    links_repeat_s: float = 0.0

    def tree(self) -> dict[str, Any]:
        """Return the plan as JSON knows it."""
        return asdict(self)

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Self:
        """Read a plan back.

        Raises:
            KeyError, TypeError, ValueError: not a plan of this version.
        """
        messages: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in tree["messages"].items()
        }
        return cls(
            seed=int(tree["seed"]),
            hours=float(tree["hours"]),
            calm_hours=float(tree["calm_hours"]),
            devices=tuple(DevicePlan.from_tree(each) for each in tree["devices"]),
            orders=tuple(
                Order(**each | {"kind": OrderKind(each["kind"]), "nature": Nature(each["nature"])})
                for each in tree["orders"]
            ),
            messages=MessageFaults(**messages),
            incidents=tuple(Incident(**each | {"kind": FaultKind(each["kind"])}) for each in tree["incidents"]),
            weights_bytes=int(tree["weights_bytes"]),
            links=tuple(LinkRow(**each) for each in tree.get("links", ())),
            links_repeat_s=float(tree.get("links_repeat_s", 0.0)),
        )

    def courses(self) -> dict[str, Course]:
        """Return what the link of each device that has a trace does, by the device's name."""
        rows: dict[str, list[LinkRow]] = {}
        for row in self.links:
            rows.setdefault(row.device, []).append(row)
        made = {name: Course(each, repeat_s=self.links_repeat_s) for name, each in rows.items()}
        return {each.name: made[each.trace] for each in self.devices if each.trace in made}

    def without_device(self, name: str) -> Plan:
        """Return the plan without a device and all that happens to it."""
        return replace(
            self,
            devices=tuple(each for each in self.devices if each.name != name),
            incidents=tuple(each for each in self.incidents if each.who != name),
            orders=tuple(each for each in self.orders if each.who != name),
        )
