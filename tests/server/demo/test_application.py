"""The demo's application: every image is accounted for, answered or not, and the truth is told about the answers."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinnace_server.demo import application
from pinnace_server.demo.application import Application, Tally

LABELS = "/v1/models/digits/labels"


@pytest.fixture(autouse=True)
def _no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "IMAGES_PER_S", 1e6)
    monkeypatch.setattr(application, "LABELS_TOGETHER", 2)


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose sockets have short names wherever the tests run."""
    monkeypatch.chdir(tmp_path)
    return Path()


class Device(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A device that answers 3 to everything, or does what its script says for each inference in turn."""

    daemon_threads = True

    def __init__(self, path: Path, script: list[str]) -> None:
        self.script: Iterator[str] = itertools.chain(script, itertools.repeat("answer"))
        self.asked: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.goodbyes = threading.Semaphore(0)
        super().__init__(os.fspath(path), Handler)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.goodbyes.release()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Device

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == LABELS:
            self.server.told.extend(message["labels"])
            return self.reply(202, {})
        self.server.asked.append(message)
        match next(self.server.script):
            case "answer":
                return self.reply(200, self.answer())
            case "answer and close":
                self.close_connection = True
                return self.reply(200, self.answer())
            case "die":
                self.close_connection = True
                return None
            case "nonsense":
                return self.reply(200, {"outputs": []})
            case status:
                return self.reply(int(status), {"error": "digits is starting again"})

    def answer(self) -> dict[str, Any]:
        scores = {"name": "scores", "datatype": "FP32", "shape": [1, 10], "data": [float(k == 3) for k in range(10)]}
        request = f"w-{len(self.server.asked)}"
        return {"model_version": "1", "parameters": {"pinnace_request": request}, "outputs": [scores]}

    def reply(self, status: int, tree: dict[str, Any]) -> None:
        body = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def device(run_dir: Path, *script: str) -> Iterator[Device]:
    with Device(run_dir / "digits.sock", list(script)) as served, Device(run_dir / "agent.sock", []) as agent:
        agent.told = served.told
        for each in (served, agent):
            threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield served
        served.shutdown()
        agent.shutdown()


def ask_about(run_dir: Path, truths: list[int]) -> Tally:
    images = [(np.full((1, 1, 8, 8), n, np.float32), truth) for n, truth in enumerate(truths)]
    return finish(Application(device="device-1", run_dir=run_dir, stream=iter(images)))


def finish(asking: Application) -> Tally:
    asking.start()
    asking._thread.join(30)
    asking.stop()
    return asking.tally()


def test_answers_are_counted_and_the_truth_is_told_about_each(run_dir: Path) -> None:
    with device(run_dir) as served:
        tally = ask_about(run_dir, [3, 3, 3, 5])
    assert tally == Tally(answered={"1": 4}, unanswered={}, labels=4, right_share=0.75, newest="1")
    assert [told["label"] for told in served.told] == [3, 3, 3, 5]
    assert [told["request"] for told in served.told] == ["w-1", "w-2", "w-3", "w-4"]
    tensor = served.asked[1]["inputs"][0]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("image", "FP32", [1, 1, 8, 8])
    assert tensor["data"] == [1.0] * 64


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("503", "status 503"),
        ("die", "connection lost"),
        ("nonsense", "an answer in another form than the protocol's"),
    ],
)
def test_an_image_without_an_answer_is_counted_with_what_happened_and_the_next_one_is_asked(
    run_dir: Path, script: str, reason: str
) -> None:
    with device(run_dir, "answer", script, "answer"):
        tally = ask_about(run_dir, [3, 3, 3])
    assert (tally.answered, tally.unanswered) == ({"1": 2}, {reason: 1})
    assert (tally.answers, tally.without_answer) == (2, 1)


def test_before_the_first_answer_there_was_no_model_to_ask(run_dir: Path) -> None:
    assert ask_about(run_dir, [3, 3]) == Tally()
    with device(run_dir, "503", "503", "answer", "503"):
        tally = ask_about(run_dir, [3] * 4)
    assert (tally.answered, tally.unanswered) == ({"1": 1}, {"status 503": 1})


def test_a_worker_that_closes_an_idle_connection_costs_no_image(run_dir: Path) -> None:
    with device(run_dir, *["answer and close"] * 5) as served:
        image = np.zeros((1, 1, 8, 8), np.float32)
        after_goodbye = ((image, 3) for n in range(5) if n == 0 or served.goodbyes.acquire(timeout=30))
        tally = finish(Application(device="device-1", run_dir=run_dir, stream=after_goodbye))
    assert (tally.answers, tally.without_answer) == (5, 0)


def test_truths_that_the_agent_does_not_take_are_told_later(run_dir: Path) -> None:
    with Device(run_dir / "digits.sock", []) as served:
        threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        tally = ask_about(run_dir, [3, 3, 3])
        served.shutdown()
    assert (tally.answers, tally.labels) == (3, 0)


def test_it_stops_in_the_middle_of_a_stream_without_end(run_dir: Path) -> None:
    with device(run_dir):
        endless = ((np.zeros((1, 1, 8, 8), np.float32), 3) for _ in itertools.count())
        asking = Application(device="device-1", run_dir=run_dir, stream=endless)
        asking.start()
        asking.stop()
        assert not asking._thread.is_alive()
