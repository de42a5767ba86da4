"""The archive, cards, lineage and origins, over both databases."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import NoResultFound

from pinnace_contract.ids import Digest, VersionName
from pinnace_contract.latest import Outcome, WithdrawMode
from pinnace_server.domain.lineage import Lineage, Origin
from pinnace_server.domain.queries import Page
from pinnace_server.domain.records import Withdrawal
from pinnace_server.service.ports import Store
from tests.server.db.contract.rows import (
    DIGITS,
    NOW,
    VIOLATED,
    WORDS,
    assignment,
    camera,
    digest,
    fleet,
    model,
    receipt,
    release,
    version,
    written,
)

ONE, TWO = VersionName("1"), VersionName("2")


@pytest.fixture(autouse=True)
def models(store: Store) -> None:
    with store.write() as tables:
        tables.models.add(model())
        tables.models.add(model(WORDS))


def test_what_a_maker_says_of_a_version_comes_back(store: Store) -> None:
    said = Lineage(
        code_commit="0123abc", data_digest=Digest(digest("data")), environment_kept=True, source_name="m.onnx"
    )
    added = version("1", 1, card_fields={"intended_use": "digits", "licence": ""}, lineage=said)
    written(store, lambda tables: tables.versions.add(added))
    with store.read() as tables:
        assert tables.versions.get(DIGITS, ONE) == added


def test_archived_version_is_listed_only_when_asked_and_is_not_the_latest(store: Store) -> None:
    with store.write() as tables:
        tables.versions.add(version("1", 1))
        tables.versions.add(version("2", 2))
        tables.versions.archive(DIGITS, TWO, NOW)
    with store.read() as tables:
        assert [each.version for each in tables.versions.listing(DIGITS, Page()).rows] == ["2", "1"]
        assert [each.version for each in tables.versions.listing(DIGITS, Page(), archived=False).rows] == ["1"]
        found = tables.models.get(DIGITS)
        assert found is not None
        assert (found.versions, found.latest) == (2, "1")
        archived = tables.versions.get(DIGITS, TWO)
        assert archived is not None
        assert archived.archived_at_s == NOW
        assert tables.versions.of_release(archived.release) == archived
    with store.write() as tables:
        tables.versions.archive(DIGITS, ONE, NOW)
    with store.read() as tables:
        assert [each.latest for each in tables.models.listing(Page(limit=1)).rows] == [None]
    with store.write() as tables:
        tables.versions.archive(DIGITS, TWO, None)
        assert [each.latest for each in tables.models.listing(Page(limit=1)).rows] == ["2"]
        assert tables.versions.next_sequence(DIGITS) == 3


def test_archived_model_is_listed_only_when_asked(store: Store) -> None:
    with store.write() as tables:
        tables.models.archive(DIGITS, NOW)
        tables.models.require_card(DIGITS, ("intended_use", "limitations"))
    with store.read() as tables:
        found = tables.models.get(DIGITS)
        assert found == model(archived_at_s=NOW, card_required=("intended_use", "limitations"))
        assert [each.name for each in tables.models.listing(Page(), archived=False).rows] == ["words"]
        assert tables.models.listing(Page(), "digits", archived=False).total == 0
    with store.write() as tables:
        tables.models.archive(DIGITS, None)
        assert tables.models.listing(Page(), archived=False).total == 2


def test_what_is_not_there_is_not_archived(store: Store) -> None:
    with pytest.raises((NoResultFound, KeyError)):
        written(store, lambda tables: tables.versions.archive(DIGITS, ONE, NOW))


def test_origin_is_kept_beside_its_version_once(store: Store) -> None:
    origin = Origin(model=DIGITS, version=ONE, request='{"seed":1}', report="{}", kept=True)
    with pytest.raises(VIOLATED):
        written(store, lambda tables: tables.versions.add_origin(origin))
    with store.write() as tables:
        tables.versions.add(version("1", 1))
        assert tables.versions.origin(DIGITS, ONE) is None
        tables.versions.add_origin(origin)
    with store.read() as tables:
        assert tables.versions.origin(DIGITS, ONE) == origin
        assert tables.versions.origin(WORDS, ONE) is None
    with pytest.raises(VIOLATED):
        written(store, lambda tables: tables.versions.add_origin(origin))


def test_devices_that_are_told_a_release_are_known(store: Store) -> None:
    fleet(store, 3)
    with store.write() as tables:
        tables.assignments.save(assignment(3))
        tables.assignments.save(assignment(1, outcome=Outcome.COMMITTED))
        tables.assignments.save(assignment(1, WORDS))
    with store.read() as tables:
        assert tables.versions.wanted_on([release("1"), release("2")]) == [camera(1), camera(3)]
        assert tables.versions.wanted_on([release("2")]) == []
        assert tables.versions.wanted_on([]) == []


def test_devices_that_kept_a_version_are_known(store: Store) -> None:
    fleet(store, 4)
    with store.write() as tables:
        tables.receipts.add(receipt(2, 1, named="01", version=ONE, outcome=Outcome.COMMITTED))
        tables.receipts.add(receipt(2, 2, named="02", version=ONE, outcome=Outcome.COMMITTED))
        tables.receipts.add(receipt(1, 1, named="03", version=ONE, outcome=Outcome.COMMITTED))
        tables.receipts.add(receipt(3, 1, named="04", version=ONE, outcome=Outcome.REVERTED))
        tables.receipts.add(receipt(4, 1, named="05", version=ONE, outcome=Outcome.COMMITTED, counted=False))
    with store.read() as tables:
        found = tables.versions.had_by(DIGITS, ONE, Page())
        assert (found.rows, found.total) == ((camera(1), camera(2)), 2)
        assert tables.versions.had_by(DIGITS, ONE, Page(limit=1, offset=1)).rows == (camera(2),)
        assert tables.versions.had_by(WORDS, ONE, Page()).total == 0


def test_withdrawn_releases_come_newest_first_and_of_the_models_that_were_asked_for(store: Store) -> None:
    with store.write() as tables:
        for made in (version("1", 1), version("2", 2), version("1", 1, of=WORDS, release=release("words"))):
            tables.versions.add(made)
        assert (tables.versions.withdrawn([DIGITS, WORDS]), tables.versions.least_epoch(DIGITS)) == ([], 0)
        tables.versions.withdraw(DIGITS, TWO, Withdrawal(mode=WithdrawMode.RETIRE, at_s=NOW, actor="ann"))
        later = Withdrawal(mode=WithdrawMode.STOP, at_s=NOW + 1, actor="bob", reason="fumes", least_next_epoch=3)
        tables.versions.withdraw(DIGITS, ONE, later)
        tables.versions.withdraw(WORDS, ONE, later)
    with store.read() as tables:
        found = [(each.release, each.mode) for each in tables.versions.withdrawn([DIGITS])]
        assert found == [(version("1", 1).release, WithdrawMode.STOP), (version("2", 2).release, WithdrawMode.RETIRE)]
        assert (tables.versions.least_epoch(DIGITS), tables.versions.least_epoch(WORDS)) == (3, 3)
        kept = tables.versions.get(DIGITS, ONE)
        assert kept is not None
        assert (kept.withdrawal, kept.withdrawn) == (later, WithdrawMode.STOP)


def test_new_set_is_owed_once_and_in_the_order_of_asking(store: Store) -> None:
    fleet(store, 3)
    with store.write() as tables:
        tables.assignments.owe([camera(2), camera(1)])
        tables.assignments.owe([camera(1), camera(3), camera(3)])
    with store.write() as tables:
        assert tables.assignments.owed(2) == [camera(2), camera(1)]
        tables.assignments.settle(camera(2))
        tables.assignments.owe([camera(2)])
    with store.read() as tables:
        assert tables.assignments.owed(9) == [camera(1), camera(3), camera(2)]


def test_nothing_is_owed_to_a_device_that_is_not_there(store: Store) -> None:
    with pytest.raises(VIOLATED):
        written(store, lambda tables: tables.assignments.owe([camera(1)]))
