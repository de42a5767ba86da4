"""Models, aliases, versions and blobs, over both databases."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import NoResultFound

from pinnace_contract.ids import Digest, ModelName, VersionName
from pinnace_contract.latest import WithdrawMode
from pinnace_server.domain.queries import Page
from pinnace_server.domain.records import AliasName, Model, Version, Withdrawal
from pinnace_server.service.ports import Store
from tests.server.db.contract.rows import (
    DIGITS,
    NOW,
    VIOLATED,
    WORDS,
    blob,
    digest,
    model,
    release,
    undone,
    version,
    written,
)

STABLE, NEXT = AliasName("stable"), AliasName("next")


def known(store: Store, name: ModelName = DIGITS) -> Model | None:
    with store.read() as tables:
        return tables.models.get(name)


class TestModels:
    def test_model_is_there_after_it_was_added(self, store: Store) -> None:
        assert known(store) is None
        written(store, lambda tables: tables.models.add(model(description="of digits")))
        assert known(store) == model(description="of digits")

    def test_what_is_counted_elsewhere_is_not_taken_over(self, store: Store) -> None:
        said = model(aliases={STABLE: VersionName("9")}, versions=7, latest=VersionName("9"))
        written(store, lambda tables: tables.models.add(said))
        assert known(store) == model()

    def test_model_is_added_once(self, store: Store) -> None:
        written(store, lambda tables: tables.models.add(model()))
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.models.add(model(description="another")))
        assert known(store) == model()

    def test_description_changes_and_nothing_else(self, store: Store) -> None:
        written(store, lambda tables: tables.models.add(model()))
        written(store, lambda tables: tables.models.describe(DIGITS, "new"))
        assert known(store) == model(description="new")
        with pytest.raises((NoResultFound, KeyError)):
            written(store, lambda tables: tables.models.describe(WORDS, "of nothing"))

    def test_aliases_point_move_and_go(self, store: Store) -> None:
        with store.write() as tables:
            tables.models.add(model())
            tables.models.point(DIGITS, STABLE, VersionName("1"))
            tables.models.point(DIGITS, NEXT, VersionName("2"))
            tables.models.point(DIGITS, STABLE, VersionName("3"))
        found = known(store)
        assert found is not None
        assert list(found.aliases.items()) == [(NEXT, "2"), (STABLE, "3")]
        assert written(store, lambda tables: tables.models.unpoint(DIGITS, STABLE))
        assert not written(store, lambda tables: tables.models.unpoint(DIGITS, STABLE))
        assert not written(store, lambda tables: tables.models.unpoint(WORDS, STABLE))
        assert known(store) == model(aliases={NEXT: VersionName("2")})

    def test_alias_of_a_model_that_is_not_there_is_refused(self, store: Store) -> None:
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.models.point(DIGITS, STABLE, VersionName("1")))

    @pytest.mark.parametrize(
        ("text", "page", "names", "total"),
        [
            ("", Page(), ["a-b", "digits", "words"], 3),
            ("", Page(limit=1, offset=1), ["digits"], 3),
            ("", Page(offset=9), [], 3),
            ("", Page(limit=0), [], 3),
            ("DIG", Page(), ["digits"], 1),
            ("-", Page(), ["a-b"], 1),
            ("%", Page(), [], 0),
            ("_", Page(), [], 0),
        ],
    )
    def test_listing_is_by_name(self, store: Store, text: str, page: Page, names: list[str], total: int) -> None:
        with store.write() as tables:
            for name in (WORDS, ModelName("a-b"), DIGITS):
                tables.models.add(model(name))
        with store.read() as tables:
            found = tables.models.listing(page, text)
        assert ([each.name for each in found.rows], found.total) == (names, total)


class TestVersions:
    @pytest.fixture(autouse=True)
    def models(self, store: Store) -> None:
        with store.write() as tables:
            tables.models.add(model())
            tables.models.add(model(WORDS))

    def test_version_is_found_by_name_and_by_release(self, store: Store) -> None:
        said = Withdrawal(mode=WithdrawMode.RETIRE, at_s=NOW, actor="ann", reason="why", least_next_epoch=2)
        added = version("1", 1, card="# card", share_below=0.1, withdrawal=said)
        written(store, lambda tables: tables.versions.add(added))
        with store.read() as tables:
            assert tables.versions.get(DIGITS, VersionName("1")) == added
            assert tables.versions.of_release(added.release) == added
            assert tables.versions.get(WORDS, VersionName("1")) is None
            assert tables.versions.get(DIGITS, VersionName("2")) is None
            assert tables.versions.of_release(release("another")) is None

    def test_model_counts_its_versions_and_knows_the_latest_by_sequence(self, store: Store) -> None:
        with store.write() as tables:
            tables.versions.add(version("a", 5))
            tables.versions.add(version("b", 3))
            tables.versions.add(version("x", 3, of=WORDS))
        assert known(store) == model(updated_at_s=version("b", 3).created_at_s, versions=2, latest=VersionName("a"))
        with store.read() as tables:
            assert [each.latest for each in tables.models.listing(Page()).rows] == ["a", "x"]

    def test_next_sequence_is_after_the_highest(self, store: Store) -> None:
        with store.write() as tables:
            assert tables.versions.next_sequence(DIGITS) == 1
            tables.versions.add(version("b", 5))
            tables.versions.add(version("a", 3))
            assert tables.versions.next_sequence(DIGITS) == 6
            assert tables.versions.next_sequence(WORDS) == 1

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(version("1", 2), id="the same name"),
            pytest.param(version("2", 1), id="the same sequence"),
            pytest.param(version("2", 2, release=version("1", 1).release), id="the same release"),
            pytest.param(
                version("2", 2, of=WORDS, release=version("1", 1).release), id="the same release of another model"
            ),
            pytest.param(version("1", 1, of=ModelName("unknown")), id="a model that is not there"),
        ],
    )
    def test_version_that_cannot_be_is_refused(self, store: Store, other: Version) -> None:
        written(store, lambda tables: tables.versions.add(version("1", 1)))
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.versions.add(other))
        with store.read() as tables:
            assert tables.versions.listing(DIGITS, Page()).rows == (version("1", 1),)
            assert tables.versions.listing(WORDS, Page()).total == 0

    def test_listing_is_newest_sequence_first(self, store: Store) -> None:
        with store.write() as tables:
            for name, sequence in (("b", 5), ("c", 3), ("a", 9)):
                tables.versions.add(version(name, sequence))
            tables.versions.add(version("x", 4, of=WORDS))
        with store.read() as tables:
            assert [each.version for each in tables.versions.listing(DIGITS, Page()).rows] == ["a", "b", "c"]
            second = tables.versions.listing(DIGITS, Page(limit=1, offset=1))
            assert ([each.version for each in second.rows], second.total) == (["b"], 3)

    def test_blobs_of_every_variant_are_listed_and_a_release_file_can_be(self, store: Store) -> None:
        added, file = version("1", 1), blob("release file")
        with store.write() as tables:
            tables.versions.add(added)
            tables.versions.list_blob(file)
            tables.versions.list_blob(file)
        with store.read() as tables:
            for variant in added.body.variants:
                for each in added.body.blobs(variant):
                    assert tables.versions.blob(each.digest) == each
            assert tables.versions.blob(file.digest) == file
            assert tables.versions.blob(Digest(digest("unknown"))) is None

    def test_version_that_was_undone_was_never_there(self, store: Store) -> None:
        undone(store, lambda tables: tables.versions.add(version("1", 1)))
        assert known(store) == model()
        with store.read() as tables:
            assert tables.versions.next_sequence(DIGITS) == 1
            assert tables.versions.of_release(version("1", 1).release) is None
            assert tables.versions.blob(version("1", 1).body.golden.blob.digest) is None
        written(store, lambda tables: tables.versions.add(version("1", 1)))
