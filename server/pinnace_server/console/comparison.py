"""Variants side by side with the reference of their version, and versions of a model by what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pinnace_server.console import svg
from pinnace_server.console.shown import Percentiles, VariantRow, VersionDetail, VersionRow
from pinnace_server.console.words import decimal

ACCURACY_TOLERANCE = 0.01  # a point of accuracy; smaller differences are not worth a colour
LATENCY_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A difference to the reference in words; the colour is empty within tolerance."""

    text: str
    colour: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One variant beside the reference (the fp32 one, else the largest). None where one of the two was not measured."""

    variant: VariantRow
    reference: bool
    size: Delta | None
    accuracy: Delta | None
    latency: tuple[tuple[Percentiles | None, Delta | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsTable:
    """The variants of a version with the classes of hardware that any of them was measured on."""

    rows: tuple[Comparison, ...]
    hardware: tuple[str, ...]


def variants(version: VersionDetail) -> VariantsTable:
    """Compare the variants of a version, the reference first."""
    reference = next((row for row in version.variants if row.precision == "fp32"), None)
    reference = reference or max(version.variants, key=lambda row: row.size_bytes)
    hardware = tuple(sorted({measured.hardware for row in version.variants for measured in row.latency}))
    ordered = sorted(version.variants, key=lambda row: (row is not reference, row.runtime, row.precision))
    return VariantsTable(rows=tuple(_compare(row, reference, hardware) for row in ordered), hardware=hardware)


def _compare(row: VariantRow, reference: VariantRow, hardware: Sequence[str]) -> Comparison:
    is_reference = row is reference
    latency = []
    for name in hardware:
        here, there = _on(row, name), _on(reference, name)
        ours, theirs = here and here.p95_ms, there and there.p95_ms
        latency.append((here, _ratio(ours, theirs) if ours and theirs and not is_reference else None))
    both = row.accuracy is not None and reference.accuracy is not None and not is_reference
    return Comparison(
        variant=row,
        reference=is_reference,
        size=None if is_reference else _ratio(row.size_bytes, reference.size_bytes, lower_is_news=False),
        accuracy=_points((row.accuracy or 0) - (reference.accuracy or 0)) if both else None,
        latency=tuple(latency),
    )


def _on(row: VariantRow, hardware: str) -> Percentiles | None:
    return next((measured for measured in row.latency if measured.hardware == hardware), None)


def _ratio(value: float, reference: float, *, lower_is_news: bool = True) -> Delta:
    change = value / reference - 1
    colour = "" if abs(change) <= LATENCY_TOLERANCE or not lower_is_news else "ok" if change < 0 else "bad"
    return Delta(text=f"{change:+.0%}".replace("-", "−"), colour=colour)


def _points(difference: float) -> Delta:
    colour = "" if abs(difference) <= ACCURACY_TOLERANCE else "ok" if difference > 0 else "bad"
    return Delta(text=f"{difference * 100:+.1f} pt".replace("-", "−"), colour=colour)


def version_plots(versions: Sequence[VersionRow]) -> list[tuple[str, Markup]]:
    """Draw each metric by version, oldest on the left; a metric that no version has is left out."""
    oldest_first = list(reversed(versions))
    metrics = [
        ("Accuracy on held-out data (%)", [(row.version, row.accuracy and row.accuracy * 100) for row in oldest_first]),
        ("p95 latency in the fleet, last hour (ms)", [(row.version, row.p95_ms) for row in oldest_first]),
    ]
    return [(title, _plot(title, values)) for title, values in metrics if any(value is not None for _, value in values)]


def _plot(title: str, values: Sequence[tuple[str, float | None]]) -> Markup:
    bars = [
        svg.Column(label=version, value=value, text="not measured" if value is None else decimal(value))
        for version, value in values
    ]
    return svg.columns(bars, title)
