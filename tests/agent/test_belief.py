"""Metadata arrives in any order and is believed when it fits."""

from __future__ import annotations

import itertools
from dataclasses import replace

from securesystemslib.signer import CryptoSigner

from pinnace_agent import trust
from pinnace_agent.belief import MIXED_MAX_S, RETRY_S, Belief
from pinnace_contract import topics
from pinnace_contract.ids import DeviceId, IncarnationId, digest_of
from pinnace_contract.latest import AssignmentSet, Cause
from tests.agent.repository import NOW_S, Side, desired, entry_for, target
from tests.contract import examples

YEAR_2040_S = 2_208_988_800
DEVICE, STORE = DeviceId("camera-07"), IncarnationId("1" * 32)
IMAGE, DIRECTOR = Side(), Side()
RELEASE = examples.RELEASE
SET = AssignmentSet(device=DEVICE, incarnation=STORE, generation=5, issued_at_s=NOW_S, entries=(entry_for(RELEASE),))
DESIRED = topics.DownTopic(device=DEVICE, channel=topics.Down.DESIRED)


def belief() -> Belief:
    pins = (digest_of(IMAGE.roots[0]), digest_of(DIRECTOR.roots[0]))
    return Belief(trust.first_trust(IMAGE.roots[:1], DIRECTOR.roots[:1], pins), DEVICE, STORE)


def image_messages(version: int = 1) -> list[tuple[topics.Topic, bytes]]:
    stamp, shot, aims = IMAGE.files(dict([target(RELEASE)]), version=version)
    return [
        (topics.TimestampTopic(), stamp),
        (topics.MetadataTopic(role="snapshot", version=version), shot),
        (topics.MetadataTopic(role="targets", version=version), aims),
    ]


def test_image_files_are_believed_in_any_order_of_arrival() -> None:
    for order in itertools.permutations(image_messages()):
        found = belief()
        changes = []
        for topic, payload in order:
            assert found.arrived(topic, payload)
            changes.append(found.settle(now_s=NOW_S, awake_s=0.0).changed)
        assert changes == [False, False, True]
        trust.check_listed(found.trusted, SET.entries[0])


def test_a_set_is_handed_over_once() -> None:
    found = belief()
    found.arrived(DESIRED, desired(DIRECTOR, SET, [RELEASE]).to_bytes())
    assert found.settle(now_s=NOW_S, awake_s=0.0).wanted == SET
    assert found.settle(now_s=NOW_S, awake_s=0.0).wanted is None


def test_of_sets_that_come_together_the_newest_is_taken_whichever_comes_last() -> None:
    newer = replace(SET, generation=6)
    messages = [
        desired(DIRECTOR, SET, [RELEASE], version=1).to_bytes(),
        desired(DIRECTOR, newer, [RELEASE], version=2).to_bytes(),
    ]
    for order in (messages, messages[::-1]):
        found = belief()
        for message in order:
            found.arrived(DESIRED, message)
        taken = []
        while found.unread:
            taken.append(found.settle(now_s=NOW_S, awake_s=0.0))
        assert [each.wanted.generation for each in taken if each.wanted][-1] == 6


def test_what_a_stranger_sends_right_after_a_set_does_not_hide_it() -> None:
    found = belief()
    found.arrived(DESIRED, desired(DIRECTOR, SET, [RELEASE]).to_bytes())
    found.arrived(DESIRED, desired(Side(), SET, [RELEASE]).to_bytes())
    assert found.settle(now_s=NOW_S, awake_s=0.0).wanted == SET
    refused = found.settle(now_s=NOW_S, awake_s=0.0).refusal
    assert refused is not None
    assert refused.cause is Cause.SIGNATURE_INVALID


def test_a_root_that_is_believed_is_not_walked_again() -> None:
    found = belief()
    assert found.arrived(topics.RootTopic(repository=topics.Repository.IMAGE, version=1), b"not even a root")
    assert found.settle(now_s=NOW_S, awake_s=0.0).refusal is None


def test_a_refused_set_leaves_the_belief_and_names_the_cause() -> None:
    found = belief()
    before = found.trusted
    found.arrived(DESIRED, desired(Side(), SET, [RELEASE]).to_bytes())
    settled = found.settle(now_s=NOW_S, awake_s=0.0)
    assert settled.wanted is None
    assert settled.refusal is not None
    assert settled.refusal.cause is Cause.SIGNATURE_INVALID
    assert found.trusted == before


def test_bytes_that_are_no_message_are_a_refusal() -> None:
    found = belief()
    found.arrived(DESIRED, b"garbage")
    refusal = found.settle(now_s=NOW_S, awake_s=0.0).refusal
    assert refusal is not None
    assert "header" in refusal.detail


def test_files_that_never_fit_are_reported_after_ten_minutes() -> None:
    found = belief()
    topic, payload = image_messages()[0]
    found.arrived(topic, payload)
    assert found.settle(now_s=NOW_S, awake_s=0.0).refusal is None
    assert found.settle(now_s=NOW_S, awake_s=MIXED_MAX_S - 1).refusal is None
    refusal = found.settle(now_s=NOW_S, awake_s=MIXED_MAX_S + 1).refusal
    assert refusal is not None
    assert refusal.cause is Cause.META_INCONSISTENT


def test_a_rotated_root_is_walked_before_what_it_signs() -> None:
    side = Side()
    pins = (digest_of(side.roots[0]), digest_of(DIRECTOR.roots[0]))
    found = Belief(trust.first_trust(side.roots[:1], DIRECTOR.roots[:1], pins), DEVICE, STORE)
    second = side.add_root()
    found.arrived(topics.RootTopic(repository=topics.Repository.IMAGE, version=2), second)
    found.settle(now_s=NOW_S, awake_s=0.0)
    assert found.trusted.image.root == second


def test_an_empty_message_clears_the_broker_and_not_the_belief() -> None:
    found = belief()
    for topic, payload in image_messages():
        found.arrived(topic, payload)
    found.settle(now_s=NOW_S, awake_s=0.0)
    before = found.trusted
    for topic in (DESIRED, topics.TimestampTopic(), topics.MetadataTopic(role="targets", version=1)):
        assert found.arrived(topic, b"")
    settled = found.settle(now_s=NOW_S, awake_s=0.0)
    assert (settled.refusal, settled.changed) == (None, False)
    assert found.trusted == before


def test_what_is_no_metadata_is_left_to_others() -> None:
    assert not belief().arrived(topics.DownTopic(device=DEVICE, channel=topics.Down.ACK), b"")


def test_a_refused_set_is_looked_at_again_after_a_minute_and_not_at_every_turn() -> None:
    found = belief()
    gap = Side().add_root(version=9)  # waits for ever for the roots before it
    found.arrived(topics.RootTopic(repository=topics.Repository.DIRECTOR, version=9), gap)
    found.arrived(DESIRED, desired(DIRECTOR, SET, [RELEASE], expires_s=NOW_S - 1).to_bytes())
    first = found.settle(now_s=NOW_S, awake_s=0.0).refusal
    assert first is not None
    assert first.cause is Cause.METADATA_EXPIRED
    assert found.settle(now_s=NOW_S, awake_s=1.0).refusal is None
    mended = found.settle(now_s=NOW_S - 10, awake_s=RETRY_S + 1)
    assert mended.wanted == SET


def test_image_files_that_a_wrong_clock_refused_are_believed_once_it_is_set() -> None:
    found = belief()
    for topic, payload in (*image_messages(), (DESIRED, desired(DIRECTOR, SET, [RELEASE]).to_bytes())):
        found.arrived(topic, payload)
    first = found.settle(now_s=YEAR_2040_S, awake_s=0.0)
    assert first.refusal is not None
    assert first.refusal.cause is Cause.METADATA_EXPIRED
    assert not found.busy
    assert found.settle(now_s=YEAR_2040_S, awake_s=1.0).refusal is None
    assert found.due_s == RETRY_S
    mended = found.settle(now_s=NOW_S, awake_s=RETRY_S + 1)
    assert mended.wanted == SET
    trust.check_listed(found.trusted, SET.entries[0])


def test_an_image_timestamp_that_comes_before_its_root_is_believed_with_it() -> None:
    image = Side()
    pins = (digest_of(image.roots[0]), digest_of(DIRECTOR.roots[0]))
    found = Belief(trust.first_trust(image.roots[:1], DIRECTOR.roots[:1], pins), DEVICE, STORE)
    image.keys["timestamp"] = CryptoSigner.generate_ed25519()
    rotated = image.add_root()
    stamp, shot, aims = image.files(dict([target(RELEASE)]), version=1)
    for topic, payload in (
        (topics.TimestampTopic(), stamp),
        (topics.MetadataTopic(role="snapshot", version=1), shot),
        (topics.MetadataTopic(role="targets", version=1), aims),
    ):
        found.arrived(topic, payload)
    assert found.settle(now_s=NOW_S, awake_s=0.0).refusal is not None
    found.arrived(topics.RootTopic(repository=topics.Repository.IMAGE, version=2), rotated)
    assert found.settle(now_s=NOW_S, awake_s=1.0).changed
    trust.check_listed(found.trusted, SET.entries[0])
