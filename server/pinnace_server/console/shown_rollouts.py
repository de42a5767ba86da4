"""What the screens of rollouts show: values only, already worked out. Their parts that other screens show are in
``shown``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pinnace_contract.latest import Cause
from pinnace_server.console.shown import Event, Progress, Why
from pinnace_server.domain.records import MemberState, RolloutState

PLAIN = "plain"
UNREADABLE = "unreadable"
"""The strategy of an assignment, which has no waves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPage:
    """One page of the rollouts, newest first; ``all`` counts them without the filter."""

    rows: tuple[Progress, ...]
    total: int
    all: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRow:
    """One guard: the logarithms of the e-values that the release is worse, and that it is no worse."""

    guard: str
    worse: float
    not_worse: float
    trials: int
    bad: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReading:
    """What the gates of a wave said when they last looked. ``roll_back``, ``proven`` and ``refuting`` are the
    logarithms of the e-values that decide; ``kind`` is ``relative`` or ``absolute``."""

    at: datetime
    decision: str
    kind: str
    sentences: tuple[str, ...]
    guards: tuple[GuardRow, ...]
    roll_back: float
    proven: float
    refuting: float
    devices: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveRow:
    """One wave. ``look`` is a key of ``words.WAVE_LOOK``; ``agreed`` are those who agreed that it may begin, and
    ``agreements`` how many must: 0 where nobody has to. ``told``: when its ready devices were told to switch;
    ``switched``: when the first served the release."""

    number: int
    holdback: bool
    devices: int
    look: str
    committed: int = 0
    under_way: int = 0
    failed: int = 0
    waiting: int = 0
    left_out: int = 0
    begun: datetime | None = None
    told: datetime | None = None
    switched: datetime | None = None
    promoted: datetime | None = None
    promoted_by: str = ""
    agreed: tuple[str, ...] = ()
    agreements: int = 0
    gates: GateReading | None = None

    @property
    def name(self) -> str:
        """What it is called in a sentence."""
        return "the holdback" if self.holdback else f"wave {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRow:
    """One site that moves whole. ``decision`` empty: nothing is decided; ``why`` is what it waits for, or why not."""

    name: str
    wave: int
    devices: int
    prepared: int
    keeping: int
    mixed: bool
    why: str
    decision: str = ""
    decided: datetime | None = None
    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Who paused a rollout, or that its gates did, when, and why."""

    by: str
    why: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A device that a wave waits for before it switches, and what that one waits for, in words."""

    device: str
    waits_for: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A wave that is made ready, and switches together. ``until``: when those that are ready switch all the same.

    ``late`` are the first of those that are not ready, ``late_total`` all of them; ``wait_s`` is the policy's.
    """

    wave: int
    ready: int
    late_total: int
    late: tuple[Late, ...]
    wait_s: int
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortChange:
    """Somebody said whom a rollout means from then on. ``before`` and ``now`` are empty where an older server did not
    write them down."""

    at: datetime
    by: str
    before: str
    now: str
    joined: int
    let_go: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Devices on which the release ended badly for one reason. ``names`` are the first of them."""

    state: MemberState
    cause: Cause
    detail: str
    devices: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutDetail:
    """Everything about one rollout.

    ``current`` is the first wave that is not promoted; None: all are, or there are none. ``dynamic``: who comes to
    belong to the cohort later joins. ``waiting`` counts devices by what they wait for, in words. ``again``: the policy
    lets a release be tried twice. ``halts`` is the rollout that this one moves back. ``policy`` is YAML with every
    field, empty for a plain assignment.
    """

    progress: Progress
    cohort: str
    dynamic: bool = False
    why: Why
    pause: Pause | None = None
    waves: tuple[WaveRow, ...] = ()
    current: WaveRow | None = None
    sites: tuple[SiteRow, ...] = ()
    switch: Switch | None = None
    cohort_changes: tuple[CohortChange, ...] = ()
    failures: tuple[FailureGroup, ...] = ()
    waiting: tuple[tuple[str, int], ...] = ()
    again: bool = False
    halts: str = ""
    ended: datetime | None = None
    policy: str = ""
    history: tuple[Event, ...] = ()
    history_total: int = 0

    @property
    def active(self) -> bool:
        """Whether it is under way."""
        return self.progress.state == RolloutState.ACTIVE

    @property
    def steerable(self) -> bool:
        """Whether it has waves that somebody may still steer."""
        return self.active and bool(self.waves)

    def to_approve(self, actor: str) -> WaveRow | None:
        """Return the next wave, where this person may still agree that it begins."""
        following = next((wave for wave in self.waves if wave.begun is None), None)
        if not self.steerable or following is None or len(following.agreed) >= following.agreements:
            return None
        return None if actor in following.agreed else following

    @property
    def to_promote(self) -> WaveRow | None:
        """The wave that a person may promote now."""
        may = self.steerable and self.pause is None and self.current is not None and self.current.begun is not None
        return self.current if may else None

    @property
    def to_retry(self) -> int:
        """How many devices may try again."""
        return self.progress.failed if self.steerable and self.again else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WavePreview:
    """A wave before it is dealt, its devices by hardware; ``names`` are the first of them."""

    number: int
    holdback: bool
    devices: int
    hardware: Mapping[str, int]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPreview:
    """What a rollout would do.

    ``excluded``: reasons, each with how many devices and the first of them. ``foresight``: what its first wave could
    notice, empty where nobody can tell; ``foresees`` false: nothing. ``policy``: YAML with every field.
    """

    strategy: str
    devices: int
    waves: tuple[WavePreview, ...]
    already_on_it: int
    excluded: tuple[tuple[str, int, tuple[str, ...]], ...]
    foresight: str
    foresees: bool = True
    policy: str
    approvals: tuple[str, ...] = ()
