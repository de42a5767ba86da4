"""What must become of each version, judged from what the API says. Pure: no clock, no network.

Owns the verdict "it went as told", and the words for what is still awaited. Leaves asking the API to ``fleet`` and
showing to ``display``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import assert_never

from pinnace_contract.latest import Cause, Outcome, Phase
from pinnace_server.demo.versions import Fate

# What a device may say of version 3: the worker hit its limit, or the kernel or the watchdog was quicker.
CRASHES = (Cause.CRASHED, Cause.MEMORY_EXCEEDED, Cause.HUNG)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """One device as the API tells it: what serves, what is being tried, and why."""

    id: str
    name: str
    online: bool
    serving: str | None  # a version; None is no model
    phase: Phase
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One receipt: how one assignment ended on one device. ``at_s`` is when the server took it in, by its clock."""

    device: str
    version: str
    outcome: Outcome
    cause: Cause
    detail: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """The server's own decision to move devices back from a version."""

    version: str
    reason: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that the API said since a version was assigned."""

    devices: tuple[DeviceView, ...]
    endings: tuple[Ending, ...]
    rollbacks: tuple[Rollback, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One version of the story: what it is, what served before it, when it was assigned (the server's clock)."""

    version: str
    previous: str | None
    fate: Fate
    assigned_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Not over yet."""

    on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """The story took another turn than told; it cannot come right any more."""

    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AsTold:
    """It went as told; ``seconds`` from the assignment to each device's last receipt of it, and why.

    ``noticed_s`` is how long after the assignment the server decided to roll back; None where it did not.
    """

    seconds: tuple[float, ...]
    reason: str
    noticed_s: float | None = None

    @property
    def seconds_median(self) -> float:
        """How long it took on the device in the middle."""
        return median(self.seconds)

    @property
    def seconds_last(self) -> float:
        """How long it took until the whole fleet was through."""
        return max(self.seconds)


Verdict = Waiting | Wrong | AsTold


def judge(task: Task, seen: Seen) -> Verdict:
    """Compare what was seen with what the story says of this version."""
    match task.fate:
        case Fate.COMMITTED:
            return _each_device(task, seen, outcome=Outcome.COMMITTED, causes=None, serving=task.version)
        case Fate.FAILED:
            causes = (Cause.GOLDEN_MISMATCH,)
            return _each_device(task, seen, outcome=Outcome.FAILED, causes=causes, serving=task.previous)
        case Fate.REVERTED:
            return _each_device(task, seen, outcome=Outcome.REVERTED, causes=CRASHES, serving=task.previous)
        case Fate.ROLLED_BACK:
            return _rolled_back(task, seen)
        case _:
            assert_never(task.fate)


def _each_device(
    task: Task, seen: Seen, *, outcome: Outcome, causes: tuple[Cause, ...] | None, serving: str | None
) -> Verdict:
    if seen.rollbacks:
        return Wrong(problem=f"the server rolled version {task.version} back: {seen.rollbacks[0].reason}")
    endings = _latest(ending for ending in seen.endings if ending.version == task.version)
    for ending in endings.values():
        if ending.outcome is not outcome or (causes is not None and ending.cause not in causes):
            return Wrong(problem=_other_ending(ending, expected=str(outcome), causes=causes))
    waiting = _not_settled(seen, endings, serving)
    if waiting is not None:
        return waiting
    return _as_told(task, endings, reason=_commonest(endings.values()))


def _rolled_back(task: Task, seen: Seen) -> Verdict:
    """First every device keeps the version, then the server takes it away; a device still in trial gives it up."""
    taken = _latest(ending for ending in seen.endings if ending.version == task.version)
    interrupted = {name for name, ending in taken.items() if seen.rollbacks and ending.cause is Cause.NEWER_GENERATION}
    for name, ending in taken.items():
        if ending.outcome is not Outcome.COMMITTED and name not in interrupted:
            return Wrong(problem=_other_ending(ending, expected="committed first", causes=None))
    if not seen.rollbacks:
        missing = [device.name for device in seen.devices if device.id not in taken]
        if missing:
            return Waiting(on=f"{', '.join(missing)}: to commit version {task.version}")
        return Waiting(on="the server's rule to notice")
    rollback = seen.rollbacks[0]
    returned = {name: taken[name] for name in interrupted} | _latest(
        ending for ending in seen.endings if ending.version == task.previous and ending.at_s >= rollback.at_s
    )
    for name, ending in returned.items():
        if ending.outcome is not Outcome.COMMITTED and name not in interrupted:
            return Wrong(problem=_other_ending(ending, expected="committed again", causes=None))
    waiting = _not_settled(seen, returned, task.previous)
    noticed_s = rollback.at_s - task.assigned_at_s
    return waiting or _as_told(task, returned, reason=rollback.reason, noticed_s=noticed_s)


def _not_settled(seen: Seen, endings: dict[str, Ending], serving: str | None) -> Waiting | None:
    """Name the devices whose receipt is awaited, or whose report does not yet say that they serve what they should."""
    unsettled = [
        device.name
        for device in seen.devices
        if device.id not in endings or device.serving != serving or device.phase is not Phase.IDLE
    ]
    return Waiting(on=", ".join(unsettled)) if unsettled else None


def _as_told(task: Task, endings: dict[str, Ending], *, reason: str, noticed_s: float | None = None) -> AsTold:
    seconds = tuple(sorted(ending.at_s - task.assigned_at_s for ending in endings.values()))
    return AsTold(seconds=seconds, reason=reason, noticed_s=noticed_s)


def _latest(endings: Iterable[Ending]) -> dict[str, Ending]:
    return {ending.device: ending for ending in sorted(endings, key=lambda ending: ending.at_s)}


def _commonest(endings: Iterable[Ending]) -> str:
    causes = [ending.cause for ending in endings]
    cause = max(set(causes), key=lambda one: (causes.count(one), one))
    return "" if cause is Cause.NONE else str(cause)


def _other_ending(ending: Ending, *, expected: str, causes: tuple[Cause, ...] | None) -> str:
    wanted = expected + (f" with {' or '.join(causes)}" if causes else "")
    found = f"{ending.outcome} with {ending.cause}" + (f": {ending.detail}" if ending.detail else "")
    return f"device {ending.device}, version {ending.version}: expected {wanted}, found {found}"
