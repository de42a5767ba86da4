"""The verdict on a trial, from counts alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pinnace_agent.core.slot import Candidate, Reason, Trial, because
from pinnace_contract.latest import Cause, Evidence, EvidenceKind, TrialPolicy

HEALTH_S: Final = 60.0  # a start that lived this long is not counted against the candidate
REPLAY_EVERY_S_MIN: Final = 1.0  # golden vectors share the processor with whatever the device is for


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """The trial is over and the candidate is healthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The trial is over and the device goes back."""

    reason: Reason


Verdict = Passed | Failed | None
"""None: go on watching."""


def verdict(trial: Trial, policy: TrialPolicy, candidate: Candidate) -> Verdict:
    """Judge a trial: failures first, then enough inferences, then enough time.

    Error rate and latency count from ``policy.judged_from`` live inferences on; where those are too few, errors of
    replays are counted with them.
    """
    failed = crashed(trial, policy) or _error_rate(trial, policy, candidate) or _latency(trial, policy, candidate)
    if failed:
        return Failed(reason=failed)
    if trial.inferences >= policy.inferences or trial.healthy_s >= policy.duration_s:
        return Passed()
    return None


def crashed(trial: Trial, policy: TrialPolicy) -> Reason | None:
    """Return the reason when the worker died or hung too often."""
    return too_many_crashes(trial.crashes, policy.crashes_max, trial.last_exit, "the trial")


def too_many_crashes(crashes: int, crashes_max: int, last: Cause, where: str) -> Reason | None:
    """Return the reason when so many crashes or hangs are as many as a candidate is allowed."""
    if crashes < crashes_max:
        return None
    return because(last, f"{crashes} crashes or hangs in {where}; the limit is {crashes_max}")


def evidence(trial: Trial, policy: TrialPolicy) -> Evidence:
    """Return what a receipt says of a trial: live only if the live inferences alone were enough."""
    if trial.inferences >= policy.inferences:
        return Evidence(kind=EvidenceKind.LIVE, inferences=trial.inferences, errors=trial.errors, crashes=trial.crashes)
    return Evidence(
        kind=EvidenceKind.SYNTHETIC if trial.synthetic or not trial.inferences else EvidenceKind.LIVE,
        inferences=trial.inferences + trial.synthetic,
        errors=trial.errors + trial.synthetic_errors,
        crashes=trial.crashes,
    )


def seen(trial: Trial) -> bool:
    """Tell whether a trial saw anything at all."""
    return bool(trial.inferences or trial.synthetic or trial.crashes)


def behind(trial: Trial, policy: TrialPolicy) -> bool:
    """Tell whether live inferences come too slowly to be enough in time, so that a replay has to fill in.

    Replays are spread over the whole trial: at its end live and replayed ones together are as many as were asked for.
    """
    pace_s = max(policy.duration_s / policy.inferences, REPLAY_EVERY_S_MIN)
    due = min(policy.inferences, int(trial.healthy_s / pace_s))
    return trial.inferences + trial.synthetic < due


def _error_rate(trial: Trial, policy: TrialPolicy, candidate: Candidate) -> Reason | None:
    seen, errors = trial.inferences, trial.errors
    if seen < policy.judged_from:
        seen, errors = seen + trial.synthetic, errors + trial.synthetic_errors
    if seen < policy.judged_from or errors / seen <= candidate.error_rate_max:
        return None
    return because(
        Cause.ERROR_RATE, f"{errors} of {seen} inferences failed; expected at most {candidate.error_rate_max:.2%}"
    )


def _latency(trial: Trial, policy: TrialPolicy, candidate: Candidate) -> Reason | None:
    seen, limit_ms = trial.latency, candidate.p95_ms_max
    if seen is None or limit_ms is None or seen.samples < policy.judged_from or seen.p95_ms <= limit_ms:
        return None
    return because(
        Cause.LATENCY, f"p95 is {seen.p95_ms:.1f} ms over {seen.samples} inferences; expected at most {limit_ms:.1f} ms"
    )
