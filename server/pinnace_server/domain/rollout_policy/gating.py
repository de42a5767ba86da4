"""What a policy means to its gates: the settings they judge by, their fixed limits, and which guards are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pinnace_server.domain.gates.evidence import Guard, WaveEvidence
from pinnace_server.domain.gates.foresight import SLOW_SHARE
from pinnace_server.domain.gates.settings import LOW_TRAFFIC_INFERENCES, Settings
from pinnace_server.domain.gates.settings import PromoteOn as Enough
from pinnace_server.domain.muster import Mustered
from pinnace_server.domain.records import UNDER_WAY, DeviceState, MemberState
from pinnace_server.domain.rollout_policy.policy import Better, Guards, Margin, PromoteOn, RolloutPolicy
from pinnace_server.domain.told import Asked, Metric

_WHOLE: Final = 100.0  # per cent
_OPEN: Final = (MemberState.WAITING, *UNDER_WAY, MemberState.COMMITTED)


def settings_of(policy: RolloutPolicy, devices: int) -> Settings:
    """Return the settings for a cohort of so many devices."""
    gates, margins = policy.gates, _margins(policy.gates.guards)
    return Settings(
        waves=len(policy.waves) + (policy.holdback is not None),
        soak_min=gates.soak_s / 60,
        promote_on=_enough(policy, devices),
        exposure_min=gates.exposure.duration_s / 60,
        devices_min=gates.exposure.devices,
        reporting_min=gates.exposure.reporting_percent / _WHOLE,
        inferences_min=gates.exposure.inferences,
        low_traffic_inferences=0 if gates.exposure.devices == 0 else LOW_TRAFFIC_INFERENCES,
        margins={guard: margin.points / _WHOLE for guard, margin in margins.items()} | _points(gates.guards),
        ratios={guard: margin.ratio for guard, margin in margins.items()},
    )


def limits_of(
    policy: RolloutPolicy, *, share_below: float | None, error_rate_max: float | None = None, slow: bool = False
) -> Mapping[Guard, float]:
    """Return the largest share of bad events that passes, for the guards that are not compared with a control.

    ``share_below``: what the release's own baseline promises of unsure answers, None where it has none.
    ``error_rate_max``: what the release expects of errors, where nothing came before it; ``slow``: it promises a p95.
    """
    guards = policy.gates.guards
    found: dict[Guard, float] = {}
    if guards.unsure is not None and share_below:
        found[Guard.UNSURE] = min(
            max(guards.unsure.ratio * share_below, share_below + guards.unsure.points / _WHOLE), 1.0
        )
    if guards.shadow is not None:
        found[Guard.SHADOW] = guards.shadow.percent / _WHOLE
    if guards.errors is not None and error_rate_max:
        found[Guard.ERRORS] = error_rate_max
    if guards.slow is not None and slow:
        found[Guard.SLOW] = SLOW_SHARE
    return found


def asked_by(policy: RolloutPolicy) -> Asked:
    """Return what a policy judges that is off by itself."""
    guards = policy.gates.guards
    wanted = guards.outcome
    return Asked(
        metric=None if wanted is None else Metric(name=wanted.metric, higher=wanted.better is Better.HIGHER),
        fairness=guards.fairness is not None,
        predictions=guards.predictions is not None,
    )


def judged(evidence: WaveEvidence, policy: RolloutPolicy) -> WaveEvidence:
    """Return evidence without the guards that a policy leaves out."""
    said = policy.gates.guards
    out = {guard for guard in Guard if getattr(said, guard.value) is None}
    if not out:
        return evidence
    devices = tuple(
        replace(
            each,
            guards={guard: series for guard, series in each.guards.items() if guard not in out},
            limited={guard: counts for guard, counts in each.limited.items() if guard not in out},
            paired={guard: pair for guard, pair in each.paired.items() if guard not in out},
            alone={guard: series for guard, series in each.alone.items() if guard not in out},
            groups={} if Guard.FAIRNESS in out else each.groups,
            outcome=None if Guard.OUTCOME in out else each.outcome,
            classes=None if Guard.PREDICTIONS in out else each.classes,
        )
        for each in evidence.devices
    )
    installs = () if Guard.INSTALLS in out else evidence.installs
    asked = {guard: name for guard, name in evidence.asked.items() if guard not in out}
    return replace(evidence, devices=devices, installs=installs, asked=asked)


def whole_wave(evidence: WaveEvidence, wave: Sequence[Mustered], now_s: float) -> WaveEvidence:
    """Return evidence that counts every device of the wave, where a sample speaks for them.

    Whoever ended badly is judged as an install, and is not waited for.
    """
    reachable = [
        each
        for each in wave
        if each.state in _OPEN and each.is_there(now_s) and each.device_state is not DeviceState.QUARANTINED
    ]
    return replace(
        evidence,
        wave_size=len(wave),
        reachable=len(reachable),
        committed=sum(each.state is MemberState.COMMITTED for each in reachable),
    )


def _enough(policy: RolloutPolicy, devices: int) -> Enough | None:
    """None leaves it to the size of each wave, of which the first is small in any fleet."""
    if policy.gates.promote_on is PromoteOn.BY_FLEET_SIZE:
        return Enough.UNREFUTED if policy.gates.promotes_on(devices) is PromoteOn.UNREFUTED else None
    return Enough(policy.gates.promote_on.value)


def _margins(guards: Guards) -> dict[Guard, Margin]:
    named = {guard: getattr(guards, guard.value) for guard in Guard}
    return {guard: margin for guard, margin in named.items() if isinstance(margin, Margin)}


def _points(guards: Guards) -> dict[Guard, float]:
    said = {Guard.OUTCOME: guards.outcome, Guard.PREDICTIONS: guards.predictions}
    return {guard: each.points / _WHOLE for guard, each in said.items() if each is not None}
