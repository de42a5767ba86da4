"""What this signer issues, judged by python-tuf's own client workflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError

from pinnace_contract import codec, envelope
from pinnace_contract.desired import ASSIGNMENT_FIELD, Desired, target_path
from pinnace_contract.ids import DeviceId, KeyId
from pinnace_contract.latest import Ack, AssignmentSet
from pinnace_server.signing.local import LocalSigning
from pinnace_server.signing.metadata import DAY_S
from tests.contract.examples import ACK, MODEL
from tests.server.signing.world import (
    DEVICE,
    START_S,
    HandClock,
    assignment,
    issue,
    release_file,
    release_id,
    verify_desired,
    verify_image,
)


def test_image_repository_verifies_from_root_to_release(signing: LocalSigning) -> None:
    assert signing.add_release(release_file("1.0")) == release_id("1.0")
    listed = verify_image(signing, START_S).targets.targets[target_path(MODEL, release_id("1.0"))]
    listed.verify_length_and_hashes(release_file("1.0"))


def test_director_verifies_and_agrees_with_the_image_repository(signing: LocalSigning) -> None:
    signing.add_release(release_file("1.0"))
    verified = verify_desired(signing.director_roots()[0], issue(signing, assignment(1)), START_S).targets
    path = target_path(MODEL, release_id("1.0"))
    image = verify_image(signing, START_S).targets.targets[path]
    assert (verified.targets[path].length, verified.targets[path].hashes) == (image.length, image.hashes)
    assert codec.from_plain(AssignmentSet, verified.unrecognized_fields[ASSIGNMENT_FIELD]) == assignment(1)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data.replace(b'"version":1', b'"version":2'), id="content edited"),
        pytest.param(lambda data: data.replace(b'"sig":"', b'"sig":"00', 1), id="signature longer"),
        pytest.param(lambda data: data[:-20], id="cut off"),
    ],
)
def test_file_with_a_wrong_signature_is_refused(
    signing: LocalSigning, role: str, damage: Callable[[bytes], bytes]
) -> None:
    desired = issue(signing, assignment(1))
    forged = replace(desired, **{role: damage(getattr(desired, role))})
    assert forged != desired
    with pytest.raises(RepositoryError):
        verify_desired(signing.director_roots()[0], forged, START_S)


def test_director_files_are_refused_under_the_image_root(signing: LocalSigning) -> None:
    with pytest.raises(RepositoryError):
        verify_desired(signing.image_roots()[0], issue(signing, assignment(1)), START_S)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_file_of_another_device_under_the_same_version_is_refused(signing: LocalSigning, role: str) -> None:
    mine = issue(signing, assignment(1))
    theirs = issue(signing, assignment(1, version="2.0", device=DeviceId("line-1-camera-08")))
    mixed: Desired = replace(mine, **{role: getattr(theirs, role)})
    with pytest.raises(RepositoryError):
        verify_desired(signing.director_roots()[0], mixed, START_S)


def test_director_freezes_after_seven_days_without_a_refresh(signing: LocalSigning, clock: HandClock) -> None:
    desired = issue(signing, assignment(1))
    root = signing.director_roots()[0]
    verify_desired(root, desired, START_S + 6.9 * DAY_S)
    with pytest.raises(ExpiredMetadataError):
        verify_desired(root, desired, START_S + 7.1 * DAY_S)


def test_expired_targets_are_renewed_by_the_refresh_alone(signing: LocalSigning, clock: HandClock) -> None:
    issue(signing, assignment(1))
    clock.now_s += 300 * DAY_S
    renewed = signing.refresh(DEVICE)
    assert renewed is not None
    verified = verify_desired(signing.director_roots()[0], Desired.from_bytes(renewed), START_S + 306 * DAY_S).targets
    assert verified.version == 2
    assert codec.from_plain(AssignmentSet, verified.unrecognized_fields[ASSIGNMENT_FIELD]) == assignment(1)


def test_image_repository_is_renewed_before_it_expires(signing: LocalSigning, clock: HandClock) -> None:
    signing.add_release(release_file("1.0"))
    assert not signing.renew_image()
    clock.now_s += 300 * DAY_S
    assert signing.renew_image()
    assert not signing.renew_image()
    assert target_path(MODEL, release_id("1.0")) in verify_image(signing, START_S + 600 * DAY_S).targets.targets


def test_acknowledgement_verifies_under_the_published_message_key(signing: LocalSigning) -> None:
    key = signing.message_key()

    def verify(keyid: KeyId, signed_bytes: bytes, signature: bytes) -> None:
        assert keyid == key.keyid
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public_hex)).verify(signature, signed_bytes)

    assert envelope.unseal(Ack, envelope.seal(ACK, key.keyid, signing.sign_message), verify) == ACK
