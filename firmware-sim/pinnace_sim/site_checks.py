"""What must be true of sites that move whole: nobody keeps a release without its site, and nobody stays behind it.

Looks on from outside. What a device keeps is held against what stands in the server's database; what was decided is
held against how long its devices really waited; and from a decision on each device of the site is looked at until it
did as its site does, somebody wanted something else of it, or the world ends. Time counts while a device can hear: it
is on, connected over a line that carries, and nothing else stands in its way: no more than a slow line carries first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from pinnace_agent.core.slot import Slot
from pinnace_contract.ids import DeviceId, ModelName, ReleaseId, RolloutId
from pinnace_contract.latest import Entry, Phase, SiteVerdict
from pinnace_server.domain.records import DeviceState, Event, EventKind
from pinnace_sim.checks import Rule, Violation
from pinnace_sim.contention import Store
from pinnace_sim.device import SimDevice
from pinnace_sim.schedule import Schedule

MIXED_S_MAX: Final = 60.0
LOOK_EVERY_S: Final = 15.0
MARGIN_S: Final = 120.0  # no commit is signed in the last two minutes of a lease
# Who has not proved the release yet, or is on its way back anyway, is not what makes a site mixed.
_PROVES: Final = frozenset(
    {
        Phase.OFFERED,
        Phase.FETCHING,
        Phase.VERIFYING,
        Phase.STAGED,
        Phase.SELF_TEST,
        Phase.TRIAL,
        Phase.AWAITING_CONTACT,
    }
)


class Place(Protocol):
    """The server that is looked at."""

    @property
    def store(self) -> Store: ...
    def now(self) -> float: ...


@dataclass(slots=True, kw_only=True)
class _Watched:
    device: SimDevice
    rollout: RolloutId
    site: str
    generation: int
    release: ReleaseId
    verdict: SiteVerdict
    since_s: float


@dataclass(slots=True)
class SiteChecks:
    """Looks on. ``free_s`` tells since when nothing stands in a device's way; now, where something does."""

    place: Place
    schedule: Schedule
    devices: Callable[[], Mapping[DeviceId, SimDevice]]
    free_s: Callable[[SimDevice], float]
    model: ModelName
    slow_s: float
    _prepared: dict[tuple[DeviceId, int], float] = field(default_factory=dict)

    # --- devices -----------------------------------------------------------------------------------------------------

    def moved(self, device: SimDevice, old: Slot, new: Slot) -> None:
        """A device saved another slot."""
        work = old.work
        if new.phase is Phase.PREPARED and new.work is not None:
            self._prepared.setdefault((device.id, new.work.entry.generation), self.schedule.now_s)
        if work is None or not work.entry.site_atomic or work.candidate is None or new.work is not None:
            return
        if new.current == work.candidate.servable and new.current != old.current:
            self._keeps(device, work.entry)

    def _keeps(self, device: SimDevice, entry: Entry) -> None:
        assert entry.rollout is not None
        with self.place.store.read() as tables:
            ruling = tables.rollouts.site_ruling(entry.rollout, entry.site)
        if ruling is None or ruling.verdict is not SiteVerdict.COMMIT:
            said = "nothing was decided" if ruling is None else f"it was to {ruling.verdict}"
            text = f"it keeps the release of {entry.rollout}, and of site {entry.site} {said}"
            raise Violation(Rule.KEPT_UNDECIDED, device.name, text)

    # --- decisions ---------------------------------------------------------------------------------------------------

    def said(self, event: Event) -> None:
        """The server's log has another line."""
        if event.kind is not EventKind.SITE_DECIDED or event.rollout is None:
            return
        site, verdict = event.data["site"], SiteVerdict(event.data["verdict"])
        with self.place.store.read() as tables:
            found = tables.assignments.of(list(self.devices()))
        for assignment in found:
            entry = assignment.entry
            if assignment.model != self.model or entry.rollout != event.rollout or entry.site != site:
                continue
            device = self.devices()[assignment.device]
            if verdict is SiteVerdict.COMMIT and event.at_s == self.place.now():
                self._in_time(device, entry)
                if assignment.outcome is None:
                    self._ready(device, entry)
            assert entry.release is not None
            watched = _Watched(
                device=device,
                rollout=event.rollout,
                site=site,
                generation=entry.generation,
                release=entry.release,
                verdict=verdict,
                since_s=self.schedule.now_s,
            )
            self.schedule.after(LOOK_EVERY_S, lambda watched=watched: self._look(watched))  # type: ignore[misc]

    def _in_time(self, device: SimDevice, entry: Entry) -> None:
        """No commit is signed once a device may have gone back before it hears so."""
        since_s = self._prepared.get((device.id, entry.generation))
        if since_s is None:
            return
        waited_s = self.schedule.now_s - since_s
        if waited_s > entry.lease_s - MARGIN_S + self.slow_s:
            text = f"site {entry.site} is told to commit, and the lease of {entry.lease_s} s ran for {waited_s:.0f} s"
            raise Violation(Rule.DECIDED_TOO_LATE, device.name, text)

    def _ready(self, device: SimDevice, entry: Entry) -> None:
        """No commit is signed before each device that counts was prepared."""
        with self.place.store.read() as tables:
            known = tables.devices.get(device.id)
        counts = known is not None and known.state is DeviceState.ACTIVE
        if counts and (device.id, entry.generation) not in self._prepared:
            text = f"site {entry.site} is told to commit, and it was not prepared"
            raise Violation(Rule.DECIDED_TOO_EARLY, device.name, text)

    def _look(self, watched: _Watched) -> None:
        device, now_s = watched.device, self.schedule.now_s
        if not self._still_meant(watched):
            return
        watched.since_s = max(watched.since_s, self.free_s(device))
        slot = device.run.daemon.state.slot(self.model) if device.run is not None else None
        if slot is not None and slot.generation > watched.generation:
            return
        if slot is not None and _has_its_own_time(watched, slot):
            watched.since_s = now_s
        if slot is not None and self._did(watched, slot):
            return
        if now_s - watched.since_s > MIXED_S_MAX + self.slow_s:
            told = f"site {watched.site} was told to {watched.verdict}"
            is_now = "without the model" if slot is None else f"{slot.phase} ({slot.reason.cause})"
            text = f"{told}; {now_s - watched.since_s:.0f} s later it is {is_now}"
            raise Violation(Rule.SITE_MIXED, device.name, text)
        self.schedule.after(LOOK_EVERY_S, lambda: self._look(watched))

    def _did(self, watched: _Watched, slot: Slot) -> bool:
        keeps = slot.current is not None and slot.current.release == watched.release
        if watched.verdict is SiteVerdict.COMMIT:
            blamed = any(each.release == watched.release for each in slot.bad)  # it failed after all, which is told
            return keeps or (slot.phase is Phase.IDLE and (blamed or watched.release in slot.withdrawn))
        return slot.phase is Phase.IDLE or keeps

    def _still_meant(self, watched: _Watched) -> bool:
        """Tell whether this is still what is wanted of the device."""
        with self.place.store.read() as tables:
            known = tables.devices.get(watched.device.id)
            assignment = tables.assignments.get(watched.device.id, self.model)
        if known is None or known.state is not DeviceState.ACTIVE or assignment is None:
            return False
        return assignment.entry.generation == watched.generation


def _has_its_own_time(watched: _Watched, slot: Slot) -> bool:
    """Tell whether a device still proves what it is to keep, or has not heard yet of what it is to leave."""
    if watched.verdict is SiteVerdict.COMMIT:
        return slot.phase in _PROVES
    return slot.generation < watched.generation
