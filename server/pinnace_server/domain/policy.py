"""What a rollout wants: which devices go to which release, on which terms. ``planner`` draws the conclusions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pinnace_contract.ids import DeviceId, Digest, ModelName, ReleaseId, RolloutId
from pinnace_contract.latest import ContactMode, ContactPolicy, Deadlines, Intent, Swap, TrialMode, TrialPolicy, Window
from pinnace_server.domain.plans import Held

_TRIAL, _CONTACT, _DEADLINES = TrialPolicy(), ContactPolicy(), Deadlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a release must prove itself. ``again`` tries a release anew on devices where it ended badly."""

    KIND: ClassVar[str] = "rollout-terms"
    BYTES_MAX: ClassVar[int] = 8 * 1024

    trial: TrialPolicy = _TRIAL
    contact: ContactPolicy = _CONTACT
    deadlines: Deadlines = _DEADLINES
    swap: Swap = Swap.AUTO
    replace: bool = False
    metered: bool = True
    again: bool = True


ROLLBACK_TERMS = Terms(trial=TrialPolicy(mode=TrialMode.NONE), contact=ContactPolicy(mode=ContactMode.NONE))
"""A device goes back to what it committed before: nothing left to prove, and no time to lose."""


PLAIN_TERMS = Terms()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowTerms:
    """How long a release answers copies before it serves, and of what share of requests.

    ``differing_percent_max``: a device on which more differ does not put it on trial, even if nobody hears of it.
    ``leaves_out``: devices that cannot have a shadow do not get the release, else they try it without one.
    """

    duration_s: int
    share_percent: int
    differing_percent_max: int | None = None
    leaves_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTerms:
    """What share of the requests stays on last good beside a release, and for how long.

    ``leaves_out``: devices that cannot keep both do not get the release, else they try it without a control arm.
    """

    control_percent: int
    duration_s: int
    leaves_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTerms:
    """Two releases loaded: how long what served stays after the switch, and how long at most one that is ready waits.

    ``told``: the waves that were told to switch; whoever is ready later in one switches by itself.
    """

    keep_s: int
    waits_s: int
    told: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where one device should go. ``release`` None removes the model; ``variants`` are in the order to try.

    ``window``: when it may activate; None is always.
    """

    device: DeviceId
    release: ReleaseId | None
    release_size_bytes: int = 0
    sequence: int = 0
    variants: tuple[Digest, ...] = ()
    window: Window | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Devices that move together. A plain assignment has one, without a gate."""

    number: int
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A rollout as the planner sees it. With ``supersedes`` it takes devices over from rollouts that are under way.

    ``held`` are devices that may not be assigned at this moment: their wave has not begun, or a budget is used up.
    ``lease_s``: how long a prepared device waits for its site, which moves whole; None: each device for itself.
    ``at_sites`` says of prepared devices what they wait for.
    """

    rollout: RolloutId
    model: ModelName
    intent: Intent
    waves: tuple[Wave, ...]
    terms: Terms = PLAIN_TERMS
    shadow: ShadowTerms | None = None
    lease_s: int | None = None
    split: SplitTerms | None = None
    pair: PairTerms | None = None
    supersedes: bool = True
    cancelled: bool = False
    held: Mapping[DeviceId, Held] = field(default_factory=dict)
    at_sites: Mapping[DeviceId, str] = field(default_factory=dict)
