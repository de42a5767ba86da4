"""The stream of copies: nobody waits for it, what does not fit is dropped and counted, and what comes is checked."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from pinnace_agent.reactor import Reactor
from pinnace_agent.worker.copies import COPY_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_MAX, Copy, Forwarder, Receiver

MIB = 2**20


@dataclass
class Joined:
    """Both ends in one process; what arrives is kept."""

    reactor: Reactor
    forwarder: Forwarder
    receiving: socket.socket
    arrived: list[Copy] = field(default_factory=list)

    def offer(self, n: int, size_bytes: int = 8) -> None:
        body = memoryview(n.to_bytes(8, "big") + bytes(size_bytes - 8))
        self.forwarder.offer(body, None, {"y": np.full((1, 2), n, np.float32)})

    def receive(self) -> Receiver:
        return Receiver(self.reactor, self.receiving, self.arrived.append)

    def settle(self) -> None:
        """Turn until nothing more is on its way."""
        idle = 0
        while idle < 8:
            before = len(self.arrived)
            self.reactor.turn(0.0)
            under_way = self.forwarder._queue or self.forwarder._sending
            idle = idle + 1 if len(self.arrived) == before and not under_way else 0

    @property
    def numbers(self) -> list[int]:
        return [int.from_bytes(copy.body[:8], "big") for copy in self.arrived]


def joined(share_percent: int = 100) -> Joined:
    reactor = Reactor()
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Joined(reactor=reactor, forwarder=Forwarder(reactor, one, share_percent), receiving=other)


@pytest.fixture
def pair() -> Iterator[Joined]:
    made = joined()
    yield made
    made.forwarder.close()
    made.receiving.close()
    made.reactor.close()


def test_a_copy_arrives_as_it_was_offered(pair: Joined) -> None:
    pair.receive()
    outputs = {
        "y": np.arange(6, dtype=np.float32).reshape(2, 3),
        "none": np.zeros((0, 3), np.int64),
        "one": np.array(True),
    }
    pair.forwarder.offer(memoryview(b"asked"), 3, outputs)
    pair.settle()
    (copy,) = pair.arrived
    assert (bytes(copy.body), copy.json_bytes, copy.dropped) == (b"asked", 3, 0)
    for name, array in outputs.items():
        assert np.array_equal(copy.outputs[name], array)
        assert (copy.outputs[name].dtype, copy.outputs[name].shape) == (array.dtype, array.shape)


def test_copies_arrive_in_order_however_large(pair: Joined) -> None:
    pair.receive()
    for n in range(5):
        pair.offer(n, MIB)
    pair.settle()
    assert pair.numbers == [0, 1, 2, 3, 4]


def test_a_candidate_that_reads_nothing_costs_the_oldest_copies_and_they_are_counted(pair: Joined) -> None:
    asked = 3 * QUEUE_BYTES_MAX // MIB
    for n in range(asked):
        pair.offer(n, MIB)
        pair.reactor.turn(0.0)
        assert pair.forwarder._queued_bytes <= QUEUE_BYTES_MAX
    pair.receive()
    pair.settle()
    assert pair.numbers[0] == 0  # it was under way when the queue filled
    assert pair.numbers[1:] == list(range(pair.numbers[1], asked))
    dropped = sum(copy.dropped for copy in pair.arrived)
    assert dropped > 0
    assert len(pair.arrived) + dropped == asked


def test_small_copies_are_bounded_by_their_number(pair: Joined) -> None:
    asked = 10_000
    for n in range(asked):
        pair.offer(n)
        assert len(pair.forwarder._queue) <= QUEUE_MAX
    pair.receive()
    pair.settle()
    assert len(pair.arrived) + sum(copy.dropped for copy in pair.arrived) == asked
    assert pair.numbers == sorted(pair.numbers)
    assert pair.numbers[-1] == asked - 1


def test_a_request_larger_than_any_copy_is_dropped_and_counted(pair: Joined) -> None:
    pair.receive()
    pair.offer(1, COPY_BYTES_MAX + 1)
    pair.offer(2)
    pair.settle()
    assert [(number, copy.dropped) for number, copy in zip(pair.numbers, pair.arrived, strict=True)] == [(2, 1)]


def test_a_candidate_that_leaves_ends_the_copying(pair: Joined) -> None:
    pair.receiving.close()
    for n in range(100):
        pair.offer(n, MIB)
        pair.reactor.turn(0.0)
    assert pair.forwarder.closed
    assert not pair.forwarder.wants(1)
    assert not pair.forwarder._queue


def test_a_control_that_leaves_in_the_middle_of_a_copy_ends_the_receiving(pair: Joined) -> None:
    pair.receive()
    pair.offer(1, 4 * MIB)
    pair.reactor.turn(0.0)
    pair.forwarder.close()
    pair.settle()
    assert (pair.arrived, pair.receiving.fileno()) == ([], -1)


@pytest.mark.parametrize("share_percent", [0, 1, 20, 50, 100])
def test_the_share_is_what_was_asked_for(share_percent: int) -> None:
    made = joined(share_percent)
    chosen = sum(made.forwarder.wants(number) for number in range(1, 10_001))
    assert chosen == pytest.approx(100 * share_percent, abs=60)
    # No rhythm: a line that shows three products in turn is copied of each.
    for product in range(3):
        of_it = sum(made.forwarder.wants(number) for number in range(1 + product, 10_001, 3))
        assert of_it == pytest.approx(chosen / 3, abs=60)


BROKEN = {
    "a header that is no JSON": b"{",
    "a header of another form": json.dumps({"body": 1}).encode(),
    "sizes that are no numbers": json.dumps([0, None, "5", []]).encode(),
    "a negative size": json.dumps([0, None, -1, []]).encode(),
    "an unknown datatype": json.dumps([0, None, 0, [["y", "COMPLEX", [1]]]]).encode(),
    "outputs longer than the copy": json.dumps([0, None, 0, [["y", "FP32", [1000]]]]).encode(),
    "outputs of a size beyond all numbers": json.dumps([0, None, 0, [["y", "FP32", [2**31, 2**31, 2**31]]]]).encode(),
    "a shape that is none": json.dumps([0, None, 0, [["y", "FP32", [-4]]]]).encode(),
    "more outputs than a model has": json.dumps([0, None, 0, [["y", "FP32", [0]]] * 65]).encode(),
    "lists in lists in lists": b"[" * 5_000,
}


@pytest.mark.parametrize("header", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_copy_ends_the_receiving_and_nothing_else(pair: Joined, header: bytes) -> None:
    receiver = pair.receive()
    pair.forwarder._to.setblocking(True)
    pair.forwarder._to.sendall(struct.pack(">II", len(header), 4) + header + b"1234")
    for _ in range(3):
        pair.reactor.turn(0.0)
    assert (pair.arrived, pair.receiving.fileno()) == ([], -1)
    receiver.close()


@pytest.mark.parametrize(("header_bytes", "content_bytes"), [(2**31, 0), (8, COPY_BYTES_MAX + 1)])
def test_what_is_larger_than_a_copy_is_not_even_awaited(pair: Joined, header_bytes: int, content_bytes: int) -> None:
    pair.receive()
    pair.forwarder._to.sendall(struct.pack(">II", header_bytes, content_bytes))
    pair.reactor.turn(0.0)
    assert pair.receiving.fileno() == -1
