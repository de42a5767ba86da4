"""Whose words count: stores, boots, connections, and messages that overtake each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinnace_contract.ids import BootId, DeviceId, Digest, IncarnationId, KeyId, ModelName, ReleaseId, VersionName
from pinnace_contract.latest import ModelState, Phase, Presence, Reported, Running
from pinnace_server.domain import identity
from pinnace_server.domain.fallback import fallback
from pinnace_server.domain.identity import CLONE_WINDOW_S, Speaker
from pinnace_server.domain.records import Device, DeviceState, Incarnation, Slot

A, B, C = (IncarnationId(letter * 32) for letter in "abc")
OLD, NEW = BootId("1" * 32), BootId("2" * 32)
NOW = 100_000.0
DEVICE = Device(
    id=DeviceId("camera"),
    key=KeyId("0" * 64),
    public_key_pem="",
    state=DeviceState.ACTIVE,
    incarnation=A,
    enrolled_at_s=0,
    boot=NEW,
    connection=5,
    reported_boot=NEW,
    reported_seq=50,
)


def seen(incarnation: IncarnationId, ago_s: float) -> Incarnation:
    return Incarnation(device=DEVICE.id, incarnation=incarnation, first_seen_s=0, last_seen_s=NOW - ago_s)


@pytest.mark.parametrize(
    ("said", "known", "speaker"),
    [
        pytest.param(A, [seen(A, 1)], Speaker.CURRENT, id="the one believed in"),
        pytest.param(B, [seen(A, CLONE_WINDOW_S)], Speaker.REINSTALLED, id="a new one after an hour of silence"),
        pytest.param(B, [seen(A, CLONE_WINDOW_S - 1)], Speaker.CLONE, id="a new one within the hour"),
        pytest.param(B, [seen(A, 1e5), seen(B, 1e5)], Speaker.CLONE, id="one that was replaced, whenever it speaks"),
        pytest.param(B, [], Speaker.REINSTALLED, id="a new one where the old was never heard"),
    ],
)
def test_speaker_is(said: IncarnationId, known: list[Incarnation], speaker: Speaker) -> None:
    assert identity.speaker_of(DEVICE, said, known, NOW) is speaker


@pytest.mark.parametrize(
    ("boot", "connection", "counts"),
    [
        pytest.param(NEW, 5, True, id="of the connection that is known"),
        pytest.param(NEW, 6, True, id="of a later connection"),
        pytest.param(OLD, 4, False, id="of an earlier connection"),
        pytest.param(NEW, 4, False, id="of an earlier connection of this boot"),
        pytest.param(OLD, 5, False, id="with the number of another boot's connection"),
    ],
)
def test_presence_counts(boot: BootId, connection: int, counts: bool) -> None:
    presence = Presence(device=DEVICE.id, incarnation=A, seq=1, boot=boot, connection=connection, online=False, at_s=0)
    assert identity.presence_counts(DEVICE, presence) is counts


@pytest.mark.parametrize(
    ("boot", "seq", "counts"),
    [
        pytest.param(NEW, 51, True, id="the next of this boot"),
        pytest.param(NEW, 50, False, id="a repeat"),
        pytest.param(NEW, 49, False, id="one that was overtaken"),
        pytest.param(OLD, 40, False, id="one of a boot that is over"),
    ],
)
def test_reported_counts(boot: BootId, seq: int, counts: bool) -> None:
    reported = Reported(device=DEVICE.id, incarnation=A, seq=seq, boot=boot, generation=0, at_s=0)
    assert identity.reported_counts(DEVICE, reported) is counts


def test_an_older_reported_does_not_count_again_where_the_newer_boots_birth_is_still_on_its_way() -> None:
    """A broker that lost its last seconds repeats it, and the boot that it is of is the last one that was born."""
    device = replace(DEVICE, boot=OLD)
    repeated = Reported(device=DEVICE.id, incarnation=A, seq=40, boot=OLD, generation=0, at_s=0)
    assert not identity.reported_counts(device, repeated)


@pytest.mark.parametrize(
    ("generation", "first", "foreign"), [(0, 8, False), (7, 8, True), (8, 8, False), (9, 8, False), (3, 0, False)]
)
def test_store_that_claims_what_was_made_for_another_is_foreign(generation: int, first: int, foreign: bool) -> None:
    reported = Reported(device=DEVICE.id, incarnation=B, seq=1, boot=NEW, generation=generation, at_s=0)
    known = replace(seen(B, 1), first_generation=first)
    assert identity.claims_foreign_generation(reported, known) is foreign


def running(n: int) -> Running:
    return Running(release=ReleaseId(f"{n:064x}"), variant=Digest("f" * 64), version=VersionName(str(n)), sequence=n)


@pytest.mark.parametrize(
    ("current", "good", "leave", "usable", "floor", "goes_to"),
    [
        pytest.param(2, [1], None, {1: 0, 2: 0}, 0, 1, id="the newest good one"),
        pytest.param(3, [2, 1], None, {1: 0, 3: 0}, 0, 1, id="past one that was withdrawn"),
        pytest.param(3, [2, 1], None, {1: 0, 2: 1, 3: 1}, 1, 2, id="one at the floor"),
        pytest.param(3, [2, 1], None, {1: 0, 2: 0, 3: 1}, 1, None, id="nowhere, where all are below the floor"),
        pytest.param(1, [], 2, {1: 0}, 0, 1, id="what still serves, out of a trial"),
        pytest.param(1, [], None, {1: 0}, 0, None, id="nowhere, from the first release"),
        pytest.param(None, [], 1, {}, 0, None, id="nowhere, without a model"),
    ],
)
def test_device_goes_back_to(
    current: int | None, good: list[int], leave: int | None, usable: dict[int, int], floor: int, goes_to: int | None
) -> None:
    state = ModelState(
        model=ModelName("digits"),
        generation=1,
        phase=Phase.IDLE,
        current=running(current) if current else None,
        last_good=tuple(running(n) for n in good),
        floor=floor,
    )
    slot = Slot(device=DEVICE.id, model=state.model, state=state, incarnation=A, seq=1, said_at_s=NOW)
    epochs = {ReleaseId(f"{n:064x}"): epoch for n, epoch in usable.items()}
    found = fallback(slot, ReleaseId(f"{leave:064x}") if leave else None, epochs)
    assert (found.sequence if found else None) == goes_to
