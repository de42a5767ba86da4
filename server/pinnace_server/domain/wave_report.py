"""What is written down about a wave at each look of its gates, for whoever asks later: the verdict in brief."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from pinnace_server.domain.gates import words
from pinnace_server.domain.gates.verdicts import Decision, Kind, Reason, Verdict
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.ramp import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardReport:
    """One guard: logarithms of the e-values that the release is worse, and that it is no worse."""

    guard: str
    worse: float
    not_worse: float
    trials: int
    bad: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveReport:
    """How the gates of a wave judged at ``at_s``. ``record`` is the blob from which the verdict can be worked out
    again, empty while nothing was decided."""

    at_s: float
    decision: Decision
    kind: Kind
    why: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    guards: tuple[GuardReport, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    devices: Mapping[str, int] = field(default_factory=dict)
    waiting_on: WaitingOn | None = None
    detail: str = ""
    until_s: float | None = None
    record: str = ""


def made(verdict: Verdict, standing: Standing, at_s: float, *, devices: Mapping[str, int], record: str) -> WaveReport:
    """Return the report of one look."""
    return WaveReport(
        at_s=at_s,
        decision=verdict.decision,
        kind=verdict.kind,
        why=words.describe(verdict),
        reasons=tuple(ground.reason for ground in verdict.grounds),
        guards=tuple(
            GuardReport(guard=each.guard, worse=each.worse, not_worse=each.not_worse, trials=each.trials, bad=each.bad)
            for each in verdict.readings
        ),
        thresholds=asdict(verdict.thresholds),
        devices=devices,
        waiting_on=standing.waiting_on,
        detail=standing.detail,
        until_s=standing.until_s,
        record=record,
    )


def text_of(report: WaveReport) -> str:
    """Return a report as a wave's row keeps it."""
    return json.dumps(asdict(report), sort_keys=True, separators=(",", ":"))


def read(text: str) -> WaveReport | None:
    """Return the report of a row; None: the gates did not look yet."""
    if not text:
        return None
    tree = json.loads(text)
    return WaveReport(
        at_s=tree["at_s"],
        decision=Decision(tree["decision"]),
        kind=Kind(tree["kind"]),
        why=tuple(tree["why"]),
        reasons=tuple(Reason(each) for each in tree["reasons"]),
        guards=tuple(GuardReport(**each) for each in tree["guards"]),
        thresholds=tree["thresholds"],
        devices=tree["devices"],
        waiting_on=WaitingOn(tree["waiting_on"]) if tree["waiting_on"] else None,
        detail=tree["detail"],
        until_s=tree["until_s"],
        record=tree["record"],
    )
