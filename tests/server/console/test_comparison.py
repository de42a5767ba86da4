"""Variants beside their reference, versions by metric, and bars that tell the truth."""

from __future__ import annotations

from dataclasses import replace

from pinnace_server.console import comparison, svg
from pinnace_server.console.words import brief, decimal, size
from tests.server.console.fleet import MODEL, Fleet
from tests.server.console.page import read


def test_reference_comes_first_and_is_compared_with_nothing() -> None:
    table = comparison.variants(Fleet().version(MODEL, "5"))
    first, *rest = table.rows
    assert first.reference
    assert first.variant.precision == "fp32"
    assert (first.size, first.accuracy) == (None, None)
    assert not any(row.reference for row in rest)


def test_difference_is_coloured_only_beyond_tolerance() -> None:
    table = comparison.variants(Fleet().version(MODEL, "5"))
    by_runtime = {(row.variant.runtime, row.variant.precision): row for row in table.rows}
    near, far = by_runtime["onnx", "int8-static"], by_runtime["tflite", "int8-static"]
    assert near.accuracy == comparison.Delta(text="−0.7 pt")
    assert far.accuracy == comparison.Delta(text="−2.8 pt", colour="bad")
    assert near.latency[0][1] == comparison.Delta(text="−34%", colour="ok")


def test_what_was_not_measured_is_compared_with_nothing() -> None:
    table = comparison.variants(Fleet().version(MODEL, "5"))
    tflite = next(row for row in table.rows if row.variant.runtime == "tflite")
    assert [pair for pair in tflite.latency if pair != (None, None)] == []
    version = Fleet().version(MODEL, "5")
    unmeasured = replace(version, variants=tuple(replace(row, accuracy=None) for row in version.variants))
    assert all(row.accuracy is None for row in comparison.variants(unmeasured).rows)


def test_version_without_fp32_is_compared_with_its_largest() -> None:
    version = Fleet().version(MODEL, "5")
    small, _, tflite = version.variants
    table = comparison.variants(replace(version, variants=(tflite, replace(small, size_bytes=9_000_000))))
    assert table.rows[0].variant.runtime == "onnx"


def test_metric_that_no_version_has_is_left_out() -> None:
    rows = Fleet().model(MODEL, 1, 25).versions
    assert len(comparison.version_plots(rows)) == 2
    assert len(comparison.version_plots([replace(row, p95_ms=None) for row in rows])) == 1


def test_unmeasured_column_has_words_and_no_height() -> None:
    picture = svg.columns([svg.Column(label="1", value=None, text="not measured")], "Accuracy")
    assert not read(picture).all("rect")
    assert "not measured" in picture


def test_one_failed_device_among_thousands_is_seen_and_hatched() -> None:
    picture = svg.bar(
        [
            svg.Segment(count=9999, word="committed", colour="ok"),
            svg.Segment(count=1, word="failed", colour="bad", hatched=True),
        ]
    )
    good, bad = read(picture).all("rect")
    assert float(bad.attributes["width"]) >= 2
    assert bad.attributes["fill"] == "url(#hatch)"
    assert float(good.attributes["width"]) < 600
    assert "9,999 committed, 1 failed" in picture


def test_label_shows_a_digest_by_its_beginning_and_a_long_text_cut() -> None:
    assert brief("a1" * 32) == "a1a1a1a1a1a1…"
    assert brief("GOLDEN_MISMATCH") == "GOLDEN_MISMATCH"
    assert len(brief("x" * 400)) == 48


def test_numbers_are_said_as_people_do() -> None:
    assert [size(n) for n in (0, 900, 2_471_936, 9 << 30)] == ["0 B", "900 B", "2.4 MiB", "9.0 GiB"]
    assert [decimal(n) for n in (0, 0.00001, 0.1234, 6.2, 14.94, 312.4)] == [
        "0.000", "1.0e-05", "0.123", "6.20", "14.9", "312"]  # fmt: skip
