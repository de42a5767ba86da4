"""Reports are counted into ten minutes each, in order, with what of their bad answers is news."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pinnace_contract.histogram import INDEX_MIN, Histogram, bucket_of
from pinnace_contract.latest import Block, ErrorCount
from pinnace_contract.topics import Up, UpTopic
from pinnace_server.domain.gates.streams import BURST
from pinnace_server.domain.records import DeviceState
from pinnace_server.domain.stretches import MINUTES, Stretch
from tests.server.world import MODEL, Server, TestedDevice

STRETCH_S = 60.0 * MINUTES


@pytest.fixture
def device(server: Server) -> TestedDevice:
    made = server.device("camera")
    server.assign(server.version("1"), f"device={made.id}")
    made.commit()
    server.clock.move(STRETCH_S - server.clock.now() % STRETCH_S)
    return made


def report(
    device: TestedDevice, n: int, errors: int = 0, name: str = "runtime", latencies: Sequence[float] = ()
) -> bytes:
    assert device.current is not None
    measured = Histogram()
    for each in latencies:
        measured.add(each)
    block = Block(
        model=MODEL,
        release=device.current.release,
        variant=device.current.variant,
        n=n,
        latency=measured.to_wire(),
        errors=(ErrorCount(name=name, n=errors),) if errors else (),
    )
    return device.send(Up.REPORT, device.report(block))


def found(server: Server, device: TestedDevice) -> list[Stretch]:
    with server.store.read() as tables:
        return list(tables.reports.stretches([device.id], MODEL, 0, 2**31))


def test_reports_of_ten_minutes_add_up(server: Server, device: TestedDevice) -> None:
    for _ in range(3):
        server.clock.move(60)
        report(device, 100, errors=1)
    (only,) = found(server, device)
    with server.store.read() as tables:
        assert tables.reports.arrivals([device.id], 0, 2**31) == {device.id: {only.number: 3}}
    assert (only.errors.counts.trials, only.errors.counts.bad) == (300, 3)
    assert only.errors.counts.fresh_bad == 2, "a report that begins in a burst brings no news, whatever it counts"


def test_latencies_of_ten_minutes_are_kept_whole(server: Server, device: TestedDevice) -> None:
    for latencies in ([0.0, 0.010, 0.010], [], [0.010, 3.0]):
        server.clock.move(60)
        report(device, len(latencies), latencies=latencies)
    server.clock.move(STRETCH_S)
    report(device, 1, latencies=[0.5])
    first, second = (each.latency for each in found(server, device))
    middle = bucket_of(0.010)
    assert middle is not None
    assert [first.above(bucket) for bucket in (INDEX_MIN - 1, middle - 1, middle)] == [(5, 4), (5, 4), (5, 1)]
    assert second.above(middle) == (1, 1)


def test_bad_answers_right_after_a_bad_one_are_no_news(server: Server, device: TestedDevice) -> None:
    for _ in range(3):
        server.clock.move(60)
        report(device, BURST // 3, errors=1)
    (only,) = found(server, device)
    assert (only.errors.counts.bad, only.errors.counts.fresh_bad) == (3, 1)


def test_a_burst_goes_on_in_the_next_ten_minutes(server: Server, device: TestedDevice) -> None:
    server.clock.move(60)
    report(device, 1, errors=1)
    server.clock.move(STRETCH_S)
    report(device, 1, errors=1)
    first, second = found(server, device)
    assert second.number == first.number + 1
    assert (first.errors.counts.fresh_bad, second.errors.counts.fresh_bad) == (1, 0)
    assert second.errors.counts.bad == 1


def test_what_may_be_two_devices_is_evidence_of_neither(server: Server, device: TestedDevice) -> None:
    suspected = replace(server.known(device), state=DeviceState.QUARANTINED)
    with server.store.write() as tables:
        tables.devices.save(suspected)
    server.clock.move(60)
    report(device, 10)
    assert found(server, device) == []


def test_what_the_caller_did_wrong_says_nothing_about_the_model(server: Server, device: TestedDevice) -> None:
    server.clock.move(60)
    report(device, 10, errors=4, name="bad_request")
    (only,) = found(server, device)
    assert (only.errors.counts.trials, only.errors.counts.bad) == (6, 0)


def test_a_report_that_comes_twice_counts_once(server: Server, device: TestedDevice) -> None:
    server.clock.move(60)
    sealed = report(device, 10)
    server.ingest.receive(str(UpTopic(device=device.id, channel=Up.REPORT)), sealed)
    (only,) = found(server, device)
    assert only.errors.counts.trials == 10
