"""HTTP as clients really send it: whole, in pieces, too large, too slow, wrong. The clock is the test's."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from pinnace_agent.http_message import HEAD_BYTES_MAX, Head, Response, parse_head, refusal
from pinnace_agent.local_http import SLOW_S, Connection, HttpLimits, HttpServer
from pinnace_agent.reactor import Reactor

LIMITS = HttpLimits(
    connections=3,
    body_bytes=1000,
    bodies_bytes=1500,
    answers_bytes=20 * 2**20,
    request_s=10,
    write_s=20,
    idle_s=60,
    linger_s=5,
)
GET = b"GET /x HTTP/1.1\r\nHost: here\r\n\r\n"


class Echo:
    """Answers with what it was sent; refuses one path by its head, and is out of memory for another."""

    def __init__(self) -> None:
        self.answered: list[bytes] = []
        self.large = b""

    def admit(self, head: Head) -> Response | None:
        return refusal(404, "no such thing") if head.path == "/nothing" else None

    def allocate(self, head: Head) -> memoryview:
        if head.path == "/full":
            raise MemoryError
        return memoryview(bytearray(head.length))

    def answer(self, head: Head, body: memoryview, connection: Connection) -> Response:
        self.answered.append(bytes(body))
        parts = (self.large,) if head.path == "/large" else (b"[", bytes(body), b"]")
        return Response(parts=parts)


class Served:
    """A server, and clients of it, in one thread."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.handler = Echo()
        self.reactor = Reactor()
        self.server = HttpServer(reactor=self.reactor, handler=self.handler, clock=lambda: self.now, limits=LIMITS)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(folder / "s"))
        self.listening.listen()
        self.server.listen(self.listening)
        self.clients: list[socket.socket] = []

    def client(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.connect(self.listening.getsockname())
        made.setblocking(False)
        self.clients.append(made)
        self.turn()
        return made

    def turn(self) -> None:
        """Let the server do all that it can do now."""
        for _ in range(50):
            self.reactor.turn(0)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.server.expire()
        self.turn()

    def exchange(self, client: socket.socket, *pieces: bytes) -> bytes:
        for piece in pieces:
            client.sendall(piece)
            self.turn()
        return self.received(client)

    def received(self, client: socket.socket) -> bytes:
        found = b""
        while True:
            try:
                chunk = client.recv(1 << 20)
            except BlockingIOError:
                return found
            if not chunk:
                return found + b"<end>"
            found += chunk
            self.turn()

    def close(self) -> None:
        self.server.close()
        self.listening.close()
        self.reactor.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def served(run_dir: Path) -> Iterator[Served]:
    made = Served(run_dir)
    yield made
    made.close()


def post(body: bytes, path: bytes = b"/x", more: bytes = b"") -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: here\r\n%sContent-Length: %d\r\n\r\n%s" % (path, more, len(body), body)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_connection_is_kept_for_the_next_request(served: Served) -> None:
    client = served.client()
    assert served.exchange(client, post(b"one")).endswith(b"\r\n\r\n[one]")
    assert served.exchange(client, post(b"two")).endswith(b"\r\n\r\n[two]")


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_request_may_come_in_pieces_of_any_size(served: Served, size: int) -> None:
    whole = post(bytes(range(256)) * 3)
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
    assert status(served.exchange(served.client(), *pieces)) == 200
    assert served.handler.answered == [bytes(range(256)) * 3]


def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    answers = served.exchange(served.client(), post(b"a") + GET + post(b"bc", b"/nothing") + post(b"d"))
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"200", b"404", b"200"]
    assert served.handler.answered == [b"a", b"", b"d"]


def test_client_that_wants_no_more_is_let_go(served: Served) -> None:
    asked = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert served.exchange(served.client(), asked).endswith(b"[]<end>")
    assert served.exchange(served.client(), b"GET / HTTP/1.0\r\n\r\n").endswith(b"<end>")
    assert served.server.connections == {}


def test_head_request_gets_no_body(served: Served) -> None:
    answer = served.exchange(served.client(), GET.replace(b"GET", b"HEAD"))
    assert b"Content-Length: 2" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_expecting_client_is_told_to_go_on(served: Served) -> None:
    client = served.client()
    head, body = post(b"body", more=b"Expect: 100-continue\r\n").split(b"\r\n\r\n")
    assert served.exchange(client, head + b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert status(served.exchange(client, body)) == 200


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", 400, id="a TLS hello"),
        pytest.param(b"GET\r\n\r\n", 400, id="no path"),
        pytest.param(b"GET / HTTP/2.0\r\n\r\n", 400, id="a version from the future"),
        pytest.param(b"BREW / HTTP/1.1\r\n\r\n", 400, id="an unknown method"),
        pytest.param(b"\r\n\r\n\r\n\r\n", 400, id="empty lines only"),
        pytest.param(b"GET / HTTP/1.1\r\nBad Header: 1\r\n\r\n", 400, id="a space in a header's name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400, id="a folded header"),
        pytest.param(b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n", 400, id="a zero byte in a header"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, id="a negative length"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 0x10\r\n\r\n", 400, id="a hexadecimal length"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, id="two lengths"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % (b"9" * 30), 400, id="an endless length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: %s1\r\n\r\n" % (b"0" * 5000), 400, id="more digits than Python reads"
        ),
        pytest.param(b"POST / HTTP/1.1\r\n\r\n", 411, id="no length"),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411, id="a chunked body"),
        pytest.param(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nGET /", 400, id="smuggling"
        ),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", 413, id="a body over the limit"),
        pytest.param(b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * HEAD_BYTES_MAX), 431, id="a head over the limit"),
        pytest.param(b"GET / HTTP/1.1\r\n%s\r\n" % (b"A: b\r\n" * 70), 431, id="too many headers"),
        pytest.param(b"x" * (HEAD_BYTES_MAX + 1), 431, id="no end of the head"),
        pytest.param(b"POST /full HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 503, id="no memory for the body"),
    ],
)
def test_what_is_no_request_gets_a_clear_answer_and_an_end(served: Served, sent: bytes, expected: int) -> None:
    client = served.client()
    answer = served.exchange(client, sent)
    assert status(answer) == expected
    assert b'{"error": "' in answer
    assert answer.endswith(b"<end>")
    assert served.handler.answered == []
    served.later(LIMITS.linger_s)
    assert served.server.connections == {}
    assert served.server.bodies_bytes == 0


def test_other_clients_are_served_while_one_is_slow(served: Served) -> None:
    slow = served.client()
    served.exchange(slow, b"POST /x HTTP/1.1\r\nContent-Le")
    assert status(served.exchange(served.client(), GET)) == 200
    assert status(served.exchange(slow, b"ngth: 2\r\n\r\nok")) == 200


@pytest.mark.parametrize("begun", [b"G", GET[:-2], post(b"12345")[:-3]], ids=["a letter", "half a head", "half a body"])
def test_request_that_does_not_end_in_time_is_ended(served: Served, begun: bytes) -> None:
    client = served.client()
    served.exchange(client, begun)
    for _ in range(9):  # a byte now and then does not buy more time
        served.later(1)
        assert served.exchange(client, b"x" if b"\r\n\r\n" not in begun else b"") == b""
    served.later(1)
    answer = served.received(client)
    assert status(answer) == 408
    served.later(LIMITS.linger_s)
    assert served.server.connections == {}


def test_idle_connection_is_closed_after_its_time(served: Served) -> None:
    client = served.client()
    served.exchange(client, GET)
    served.later(LIMITS.idle_s - 1)
    assert served.received(client) == b""
    served.later(1)
    assert served.received(client) == b"<end>"


def test_reader_that_does_not_read_costs_a_connection_and_not_for_long(served: Served) -> None:
    served.handler.large = bytes(8 * 2**20)
    client = served.client()
    client.sendall(post(b"", b"/large"))
    served.turn()
    assert status(served.exchange(served.client(), GET)) == 200
    served.later(LIMITS.write_s)
    assert len(served.server.connections) == 1
    assert len(served.received(client)) < 8 * 2**20


def test_answers_that_nobody_takes_are_bounded_together_and_cost_the_slowest(served: Served) -> None:
    """Each waits in the worker's memory, which is killed when it has too much of it."""
    served.handler.large = bytes(8 * 2**20)
    clients = [served.client() for _ in range(3)]
    for client in clients:
        client.sendall(post(b"", b"/large"))
        served.turn()
        served.later(1)
    assert len(served.server.connections) == 2
    slowest, *others = (len(served.received(client)) for client in clients)
    assert slowest < 8 * 2**20
    assert all(received > 8 * 2**20 for received in others)


def test_large_answer_arrives_whole_at_a_slow_reader(served: Served) -> None:
    served.handler.large = bytes(range(256)) * 4 * 2**10
    client = served.client()
    assert served.exchange(client, post(b"", b"/large")).endswith(served.handler.large)
    assert served.exchange(client, post(b"again")).endswith(b"[again]")


def test_client_that_goes_away_at_any_moment_leaves_nothing(served: Served) -> None:
    served.handler.large = bytes(8 * 2**20)
    for sent in (b"", b"GET", post(b"12345")[:-3], post(b"", b"/large"), post(b"x" * 2000)[:-1]):
        client = served.client()
        client.sendall(sent)
        served.turn()
        client.close()
        served.turn()
    assert served.server.connections == {}
    assert served.server.bodies_bytes == 0


def test_socket_that_another_process_made_wait_is_not_waited_for(served: Served) -> None:
    """Supervisor and workers share the listening socket and its flags; somebody else may have taken who connected."""
    os.set_blocking(served.listening.fileno(), True)
    answering = threading.Thread(target=lambda: served.server._accept(served.listening), daemon=True)
    answering.start()
    answering.join(10)
    assert not answering.is_alive()


def test_newcomer_takes_the_place_of_the_longest_idle(served: Served) -> None:
    clients = []
    for _ in range(LIMITS.connections):
        clients.append(served.client())
        served.exchange(clients[-1], GET)
        served.later(1)
    assert status(served.exchange(served.client(), GET)) == 200
    assert served.received(clients[0]) == b"<end>"
    assert status(served.exchange(clients[1], GET)) == 200


def test_newcomer_is_told_when_all_are_busy(served: Served) -> None:
    for _ in range(LIMITS.connections):
        served.exchange(served.client(), b"POST")
    answer = served.received(served.client())
    assert status(answer) == 503
    assert b"Retry-After: 1" in answer
    assert answer.endswith(b"<end>")


@pytest.mark.parametrize(
    "begun",
    [b"G", post(b"12345")[:-3], post(b"", b"/large")],
    ids=["half a head", "half a body", "an answer not taken"],
)
def test_newcomer_takes_the_place_of_one_that_is_slow(served: Served, begun: bytes) -> None:
    """Else a handful of half-open connections, opened again and again, would keep everybody out."""
    served.handler.large = bytes(4 * 2**20)
    slow = [served.client() for _ in range(LIMITS.connections)]
    for client in slow:
        client.sendall(begun)
        served.turn()
    assert status(served.received(served.client())) == 503
    served.later(SLOW_S)
    assert status(served.exchange(served.client(), GET)) == 200
    assert len(served.server.connections) == LIMITS.connections


def test_newcomer_takes_the_place_of_one_that_was_refused(served: Served) -> None:
    for _ in range(LIMITS.connections):
        assert status(served.exchange(served.client(), b"GET\r\n\r\n")) == 400
    assert len(served.server.connections) == LIMITS.connections
    assert status(served.exchange(served.client(), GET)) == 200


def test_bodies_on_their_way_are_bounded_together(served: Served) -> None:
    first, second = served.client(), served.client()
    served.exchange(first, post(b"x" * 900)[:-1])
    assert status(served.exchange(second, post(b"x" * 900))) == 503
    assert status(served.exchange(first, b"x")) == 200
    assert status(served.exchange(served.client(), post(b"x" * 900))) == 200
    assert served.server.bodies_bytes == 0


def test_refused_client_may_finish_sending_before_it_reads(served: Served) -> None:
    client = served.client()
    client.setblocking(False)
    sent, whole = 0, post(b"x" * 2_000_000)
    while sent < len(whole):
        sent += client.send(whole[sent:])
        served.turn()
    assert status(served.received(client)) == 413


def test_draining_answers_what_has_begun_and_closes_the_rest(served: Served) -> None:
    idle, begun, waiting = served.client(), served.client(), served.client()
    served.exchange(begun, post(b"12345")[:-3])
    waiting.sendall(GET)  # in the socket, and not read yet
    served.server.drain()
    assert served.received(idle) == b"<end>"
    answer = served.received(waiting)
    assert status(answer) == 200
    assert b"Connection: close" in answer
    assert served.exchange(begun, b"345").endswith(b"[12345]<end>")
    assert served.server.connections == {}


def test_server_that_drained_may_listen_again(served: Served) -> None:
    served.server.drain()
    served.server.listen(served.listening)
    assert status(served.exchange(served.client(), GET)) == 200


@settings(max_examples=300)
@given(data=strategies.binary(max_size=400))
def test_any_bytes_are_a_head_or_a_refusal(data: bytes) -> None:
    found = parse_head(data + b"\r\n\r\n", loopback=False)
    assert isinstance(found, Head) or found.status in (400, 411, 431)


@settings(max_examples=100)
@given(
    lines=strategies.lists(
        strategies.tuples(
            strategies.sampled_from(["Content-Length", "Transfer-Encoding", "Host", "Upgrade", "Connection", "X"]),
            strategies.sampled_from(["", "0", "5", "chunked", "h2c", "Upgrade", "close", "a b", "\t1"]),
        ),
        max_size=6,
    ),
    method=strategies.sampled_from(["GET", "POST", "CONNECT", "HEAD", "DELETE"]),
)
def test_any_mix_of_headers_is_a_head_or_a_refusal(lines: list[tuple[str, str]], method: str) -> None:
    data = f"{method} /x HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    found = parse_head(data.encode(), loopback=True)
    assert isinstance(found, Head) or found.status in (400, 411, 431)
