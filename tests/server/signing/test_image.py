"""The image repository's versions: which are kept, which are cleared, in what order they are published."""

from __future__ import annotations

import pytest

from pinnace_contract.topics import MetadataTopic, Repository, RootTopic, TimestampTopic
from pinnace_server.signing.errors import ReleaseRefused
from pinnace_server.signing.local import LocalSigning
from tests.server.signing.world import START_S, release_file, verify_image


def test_release_that_is_listed_already_changes_nothing(signing: LocalSigning) -> None:
    signing.add_release(release_file("1.0"))
    before = signing.image_metadata()
    signing.add_release(release_file("1.0"))
    assert signing.image_metadata() == before


def test_every_release_stays_listed(signing: LocalSigning) -> None:
    for number in range(6):
        signing.add_release(release_file(f"{number}.0"))
    assert len(verify_image(signing, START_S).targets.targets) == 6


def test_current_and_previous_are_kept_and_older_topics_cleared(signing: LocalSigning) -> None:
    for number in range(3):
        signing.add_release(release_file(f"{number}.0"))
    retained = dict(signing.image_metadata())
    for role in ("targets", "snapshot"):
        assert [bool(retained[MetadataTopic(role=role, version=n)]) for n in (1, 2, 3, 4)] == [False, False, True, True]


def test_file_is_published_before_it_is_named(signing: LocalSigning) -> None:
    signing.add_release(release_file("1.0"))
    order = [topic for topic, payload in signing.image_metadata() if payload]
    assert order[:2] == [
        RootTopic(repository=Repository.DIRECTOR, version=1),
        RootTopic(repository=Repository.IMAGE, version=1),
    ]
    targets, snapshot = MetadataTopic(role="targets", version=2), MetadataTopic(role="snapshot", version=2)
    assert order.index(targets) < order.index(snapshot) < order.index(TimestampTopic())


@pytest.mark.parametrize("data", [b"", b"{}", b"not json", release_file("1.0")[:-1]])
def test_bytes_that_are_no_release_are_refused(signing: LocalSigning, data: bytes) -> None:
    before = signing.image_metadata()
    with pytest.raises(ReleaseRefused):
        signing.add_release(data)
    assert signing.image_metadata() == before
