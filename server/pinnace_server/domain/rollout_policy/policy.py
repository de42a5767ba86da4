"""A rollout's policy as values: which devices, in which steps, judged how, held by what. The defaults are a careful
operator's: three waves, a control group, four guards, a pause when the evidence does not come.

Reading one from a file or a request, and the rules between its parts, are ``reading``'s. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from pinnace_contract.fields import limited
from pinnace_contract.ids import DeviceId
from pinnace_server.domain.policy import PLAIN_TERMS, Terms
from pinnace_server.domain.rollout_policy.sizes import Rest, Share, WaveSize, percent
from pinnace_server.domain.selector import Selector
from pinnace_server.domain.variants import Fastest, VariantRule
from pinnace_server.domain.windows import WEEKLY_MAX, Weekly, ZoneName

SITE_LABEL: Final = "site"
"""The operator-set label that says which site a device belongs to."""
ZONE_LABEL: Final = "zone"
"""The operator-set label that names the time zone of a device's site."""

WAVES_MAX: Final = 32  # each wave waits for its evidence, so more would take weeks
APPROVALS_MAX: Final = 64  # two for every wave
PEOPLE_MAX: Final = 64
PERSON_CHARS_MAX: Final = 64
PRIORITY_MAX: Final = 100
SMALL_FLEET: Final = 30
"""Below so many devices a release is seldom proven in useful time, and ``unrefuted`` is the default."""

_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
_LONG_S: Final = 90 * _DAY_S  # a quarter; whatever waits longer was forgotten
_TWENTIETH, _QUARTER, _HALF = percent(5), percent(25), percent(50)


class Membership(StrEnum):
    """Whether the cohort is what the selector means at the start, or what it means at any time."""

    STATIC = "static"
    DYNAMIC = "dynamic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """The devices meant. ``trust_reported``: what a device reports of itself counts where no operator set a label."""

    SHORT: ClassVar[str] = "selector"

    selector: Selector
    membership: Membership = Membership.STATIC
    trust_reported: bool = False

    @property
    def in_words(self) -> str:
        """Whom it means, as an operator wrote it."""
        reported = " (labels that devices report count)" if self.trust_reported else ""
        joins = ", and who comes to belong to it" if self.membership is Membership.DYNAMIC else ""
        return f"{str(self.selector) or 'every device'}{reported}{joins}"

    def means(self, device: DeviceId, labels: Mapping[str, str], reported: Mapping[str, str]) -> bool:
        """Tell whether a device with these operator-set and reported labels belongs to the cohort."""
        return self.selector.matches(device, {**reported, **labels} if self.trust_reported else labels)


# --- strategy -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AllAtOnce:
    """One wave and no control group: judged by each device's own past and by absolute limits."""

    KIND: ClassVar[str] = "all_at_once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """Waves, each beginning when the gates of the one before said promote."""

    KIND: ClassVar[str] = "canary"


class Unsplit(StrEnum):
    """What becomes of a device that has nothing to keep beside a release, or no memory for two: it tries the release
    without a control arm, or it is left out."""

    WITHOUT = "without"
    LEAVE_OUT = "leave_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ab:
    """Canary waves in which ``control_percent`` of each device's requests stay on its last good, for ``duration_s``."""

    KIND: ClassVar[str] = "ab"

    control_percent: int = limited(20, smallest=1, largest=99)
    duration_s: int = limited(7 * _DAY_S, smallest=_HOUR_S, largest=_LONG_S)
    unsplit: Unsplit = Unsplit.WITHOUT


class Unshadowed(StrEnum):
    """What becomes of a device that has nothing to compare a release with, or no memory for two: it tries the release
    without a shadow, or it is left out."""

    WITHOUT = "without"
    LEAVE_OUT = "leave_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """Canary waves in which the release first answers copies of requests, unseen, for ``duration_s`` on each device."""

    KIND: ClassVar[str] = "shadow"

    duration_s: int = limited(_HOUR_S, smallest=_MINUTE_S, largest=_DAY_S)
    share_percent: int = limited(100, smallest=1, largest=100)
    unshadowed: Unshadowed = Unshadowed.WITHOUT


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueGreen:
    """Canary waves that are made ready and switch together, the first ready device waiting ``wait_s`` at most; both
    releases stay loaded for ``keep_s`` after the switch, so that switching back takes no load."""

    KIND: ClassVar[str] = "blue_green"

    wait_s: int = limited(_HOUR_S, smallest=_MINUTE_S, largest=_DAY_S)
    keep_s: int = limited(_DAY_S, smallest=_MINUTE_S, largest=7 * _DAY_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteAtomic:
    """All devices of a site commit together or revert together, decided within ``lease_s``."""

    KIND: ClassVar[str] = "site_atomic"

    # No commit is signed in a lease's last two minutes, so a shorter one would leave no time to decide.
    lease_s: int = limited(_HOUR_S, smallest=5 * _MINUTE_S, largest=_DAY_S)


Strategy = AllAtOnce | Canary | Ab | Shadow | BlueGreen | SiteAtomic


# --- gates --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How much worse than the control still passes: ``ratio`` times its share of bad events, or ``points`` per cent
    more, whichever allows more."""

    points: float = limited(smallest=0, largest=100)
    ratio: float = limited(1.25, smallest=1, largest=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The largest share that passes, in per cent."""

    SHORT: ClassVar[str] = "percent"

    percent: float = limited(smallest=0, largest=100)


class Better(StrEnum):
    """Which way a metric improves."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A share of successes that applications report, and how many points worse than the control still passes."""

    metric: str = limited(chars=64)
    better: Better = Better.HIGHER
    points: float = limited(2.0, smallest=0, largest=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How many points the share of any class may move further than it does in the control."""

    SHORT: ClassVar[str] = "points"

    points: float = limited(10.0, smallest=1, largest=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What may not get worse. None: not judged.

    ``slow``: answers slower than the device's own previous p95. ``installs`` counts failures and reverts. ``missing``:
    reports that did not come. ``unsure``: answers under the release's own signed confidence threshold, compared with
    what its baseline promised and not with the control. ``shadow``: answers that differ, where a shadow ran.
    ``fairness``: the gap between groups' error shares. ``predictions``: how often each class is answered; off by
    itself, because a release may be meant to answer otherwise, and no count tells that from one that went astray.
    """

    errors: Margin | None = Margin(points=0.5)
    slow: Margin | None = Margin(points=2.0)
    installs: Margin | None = Margin(points=3.0)
    missing: Margin | None = Margin(points=3.0)
    unsure: Margin | None = Margin(points=5.0, ratio=2.0)
    shadow: Ceiling | None = Ceiling(percent=5.0)
    fairness: Margin | None = None
    outcome: Outcome | None = None
    predictions: Shift | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How much must have been seen before a wave is judged good. ``devices`` made an inference, and are at most the
    wave's own; 0 is for models that nobody may ask for days."""

    duration_s: int = limited(30 * _MINUTE_S, smallest=0, largest=_LONG_S)
    devices: int = limited(5, smallest=0, largest=100_000)
    reporting_percent: int = limited(90, smallest=1, largest=100)
    inferences: int = limited(0, smallest=0, largest=1_000_000_000)


class PromoteOn(StrEnum):
    """Which verdict lets the next wave start. By fleet size: ``unrefuted`` below 30 devices, else ``proven``.

    What no good release could prove in useful time is not demanded by size, see ``gates.verdicts``.
    """

    BY_FLEET_SIZE = "by_fleet_size"
    PROVEN = "proven"
    UNREFUTED = "unrefuted"


class OnHold(StrEnum):
    """What happens when the gates neither promote nor roll back in time."""

    ASK = "ask"
    PAUSE = "pause"
    ROLL_BACK = "roll_back"


_GUARDS, _EXPOSURE = Guards(), Exposure()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """What decides between waves. ``hold_timeout_s`` counts from the end of a wave's soak time."""

    guards: Guards = _GUARDS
    exposure: Exposure = _EXPOSURE
    soak_s: int = limited(4 * _HOUR_S, smallest=0, largest=_LONG_S)  # three waves and their soak fit into a day
    promote_on: PromoteOn = PromoteOn.BY_FLEET_SIZE
    on_hold_timeout: OnHold = OnHold.PAUSE
    hold_timeout_s: int = limited(_DAY_S, smallest=_MINUTE_S, largest=_LONG_S)

    def promotes_on(self, devices: int) -> PromoteOn:
        """Return ``PROVEN`` or ``UNREFUTED`` for a cohort of so many devices."""
        if self.promote_on is not PromoteOn.BY_FLEET_SIZE:
            return self.promote_on
        return PromoteOn.UNREFUTED if devices < SMALL_FLEET else PromoteOn.PROVEN


# --- what holds a device or a wave --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """When devices may activate, in the time zone of their site; ``zone`` is of sites whose devices name none.

    Installs only: what goes back never waits for a window.
    """

    SHORT: ClassVar[str] = "weekly"

    weekly: Weekly = limited(smallest=1, largest=WEEKLY_MAX)
    zone: ZoneName | None = None

    def zone_of(self, named: str | None) -> ZoneName | None:
        """Return the time zone of a device whose label names this one; None: nobody named one, and no window opens."""
        return ZoneName(named) if named is not None else self.zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What a rollout may use at once. None: without a bound.

    ``healthy_per_site_min``: so many of a site's devices, whether of this rollout or not, are healthy and not in
    flight. A share is rounded down, so that a site with one device can be updated at all, and is of those that are of
    the rollout or there: what was left to die in a cupboard holds nobody up.
    """

    devices_in_flight_max: int | None = limited(1_000, smallest=1, largest=1_000_000)
    healthy_per_site_min: Share | None = _HALF
    bytes_per_device_max: int | None = limited(None, smallest=1, largest=2**50)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeWave:
    """Before the wave of this number, the first is 1."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeLast:
    """Before the last wave, whatever its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeHoldback:
    """Before the control group moves."""


ApprovalPoint = BeforeWave | BeforeLast | BeforeHoldback


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """``count`` different people must agree. ``by`` names who may, people or roles; empty: all who may approve."""

    before: ApprovalPoint
    by: tuple[str, ...] = limited((), largest=PEOPLE_MAX, chars=PERSON_CHARS_MAX)
    count: int = limited(1, smallest=1, largest=PEOPLE_MAX)


class OnRollback(StrEnum):
    """Where devices that already have the release go when it is rolled back: each to its own last good, or nowhere."""

    LAST_GOOD = "last_good"
    STAY = "stay"


DEFAULT_WAVES: Final[tuple[WaveSize, ...]] = (_TWENTIETH, _QUARTER, Rest())
ONE_WAVE: Final[tuple[WaveSize, ...]] = (Rest(),)
_CANARY, _GATES, _BUDGETS, _FASTEST = Canary(), Gates(), Budgets(), Fastest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPolicy:
    """Everything that an operator decides about a rollout before it starts.

    ``holdback``: so much of the cohort, with its mix of hardware and at least one device, stays on the old release as
    the control group and moves last. ``waves`` are shares of the others.
    ``variant``: which one each device tries first.
    ``silence_s``: a device that was last heard so long ago, after it was to activate, counts as one that failed.
    Between rollouts that want one device the higher ``priority`` wins, then the older; ``supersedes`` takes over.
    """

    cohort: Cohort
    strategy: Strategy = _CANARY
    variant: VariantRule = _FASTEST
    waves: tuple[WaveSize, ...] = limited(DEFAULT_WAVES, smallest=1, largest=WAVES_MAX)
    holdback: Share | None = _TWENTIETH
    gates: Gates = _GATES
    windows: Windows | None = None
    budgets: Budgets = _BUDGETS
    silence_s: int = limited(4 * _HOUR_S, smallest=5 * _MINUTE_S, largest=_LONG_S)
    approvals: tuple[Approval, ...] = limited((), largest=APPROVALS_MAX)
    on_rollback: OnRollback = OnRollback.LAST_GOOD
    priority: int = limited(50, smallest=0, largest=PRIORITY_MAX)
    supersedes: bool = False
    terms: Terms = PLAIN_TERMS

    def approvals_before(self, wave: int) -> tuple[Approval, ...]:
        """Return what must be agreed before a wave starts; the first is 1, the holdback follows the last."""
        last = len(self.waves)
        return tuple(
            each
            for each in self.approvals
            if each.before == BeforeWave(number=wave)
            or (wave == last and each.before == BeforeLast())
            or (wave == last + 1 and each.before == BeforeHoldback())
        )
