"""Messages that wait are committed together: in order, each by itself where it is wrong, told only afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from pinnace_contract.latest import Want
from pinnace_contract.topics import Up, UpTopic
from pinnace_server.domain.records import EventKind
from pinnace_server.errors import Unavailable
from pinnace_server.service.outcomes import Outcomes
from tests.server.world import Server, TestedDevice


def report(device: TestedDevice) -> tuple[str, bytes]:
    return str(UpTopic(device=device.id, channel=Up.REPORT)), device.sealed(device.report())


def acknowledged(device: TestedDevice) -> list[tuple[int, int]]:
    return [(each.seq_from, each.seq_to) for ack in device.acks() for each in ack.reports]


def ranges(server: Server, device: TestedDevice) -> list[tuple[int, int]]:
    with server.store.read() as tables:
        return [(each.seq_from, each.seq_to) for each in tables.reports.ranges(device.id, device.boot)]


class DiskFull(Exception):
    pass


class FailingCommit:
    """A store whose next common commit fails."""

    def __init__(self, server: Server) -> None:
        self._store = server.store
        self.read, self.write = server.store.read, server.store.write

    @contextmanager
    def together(self) -> Iterator[None]:
        with self._store.together():
            yield
            raise DiskFull


def test_many_messages_are_taken_with_one_commit_and_all_acknowledged(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = server.device("one"), server.device("other")
    commits: list[int] = []
    together = server.store.together

    @contextmanager
    def counted() -> Iterator[None]:
        with together():
            yield
        commits.append(len(server.broker.sent))

    monkeypatch.setattr(server.store, "together", counted)
    before = len(server.broker.sent)
    server.ingest.receive_all([report(one), report(other), report(one), report(one)])
    assert commits == [before], "nothing is said before the commit"
    assert acknowledged(one) == [(1, 1), (2, 2), (3, 3)]
    assert acknowledged(other) == [(1, 1)]
    assert ranges(server, one) == [(1, 3)]


def test_message_that_is_not_its_devices_leaves_the_others_alone(server: Server) -> None:
    device, thief = server.device(), server.device("thief")
    forged = (str(UpTopic(device=device.id, channel=Up.REPORT)), thief.sealed(thief.report(device=device.id)))
    server.ingest.receive_all([report(device), forged, ("nonsense", b"x"), report(device)])
    assert ranges(server, device) == [(1, 2)]
    assert server.ingest.counts().refused == 2
    assert len(server.events(EventKind.MESSAGE_REFUSED)) == 2


def test_message_that_cannot_be_handled_undoes_its_own_writes_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = server.device()
    handle = Outcomes._dropped

    def fails_at_two(self: Outcomes, tables, report, now):  # type: ignore[no-untyped-def]
        handle(self, tables, report, now)
        if report.seq_to == 2:
            raise ZeroDivisionError

    monkeypatch.setattr(Outcomes, "_dropped", fails_at_two)
    server.ingest.receive_all([report(device), report(device), report(device)])
    assert ranges(server, device) == [(1, 1), (3, 3)]
    assert acknowledged(device) == [(1, 1), (3, 3)]
    assert server.ingest.counts().failed == 1


def test_nothing_is_said_or_kept_when_the_commit_fails(server: Server) -> None:
    device = server.device()
    told: list[str] = []
    server.changes.subscribe(told.append)
    ingest = server.ingest
    ingest._world = replace(ingest._world, store=FailingCommit(server))
    wish = Want(
        device=device.id, incarnation=device.incarnation, seq=99, blob=server.version().body.baseline.digest, chunks=1
    )
    told.clear()
    wanted = (str(UpTopic(device=device.id, channel=Up.WANT)), device.sealed(wish))
    message = report(device)
    with pytest.raises(DiskFull):
        ingest.receive_all([message, wanted])
    assert not ranges(server, device)
    assert not device.acks()
    assert not server.courier.wants
    assert not told
    server._compose()
    server.ingest.receive_all([message])
    assert acknowledged(device) == [(1, 1)]


def test_changes_are_told_once_after_the_commit(server: Server) -> None:
    device = server.device()
    seen: list[tuple[str, list[tuple[int, int]]]] = []
    server.changes.subscribe(lambda topic: seen.append((topic, ranges(server, device))))
    server.ingest.receive_all([report(device), report(device)])
    assert seen.count((f"device:{device.id}", [(1, 2)])) == 1
    assert {known[0] == (1, 2) for _, known in seen} == {True}


def test_same_message_twice_in_one_commit_counts_once(server: Server) -> None:
    device = server.device()
    message = report(device)
    server.ingest.receive_all([message, message])
    assert ranges(server, device) == [(1, 1)]
    assert acknowledged(device) == [(1, 1), (1, 1)]


def test_wishes_alone_need_no_commit(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    device = server.device()
    wish = Want(
        device=device.id, incarnation=device.incarnation, seq=99, blob=server.version().body.baseline.digest, chunks=1
    )

    def never() -> None:
        raise AssertionError

    monkeypatch.setattr(server.store, "together", never)
    server.ingest.receive_all([(str(UpTopic(device=device.id, channel=Up.WANT)), device.sealed(wish))])
    assert server.courier.wants == [wish]


def test_a_disk_that_fills_up_in_the_middle_is_no_messages_fault_and_nothing_of_the_others_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = server.device("one"), server.device("other")
    messages = [report(one), report(other)]
    real, calls = Outcomes.report, 0

    def full_at_the_second(self: Outcomes, *arguments: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Unavailable("the disk is full")
        return real(self, *arguments)

    monkeypatch.setattr(Outcomes, "report", full_at_the_second)
    with pytest.raises(Unavailable):
        server.ingest.receive_all(messages)
    assert calls == 2, "the disk must have been full"
    assert (acknowledged(one), ranges(server, one)) == ([], [])
    server.ingest.receive_all(messages)
    assert acknowledged(one) == acknowledged(other) == [(1, 1)]
