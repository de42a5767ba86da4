"""What becomes a version, and what never changes afterwards."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pinnace_contract import codec, ids
from pinnace_contract.ids import Digest, ModelName, ReleaseId, VersionName
from pinnace_contract.latest import CHUNK_BYTES_MAX, Release
from pinnace_server.domain.queries import Page
from pinnace_server.errors import Code, Conflict, NotFound, Refused
from pinnace_server.service.delivery import Withheld
from pinnace_server.service.offers import Offers
from tests.server.world import MODEL, SHARE_BELOW, Server, draft_of


def test_release_id_is_the_hash_of_the_file_that_was_signed(server: Server) -> None:
    version = server.version()
    data = server.catalogue.release_file(MODEL, "1")
    assert ids.digest_of(data) == version.release == server.signer.releases[0]
    assert codec.from_json(Release, data) == version.body


def test_sequence_grows_and_the_baseline_is_read(server: Server) -> None:
    first, second = server.version("1"), server.version("2")
    assert (first.sequence, second.sequence) == (1, 2)
    assert second.share_below == pytest.approx(SHARE_BELOW)
    family = server.catalogue.model(MODEL)
    assert (family.versions, family.latest) == (2, "2")


def test_every_blob_of_a_version_is_in_the_store(server: Server) -> None:
    version = server.version()
    for variant in version.body.variants:
        for blob in version.body.blobs(variant):
            content = server.blobs.read(blob.digest)
            assert ids.digest_of(content) == blob.digest
            assert len(content) == blob.size_bytes


def test_version_never_changes(server: Server) -> None:
    before = server.version("1")
    with pytest.raises(Conflict) as refused:
        server.version("1")
    assert refused.value.code is Code.EXISTS
    assert server.catalogue.version(MODEL, "1") == before
    assert len(server.signer.releases) == 1


def test_draft_without_one_of_its_blobs_is_refused_before_it_is_signed(server: Server) -> None:
    server.catalogue.add_model(MODEL, "", "test")
    with pytest.raises(Refused, match="is missing"):
        server.catalogue.register(model=MODEL, version=VersionName("1"), draft=draft_of("1"), files={}, actor="test")
    assert server.signer.releases == []


def test_blob_that_is_not_what_its_name_says_is_refused(server: Server, tmp_path: Path) -> None:
    server.catalogue.add_model(MODEL, "", "test")
    draft = draft_of("1")
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"something else")
    with pytest.raises(Refused, match="not what its name says"):
        server.catalogue.register(
            model=MODEL,
            version=VersionName("1"),
            draft=draft,
            files=dict.fromkeys(draft.contents, wrong),
            actor="test",
        )


def test_versions_registered_at_once_get_different_sequences(server: Server) -> None:
    server.catalogue.add_model(MODEL, "", "test")
    threads = [threading.Thread(target=server.version, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = server.catalogue.versions(MODEL, Page())
    assert [version.sequence for version in found.rows] == [4, 3, 2, 1]


def test_alias_points_and_moves(server: Server) -> None:
    server.version("1")
    server.version("2")
    server.aliases.point(MODEL, "production", "1", "test")
    assert server.catalogue.version(MODEL, "@production").version == "1"
    server.aliases.point(MODEL, "production", "2", "test")
    assert server.catalogue.model(MODEL).aliases == {"production": "2"}
    server.aliases.unpoint(MODEL, "production", "test")
    with pytest.raises(NotFound):
        server.catalogue.version(MODEL, "@production")


@pytest.mark.parametrize("name", ["", "Digits", "a_b", "-a", "a" * 64, "a/b", "ä"])
def test_name_that_cannot_stand_in_a_path_is_refused(server: Server, name: str) -> None:
    with pytest.raises(Refused):
        server.catalogue.add_model(name, "", "test")


def test_model_that_is_there_already_is_not_changed(server: Server) -> None:
    server.catalogue.add_model("digits", "one", "test")
    assert server.catalogue.add_model("digits", "one", "test").description == "one"
    with pytest.raises(Conflict):
        server.catalogue.add_model("digits", "another", "test")


class TestOffers:
    def test_device_is_offered_what_its_assignment_names_and_nothing_else(self, server: Server) -> None:
        wanted, other = server.version("1"), server.version("2")
        device, idle = server.device("a"), server.device("b")
        server.assign(wanted, f"device={device.id}")
        offers = Offers(server.store)
        weights = wanted.body.variants[0].blob
        assert offers.offered(device.id, weights.digest) == weights
        assert offers.offered(device.id, other.variants[0]) is Withheld.NOT_FOUND
        assert offers.offered(device.id, Digest("e" * 64)) is Withheld.NOT_FOUND
        assert offers.offered(idle.id, weights.digest) is Withheld.NOT_FOUND

    def test_release_file_is_offered_with_its_chunks(self, server: Server) -> None:
        version, device = server.version(), server.device()
        server.assign(version)
        offered = Offers(server.store).offered(device.id, Digest(version.release))
        assert not isinstance(offered, Withheld)
        assert offered.size_bytes == version.size_bytes
        assert sum(chunk.size_bytes for chunk in offered.chunks) == version.size_bytes
        assert all(chunk.size_bytes <= CHUNK_BYTES_MAX for chunk in offered.chunks)

    def test_decommissioned_device_is_offered_nothing(self, server: Server) -> None:
        version, device = server.version(), server.device()
        server.assign(version)
        server.fleet.decommission(device.id, "test")
        assert Offers(server.store).offered(device.id, version.variants[0]) is Withheld.NOT_FOUND


def test_unknown_version_says_what_is_there(server: Server) -> None:
    server.version("1")
    server.aliases.point(MODEL, "production", "1", "test")
    with pytest.raises(NotFound, match="production"):
        server.catalogue.version(MODEL, "@staging")
    with pytest.raises(NotFound):
        server.catalogue.version(ModelName("letters"), "1")
    with server.store.read() as tables:
        assert tables.versions.of_release(ReleaseId("0" * 64)) is None
