"""The report as a table that fits a terminal. Pure text; the numbers are the draft's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pinnace_contract.latest import Parity
from pinnace_converters.draft import Candidate, ConversionReport
from pinnace_runtime.errors import shortened
from pinnace_runtime.golden import SNR_DB_LIMIT

_COLUMNS: Final = (
    "variant",
    "size",
    "of source",
    "agreement",
    "accuracy",
    "noise",
    "p50 here",
    "p95 here",
    "speed",
    "",
)
_NOTHING: Final = "–"
_WIDTH_MAX: Final = 100


def render(report: ConversionReport) -> str:
    """Return the table, the reasons of what was refused below it, and the notes."""
    source = report.source
    lines = [
        f"{shortened(source.name)}: {source.runtime} {source.census.precision}, {_size(source.size_bytes)}, "
        f"{source.census.nodes} operators"
        + (f", accuracy {source.accuracy:.3f}" if source.accuracy is not None else ""),
        f"ranges from {report.calibration_rows} rows, answers compared on {report.heldout_rows}"
        + ("" if report.held_out else " that were split off"),
        "",
        *_aligned([_COLUMNS, *(_row(each, source.size_bytes) for each in report.candidates)]),
    ]
    for each in report.candidates:
        verb = "forced although" if each.offered else "refused:"
        lines += [f"  {_name(each)} {verb} {shortened(reason)}" for reason in each.reasons]
    if report.force and any(each.offered and each.reasons for each in report.candidates):
        lines.append(f"  reason given: {shortened(report.force)}")
    lines += [f"  note: {shortened(note)}" for note in report.notes]
    return "\n".join(lines)


def _row(candidate: Candidate, source_bytes: int) -> tuple[str, ...]:
    verdict = ("forced" if candidate.reasons else "offered") if candidate.offered else "refused"
    parity, timing = candidate.parity, candidate.timing
    if parity is None or timing is None:
        return (_name(candidate), *[_NOTHING] * (len(_COLUMNS) - 2), verdict)
    return (
        _name(candidate),
        _size(candidate.size_bytes),
        f"{candidate.size_bytes / source_bytes:.0%}",
        _share(parity.agreement),
        _share(parity.accuracy),
        _noise(parity),
        f"{timing.p50_ms:.3f} ms",
        f"{timing.p95_ms:.3f} ms",
        f"{candidate.speedup:.2f}×" if candidate.speedup is not None else _NOTHING,
        verdict,
    )


def _name(candidate: Candidate) -> str:
    kind = f"{candidate.runtime} {candidate.precision or '?'}"
    name = shortened(candidate.name)
    return kind if name == kind else f"{kind} ({name})"[:_WIDTH_MAX]


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"


def _share(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.3f}"


def _noise(parity: Parity) -> str:
    if parity.snr_db is None:
        return _NOTHING
    return "none" if parity.snr_db >= SNR_DB_LIMIT else f"{parity.snr_db:.1f} dB"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, numbers to the right, the verdict to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    last = len(_COLUMNS) - 1
    return [
        "  ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
