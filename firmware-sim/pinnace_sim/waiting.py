"""What rollouts in waves wait on, written to the log each time that it changes: for worlds that somebody reads."""

from __future__ import annotations

from typing import Protocol

from pinnace_contract.ids import RolloutId
from pinnace_server.domain import ramp as ramps
from pinnace_server.domain import sites, wave_report
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.ramp import Ramp
from pinnace_server.domain.records import Rollout, RolloutState
from pinnace_server.domain.sites import Site
from pinnace_server.service.rollouts import Rollouts
from pinnace_sim.contention import Store
from pinnace_sim.journal import Journal


class Place(Protocol):
    """The server that is looked at."""

    @property
    def store(self) -> Store: ...
    @property
    def rollouts(self) -> Rollouts: ...
    def now(self) -> float: ...


class Teller:
    """Tells what each rollout in waves waits on, and how many of its devices."""

    def __init__(self, place: Place, journal: Journal) -> None:
        self._place, self._journal = place, journal
        self._last: dict[RolloutId, tuple[object, ...]] = {}
        self._sites: dict[tuple[RolloutId, str], dict[str, str | int]] = {}

    def tell(self) -> None:
        """Look once, and write what is otherwise than at the last look."""
        with self._place.store.read() as tables:
            active = [each for each in tables.rollouts.active() if each.rules]
        for rollout in active:
            found = self._place.rollouts.progress(rollout.id)
            if found.ramp is None or found.rollout.state is not RolloutState.ACTIVE:
                continue
            wave, on = _wave_waits(found.ramp, self._place.now())
            devices = {str(each): n for each, n in found.report.waiting().items()}
            said = (wave, on, tuple(devices.items()))
            if self._last.get(rollout.id) != said:
                self._last[rollout.id] = said
                version = rollout.version or ""
                self._journal.write("rollout_waits", version=version, wave=wave, on=on, devices=devices)
            for site in found.sites:
                self._tell_site(rollout, site)

    def _tell_site(self, rollout: Rollout, site: Site) -> None:
        """Say how a site stands that moves whole."""
        facts: dict[str, str | int] = {
            "prepared": f"{site.prepared} of {len(site.counted)}",
            "keeping": site.keeping,
            "mixed": site.mixed,
            "waits": sites.waits(site),
        }
        if self._sites.get((rollout.id, site.name)) != facts:
            self._sites[rollout.id, site.name] = facts
            self._journal.write("site", site.name, version=rollout.version or "", **facts)


def _wave_waits(ramp: Ramp, now_s: float) -> tuple[int, str]:
    """Return the wave whose turn it is, and what it waits on; empty: nothing that was written down."""
    wave = ramp.current
    if wave is None:
        return 0, ""
    if wave.started_at_s is None:
        return wave.number, _word(ramps.standing(ramp, None, now_s).waiting_on)
    if ramp.paused:
        return wave.number, _word(WaitingOn.PAUSED)
    report = wave_report.read(wave.verdict)
    return wave.number, _word(report.waiting_on if report is not None else None)


def _word(on: WaitingOn | None) -> str:
    return "" if on is None else str(on)
