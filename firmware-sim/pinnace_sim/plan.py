"""A world before it begins: everything that decides what will happen in it, as data that a log carries.

Two worlds of one plan write the same log. A plan is made by a story (``stories.py``), read back from a log by
``replay``, and cut down by ``shrink``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final, Self

from pinnace_contract.latest import Runtime
from pinnace_sim.faults import NO_MESSAGE_FAULTS, FaultKind, Incident, MessageFaults
from pinnace_sim.links import Course, LinkRow
from pinnace_sim.temper import EVEN_TEMPER, Temper


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
    # what no device sees by itself, and the gates of a wave do
    ERRORS_3_PERCENT = "errors_3_percent"
    SLOWER_20_PERCENT = "slower_20_percent"
    DIES_SILENTLY = "dies_silently"  # its device, after ten minutes, until somebody switches it off and on
    # what applications tell, and gates judge where a policy asks
    WORSE_OUTCOME = "worse_outcome"
    UNFAIR = "unfair"  # wrong more often, about one declared group
    DRIFTING = "drifting"  # passes its golden vectors, and answers one class in place of another


class OrderKind(StrEnum):
    """What an operator does."""

    REGISTER = "register"
    ASSIGN = "assign"
    REVERT = "revert"
    ROLL_BACK = "roll_back"
    CANCEL = "cancel"
    READMIT = "readmit"
    RETIRE = "retire"
    STOP = "stop"
    # of rollouts in waves
    BEGIN = "begin"
    PAUSE = "pause"
    RESUME = "resume"
    APPROVE = "approve"
    PROMOTE = "promote"
    RETRY = "retry"
    COHORT = "cohort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One thing that an operator does: with a version, or to a device, or to the last rollout.

    ``trial_inferences`` 0 is no trial, ``who`` empty every device; ``epoch`` is the security epoch of a new version.
    ``hardware``: the nature of a new version is so only on this class of devices, and good elsewhere.

    Of rollouts in waves: ``policy`` is the JSON of a policy, or for COHORT of a cohort; ``version`` names the rollout
    where it is not the last one; ``wave`` 0 is the one whose turn it is; ``actor`` is who does it. ``races`` n:
    it is done by another thread of the server, just when the controller has looked and is about to write the nth time.
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
    hardware: str = ""
    policy: str = ""
    wave: int = 0
    actor: str = ""
    races: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """One device: how often it reports, how many inferences an hour its applications ask for, its disk and link.

    ``natures``: versions that are otherwise here than elsewhere. ``trace`` names the rows of ``Plan.links`` that its
    link follows; without it the link carries ``bytes_s`` at all times. ``labels`` are an operator's. ``temper``: how
    good versions are here. ``tells``: its applications tell what came of answers, and the truth about some;
    ``metric``: under which name, if not the usual one.
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
    labels: tuple[tuple[str, str], ...] = ()
    temper: Temper = EVEN_TEMPER
    tells: bool = False
    metric: str = ""

    def nature_of(self, version: str, elsewhere: Nature) -> Nature:
        """Return what a version is like on this device."""
        return dict(self.natures).get(version, elsewhere)

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Self:
        """Read one back; a log of an older version has no natures and no runtimes."""
        natures = tuple((version, Nature(nature)) for version, nature in tree.get("natures", ()))
        runtimes = tuple(Runtime(each) for each in tree.get("runtimes", (Runtime.ONNX,)))
        labels = tuple((str(name), str(value)) for name, value in tree.get("labels", ()))
        temper = Temper(**tree.get("temper", {}))
        values: dict[str, Any] = {**tree, "natures": natures, "runtimes": runtimes, "labels": labels, "temper": temper}
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole world. After ``hours`` the faults stop; what must come about has ``calm_hours`` to do so.

    ``controllers`` 2: two servers on one database, each of which believes that it is the one to plan. ``tells_waits``:
    the log says what rollouts in waves wait on.
    """

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
    controllers: int = 1
    tells_waits: bool = False

    def tree(self) -> dict[str, Any]:
        """Return the plan as JSON knows it; what came later is left out where it says nothing."""
        tree = _without_unsaid(asdict(self), Plan)
        tree["orders"] = [_without_unsaid(each, Order) for each in tree["orders"]]
        tree["devices"] = [_without_unsaid(each, DevicePlan) for each in tree["devices"]]
        return tree

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
            controllers=int(tree.get("controllers", 1)),
            tells_waits=bool(tree.get("tells_waits", False)),
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


_CAME_LATER: Final[dict[type, tuple[str, ...]]] = {
    Plan: ("controllers", "tells_waits"),
    Order: ("hardware", "policy", "wave", "actor", "races"),
    DevicePlan: ("labels", "temper", "tells", "metric"),
}
"""Fields that older plans do not have: a plan without them is written to the byte as it was."""


def _without_unsaid(tree: dict[str, Any], kind: type) -> dict[str, Any]:
    defaults = {
        each.name: asdict(each.default) if isinstance(each.default, Temper) else each.default for each in fields(kind)
    }
    unsaid = {name for name in _CAME_LATER[kind] if tree[name] == defaults[name]}
    return {name: value for name, value in tree.items() if name not in unsaid}
