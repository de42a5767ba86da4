"""A latency series for the canvas, for a reader's ears, and as a table."""

from __future__ import annotations

import json

from pinnace_server.console.shown import LatencySeries
from pinnace_server.console.words import decimal


def for_canvas(series: LatencySeries) -> str:
    """Return the JSON that chart.js draws; times in whole seconds, a gap is a null."""
    lines = [
        {"name": "p50", "points": [[int(p.at.timestamp()), p.p50_ms] for p in series.points]},
        {"name": "p95", "points": [[int(p.at.timestamp()), p.p95_ms] for p in series.points]},
    ]
    content: dict[str, object] = {
        "unit": "ms",
        "from": int(series.start.timestamp()),
        "to": int(series.end.timestamp()),
        "lines": lines,
        "marks": [{"at": int(mark.at.timestamp()), "label": mark.label} for mark in series.marks],
    }
    if series.limit_ms is not None:
        content["limit"] = {"value": series.limit_ms, "label": f"limit {decimal(series.limit_ms)} ms"}
    return json.dumps(content, separators=(",", ":"))


def in_words(series: LatencySeries) -> str:
    """Say what the chart shows."""
    p95 = [point.p95_ms for point in series.points if point.p95_ms is not None]
    if not p95:
        return f"No inferences of {series.model} were reported in this time."
    inferences = sum(point.inferences for point in series.points)
    limit = "" if series.limit_ms is None else f" The release promises at most {decimal(series.limit_ms)} ms."
    return (
        f"p95 of {series.model} between {decimal(min(p95))} and {decimal(max(p95))} ms, last {decimal(p95[-1])} ms, "
        f"over {inferences:,} inferences.{limit}"
    )
