"""A signer that was put back from a backup: what it signs then is above all that was ever signed, known or not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tuf.api.exceptions import BadVersionNumberError

from pinnace_contract.desired import Desired
from pinnace_contract.ids import DeviceId
from pinnace_contract.topics import MetadataTopic, TimestampTopic
from pinnace_server.domain import eras
from pinnace_server.signing.errors import EraRefused
from pinnace_server.signing.local import LocalSigning
from pinnace_server.signing.metadata import DAY_S, VERSIONS_AN_ERA
from tests.server.signing.world import (
    DEVICE,
    START_S,
    HandClock,
    assignment,
    issue,
    open_signing,
    release_file,
    trusted,
    verify_desired,
    verify_image,
)

ERA = eras.base_of(1)


def after(root: bytes, old: Desired, new: Desired) -> None:
    """Verify a message as a device does that has verified another one before."""
    verifier = trusted(root, START_S)
    verifier.update_timestamp(old.timestamp)
    verifier.update_timestamp(new.timestamp)
    verifier.update_snapshot(new.snapshot)
    verifier.update_targets(new.targets)


def test_nothing_of_an_older_era_is_signed_any_more(signing: LocalSigning) -> None:
    issue(signing, assignment(5))
    signing.raise_era(1)
    for generation in (5, 6, ERA - 1):
        with pytest.raises(EraRefused, match="pinnace restore"):
            issue(signing, assignment(generation))
    issue(signing, assignment(ERA))
    assert signing.generations() == {DEVICE: ERA}


def test_era_outlives_the_process_and_only_grows(signing: LocalSigning, tmp_path: Path, clock: HandClock) -> None:
    assert signing.era() == 0
    signing.raise_era(3)
    signing.close()
    again = open_signing(tmp_path, clock)
    assert again.era() == 3
    with pytest.raises(AssertionError):
        again.raise_era(3)
    again.close()


def test_signer_put_back_is_believed_by_devices_that_know_more_than_it(tmp_path: Path, clock: HandClock) -> None:
    signing = open_signing(tmp_path / "data", clock)
    signing.add_release(release_file("1.0"))
    issue(signing, assignment(1))
    signing.close()
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    lost = open_signing(tmp_path / "data", clock)
    for version in ("2.0", "3.0"):
        lost.add_release(release_file(version))
    known = [issue(lost, assignment(generation)) for generation in range(2, 9)][-1]
    known_image = dict(lost.image_metadata())[TimestampTopic()]
    lost.close()
    back = open_signing(tmp_path / "backup", clock)
    root = back.director_roots()[0]
    with pytest.raises(BadVersionNumberError):
        after(root, known, issue(back, assignment(9)))
    back.raise_era(1)
    fresh = issue(back, assignment(ERA + 1))
    after(root, known, fresh)
    verify_desired(root, fresh, clock.now_s)
    verifier = trusted(back.image_roots()[0], clock.now_s)
    verifier.update_timestamp(known_image)
    verifier.update_timestamp(dict(back.image_metadata())[TimestampTopic()])
    back.close()


def test_image_repository_keeps_what_it_lists_and_the_version_before(signing: LocalSigning, clock: HandClock) -> None:
    signing.add_release(release_file("1.0"))
    before = verify_image(signing, clock.now_s)
    signing.raise_era(1)
    now = verify_image(signing, clock.now_s)
    assert now.targets.targets == before.targets.targets
    assert now.targets.version == VERSIONS_AN_ERA + 1
    kept = [topic for topic, payload in signing.image_metadata() if isinstance(topic, MetadataTopic) and payload]
    assert MetadataTopic(role="targets", version=before.targets.version) in kept
    signing.add_release(release_file("2.0"))
    assert verify_image(signing, clock.now_s).targets.version == VERSIONS_AN_ERA + 2


def test_timestamp_of_before_is_refreshed_above_all_that_was_signed(signing: LocalSigning, clock: HandClock) -> None:
    issue(signing, assignment(1))
    signing.raise_era(2)
    clock.now_s += DAY_S
    refreshed = signing.refresh(DEVICE)
    assert refreshed is not None
    assert verify_desired(
        signing.director_roots()[0], Desired.from_bytes(refreshed), clock.now_s
    ).timestamp.version == (2 * VERSIONS_AN_ERA + 1)


def test_device_that_is_new_begins_in_the_era(signing: LocalSigning) -> None:
    signing.raise_era(1)
    other = DeviceId("camera-08")
    issue(signing, assignment(ERA + 1, device=other))
    assert signing.generations() == {other: ERA + 1}
