"""Decides which variants may be offered. Pure: evidence in, refusals out; each says what was expected and found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pinnace_contract.latest import Parity, Precision

SNR_DB_MIN: Final = {Precision.FP32: 80.0, Precision.FP16: 40.0}  # 106–144 dB seen for conversions alone
AGREEMENT_MIN: Final = {Precision.FP32: 0.999, Precision.FP16: 0.99}
INT8_SNR_DB_MIN: Final = 10.0  # where there are no classes to agree on: a tenth of the power may be noise
SPEEDUP_MIN: Final = 1.1  # smaller ratios are noise of the machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was measured of one variant. ``is_source``: its bytes are the source's, there is nothing to compare."""

    precision: Precision
    parity: Parity
    problems: tuple[str, ...]
    source_accuracy: float | None
    size_bytes: int
    source_size_bytes: int
    speedup: float
    same_runtime: bool
    source_precision: Precision
    is_source: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How much may be lost."""

    agreement_min: float
    accuracy_loss_max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a variant may not be offered. Only what is a matter of degree can be forced."""

    reason: str
    can_be_forced: bool


def judge(evidence: Evidence, policy: Policy) -> tuple[Refusal, ...]:
    """Return every reason against a variant; none means that it may be offered."""
    refusals = [Refusal(reason=problem, can_be_forced=False) for problem in evidence.problems]
    if not evidence.is_source:
        refusals += [Refusal(reason=reason, can_be_forced=True) for reason in _numbers(evidence, policy)]
        refusals += [Refusal(reason=reason, can_be_forced=True) for reason in _worth(evidence)]
    return tuple(refusals)


def _numbers(evidence: Evidence, policy: Policy) -> list[str]:
    parity, reasons = evidence.parity, []
    snr_min = SNR_DB_MIN.get(evidence.precision)
    if snr_min is None and parity.agreement is None:
        snr_min = INT8_SNR_DB_MIN
    if snr_min is not None and parity.snr_db is not None and parity.snr_db < snr_min:
        reasons.append(f"signal-to-noise {parity.snr_db:.1f} dB; expected at least {snr_min:g} dB")
    agreement_min = AGREEMENT_MIN.get(evidence.precision, policy.agreement_min)
    if parity.agreement is not None and parity.agreement < agreement_min and not _accurate(evidence, policy):
        text = f"agreement with the source {parity.agreement:.3f}; expected at least {agreement_min:g}"
        if parity.accuracy is not None and evidence.source_accuracy is not None:
            text += f" (accuracy {parity.accuracy:.3f}, the source's {evidence.source_accuracy:.3f})"
        reasons.append(text)
    return reasons


def _accurate(evidence: Evidence, policy: Policy) -> bool:
    """Tell whether labels show that no more accuracy is lost than the developer allowed."""
    if policy.accuracy_loss_max is None or evidence.source_accuracy is None or evidence.parity.accuracy is None:
        return False
    return evidence.source_accuracy - evidence.parity.accuracy <= policy.accuracy_loss_max


def _worth(evidence: Evidence) -> list[str]:
    """A smaller precision must buy something; a file for another runtime is offered because boards lack the first."""
    if not evidence.same_runtime or evidence.precision is evidence.source_precision:
        return []
    if evidence.size_bytes < evidence.source_size_bytes or evidence.speedup >= SPEEDUP_MIN:
        return []
    return [
        f"neither smaller ({evidence.size_bytes} bytes, the source has {evidence.source_size_bytes}) "
        f"nor faster ({evidence.speedup:.2f} times)"
    ]
