"""When a device served a version, from its receipts."""

from __future__ import annotations

from dataclasses import replace

from pinnace_contract.ids import VersionName
from pinnace_contract.latest import Outcome
from pinnace_server.domain.records import ReceiptRecord
from pinnace_server.domain.stays import stays
from tests.server.db.contract.rows import SECOND, receipt, release, running


def kept(counter: int, version: str | None, at_s: float, **said: object) -> ReceiptRecord:
    name = VersionName(version) if version else None
    said = {"outcome": Outcome.COMMITTED, "version": name, "release": release(version) if version else None} | said
    return receipt(1, counter, named=f"{at_s:03.0f}", at_s=at_s, **said)


def told(*records: ReceiptRecord) -> list[tuple[str, float, float | None, str | None]]:
    return [(stay.version, stay.since_s, stay.until_s, stay.left_for) for stay in stays(records)]


def test_commits_follow_each_other() -> None:
    assert told(kept(1, "1", 10), kept(2, "2", 20), kept(3, "1", 30)) == [
        ("1", 10, 20, "2"),
        ("2", 20, 30, "1"),
        ("1", 30, None, None),
    ]


def test_order_of_arrival_does_not_matter_inside_one_store() -> None:
    assert told(kept(2, "2", 10), kept(1, "1", 11))[0][0] == "1"


def test_trial_that_failed_leaves_the_device_where_it_was() -> None:
    failed = kept(2, "2", 20, outcome=Outcome.REVERTED, active=running("1"))
    assert told(kept(1, "1", 10), failed) == [("1", 10, None, None)]


def test_version_that_went_back_after_it_was_kept_has_ended() -> None:
    failed = kept(3, "2", 30, outcome=Outcome.REVERTED, active=running("1"))
    assert told(kept(1, "1", 10), kept(2, "2", 20), failed) == [
        ("1", 10, 20, "2"),
        ("2", 20, 30, "1"),
        ("1", 30, None, None),
    ]


def test_committing_the_same_again_is_one_stay() -> None:
    assert told(kept(1, "1", 10), kept(2, "1", 20)) == [("1", 10, None, None)]


def test_removal_ends_a_stay() -> None:
    assert told(kept(1, "1", 10), kept(2, None, 20)) == [("1", 10, 20, None)]


def test_receipts_that_do_not_count_say_nothing() -> None:
    assert told(kept(1, "1", 10), receipt(1, 2, at_s=20, counted=False, outcome=Outcome.COMMITTED)) == [
        ("1", 10, None, None)
    ]


def test_new_store_of_a_device_comes_after_the_old_one() -> None:
    assert told(kept(7, "1", 10), kept(1, "2", 20, incarnation=SECOND)) == [("1", 10, 20, "2"), ("2", 20, None, None)]


def test_both_clocks_are_told() -> None:
    record = kept(1, "1", 10)
    (stay,) = stays([replace(record, body=replace(record.body, at_s=7.5))])
    assert (stay.since_s, stay.since_device_s) == (10, 7.5)
