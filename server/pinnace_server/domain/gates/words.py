"""A verdict in sentences, for console, command line and receipts."""

from __future__ import annotations

import math
from typing import assert_never

from pinnace_server.domain.gates.evidence import Guard
from pinnace_server.domain.gates.guards import Reading
from pinnace_server.domain.gates.verdicts import Ground, Reason, Verdict


def describe(verdict: Verdict) -> tuple[str, ...]:
    """Return one sentence for each ground, and one for the devices that contributed most to it."""
    lines = []
    for ground in verdict.grounds:
        lines.append(_sentence(ground))
        lines += [
            _contributors(each)
            for each in verdict.readings
            if each.guard is ground.guard and each.contributors and ground.reason in _ACCUSING
        ]
    return tuple(lines)


_ACCUSING = (Reason.REGRESSION, Reason.ONE_DEVICE, Reason.SUSPICION, Reason.SHADOW)


def _sentence(ground: Ground) -> str:
    guard, found, needed = ground.guard, ground.found, ground.needed
    match ground.reason:
        case Reason.REGRESSION:
            return f"{_got_worse(guard)}: evidence {_times(found)}, and {_times(needed)} moves devices back"
        case Reason.ONE_DEVICE:
            return f"{_got_worse(guard)} only with {ground.device}; one device does not decide, look at it"
        case Reason.INSTALLS_STOPPED:
            return "installs fail too often, no more devices are assigned"
        case Reason.HARDWARE_STOPPED:
            return f"golden vectors failed on {found:g} kind(s) of hardware, which get no more installs"
        case Reason.EXPOSURE_TIME:
            return f"watched for {_time(found)} of {_time(needed)}"
        case Reason.DEVICES:
            return f"{found:.0f} of {needed:.0f} devices made an inference"
        case Reason.REPORTING:
            return f"{found:.0%} of the devices report, {needed:.0%} must"
        case Reason.INFERENCES:
            return f"{found:.0f} of {needed:.0f} inferences"
        case Reason.NOT_COMMITTED:
            return f"{found:.0f} of {needed:.0f} reachable devices committed"
        case Reason.SOAK_TIME:
            return f"{_time(found)} of {_time(needed)} of soak time"
        case Reason.SUSPICION:
            return f"{guard} may have got worse: evidence {_times(found)}, under {_times(needed)} would do"
        case Reason.SHADOW:
            return f"the candidate disagrees on {found:.1%} of shadowed requests, {needed:.1%} are tolerated"
        case Reason.NOT_PROVEN:
            return f"{guard} collects: evidence {_times(found)} of {_times(needed)} that it is no worse"
        case Reason.NO_EVIDENCE:
            return "nothing was reported yet"
        case Reason.NOT_TOLD:
            return _not_told(ground)
        case _:
            assert_never(ground.reason)


def _not_told(ground: Ground) -> str:
    """Say what is missing, and what would change it."""
    match ground.guard:
        case Guard.OUTCOME:
            return (
                f"no device of the wave has told outcome {ground.metric!r} of the release: an application tells it "
                "under that name (POST /v1/models/MODEL/outcomes), or a policy names the metric that they tell"
            )
        case Guard.FAIRNESS:
            return (
                f"answers of {ground.found:.0f} of at least {ground.needed:.0f} groups were labelled on the release: "
                "an application tells the truth with its group (POST /v1/models/MODEL/labels), or a policy goes "
                "without fairness"
            )
        case _:
            return (
                f"no class of the release's answers was counted: it is asked and answers with classes, or a policy "
                f"goes without {ground.guard}"
            )


def _got_worse(guard: Guard | None) -> str:
    match guard:
        case Guard.FAIRNESS:
            return "the gap between groups grew"
        case Guard.PREDICTIONS:
            return "predictions moved away from the control's"
        case _:
            return f"{guard} got worse"


def _contributors(reading: Reading) -> str:
    named = ", ".join(f"{each.device} ({each.bad:g}, expected {each.expected:.2g})" for each in reading.contributors)
    return f"most of {reading.guard} came from {named}"


def _time(minutes: float) -> str:
    if minutes < 3:
        return f"{minutes * 60:.0f} s"
    return f"{minutes:.0f} min" if minutes < 180 else f"{minutes / 60:.3g} h"


def _times(log_evidence: float) -> str:
    return f"×{math.exp(log_evidence):.3g}" if log_evidence < 30 else f"×10^{log_evidence / math.log(10):.0f}"
