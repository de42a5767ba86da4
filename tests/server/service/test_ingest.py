"""What devices send: believed only when they signed it, counted once, acknowledged after the commit."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinnace_contract import codec, envelope, topics
from pinnace_contract.ids import BootId, DeviceId, Digest, VersionName
from pinnace_contract.latest import Cause, DroppedRange, Outcome, Phase, Presence, Reported, Want
from pinnace_contract.topics import ResultTopic, Up, UpTopic
from pinnace_server.domain.queries import ReceiptQuery
from pinnace_server.domain.records import DeviceState, EventKind, MemberState, Status
from pinnace_server.domain.statuses import status_of
from tests.server.world import MODEL, Server, TestedDevice


def status(server: Server, device: TestedDevice) -> Status:
    return status_of(server.known(device), server.clock.now())


def committed(server: Server, version: str = "1", name: str = "camera") -> TestedDevice:
    device = server.device(name)
    server.assign(server.version(version), f"device={device.id}")
    device.commit()
    server.controller.tick()
    return device


def say_anything(server: Server, device: TestedDevice, tree: object) -> None:
    """Sign and send what the codec would never write as a ``reported``."""
    payload, kind = codec.canonical_json(tree), envelope.payload_type_of(Reported)
    signature = device.sign(envelope.pae(kind, payload))
    sealed = {
        "payloadType": kind,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": device.keyid, "sig": base64.b64encode(signature).decode()}],
    }
    server.ingest.receive(str(UpTopic(device=device.id, channel=Up.REPORTED)), codec.canonical_json(sealed))


class TestHostile:
    def test_message_that_another_device_signed_is_refused(self, server: Server) -> None:
        victim, thief = server.device("victim"), server.device("thief")
        before = server.known(victim)
        sealed = thief.sealed(replace(thief.presence(online=False), device=victim.id, connection=99))
        server.ingest.receive(str(UpTopic(device=victim.id, channel=Up.STATE)), sealed)
        assert server.known(victim) == before
        assert server.events(EventKind.MESSAGE_REFUSED)[0].data == {"code": "SIGNATURE_INVALID", "claimed": victim.id}

    def test_message_about_another_device_on_the_own_topic_is_refused(self, server: Server) -> None:
        victim, thief = server.device("victim"), server.device("thief")
        before = server.known(victim)
        thief.send(Up.STATE, replace(thief.presence(online=False), device=victim.id, connection=99))
        assert server.known(victim) == before
        assert "came on" in server.events(EventKind.MESSAGE_REFUSED)[0].summary

    def test_flipped_bit_is_refused(self, server: Server) -> None:
        device = server.device()
        sealed = bytearray(device.sealed(device.report()))
        sealed[len(sealed) // 2] ^= 1
        server.ingest.receive(str(UpTopic(device=device.id, channel=Up.REPORT)), bytes(sealed))
        assert server.ingest.counts().refused == 1
        assert not device.acks()

    def test_stranger_is_refused_and_told_of_once_a_minute(self, server: Server) -> None:
        stranger = TestedDevice(server, "stranger")
        stranger.id = DeviceId("stranger-1")
        for _ in range(50):
            stranger.birth()
        assert len(server.events(EventKind.MESSAGE_REFUSED)) == 1
        server.clock.move(61)
        stranger.birth()
        assert len(server.events(EventKind.MESSAGE_REFUSED)) == 2
        assert server.ingest.counts().refused == 51

    def test_decommissioned_device_is_heard_no_more(self, server: Server) -> None:
        device = committed(server)
        server.fleet.decommission(device.id, "test")
        before = server.known(device)
        device.birth()
        device.answers(10)
        assert server.known(device) == before
        assert server.broker.desired(device.id) is None

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
    @given(data=st.data())
    def test_no_bytes_crash_it_or_change_a_device(self, server: Server, data: st.DataObject) -> None:
        if not hasattr(server, "victim"):
            server.victim = server.device("victim")  # type: ignore[attr-defined]
        device: TestedDevice = server.victim  # type: ignore[attr-defined]
        before = server.known(device)
        channel = data.draw(st.sampled_from(Up))
        topic = data.draw(
            st.sampled_from([str(UpTopic(device=device.id, channel=channel)), "pinnace/v1/up/x/res/1", "$SYS", ""])
            | st.text(max_size=60)
        )
        payload = data.draw(
            st.binary(max_size=300)
            | st.builds(
                lambda payload, kind: json.dumps(
                    {"payloadType": kind, "payload": payload, "signatures": [{"keyid": device.keyid, "sig": "AAAA"}]}
                ).encode(),
                st.text(max_size=30),
                st.sampled_from([envelope.payload_type_of(Presence), "x"]),
            )
        )
        server.ingest.receive(topic, payload)
        assert server.known(device) == before

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
    @given(
        tree=st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(
                        ["device", "incarnation", "seq", "boot", "generation", "models", "phase", "model", "at_s"]
                    ),
                    inner,
                    max_size=6,
                )
            ),
            max_leaves=20,
        )
    )
    def test_no_payload_that_a_device_signs_crashes_it(self, server: Server, tree: object) -> None:
        if not hasattr(server, "odd"):
            server.odd = server.device("odd")  # type: ignore[attr-defined]
        device: TestedDevice = server.odd  # type: ignore[attr-defined]
        say_anything(server, device, tree)

    def test_what_a_newer_device_says_and_this_server_does_not_know_is_kept(self, server: Server) -> None:
        device = committed(server)
        device.seq += 1
        reported = Reported(
            device=device.id,
            incarnation=device.incarnation,
            seq=device.seq,
            boot=device.boot,
            generation=2,
            models=(device.state(generation=2),),
            at_s=0,
        )
        tree = codec.plain(reported)
        tree["models"][0] |= {"phase": "dreaming", "cause": "DREAMS", "wings": 2}
        say_anything(server, device, tree)
        slot = server.fleet.device(device.id).seen.slots[0]
        assert (slot.state.phase, slot.state.cause) == (Phase.UNKNOWN, Cause.UNKNOWN)
        assert slot.state.current == device.current


class TestPresence:
    def test_birth_makes_it_online_and_will_offline(self, server: Server) -> None:
        device = server.device()
        assert status(server, device) is Status.ONLINE
        device.will()
        assert status(server, device) is Status.OFFLINE

    def test_will_that_overtakes_the_next_birth_is_ignored(self, server: Server) -> None:
        device = server.device()
        late = device.presence(online=False)
        device.birth()
        device.send(Up.STATE, late)
        assert status(server, device) is Status.ONLINE

    def test_birth_of_a_connection_that_is_over_is_ignored(self, server: Server) -> None:
        device = server.device()
        early = device.presence()
        device.birth()
        device.will()
        device.send(Up.STATE, early)
        assert status(server, device) is Status.OFFLINE

    def test_silence_of_three_cadences_is_offline_and_told_once(self, server: Server) -> None:
        device = server.device()
        server.clock.move(179)
        server.controller.tick()
        assert status(server, device) is Status.ONLINE
        server.clock.move(2)
        for _ in range(3):
            server.controller.tick()
        assert status(server, device) is Status.OFFLINE
        told = [event for event in server.events(EventKind.DEVICE_OFFLINE) if event.data["why"] == "silence"]
        assert [event.device for event in told] == [device.id]

    def test_retained_birth_that_the_broker_repeats_does_not_prove_life(self, server: Server) -> None:
        device = server.device()
        retained = device.sealed(device.presence())
        server.clock.move(10_000)
        server.restart()
        server.ingest.receive(str(UpTopic(device=device.id, channel=Up.STATE)), retained)
        assert status(server, device) is Status.OFFLINE

    def test_birth_that_the_device_repeats_does(self, server: Server) -> None:
        device = server.device()
        server.clock.move(10_000)
        device.seq += 1
        device.send(Up.STATE, device.presence())
        assert status(server, device) is Status.ONLINE

    def test_first_birth_makes_an_enrolled_device_active(self, server: Server) -> None:
        device = server.device(online=False)
        assert server.known(device).state is DeviceState.PENDING
        device.birth()
        assert server.known(device).state is DeviceState.ACTIVE


class TestReported:
    def test_older_word_is_ignored(self, server: Server) -> None:
        device = committed(server)
        late = device.seq + 1
        device.seq += 5
        device.say(device.state(generation=2, phase=Phase.TRIAL))
        device.seq = late - 1
        device.say(device.state(generation=2, phase=Phase.FETCHING))
        assert server.fleet.device(device.id).seen.slots[0].state.phase is Phase.TRIAL

    def test_phase_changes_are_in_the_log(self, server: Server) -> None:
        device = committed(server)
        for phase in (Phase.FETCHING, Phase.FETCHING, Phase.TRIAL):
            device.say(device.state(generation=2, phase=phase))
        assert [event.data["phase"] for event in server.events(EventKind.PHASE_CHANGED)] == ["fetching", "trial"]

    def test_model_that_it_names_no_more_is_forgotten(self, server: Server) -> None:
        device = committed(server)
        device.seq += 1
        device.send(
            Up.REPORTED,
            Reported(
                device=device.id,
                incarnation=device.incarnation,
                seq=device.seq,
                boot=device.boot,
                generation=2,
                at_s=0,
            ),
        )
        assert server.fleet.device(device.id).seen.slots == ()


class TestReceipts:
    def test_receipt_is_acknowledged_by_a_signature_of_the_server(self, server: Server) -> None:
        device = server.device()
        server.assign(server.version())
        receipt = device.commit()
        (ack,) = device.acks()
        assert ack.receipts == (receipt.id,)
        assert (ack.device, ack.incarnation) == (device.id, device.incarnation)
        assert ack.expires_s > server.clock.now()

    def test_server_that_dies_before_the_acknowledgement_counts_the_receipt_once(self, server: Server) -> None:
        device = server.device()
        rollout = server.assign(server.version())
        receipt = device.receipt(Outcome.COMMITTED)
        working = server.broker.publish

        def dies(*_: object, **__: object) -> None:
            raise ConnectionError("the power went")

        server.broker.publish = dies  # type: ignore[method-assign]
        with pytest.raises(ConnectionError):
            device.send(Up.RECEIPT, receipt)
        server.broker.publish = working  # type: ignore[method-assign]
        server.restart()
        device.send(Up.RECEIPT, receipt)
        assert [ack.receipts for ack in device.acks()] == [(receipt.id,)]
        assert len(server.events(EventKind.RECEIPT_COMMITTED)) == 1
        assert server.fleet.receipts(ReceiptQuery()).total == 1
        assert server.members(rollout)[device.id].state is MemberState.COMMITTED

    def test_nothing_is_acknowledged_that_was_not_committed(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = server.device()
        server.assign(server.version())
        receipt = device.receipt(Outcome.COMMITTED)

        @contextmanager
        def full() -> object:  # type: ignore[misc]
            raise OSError("disk full")
            yield

        monkeypatch.setattr(server.store, "write", full)
        with pytest.raises(OSError, match="disk full"):
            device.send(Up.RECEIPT, receipt)
        assert not device.acks()

    def test_receipt_of_an_assignment_that_is_over_closes_that_one(self, server: Server) -> None:
        device = server.device()
        old = server.assign(server.version("1"))
        late = device.receipt(Outcome.SUPERSEDED)
        new = server.assign(server.version("2"))
        device.send(Up.RECEIPT, late)
        assert server.members(old)[device.id].state is MemberState.SUPERSEDED
        assert server.members(new)[device.id].state is MemberState.ASSIGNED

    def test_receipt_of_a_device_that_has_not_read_the_release_is_found_under_its_version(self, server: Server) -> None:
        device = server.device()
        server.assign(server.version("2"))
        device.send(Up.RECEIPT, device.receipt(Outcome.SUPERSEDED, version=None, variant=None))
        (found,) = server.fleet.receipts(ReceiptQuery(version=VersionName("2"))).rows
        assert (found.body.outcome, found.body.version) == (Outcome.SUPERSEDED, "2")
        assert "digits 2" in server.events(EventKind.RECEIPT_SUPERSEDED)[0].summary

    def test_bad_end_makes_a_degraded_device_until_it_is_told_otherwise(self, server: Server) -> None:
        device = committed(server)
        server.assign(server.version("2"))
        device.end(Outcome.REVERTED, Cause.CRASHED)
        assert status(server, device) is Status.DEGRADED
        server.rollouts.revert(device=device.id, model=MODEL, actor="test")
        server.controller.tick()
        assert status(server, device) is Status.UPDATING
        device.commit()
        assert status(server, device) is Status.ONLINE


class TestReports:
    def test_report_counts_once_however_often_it_comes(self, server: Server) -> None:
        device = committed(server)
        device.answers(10)
        device.report_seq -= 1
        device.answers(10)
        with server.store.read() as tables:
            assert device.current is not None
            assert tables.reports.counts([device.id], device.current.release).n == 10
        assert [ack.reports[0].seq_to for ack in device.acks() if ack.reports] == [1, 1]

    def test_merged_report_that_was_counted_in_part_is_not_counted_again(self, server: Server) -> None:
        device = committed(server)
        device.answers(10)
        device.send(Up.REPORT, device.report(seq_from=1, seq_to=4))
        assert server.events(EventKind.MESSAGE_REFUSED)[-1].data["code"] == "REPORT_OVERLAP"
        device.send(Up.REPORT, device.report(seq_from=2, seq_to=4))
        assert len(server.events(EventKind.MESSAGE_REFUSED)) == 1

    def test_reports_of_one_minute_are_one_row(self, server: Server) -> None:
        device = committed(server)
        for _ in range(3):
            device.answers(10, p95_ms=4.0)
        with server.store.read() as tables:
            minute = int(server.clock.now() // 60)
            (row,) = tables.reports.minutes(device.id, MODEL, minute - 1, minute + 1)
        assert row.n == 30
        assert server.known(device).p95_ms == pytest.approx(4.0, rel=0.03)

    def test_what_a_device_threw_away_is_accounted_for(self, server: Server) -> None:
        device = committed(server)
        lost = DroppedRange(boot=BootId("f" * 32), seq_from=3, seq_to=9)
        for _ in range(2):
            device.send(Up.REPORT, device.report(dropped=(lost,)))
        (told,) = server.events(EventKind.REPORTS_DROPPED)
        assert "7 reports" in told.summary

    def test_old_minutes_are_forgotten_and_evidence_is_not(self, server: Server) -> None:
        device = committed(server)
        device.answers(10)
        with server.store.read() as tables:
            rollout = tables.rollouts.owning()[0]
        server.clock.move(40 * 86_400)
        server.controller.tick()
        with server.store.read() as tables:
            assert list(tables.reports.fleet_minutes(0, 2**40)) == []
            assert tables.rollouts.evidence(rollout.id).n == 10


class TestWants:
    def test_wish_for_chunks_goes_to_delivery(self, server: Server) -> None:
        device = server.device()
        want = Want(device=device.id, incarnation=device.incarnation, seq=9, blob=Digest("a" * 64))
        device.send(Up.WANT, want)
        assert server.courier.wants == [want]

    def test_wish_that_nobody_signed_does_not(self, server: Server) -> None:
        device, thief = server.device(), TestedDevice(server, "thief")
        want = Want(device=device.id, incarnation=device.incarnation, seq=9, blob=Digest("a" * 64))
        server.ingest.receive(str(UpTopic(device=device.id, channel=Up.WANT)), thief.sealed(want))
        assert server.courier.wants == []


@pytest.mark.parametrize("topic", ["", "x", "pinnace/v1/down/camera/ack", topics.PREFIX])
def test_topic_that_is_not_a_devices_changes_nothing(server: Server, topic: str) -> None:
    server.ingest.receive(topic, b"x")
    assert server.ingest.counts().taken == 0


def test_result_of_a_command_is_only_checked(server: Server) -> None:
    device = server.device()
    server.ingest.receive(f"{topics.PREFIX}/up/{device.id}/res/c-1", device.sealed(device.presence()))
    assert server.events(EventKind.MESSAGE_REFUSED)[0].data["code"] == "BAD_ENVELOPE"
    assert isinstance(topics.parse(f"{topics.PREFIX}/up/{device.id}/res/c-1"), ResultTopic)
