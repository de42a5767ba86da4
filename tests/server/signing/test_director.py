"""The numbers that only grow, over restarts and faults, and what may change under one of them."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pinnace_contract.desired import Desired
from pinnace_contract.ids import DeviceId, ModelName, digest_of
from pinnace_contract.latest import AuditHead
from pinnace_contract.topics import Down, DownTopic
from pinnace_server.signing.errors import GenerationRefused, SetRefused
from pinnace_server.signing.local import LocalSigning
from pinnace_server.signing.metadata import DAY_S
from tests.server.signing.world import DEVICE, START_S, HandClock, assignment, issue, open_signing, release_file

DESIRED_BYTES_AIM = 2_500  # one model with a message key and an endpoint; the contract allows 8 KiB


def _versions(desired: Desired) -> tuple[int, int, int]:
    files = (desired.timestamp, desired.snapshot, desired.targets)
    timestamp, snapshot, targets = (int(json.loads(data)["signed"]["version"]) for data in files)
    return timestamp, snapshot, targets


def test_larger_generation_grows_every_version(signing: LocalSigning) -> None:
    assert _versions(issue(signing, assignment(1))) == (1, 1, 1)
    assert _versions(issue(signing, assignment(5, version="2.0"))) == (2, 2, 2)


def test_versions_count_for_each_device_by_itself(signing: LocalSigning) -> None:
    issue(signing, assignment(1))
    issue(signing, assignment(2))
    assert _versions(issue(signing, assignment(1, device=DeviceId("camera-08")))) == (1, 1, 1)


@pytest.mark.parametrize(
    ("generation", "version"),
    [
        pytest.param(4, "1.0", id="a smaller one with the same entries"),
        pytest.param(0, "2.0", id="nought"),
        pytest.param(5, "2.0", id="an equal one with other entries"),
    ],
)
def test_generation_that_goes_back_or_means_two_things_is_refused(
    signing: LocalSigning, generation: int, version: str
) -> None:
    issued = issue(signing, assignment(5))
    with pytest.raises(GenerationRefused, match="needs generation 6 or more") as refused:
        issue(signing, assignment(generation, version=version))
    assert refused.value.highest == 5
    assert issue(signing, assignment(5)) == issued


def test_same_set_is_the_same_bytes(signing: LocalSigning, clock: HandClock) -> None:
    issued = issue(signing, assignment(1))
    clock.now_s += DAY_S - 1
    assert issue(signing, assignment(1)) == issued
    assert issue(signing, replace(assignment(1), issued_at_s=int(clock.now_s))) == issued


def test_same_set_after_a_day_has_a_new_timestamp_only(signing: LocalSigning, clock: HandClock) -> None:
    issued = issue(signing, assignment(1))
    clock.now_s += DAY_S
    refreshed = issue(signing, assignment(1))
    assert _versions(refreshed) == (2, 1, 1)
    assert (refreshed.snapshot, refreshed.targets) == (issued.snapshot, issued.targets)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(assignment(3, url="mqtts://other:8883"), id="endpoints"),
        pytest.param(replace(assignment(3), audit_head=AuditHead(size=4, root=digest_of(b"log"))), id="audit head"),
    ],
)
def test_what_is_carried_along_changes_under_one_generation(signing: LocalSigning, changed: object) -> None:
    issue(signing, assignment(3))
    assert _versions(issue(signing, changed)) == (2, 2, 2)  # type: ignore[arg-type]  # parametrize has no types


def test_what_was_returned_is_on_the_disk_already(signing: LocalSigning, tmp_path: Path, clock: HandClock) -> None:
    """The copy is taken of the running signer's files: what a power cut right after the call would leave."""
    issue(signing, assignment(1))
    issued = issue(signing, assignment(7, version="2.0"))
    shutil.copytree(tmp_path / "signing", tmp_path / "after" / "signing")
    shutil.copytree(tmp_path / "keys", tmp_path / "after" / "keys")
    restarted = open_signing(tmp_path / "after", clock)
    assert restarted.refresh(DEVICE) == issued.to_bytes()
    with pytest.raises(GenerationRefused):
        issue(restarted, assignment(6))
    assert _versions(issue(restarted, assignment(8))) == (3, 3, 3)
    restarted.close()


def test_two_signers_on_one_store_never_use_a_version_twice(
    signing: LocalSigning, tmp_path: Path, clock: HandClock
) -> None:
    second = open_signing(tmp_path, clock)
    assert _versions(issue(signing, assignment(1))) == (1, 1, 1)
    assert _versions(issue(second, assignment(2))) == (2, 2, 2)
    with pytest.raises(GenerationRefused):
        issue(signing, assignment(1))
    second.close()


def test_refused_set_spends_no_version(signing: LocalSigning) -> None:
    many = tuple(
        replace(assignment(2).entries[0], model=ModelName(f"model-{n}"), release=None, variants=(digest_of(b"v"),) * 8)
        for n in range(16)
    )
    issue(signing, assignment(1))
    with pytest.raises(SetRefused, match="the limit is 8192"):
        issue(signing, replace(assignment(2), entries=many))
    assert _versions(issue(signing, assignment(2))) == (2, 2, 2)


def test_sets_that_are_signed_together_are_kept_together_and_a_refused_one_spends_nothing(
    signing: LocalSigning, tmp_path: Path, clock: HandClock
) -> None:
    with signing.together():
        issue(signing, assignment(1))
        with pytest.raises(GenerationRefused):
            issue(signing, assignment(0))
        issue(signing, assignment(2))
    with suppress(ZeroDivisionError), signing.together():
        issue(signing, assignment(3))
        raise ZeroDivisionError
    again = open_signing(tmp_path, clock)
    assert _versions(issue(again, assignment(3))) == (3, 3, 3)
    again.close()


def test_set_that_names_an_unknown_release_is_refused(signing: LocalSigning) -> None:
    with pytest.raises(SetRefused, match="its file was not given"):
        signing.desired(assignment(1), {})
    with pytest.raises(SetRefused, match="was given a file of"):
        signing.desired(assignment(1), {assignment(1).entries[0].release: release_file("2.0")})  # type: ignore[dict-item]  # it has one
    assert signing.refresh(DEVICE) is None


def test_refreshes_fall_due_from_one_day_on_and_are_spread(signing: LocalSigning, clock: HandClock) -> None:
    devices = {DeviceId(f"camera-{n}") for n in range(40)}
    for device in sorted(devices):
        issue(signing, assignment(1, device=device))
    assert signing.refresh_due(START_S + DAY_S - 1) == ()
    halfway = signing.refresh_due(START_S + DAY_S + DAY_S / 8)
    assert 0 < len(halfway) < 40
    assert set(signing.refresh_due(START_S + 1.25 * DAY_S)) == devices
    clock.now_s = START_S + DAY_S + DAY_S / 8
    for device in halfway:
        signing.refresh(device)
    assert set(signing.refresh_due(clock.now_s)) == set()
    assert set(signing.refresh_due(START_S + 1.25 * DAY_S)) == devices - set(halfway)


def test_everything_to_republish_after_a_broker_lost_it(signing: LocalSigning) -> None:
    first = issue(signing, assignment(1))
    other = DeviceId("camera-08")
    second = issue(signing, assignment(4, device=other))
    assert dict(signing.all_desired()) == {
        DownTopic(device=DEVICE, channel=Down.DESIRED): first.to_bytes(),
        DownTopic(device=other, channel=Down.DESIRED): second.to_bytes(),
    }


def test_desired_of_one_model_is_small(signing: LocalSigning) -> None:
    with_key = replace(assignment(2**32 + 5), message_keys=(signing.message_key(),))
    assert len(issue(signing, with_key).to_bytes()) < DESIRED_BYTES_AIM
