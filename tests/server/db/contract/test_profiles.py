"""What variants take on classes of hardware: a row for each key, of a release in order, and nothing of one undone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinnace_server.domain.variants import ProfileSource, VariantProfile
from pinnace_server.service.ports import Store
from tests.server.db.contract.rows import digest, release

ROW = VariantProfile(
    release=release("1"),
    variant=digest("fp32"),
    hardware="jetson",
    runtime="onnxruntime 1.20",
    source=ProfileSource.TRIAL_RECEIPTS,
    p50_ms=2.5,
    p95_ms=4.25,
    peak_memory_bytes=1 << 33,
    inferences=100,
    results=3,
    at_s=7.5,
)
KEY = (ROW.release, ROW.variant, ROW.hardware, ROW.runtime, ROW.source)


def test_row_comes_back_and_the_newer_one_takes_its_place(store: Store) -> None:
    with store.read() as tables:
        assert tables.profiles.get(*KEY) is None
    for each in (ROW, replace(ROW, p95_ms=5.0, results=4, peak_memory_bytes=None)):
        with store.write() as tables:
            tables.profiles.save(each)
        with store.read() as tables:
            assert tables.profiles.get(*KEY) == each
            assert list(tables.profiles.of_release(ROW.release)) == [each]


def test_rows_of_a_release_are_in_order_and_only_its_own(store: Store) -> None:
    others = [
        replace(ROW, hardware="pi5"),
        replace(ROW, source=ProfileSource.MEASURED_ON_DEVICE),
        replace(ROW, runtime="onnxruntime 1.19"),
        replace(ROW, variant=digest("int8")),
    ]
    with store.write() as tables:
        for each in (*others, ROW, replace(ROW, release=release("2"))):
            tables.profiles.save(each)

    def key(one: VariantProfile) -> tuple[str, ...]:
        return one.variant, one.hardware, one.runtime, one.source

    with store.read() as tables:
        assert list(tables.profiles.of_release(ROW.release)) == sorted([*others, ROW], key=key)
        assert list(tables.profiles.of_release(release("3"))) == []


def test_write_that_fails_leaves_no_row(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        _fails(store)
    with store.read() as tables:
        assert tables.profiles.get(*KEY) is None


def _fails(store: Store) -> None:
    with store.write() as tables:
        tables.profiles.save(ROW)
        raise ZeroDivisionError
