"""Sites that move whole: who counts at one, what is decided about it, and who of it may begin.

A site begins when every device of it that counts can be told. It commits when each of them is prepared or keeps the
release; it goes back when the release ended badly on one, or when a lease is about to run out. Devices in quarantine,
decommissioned ones and those that were let go do not count; one that is away does: it was told with the others, and
nobody knows that it is prepared. A decision is made once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import ModelState, Phase, SiteVerdict
from pinnace_server.domain.plans import Held, WaitingOn
from pinnace_server.domain.ramp import Mover, Part
from pinnace_server.domain.records import Slot

MARGIN_S: Final = 120.0  # a commit takes this long to be heard, or the first device has gone back meanwhile
CLOCK_OFF_S: Final = 1_800.0  # a clock that is further behind than this does not say when a device spoke
NAMES_MAX: Final = 3


class Stay(StrEnum):
    """How far a device is, as its site counts it."""

    OUT = "out"
    WAITING = "waiting"
    UNDER_WAY = "under_way"
    PREPARED = "prepared"
    KEEPS = "keeps"
    ENDED_BADLY = "ended_badly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """One device of a site. ``why`` says how it ended; ``lease_until_s`` is when a prepared one goes back."""

    device: DeviceId
    stay: Stay
    there: bool = True
    why: str = ""
    lease_until_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRuling:
    """What was decided about a site of a rollout, why, and when; ``prepared`` of ``counted`` were then."""

    site: str
    verdict: SiteVerdict
    why: str
    decided_at_s: float
    prepared: int
    counted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The devices of a site in waves that began, and what was decided about them."""

    name: str
    wave: int
    residents: tuple[Resident, ...]
    ruling: SiteRuling | None = None

    @property
    def counted(self) -> tuple[Resident, ...]:
        """Those that the site's decision waits for."""
        return tuple(each for each in self.residents if each.stay is not Stay.OUT)

    @property
    def prepared(self) -> int:
        """How many are prepared, or keep the release already."""
        return sum(each.stay in (Stay.PREPARED, Stay.KEEPS) for each in self.counted)

    @property
    def missing(self) -> tuple[Resident, ...]:
        """Those that are not prepared."""
        return tuple(each for each in self.counted if each.stay not in (Stay.PREPARED, Stay.KEEPS))

    @property
    def keeping(self) -> int:
        """How many keep the release."""
        return sum(each.stay is Stay.KEEPS for each in self.counted)

    @property
    def mixed(self) -> bool:
        """Whether some keep the release and others do not, by what they last said."""
        return 0 < self.keeping < len(self.counted)

    @property
    def has_begun(self) -> bool:
        """Whether a device of it was told."""
        moved = (Stay.UNDER_WAY, Stay.PREPARED, Stay.ENDED_BADLY)
        return self.ruling is not None or any(each.stay in moved for each in self.residents)

    @property
    def lease_until_s(self) -> float | None:
        """When the first of its prepared devices goes back by itself."""
        return min((each.lease_until_s for each in self.counted if each.lease_until_s is not None), default=None)


def decide(site: Site, now_s: float) -> SiteRuling | None:
    """Return what is decided about a site now; None: nothing, or it was decided before."""
    if site.ruling is not None:
        return None
    bad = next((each for each in site.counted if each.stay is Stay.ENDED_BADLY), None)
    if bad is not None:
        return _ruling(site, SiteVerdict.REVERT, f"{bad.device}: {bad.why}" if bad.why else bad.device, now_s)
    if not any(each.stay is Stay.PREPARED for each in site.counted):
        return None
    until_s = site.lease_until_s
    if until_s is not None and now_s > until_s - MARGIN_S:
        return _ruling(site, SiteVerdict.REVERT, f"the lease runs out, and {_not_prepared(site)}", now_s)
    if site.missing:
        return None
    return _ruling(site, SiteVerdict.COMMIT, "every device of it is prepared", now_s)


def waits(site: Site) -> str:
    """Return what a site waits for, in words."""
    if site.ruling is not None:
        if site.ruling.verdict is SiteVerdict.REVERT:
            return f"site {site.name} was told to go back: {site.ruling.why}"
        return f"site {site.name} was told to commit; {site.keeping} of {len(site.counted)} keep the release so far"
    if not site.missing:
        return f"all {len(site.counted)} at site {site.name} are prepared, and it is decided at once"
    names = ", ".join(each.device for each in site.missing[:NAMES_MAX])
    more = " …" if len(site.missing) > NAMES_MAX else ""
    return f"waits for {len(site.missing)} of {len(site.counted)} at site {site.name} ({names}{more})"


def whole(movers: Sequence[Mover], sites: Mapping[str, Site], begun: Collection[int]) -> list[Mover]:
    """Return movers that go by whole sites: held while another of the site is, and counted together by budgets.

    ``sites`` are those of the waves ``begun`` that were told, or of which something was decided; all others wait. A
    device without a site goes alone.
    """
    waiting: dict[str, list[Mover]] = {}
    for mover in movers:
        if _goes_whole(mover, begun):
            waiting.setdefault(mover.site, []).append(mover)
    queues = {name: _Queue.of(name, those) for name, those in waiting.items()}
    return [
        _with_site(mover, sites.get(mover.site), queues[mover.site]) if _goes_whole(mover, begun) else mover
        for mover in movers
    ]


def lease_until_s(state: ModelState, said_at_s: float, now_s: float, before: Slot | None) -> float | None:
    """Return when a prepared device goes back by itself, at the latest; None: it is not prepared, or did not say.

    What it said may have been under way for long: its own clock says since when, unless it is far behind. Saying it
    again makes a lease no longer.
    """
    if state.phase is not Phase.PREPARED or state.lease_left_s is None:
        return None
    since_s = said_at_s if now_s - CLOCK_OFF_S <= said_at_s <= now_s else now_s
    until_s = since_s + state.lease_left_s
    if before is None or before.lease_until_s is None or before.state.generation != state.generation:
        return until_s
    return min(before.lease_until_s, until_s)


def _ruling(site: Site, verdict: SiteVerdict, why: str, now_s: float) -> SiteRuling:
    return SiteRuling(
        site=site.name,
        verdict=verdict,
        why=why[:500],
        decided_at_s=now_s,
        prepared=site.prepared,
        counted=len(site.counted),
    )


def _not_prepared(site: Site) -> str:
    if not site.missing:
        return "it is too late to be heard in time"
    names = ", ".join(each.device for each in site.missing[:NAMES_MAX])
    return f"{len(site.missing)} of {len(site.counted)} are not prepared ({names})"


def _goes_whole(mover: Mover, begun: Collection[int]) -> bool:
    return bool(mover.site) and mover.part is Part.WAITING and mover.wave in begun


class _Queue(NamedTuple):
    """Those of a site that wait: how many, and what keeps the others while one of them cannot go."""

    waiting: int
    held: Held | None

    @classmethod
    def of(cls, site: str, waiting: Sequence[Mover]) -> _Queue:
        """Count those that wait at a site."""
        cannot = [each for each in waiting if each.held is not None and each.held.waiting_on not in _DOES_NOT_COUNT]
        if not cannot:
            return cls(waiting=len(waiting), held=None)
        first = cannot[0]
        reason = first.held.waiting_on if first.held else WaitingOn.DEVICES
        detail = f"site {site} moves whole, and {len(cannot)} of {len(waiting)} cannot yet ({first.device}: {reason})"
        return cls(waiting=len(waiting), held=Held(waiting_on=WaitingOn.SITE, detail=detail))


def _with_site(mover: Mover, site: Site | None, queue: _Queue) -> Mover:
    """Return a device that waits as its site lets it."""
    held, begun = mover.held, site is not None and site.has_begun
    if site is not None and site.ruling is not None and site.ruling.verdict is SiteVerdict.REVERT:
        held = Held(waiting_on=WaitingOn.SITE, detail=f"site {site.name} went back: {site.ruling.why}")
    elif not begun and held is None:
        held = queue.held
    return mover._replace(held=held, together=queue.waiting, begun=begun)


_DOES_NOT_COUNT: Final = (WaitingOn.QUARANTINED, WaitingOn.CLONE_SUSPECTED)
