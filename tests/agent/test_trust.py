"""The device's verifier: what it believes, and each way in which it must not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Snapshot, Targets, Timestamp

from pinnace_agent import trust
from pinnace_agent.errors import AgentError
from pinnace_contract import codec
from pinnace_contract.desired import ASSIGNMENT_FIELD, Desired
from pinnace_contract.ids import DeviceId, IncarnationId, ModelName, digest_of
from pinnace_contract.latest import AssignmentSet, Cause, Release
from tests.agent.repository import NOW_S, Side, desired, entry_for, expires, meta, target
from tests.contract import examples

DEVICE = DeviceId("camera-07")
STORE = IncarnationId("1" * 32)
RELEASE: Release = examples.RELEASE
IMAGE, DIRECTOR = Side(), Side()
SET = AssignmentSet(device=DEVICE, incarnation=STORE, generation=5, issued_at_s=NOW_S, entries=(entry_for(RELEASE),))


def fresh() -> trust.Trusted:
    pins = (digest_of(IMAGE.roots[0]), digest_of(DIRECTOR.roots[0]))
    return trust.first_trust(IMAGE.roots[:1], DIRECTOR.roots[:1], pins)


def accept(trusted: trust.Trusted, message: Desired, now_s: float = NOW_S) -> tuple[trust.Trusted, AssignmentSet]:
    return trust.update_director(trusted, message, device=DEVICE, incarnation=STORE, now_s=now_s)


def with_image(trusted: trust.Trusted, releases: list[Release], version: int = 1) -> trust.Trusted:
    stamp, shot, aims = IMAGE.files(dict(map(target, releases)), version=version)
    return trust.update_image(trusted, stamp, {("snapshot", version): shot, ("targets", version): aims}, now_s=NOW_S)


def test_a_signed_set_for_this_device_is_believed() -> None:
    trusted, wanted = accept(fresh(), desired(DIRECTOR, SET, [RELEASE]))
    assert wanted == SET
    assert trusted.director.timestamp


def test_the_same_message_again_changes_nothing() -> None:
    message = desired(DIRECTOR, SET, [RELEASE])
    trusted, _ = accept(fresh(), message)
    assert accept(trusted, message) == (trusted, SET)


def test_a_release_named_by_both_repositories_is_read() -> None:
    trusted = with_image(fresh(), [RELEASE])
    assert trust.read_release(trusted, SET.entries[0], codec.to_json(RELEASE)) == RELEASE


def test_a_release_that_only_the_director_names_waits() -> None:
    with pytest.raises(trust.MetadataMixed, match="not arrived"):
        trust.check_listed(fresh(), SET.entries[0])
    other = dataclasses.replace(RELEASE, sequence=99)
    with pytest.raises(trust.MetadataMixed, match="does not list"):
        trust.check_listed(with_image(fresh(), [other]), SET.entries[0])


def test_a_release_with_a_flipped_byte_is_refused() -> None:
    data = bytearray(codec.to_json(RELEASE))
    data[100] ^= 1
    with pytest.raises(trust.SignatureInvalid, match="not the bytes"):
        trust.read_release(with_image(fresh(), [RELEASE]), SET.entries[0], bytes(data))


def test_a_release_of_another_model_is_refused() -> None:
    other = dataclasses.replace(RELEASE, model=ModelName("other"))
    entry = dataclasses.replace(entry_for(other), model=RELEASE.model)
    trusted = fresh()
    path, file = target(other)
    moved = f"models/{RELEASE.model}/{entry.release}.json"
    file.path = moved
    stamp, shot, aims = IMAGE.files({moved: file})
    trusted = trust.update_image(trusted, stamp, {("snapshot", 1): shot, ("targets", 1): aims}, now_s=NOW_S)
    assert path != moved
    with pytest.raises(trust.SignatureInvalid, match="of model other"):
        trust.read_release(trusted, entry, codec.to_json(other))


def _signed_by_a_stranger(message: Desired, role: str) -> Desired:
    stranger = Side()
    stranger.keys = DIRECTOR.keys | {role: stranger.keys[role]}
    return desired(stranger, SET, [RELEASE])


def _edited(message: Desired) -> Desired:
    tree = json.loads(message.targets)
    tree["signed"][ASSIGNMENT_FIELD]["generation"] = 6
    return dataclasses.replace(message, targets=json.dumps(tree).encode())


def _without_release(message: Desired) -> Desired:
    return desired(DIRECTOR, SET, [])


def _other_length(message: Desired) -> Desired:
    entry = dataclasses.replace(SET.entries[0], release_size_bytes=17)
    return desired(DIRECTOR, dataclasses.replace(SET, entries=(entry,)), [RELEASE])


def _no_set(message: Desired) -> Desired:
    stamp, shot, aims = DIRECTOR.files(dict([target(RELEASE)]))
    return Desired(timestamp=stamp, snapshot=shot, targets=aims)


def _swapped(message: Desired) -> Desired:
    return Desired(timestamp=message.snapshot, snapshot=message.timestamp, targets=message.targets)


def _another_targets(message: Desired) -> Desired:
    other = desired(DIRECTOR, dataclasses.replace(SET, generation=9), [RELEASE])
    return dataclasses.replace(message, targets=other.targets)


def _snapshot_without_targets(message: Desired) -> Desired:
    shot = DIRECTOR.sealed(Snapshot(version=1, expires=expires(NOW_S + 9), meta={"x.json": meta(1, b"x")}))
    stamp = DIRECTOR.sealed(Timestamp(version=1, expires=expires(NOW_S + 9), snapshot_meta=meta(1, shot)))
    return Desired(timestamp=stamp, snapshot=shot, targets=message.targets)


def _other_version(message: Desired) -> Desired:
    aims = DIRECTOR.sealed(Targets(version=2, expires=expires(NOW_S + 9)))
    shot = DIRECTOR.sealed(Snapshot(version=1, expires=expires(NOW_S + 9), meta={"targets.json": meta(1, aims)}))
    stamp = DIRECTOR.sealed(Timestamp(version=1, expires=expires(NOW_S + 9), snapshot_meta=meta(1, shot)))
    return Desired(timestamp=stamp, snapshot=shot, targets=aims)


FORGERIES: list[tuple[str, Callable[[Desired], Desired], type[AgentError]]] = [
    ("targets signed by a stranger", lambda m: _signed_by_a_stranger(m, "targets"), trust.SignatureInvalid),
    ("snapshot signed by a stranger", lambda m: _signed_by_a_stranger(m, "snapshot"), trust.SignatureInvalid),
    ("timestamp signed by a stranger", lambda m: _signed_by_a_stranger(m, "timestamp"), trust.SignatureInvalid),
    ("an edited assignment", _edited, trust.SignatureInvalid),
    ("a release that the director does not list", _without_release, trust.SignatureInvalid),
    ("a release with another length", _other_length, trust.SignatureInvalid),
    ("no assignment set", _no_set, trust.SignatureInvalid),
    ("files in each other's place", _swapped, trust.SignatureInvalid),
    ("targets of another message", _another_targets, trust.SignatureInvalid),
    ("a snapshot that names no targets", _snapshot_without_targets, trust.SignatureInvalid),
    ("targets of another version than named", _other_version, trust.SignatureInvalid),
    ("an empty file", lambda m: dataclasses.replace(m, targets=b""), trust.SignatureInvalid),
]


@pytest.mark.parametrize(("forge", "error"), [row[1:] for row in FORGERIES], ids=[row[0] for row in FORGERIES])
def test_a_forged_message_is_refused(forge: Callable[[Desired], Desired], error: type[AgentError]) -> None:
    trusted = fresh()
    with pytest.raises(error):
        accept(trusted, forge(desired(DIRECTOR, SET, [RELEASE])))


def test_a_set_for_another_device_is_refused() -> None:
    other = dataclasses.replace(SET, device=DeviceId("camera-08"))
    with pytest.raises(trust.WrongDevice, match="camera-08"):
        accept(fresh(), desired(DIRECTOR, other, [RELEASE]))


def test_another_devices_set_is_named_as_that_whatever_its_versions() -> None:
    other = dataclasses.replace(SET, device=DeviceId("camera-08"))
    for version in (1, 2, 3):
        trusted, _ = accept(fresh(), desired(DIRECTOR, SET, [RELEASE], version=2))
        with pytest.raises(trust.WrongDevice):
            accept(trusted, desired(DIRECTOR, other, [RELEASE], version=version))


def test_a_set_for_another_store_of_this_device_is_refused() -> None:
    other = dataclasses.replace(SET, incarnation=IncarnationId("2" * 32))
    with pytest.raises(trust.WrongIncarnation):
        accept(fresh(), desired(DIRECTOR, other, [RELEASE]))


def test_older_metadata_is_refused() -> None:
    trusted, _ = accept(fresh(), desired(DIRECTOR, SET, [RELEASE], version=3))
    with pytest.raises(trust.MetadataRollback, match="already seen 3"):
        accept(trusted, desired(DIRECTOR, SET, [RELEASE], version=2))
    with pytest.raises(trust.MetadataRollback, match="snapshot"):
        accept(trusted, desired(DIRECTOR, SET, [RELEASE], version=2, timestamp_version=9))


def test_one_version_signed_twice_is_refused() -> None:
    trusted, _ = accept(fresh(), desired(DIRECTOR, SET, [RELEASE]))
    with pytest.raises(trust.SignatureInvalid, match="signed twice"):
        accept(trusted, desired(DIRECTOR, dataclasses.replace(SET, generation=9), [RELEASE]))


def test_expired_metadata_is_refused_and_says_when() -> None:
    with pytest.raises(trust.MetadataExpired, match="UTC") as refused:
        accept(fresh(), desired(DIRECTOR, SET, [RELEASE]), now_s=NOW_S + 1001)
    assert refused.value.cause is Cause.METADATA_EXPIRED


def test_image_files_that_have_not_all_arrived_wait() -> None:
    stamp, shot, _ = IMAGE.files(dict([target(RELEASE)]))
    with pytest.raises(trust.MetadataMixed, match="targets 1"):
        trust.update_image(fresh(), stamp, {("snapshot", 1): shot}, now_s=NOW_S)


def test_image_rollback_is_refused() -> None:
    trusted = with_image(fresh(), [RELEASE], version=4)
    with pytest.raises(trust.MetadataRollback):
        with_image(trusted, [RELEASE], version=3)


def test_a_first_root_that_the_token_does_not_name_is_refused() -> None:
    stranger = Side()
    pins = (digest_of(IMAGE.roots[0]), digest_of(DIRECTOR.roots[0]))
    with pytest.raises(trust.SignatureInvalid, match="claim token"):
        trust.first_trust(stranger.roots, DIRECTOR.roots, pins)
    with pytest.raises(trust.SignatureInvalid, match="claim token"):
        trust.first_trust([], DIRECTOR.roots, pins)


def test_a_new_root_needs_the_old_and_the_new_key() -> None:
    side = Side()
    believed = trust.Repository(root=side.roots[0])
    old = side.keys["root"]
    side.keys["root"] = CryptoSigner.generate_ed25519()
    both = side.add_root(signers=[old, side.keys["root"]])
    assert trust.update_root(believed, "image", side.roots).root == both
    only_new = Side(keys=dict(side.keys), roots=[side.roots[0]]).add_root(version=2)
    with pytest.raises(trust.SignatureInvalid):
        trust.update_root(believed, "image", [only_new])
    only_old = Side(keys=dict(side.keys), roots=[side.roots[0]]).add_root(version=2, signers=[old])
    with pytest.raises(trust.SignatureInvalid):
        trust.update_root(believed, "image", [only_old])


def test_a_skipped_root_waits_for_the_missing_one() -> None:
    side = Side()
    third = side.add_root(version=3)
    with pytest.raises(trust.MetadataMixed, match="root 2 is missing"):
        trust.update_root(trust.Repository(root=side.roots[0]), "image", [third])


def test_roots_that_are_believed_already_are_passed_over() -> None:
    side = Side()
    second = side.add_root()
    believed = trust.Repository(root=second)
    assert trust.update_root(believed, "image", side.roots) == believed


@pytest.mark.parametrize(
    ("floor", "clock", "signed", "expected"),
    [
        (100.0, 50.0, 90.0, 100.0),
        (100.0, 50.0, 200.0, 200.0),
        (0.0, 1_000_000.0, 1_000_000.0 + 23 * 3600, 1_000_000.0 + 23 * 3600),
        (0.0, 1_000_000.0, 1_000_000.0 + 25 * 3600, 0.0),
    ],
    ids=["an older time", "a newer time", "within a day ahead", "further ahead than a day"],
)
def test_time_floor(floor: float, clock: float, signed: float, expected: float) -> None:
    assert trust.time_floor_after(floor, clock, signed) == expected


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_is_refused_or_harmless(data: st.DataObject) -> None:
    message = desired(DIRECTOR, SET, [RELEASE])
    name = data.draw(st.sampled_from(["timestamp", "snapshot", "targets"]))
    changed = bytearray(getattr(message, name))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        _, wanted = accept(fresh(), dataclasses.replace(message, **{name: bytes(changed)}))
    except AgentError:
        return
    assert wanted == SET
