"""One model on one device: what is committed, what could serve again, and the attempt that is being worked on.

Values only; what may happen to them is in ``lifecycle``. A slot is saved as JSON by the contract's codec, so stored
names are never changed, only added to, and a field that is added has a default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from pinnace_agent.core.wording import shortened
from pinnace_contract.fields import count, limited
from pinnace_contract.ids import BootId, Digest, ModelName, ReleaseId, VersionName
from pinnace_contract.latest import (
    RECEIPT_LOG_CHARS_MAX,
    Cause,
    Entry,
    GoldenResult,
    LatencySummary,
    Outcome,
    Phase,
    PhaseTime,
    Running,
    Runtime,
    Swap,
    TrustLevel,
)

LAST_GOOD_MAX: Final = 3  # a rollback two versions back without a fetch; older ones are fetched again
EMERGENCY_GOOD_MAX: Final = 2
BROKEN_MAX: Final = 2
COMMITTED_MAX: Final = 16  # releases that a rollback may name without ever having been on this device's disk today
BAD_MAX: Final = 32
WITHDRAWN_MAX: Final = 32
DETAIL_CHARS_MAX: Final = 512  # what ``reported`` carries
# How much of the time of what stays loaded beside what is committed a power cut may give back: 24 writes a day. Each
# wears the flash, and a control arm may stay for 90 days.
SAVE_STAY_EVERY_S: Final = 3_600.0
BESIDE_PHASES: Final = frozenset({Phase.SHADOW, Phase.READY})  # the candidate is loaded and serves nobody
ACTIVATED_PHASES: Final = frozenset({Phase.TRIAL, Phase.AWAITING_CONTACT, Phase.PREPARED})  # the candidate serves


@dataclass(frozen=True, slots=True, kw_only=True)
class Servable:
    """A release that this device committed, and the variant of it that it can serve."""

    release: ReleaseId
    variant: Digest
    version: VersionName
    sequence: int = count(0)
    epoch: int = count(0)
    runtime: Runtime = Runtime.ONNX
    peak_memory_bytes: int = count(0)

    @property
    def running(self) -> Running:
        """The same, as messages name it."""
        return Running(release=self.release, variant=self.variant, version=self.version, sequence=self.sequence)

    def is_same(self, release: ReleaseId, variant: Digest) -> bool:
        """Tell whether this is that variant of that release."""
        return self.release == release and self.variant == variant


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFacts:
    """What the lifecycle needs to know of a variant. ``size_bytes`` counts everything that it needs on disk."""

    digest: Digest
    runtime: Runtime
    runtime_version: str = ""
    peak_memory_bytes: int = count(0)
    size_bytes: int = count(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The facts of a verified release, and the variants left to try; the first of them is being tried.

    ``contract`` None: it was not read again, because the release is loaded already and only has to be put in front.
    """

    release: ReleaseId
    version: VersionName
    sequence: int = count(0)
    epoch: int = count(0)
    contract: Digest | None
    variants: tuple[VariantFacts, ...] = limited(largest=32)
    error_rate_max: float = limited(1.0, smallest=0, largest=1)
    p95_ms_max: float | None = None
    trust: TrustLevel = TrustLevel.DEV

    @property
    def variant(self) -> VariantFacts:
        """The variant being tried."""
        return self.variants[0]

    @property
    def servable(self) -> Servable:
        """The candidate with the variant being tried, as it would be committed."""
        return Servable(
            release=self.release,
            variant=self.variant.digest,
            version=self.version,
            sequence=self.sequence,
            epoch=self.epoch,
            runtime=self.variant.runtime,
            peak_memory_bytes=self.variant.peak_memory_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A variant that failed here: for good with this version of its runtime, or up to ``attempt``."""

    release: ReleaseId
    variant: Digest
    runtime_version: str
    attempt: int
    permanent: bool
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a phase holds, why an attempt ended, why there is no model."""

    cause: Cause
    detail: str = limited("", chars=DETAIL_CHARS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Veto:
    """An application's "not now"."""

    until_s: float
    reason: str = limited("", chars=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The last start of the candidate's worker, and whether it no longer counts."""

    boot: BootId
    given_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was seen since activation. Seconds count while the worker is up."""

    up: bool = False
    up_s: float = 0.0
    healthy_s: float = 0.0
    inferences: int = count(0)
    errors: int = count(0)
    synthetic: int = count(0)
    synthetic_errors: int = count(0)
    crashes: int = count(0)
    last_exit: Cause = Cause.NONE
    latency: LatencySummary | None = None
    replaying: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """What was seen of a candidate that is loaded and serves nobody: in its shadow, or ready for a switch.

    Seconds count while its worker is up.
    """

    up: bool = False
    up_s: float = 0.0
    crashes: int = count(0)
    last_exit: Cause = Cause.NONE
    pairs: int = count(0)
    disagreements: int = count(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The control arm: ``control`` answers this share of the requests beside ``candidate``, on trial and afterwards.

    ``left_s`` shrinks with the agent's waking time; ``seen_s`` and ``unsaved_s`` are those of an attempt. ``crashes``
    are the control's, in a row.
    """

    control: Servable
    candidate: Servable
    share_percent: int = limited(smallest=0, largest=100)
    until_s: int = count()
    left_s: float
    seen_s: float = 0.0
    unsaved_s: float = 0.0
    crashes: int = count(0)
    exited_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """What served before a switch and stays loaded, so that going back to it takes no load.

    It leaves after ``left_s`` of the agent's waking time, of which ``seen_s`` is where that clock stood, and at
    ``until_s`` in any case; ``unsaved_s`` as in a split. ``reason``: why it is not ``warm``.
    """

    servable: Servable
    left_s: float
    until_s: float
    seen_s: float = 0.0
    unsaved_s: float = 0.0
    warm: bool = True
    crashes: int = count(0)
    reason: Reason = Reason(cause=Cause.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverting:
    """Why the device goes back, and whether that counts against the candidate."""

    reason: Reason
    blames: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One attempt at one entry.

    ``phase_s``, ``attempt_s`` and ``vetoed_s`` grow with the agent's waking time; ``seen_s`` is where that clock stood
    when they were last brought up to date, ``unsaved_s`` how much of them a power cut would forget. ``left`` is how
    many more starts of the candidate's worker may end without a minute of health. ``warm_switch``: the phase began
    with a switch to a worker that was loaded, so its first moments measure the switch. Contact is an acknowledged
    report of ``contact_boot`` with a number from ``contact_seq`` on. ``clock_s`` is what the clock said when a prepared
    attempt was last looked at, so that a lease does not stand still while the device is off; ``again``: its lease had
    ended, and a commit came late.
    """

    entry: Entry
    boot: BootId
    seen_s: float = 0.0
    phase_s: float = 0.0
    attempt_s: float = 0.0
    vetoed_s: float = 0.0
    unsaved_s: float = 0.0
    times: tuple[PhaseTime, ...] = limited((), largest=80)
    transitions: int = count(0)
    candidate: Candidate | None = None
    fetched_bytes: int = count(0)
    hold: Reason | None = None
    left: int = count(0)
    start: Start | None = None
    swap: Swap = Swap.OVERLAP
    runtime: str = limited("", chars=64)
    golden: GoldenResult | None = None
    load_ms: float | None = None
    swap_gap_ms: float | None = None
    warm_switch: bool = False
    switch_ms: float | None = None
    switch_back_ms: float | None = None
    peak_memory_bytes: int | None = None
    shadow: Shadow | None = None
    trial: Trial | None = None
    contacted: bool = False
    contact_boot: BootId | None = None
    contact_seq: int = count(0)
    reverting: Reverting | None = None
    clock_s: float = 0.0
    again: bool = False
    log: str = limited("", chars=RECEIPT_LOG_CHARS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapsed:
    """A candidate that proved itself and whose lease ended: what a late commit puts back, without a second trial."""

    entry: Entry
    candidate: Candidate
    swap: Swap
    left: int = count(0)
    trial: Trial | None = None
    golden: GoldenResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An entry that was accepted while the slot was still busy. With ``refusal`` it will only be answered."""

    entry: Entry
    refusal: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the last attempt ended."""

    generation: int
    outcome: Outcome
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Everything that a device remembers of one model. ``work`` is None exactly in phase ``idle``.

    ``generation`` and ``attempt`` are the newest entry's. ``current`` is what is committed: during a trial it is what a
    revert goes back to. ``broken`` was good and cannot be loaded any more; with nothing else left, the next run of the
    agent, which may have another runtime, tries it again. ``floor`` is the highest security epoch ever committed.
    ``ticket`` numbers the jobs given to the shell: an answer with an older ticket is about what no longer matters.
    """

    model: ModelName
    phase: Phase = Phase.IDLE
    generation: int = count(0)
    attempt: int = limited(1, smallest=1)
    ticket: int = count(0)
    current: Servable | None = None
    last_good: tuple[Servable, ...] = limited((), largest=LAST_GOOD_MAX)
    emergency_good: tuple[Servable, ...] = limited((), largest=EMERGENCY_GOOD_MAX)
    committed: tuple[Servable, ...] = limited((), largest=COMMITTED_MAX)
    broken: tuple[Servable, ...] = limited((), largest=BROKEN_MAX)
    floor: int = count(0)
    bad: tuple[Bad, ...] = limited((), largest=BAD_MAX)
    withdrawn: tuple[ReleaseId, ...] = limited((), largest=WITHDRAWN_MAX)
    accepts: tuple[Digest, ...] = limited((), largest=16)
    veto: Veto | None = None
    restarts: int = count(0)
    exited_s: float = 0.0
    ended: Ended | None = None
    work: Work | None = None
    waiting: Waiting | None = None
    lapsed: Lapsed | None = None
    split: Split | None = None
    standby: Standby | None = None

    @property
    def rests(self) -> bool:
        """Whether nothing is under way, nothing stays loaded for a time, and no decision may still come."""
        nothing_stays = self.split is None and self.standby is None
        return self.phase is Phase.IDLE and self.lapsed is None and nothing_stays

    @property
    def serving(self) -> Servable | None:
        """What should answer inference now; None while reverting too, when the shell is changing it."""
        if self.phase in ACTIVATED_PHASES and self.work is not None and self.work.candidate is not None:
            return self.work.candidate.servable
        return None if self.phase is Phase.REVERTING else self.current

    @property
    def standby_until_s(self) -> float:
        """Until when the standby stays, on the clock of waking time."""
        return math.inf if self.standby is None else self.standby.seen_s + self.standby.left_s

    @property
    def at_work(self) -> tuple[Servable, ...]:
        """What has a worker that may die on its own: what serves, a control arm, a candidate loaded beside them."""
        beside = self.work.candidate if self.phase in BESIDE_PHASES and self.work is not None else None
        found = (self.serving, beside.servable if beside else None, self.split.control if self.split else None)
        return tuple(each for each in found if each is not None)

    @property
    def reason(self) -> Reason:
        """Why the slot is where it is."""
        if self.work is not None:
            if self.work.reverting is not None:
                return self.work.reverting.reason
            return self.work.hold or NOTHING_TO_SAY
        return self.ended.reason if self.ended else NOTHING_TO_SAY

    @property
    def kept(self) -> tuple[Servable, ...]:
        """What garbage collection must leave on disk."""
        trying = () if self.work is None else _tried(self.work)
        lapsed = self.lapsed.candidate.servable if self.lapsed is not None else None
        standby = self.standby.servable if self.standby else None
        good = (self.current, *self.last_good, *self.emergency_good, *self.broken, lapsed, standby, *trying)
        return tuple(each for each in good if each is not None)


def _tried(work: Work) -> tuple[Servable, ...]:
    """Return what an attempt needs on disk: before its release is read, whatever it may turn out to need."""
    if work.candidate is not None:
        return (work.candidate.servable,)
    entry = work.entry
    if entry.release is None:
        return ()
    unread = VersionName("")
    return tuple(Servable(release=entry.release, variant=variant, version=unread) for variant in entry.variants)


NOTHING_TO_SAY: Final = Reason(cause=Cause.NONE)


def because(cause: Cause, detail: str = "") -> Reason:
    """Return a reason whose detail is made fit for messages."""
    return Reason(cause=cause, detail=shortened(detail, DETAIL_CHARS_MAX))


def with_bad(slot: Slot, bad: Bad) -> Slot:
    """Return the slot remembering that a variant failed; the oldest forgivable memory makes room."""
    same = (bad.release, bad.variant, bad.runtime_version)
    others = [each for each in slot.bad if (each.release, each.variant, each.runtime_version) != same]
    if len(others) >= BAD_MAX:
        forgiven = next((each for each in others if not each.permanent), others[0])
        others.remove(forgiven)
    return replace(slot, bad=(*others, bad))
