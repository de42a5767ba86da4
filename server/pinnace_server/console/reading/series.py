"""A device's latency minute by minute, with what happened meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pinnace_contract.latest import Arm, Release
from pinnace_server.console import shown
from pinnace_server.console.reading.values import moment
from pinnace_server.domain import telemetry
from pinnace_server.domain.records import Assignment, Minute, ReceiptRecord

WINDOW_MIN = 60
SHORTEST_MIN = 10  # a device that has only begun to report is not drawn as one dot at the edge
_MS = 1000.0


def latency(
    minutes: Sequence[Minute],
    receipts: Iterable[ReceiptRecord],
    assignments: Iterable[Assignment],
    serving: Mapping[str, Release],
    hardware: str,
    now_s: float,
) -> tuple[shown.LatencySeries, ...]:
    """Return one series a model. ``serving`` is each model's release, whose expectation is the limit that is drawn."""
    by_model: dict[str, dict[int, list[Minute]]] = {}
    for minute in minutes:
        if minute.arm is not Arm.SHADOW:
            by_model.setdefault(minute.model, {}).setdefault(minute.minute, []).append(minute)
    marks = _marks(receipts, assignments)
    last = int(now_s // 60)
    found = []
    for model, at in sorted(by_model.items()):
        first = min(max(last - WINDOW_MIN + 1, min(at)), last - SHORTEST_MIN + 1)
        found.append(
            shown.LatencySeries(
                model=model,
                start=moment(first * 60),
                end=moment(max(last * 60, first * 60 + 60)),
                points=tuple(_point(minute, at.get(minute, [])) for minute in range(first, last + 1)),
                marks=tuple(marks.get(model, ())),
                limit_ms=_limit(serving.get(model), hardware),
            )
        )
    return tuple(found)


def _point(minute: int, rows: Sequence[Minute]) -> shown.LatencyPoint:
    histogram = telemetry.histogram_of(rows)
    p50, p95 = histogram.quantile(0.5), histogram.quantile(0.95)
    return shown.LatencyPoint(
        at=moment(minute * 60),
        inferences=sum(row.n for row in rows),
        errors=sum(sum(row.errors.values()) for row in rows),
        p50_ms=None if p50 is None else round(p50 * _MS, 3),
        p95_ms=None if p95 is None else round(p95 * _MS, 3),
    )


def _marks(receipts: Iterable[ReceiptRecord], assignments: Iterable[Assignment]) -> dict[str, list[shown.Mark]]:
    found: dict[str, list[shown.Mark]] = {}
    for receipt in receipts:
        body = receipt.body
        label = f"{body.version or ''} {body.outcome}".strip()
        found.setdefault(body.model, []).append(shown.Mark(at=moment(receipt.received_at_s), label=label))
    for assignment in assignments:
        if assignment.outcome is None:
            mark = shown.Mark(at=moment(assignment.assigned_at_s), label="assigned")
            found.setdefault(assignment.model, []).append(mark)
    return found


def _limit(release: Release | None, hardware: str) -> float | None:
    if release is None:
        return None
    limits = {each.hardware: each.p95_ms for each in release.expectations.p95}
    return limits.get(hardware, limits.get("*"))
