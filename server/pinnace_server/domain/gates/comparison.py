"""Two arms in one guard: each device beside its own past, both arms beside each other, and what that is evidence of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import evalues, weights
from pinnace_server.domain.gates.evalues import Change
from pinnace_server.domain.gates.evidence import Counts, DeviceEvidence, Guard, Series
from pinnace_server.domain.gates.settings import RATIO_MARGIN
from pinnace_server.domain.gates.weights import NOTHING, Share, Totals

WHOLE_WEIGHT_MIN: Final = 0.1
WHOLE_WEIGHT_MAX: Final = 0.9
PAIR_SHAPE: Final = 100.0  # two arms of one device see the same minutes; chance may still deal them a tenth apart
LIMIT_SHAPE: Final = 4.0  # devices differ from a fixed limit by half of it
UNDECIDED: Final = 0.0  # the logarithm of the e-value of no evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One device in one guard: news only, and everything on the scale of the dispersion."""

    device: DeviceId
    candidate: bool
    fresh: Share
    whole: Share
    now: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Devices that are compared with each other. ``limited``: with a fixed limit instead, and there is no control.

    ``change`` is what the whole fleet may go through where there is a control. ``paired``: each device is there twice,
    as candidate and as its own control, and whatever it went through both arms did.
    """

    devices: tuple[Compared, ...]
    dispersion: float
    fresh_variance: float = 0.0
    whole_variance: float = 0.0
    limited: bool = False
    paired: bool = False
    change: Change = evalues.BESIDE_CONTROL

    def without(self, device: DeviceId) -> Stratum:
        """Return the stratum as if a device had never been in it."""
        kept = tuple(each for each in self.devices if each.device != device)
        return replace(self, devices=kept)


def compared(
    devices: Sequence[DeviceEvidence],
    series: Callable[[DeviceEvidence], Series | None],
    dispersion: float,
    change: Change = evalues.BESIDE_CONTROL,
) -> Stratum:
    """Return what devices did beside what their pasts let expect."""
    found = [(each, seen) for each in devices if (seen := series(each)) is not None]
    fresh = _shares(
        [(each.device, seen.past.fresh_trials, seen.past.fresh_bad) for each, seen in found],
        [(seen.lately.fresh_trials, seen.lately.fresh_bad) for _, seen in found],
        [(seen.now.fresh_trials, seen.now.fresh_bad) for _, seen in found],
        1.0,
    )
    whole = _shares(
        [(each.device, seen.past.trials, seen.past.bad) for each, seen in found],
        [(seen.lately.trials, seen.lately.bad) for _, seen in found],
        [(seen.now.trials, seen.now.bad) for _, seen in found],
        dispersion,
    )
    return Stratum(
        devices=tuple(
            Compared(device=each.device, candidate=each.arm is Arm.CANDIDATE, fresh=one, whole=other, now=seen.now)
            for (each, seen), one, other in zip(found, fresh, whole, strict=True)
        ),
        dispersion=dispersion,
        fresh_variance=weights.uncertainty(
            sum(seen.past.fresh_bad for _, seen in found), sum(seen.lately.fresh_bad for _, seen in found), 1.0
        ),
        whole_variance=weights.uncertainty(
            sum(seen.past.bad for _, seen in found), sum(seen.lately.bad for _, seen in found), dispersion
        ),
        change=change,
    )


def paired(devices: Sequence[DeviceEvidence], guard: Guard, dispersion: float) -> Stratum:
    """Return what the two arms of each device did over the same time.

    The past only weighs the devices; what is usual on one of them today, its own control says, free of charge.
    """
    found: list[Compared] = []
    for arm in (Arm.CANDIDATE, Arm.CONTROL):
        seen = [(each, each.paired[guard], each.guards.get(guard, Series())) for each in devices]
        now = [pair.candidate if arm is Arm.CANDIDATE else pair.control for _, pair, _ in seen]
        fresh = _shares(
            [(each.device, series.past.fresh_trials, series.past.fresh_bad) for each, _, series in seen],
            [(0.0, 0.0)] * len(seen),
            [(counts.fresh_trials, counts.fresh_bad) for counts in now],
            1.0,
        )
        whole = _shares(
            [(each.device, series.past.trials, series.past.bad) for each, _, series in seen],
            [(0.0, 0.0)] * len(seen),
            [(counts.trials, counts.bad) for counts in now],
            dispersion,
        )
        found += [
            Compared(
                device=each.device,
                candidate=arm is Arm.CANDIDATE,
                fresh=replace(one, shape=PAIR_SHAPE),
                whole=replace(other, shape=PAIR_SHAPE),
                now=counts,
            )
            for (each, _, _), one, other, counts in zip(seen, fresh, whole, now, strict=True)
        ]
    return Stratum(devices=tuple(found), dispersion=dispersion, paired=True, change=evalues.ANY_CHANGE)


def worse(stratum: Stratum) -> float:
    """Return the log e-value for "the candidate makes this worse": the mean of news only and of everything.

    The weights follow the dispersion, which was known before the first look.
    """
    if not any(each.candidate for each in stratum.devices):
        return UNDECIDED
    share = min(max(WHOLE_WEIGHT_MAX / stratum.dispersion, WHOLE_WEIGHT_MIN), WHOLE_WEIGHT_MAX)
    fresh = _one_worse(stratum, lambda each: each.fresh, stratum.fresh_variance)
    whole = _one_worse(stratum, lambda each: each.whole, stratum.whole_variance)
    return evalues.averaged(((fresh, 1 - share), (whole, share)))


def limited(devices: Sequence[DeviceEvidence], guard: Guard, limit: float, dispersion: float) -> Stratum:
    """Return what devices did beside a fixed limit, from which they may differ by nature."""
    found = []
    for each in devices:
        now = each.limited.get(guard)
        if now is None:
            continue
        fresh = Share(device=each.device, events=now.fresh_bad, expected=limit * now.fresh_trials, shape=LIMIT_SHAPE)
        whole = Share(
            device=each.device,
            events=now.bad / dispersion,
            expected=limit * now.trials / dispersion,
            shape=LIMIT_SHAPE,
        )
        found.append(Compared(device=each.device, candidate=True, fresh=fresh, whole=whole, now=now))
    return Stratum(devices=tuple(found), dispersion=dispersion, limited=True)


def not_worse(stratum: Stratum, margin: float, ratio: float) -> float:
    """Return the log e-value against "worse than the margin allows".

    Rates are judged, so every bad event counts; nobody's are clamped, because few of them speak for the release.
    """
    candidate = weights.totals(_candidates(stratum, lambda each: each.whole), clamped=False)
    if candidate is NOTHING:
        return UNDECIDED
    if stratum.limited:
        worst = Totals(events=candidate.events, expected=candidate.expected * RATIO_MARGIN, shape=candidate.shape)
        return evalues.below(worst)
    control, _ = _arms(stratum, lambda each: each.whole)
    found = [each for each in stratum.devices if each.candidate]
    trials = sum(each.now.trials * left for each, left in zip(found, _thinning(found), strict=True))
    return evalues.not_worse(control, candidate, trials / stratum.dispersion, margin, ratio)


def _shares(
    past: Sequence[tuple[DeviceId, float, float]],
    lately: Sequence[tuple[float, float]],
    now: Sequence[tuple[float, float]],
    dispersion: float,
) -> list[Share]:
    rates = weights.rates([(trials, bad) for _, trials, bad in past], dispersion)
    times = weights.level(lately, rates, dispersion)
    return [
        Share(
            device=device,
            events=bad / dispersion,
            expected=trials * rate.rate * times / dispersion,
            shape=rate.shape,
        )
        for (device, _, _), rate, (trials, bad) in zip(past, rates, now, strict=True)
    ]


def _arms(stratum: Stratum, of: Callable[[Compared], Share]) -> tuple[Totals, Totals]:
    left = _left_of(stratum) if stratum.paired else {}
    shares = [_thinned(of(each), left.get(each.device, 1.0)) for each in stratum.devices if not each.candidate]
    control = weights.totals(shares, clamped=False)
    return control, weights.totals(_candidates(stratum, of), clamped=True)


def _candidates(stratum: Stratum, of: Callable[[Compared], Share]) -> list[Share]:
    """Return the candidate's shares; a device that is busier than its part of the arm is thinned out to it.

    Else one device with a million good answers would hide what all others say.
    """
    found = [each for each in stratum.devices if each.candidate]
    return [_thinned(of(each), left) for each, left in zip(found, _thinning(found), strict=True)]


def _left_of(stratum: Stratum) -> dict[DeviceId, float]:
    """Return what is left of each device: both arms are thinned alike, so that both are the same mix of devices."""
    found = [each for each in stratum.devices if each.candidate]
    return {each.device: left for each, left in zip(found, _thinning(found), strict=True)}


def _thinning(found: Sequence[Compared]) -> list[float]:
    trials = weights.clamp([float(each.now.trials) for each in found])
    return [left / each.now.trials if each.now.trials else 1.0 for each, left in zip(found, trials, strict=True)]


def _thinned(share: Share, left: float) -> Share:
    if left == 1.0:  # most are not busier than the others, and a gate reads many of them
        return share
    return replace(share, events=share.events * left, expected=share.expected * left)


def _one_worse(stratum: Stratum, of: Callable[[Compared], Share], variance: float) -> float:
    control, candidate = _arms(stratum, of)
    if candidate is NOTHING:
        return UNDECIDED
    if stratum.limited:
        return evalues.above(candidate)
    alone = all(each.candidate for each in stratum.devices)
    change = evalues.OWN_PAST_ONLY if alone else stratum.change
    return evalues.worse(control, candidate, change.uncertain(variance))
