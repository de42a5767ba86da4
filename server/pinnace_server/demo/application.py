"""The application on a demo device: a camera that asks the local model about each image and later tells the truth.

Owns one device's requests over its Unix sockets (Open Inference Protocol v2, and the labels of the agent's own socket)
and what came back. It knows nothing of releases and trials: what it counts is what an application would notice.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from pinnace_server.demo.digits import Images
from pinnace_server.demo.onnx_export import INPUT, OUTPUT
from pinnace_server.demo.versions import MODEL

ANSWER_S = 5.0  # after that the camera has the next image to ask about
IMAGES_PER_S = 20.0  # of one device; five of them leave a small machine room for the rest
LABELS_TOGETHER = 10  # an application hears the truth later, and about several images at once
LABELS_WAITING_MAX = 1_000  # while the agent is away; older truths are forgotten, as the agent would
RECENT = 100  # answers that the share of right ones is taken over
ANSWER_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of the images so far: answers by version, and how many got none by what happened instead.

    Images from before the first answer do not count: there was no model to ask.
    """

    answered: Mapping[str, int] = field(default_factory=dict)
    unanswered: Mapping[str, int] = field(default_factory=dict)
    labels: int = 0
    right_share: float | None = None  # of the last ``RECENT`` answers
    newest: str | None = None  # the version that gave the newest answer

    @property
    def answers(self) -> int:
        """How many images got an answer."""
        return sum(self.answered.values())

    @property
    def without_answer(self) -> int:
        """How many images got none."""
        return sum(self.unanswered.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The model's word on one image. ``request`` is what a label refers to."""

    digit: int
    version: str
    request: str


class NoAnswer(Exception):
    """An image got no answer; the message is a short reason that answers of the same fate share."""


class Application:
    """One thread that asks about image after image until it is stopped."""

    def __init__(self, *, device: str, run_dir: Path, stream: Iterator[tuple[Images, int]]) -> None:
        self.device = device
        self._stream = stream
        self._model = _LocalSocket(run_dir / f"{MODEL}.sock")
        self._agent = _LocalSocket(run_dir / "agent.sock")
        self._lock = threading.Lock()
        self._answered: Counter[str] = Counter()
        self._unanswered: Counter[str] = Counter()
        self._labels = 0
        self._newest: str | None = None
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._truths: deque[dict[str, object]] = deque(maxlen=LABELS_WAITING_MAX)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"application of {device}")

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; the present image is finished first."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def tally(self) -> Tally:
        """Return the counts so far."""
        with self._lock:
            right = sum(self._recent) / len(self._recent) if self._recent else None
            return Tally(
                answered=dict(self._answered),
                unanswered=dict(self._unanswered),
                labels=self._labels,
                right_share=right,
                newest=self._newest,
            )

    def _run(self) -> None:
        due = time.monotonic()
        for image, truth in self._stream:
            due = max(due + 1 / IMAGES_PER_S, time.monotonic())
            if self._stopping.wait(due - time.monotonic()):
                break
            self._see(image, truth)
        self._model.close()
        self._agent.close()

    def _see(self, image: Images, truth: int) -> None:
        try:
            answer = self._ask(image)
        except NoAnswer as reason:
            with self._lock:
                if self._newest is not None:
                    self._unanswered[str(reason)] += 1
            return
        with self._lock:
            self._newest = answer.version
            self._answered[answer.version] += 1
            self._recent.append(answer.digit == truth)
        self._truths.append({"request": answer.request, "label": truth})
        if len(self._truths) >= LABELS_TOGETHER:
            self._tell()

    def _ask(self, image: Images) -> Answer:
        tensor = {"name": INPUT, "datatype": "FP32", "shape": list(image.shape), "data": image.ravel().tolist()}
        status, body = self._model.post(f"/v2/models/{MODEL}/infer", {"inputs": [tensor]})
        if status != http.HTTPStatus.OK:
            raise NoAnswer(f"status {status}")
        return _read(body)

    def _tell(self) -> None:
        """Send the known truths; what the agent did not take is sent with the next ones."""
        truths = list(self._truths)
        with contextlib.suppress(NoAnswer):
            status, _ = self._agent.post(f"/v1/models/{MODEL}/labels", {"labels": truths})
            if status != http.HTTPStatus.ACCEPTED:
                return
            self._truths.clear()
            with self._lock:
                self._labels += len(truths)


class _LocalSocket:
    """JSON over HTTP on a Unix socket, on one connection for as long as the other side keeps it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: http.client.HTTPConnection | None = None

    def post(self, address: str, message: object) -> tuple[int, bytes]:
        """Send and return (status, body).

        Raises:
            NoAnswer: nobody is there, or whoever was there went away.
        """
        connection = self._connected()
        try:
            connection.request("POST", address, json.dumps(message), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read(ANSWER_BYTES_MAX)
        except TimeoutError as error:
            self.close()
            raise NoAnswer(f"none within {ANSWER_S:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NoAnswer("connection lost") from error

    def close(self) -> None:
        """Forget the connection; the next request makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is not None and _said_goodbye(self._connection):
            self.close()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        connection.auto_open = 0  # a lost connection must be an error here, not one to port 80
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(ANSWER_S)
        try:
            connection.sock.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise NoAnswer("nobody there") from error
        return connection


def _said_goodbye(connection: http.client.HTTPConnection) -> bool:
    """Tell whether the other side closed an idle connection, as a worker does that makes room for the next one."""
    kept = connection.sock
    return kept is None or bool(select.select([kept], [], [], 0)[0])


def _read(body: bytes) -> Answer:
    try:
        tree = json.loads(body)
        scores = next(output["data"] for output in tree["outputs"] if output["name"] == OUTPUT)
        return Answer(
            digit=int(np.argmax(cast(list[float], scores))),
            version=str(tree["model_version"]),
            request=str(tree["parameters"]["pinnace_request"]),
        )
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise NoAnswer("an answer in another form than the protocol's") from error
