"""``agent.sock``: what it takes, what it refuses, and that what it took arrives."""

from __future__ import annotations

import http.client
import json
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pinnace_agent.adapters.local_socket import LABELS_MAX, OUTCOMES_MAX, LocalSocket
from pinnace_agent.outcomes import NotTaken, Outcome, Weighed
from pinnace_agent.worker.protocol import Truth
from pinnace_contract.ids import Digest, ModelName

DIGEST = "a" * 64
LONE = "\ud800"


class Recorded:
    """Stands for the daemon: knows one model and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def label(self, model: ModelName, truths: tuple[Truth, ...]) -> bool:
        return self._told("label", model, truths)

    def outcome(self, model: ModelName, outcomes: Sequence[Outcome]) -> Weighed:
        if not self._told("outcome", model, *outcomes):
            raise NotTaken("nothing serves it", status=503, retry_after_s=5)
        return Weighed(counted=len(outcomes), unknown=1)

    def veto(self, model: ModelName, seconds: float, reason: str) -> bool:
        return self._told("veto", model, seconds, reason)

    def lift_veto(self, model: ModelName) -> bool:
        return self._told("lift", model)

    def accept(self, model: ModelName, contracts: tuple[Digest, ...]) -> bool:
        return self._told("accept", model, contracts)

    def status(self) -> Mapping[str, object]:
        return {"device": "press-1"}

    def _told(self, *what: object) -> bool:
        self.told.append(what)
        return what[1] == "digits"


@pytest.fixture
def daemon() -> Recorded:
    return Recorded()


@pytest.fixture
def local(run_dir: Path, daemon: Recorded) -> Iterator[Path]:
    served = LocalSocket(run_dir, "pinnace", daemon)
    yield run_dir / "agent.sock"
    served.close()


def ask(path: Path, method: str, target: str, body: object = None) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    connection.request(method, target, content)
    answer = connection.getresponse()
    status, tree = answer.status, json.loads(answer.read())
    connection.close()
    return status, tree


@pytest.mark.parametrize(
    ("method", "act", "body", "told"),
    [
        pytest.param(
            "POST",
            "labels",
            {"labels": [{"request": "a-1", "label": 3}, {"request": "a-2", "correct": False}]},
            ("label", "digits", (Truth(request="a-1", classes=(3,)), Truth(request="a-2", correct=False))),
            id="a batch of labels, by class and by verdict",
        ),
        pytest.param(
            "POST",
            "labels",
            {"request": "a-1", "label": [3, 0]},
            ("label", "digits", (Truth(request="a-1", classes=(3, 0)),)),
            id="one label for an answer of two rows",
        ),
        pytest.param(
            "POST",
            "labels",
            {"request": "a-1", "correct": True, "group": "night"},
            ("label", "digits", (Truth(request="a-1", correct=True, group="night"),)),
            id="a label of a declared group",
        ),
        pytest.param(
            "POST", "veto", {"seconds": 600, "reason": "line runs"}, ("veto", "digits", 600.0, "line runs"), id="veto"
        ),
        pytest.param("DELETE", "veto", None, ("lift", "digits"), id="the veto is lifted"),
        pytest.param(
            "POST", "accepts", {"contracts": [DIGEST]}, ("accept", "digits", (DIGEST,)), id="accepted contracts"
        ),
    ],
)
def test_what_applications_say_reaches_the_daemon(
    local: Path, daemon: Recorded, method: str, act: str, body: object, told: tuple[object, ...]
) -> None:
    assert ask(local, method, f"/v1/models/digits/{act}", body) == (202, {})
    assert daemon.told == [told]


def test_outcomes_reach_the_daemon_and_what_became_of_them_the_application(local: Path, daemon: Recorded) -> None:
    single = {"metric": "accepted", "request": "a-1", "success": True}
    batch = [{"metric": "accepted", "success": False}, {"metric": "accepted", "trials": 20, "successes": 19}]
    target = "/v1/models/digits/outcomes"
    assert ask(local, "POST", target, single) == (202, {"counted": 1, "unknown": 1, "repeated": 0})
    assert ask(local, "POST", target, {"outcomes": batch})[1]["counted"] == 2
    assert daemon.told == [
        ("outcome", "digits", Outcome(metric="accepted", request="a-1", successes=1)),
        (
            "outcome",
            "digits",
            Outcome(metric="accepted", successes=0),
            Outcome(metric="accepted", trials=20, successes=19),
        ),
    ]
    assert ask(local, "POST", "/v1/models/other/outcomes", single) == (503, {"error": "nothing serves it"})


@pytest.mark.parametrize(
    ("act", "body", "says"),
    [
        pytest.param("labels", b"{", "not JSON", id="no JSON"),
        pytest.param("labels", b"[" * 100_000, "not JSON", id="JSON nested too deeply"),
        pytest.param("labels", [], "JSON object", id="a list where an object belongs"),
        pytest.param("labels", {"labels": [{"label": 1}]}, "request", id="a label about nothing"),
        pytest.param("labels", {"request": "a-1"}, "either", id="neither class nor verdict"),
        pytest.param("labels", {"request": "a-1", "label": 1, "correct": True}, "either", id="class and verdict"),
        pytest.param("labels", {"request": "a-1", "label": -1}, "class number", id="a negative class"),
        pytest.param("labels", {"request": "a-1", "label": True}, "class number", id="a truth value as class"),
        pytest.param("labels", {"request": "a-1", "label": "seven"}, "class number", id="a name as class"),
        pytest.param("labels", {"request": "a-1", "label": []}, "class number", id="no class at all"),
        pytest.param(
            "labels", {"labels": [{"request": "a", "correct": True}] * (LABELS_MAX + 1)}, "at most", id="too many"
        ),
        pytest.param("labels", {"request": "a", "correct": True, "group": 7}, "group", id="a number as group"),
        pytest.param("labels", {"request": "a", "correct": True, "group": "x" * 65}, "64", id="a long group"),
        *(
            pytest.param(act, body, rf"found a lone surrogate in '{text}'", id=f"{what} that has no bytes")
            for act, what, body, text in (
                ("labels", "an answer's name", {"request": LONE, "label": 1}, r"\ud800"),
                ("labels", "a name behind a worker's tag", {"request": f"cafe-1-{LONE}", "label": 1}, r"cafe-1-\ud800"),
                ("labels", "a group", {"request": "a", "correct": True, "group": f"a{LONE}"}, r"a\ud800"),
                ("outcomes", "a metric", {"metric": LONE, "success": True}, r"\ud800"),
                ("outcomes", "an answer's name", {"metric": "m", "request": LONE, "success": True}, r"\ud800"),
                ("veto", "a reason", {"seconds": 5, "reason": LONE}, r"\ud800"),
            )
        ),
        pytest.param("outcomes", {"outcomes": []}, "1 to", id="no outcome"),
        pytest.param("outcomes", {"outcomes": [{}] * (OUTCOMES_MAX + 1)}, "1 to", id="too many outcomes"),
        pytest.param("outcomes", {"success": True}, "metric", id="an outcome of no metric"),
        pytest.param("outcomes", {"metric": "x" * 65, "success": True}, "64", id="a metric that is a novel"),
        pytest.param("outcomes", {"metric": "m"}, "either", id="neither success nor counts"),
        pytest.param("outcomes", {"metric": "m", "success": True, "trials": 1}, "either", id="success and counts"),
        pytest.param("outcomes", {"metric": "m", "success": 1}, "true or false", id="a number as success"),
        pytest.param("outcomes", {"metric": "m", "request": "", "success": True}, "request", id="an empty answer"),
        pytest.param("outcomes", {"metric": "m", "trials": 0, "successes": 0}, "trials", id="no trials"),
        pytest.param("outcomes", {"metric": "m", "trials": 10**7, "successes": 0}, "trials", id="too many trials"),
        pytest.param("outcomes", {"metric": "m", "trials": True, "successes": 0}, "trials", id="true trials"),
        pytest.param("outcomes", {"metric": "m", "trials": 3, "successes": 4}, "successes", id="more than trials"),
        pytest.param("outcomes", {"metric": "m", "trials": 3}, "successes", id="trials without successes"),
        pytest.param("outcomes", {"metric": "m", "trials": 3, "successes": -1}, "successes", id="less than none"),
        pytest.param("veto", {"seconds": 0}, "above 0", id="a veto of no time"),
        pytest.param("veto", {"seconds": 10**9}, "at most", id="a veto for ever"),
        pytest.param("veto", {"seconds": True}, "a number", id="a veto of true seconds"),
        pytest.param("veto", {"seconds": 1, "reason": "x" * 300}, "characters", id="a reason that is a novel"),
        pytest.param("accepts", {"contracts": ["xyz"]}, "64 hexadecimal", id="no digest"),
        pytest.param("accepts", {}, "a list", id="no list of digests"),
    ],
)
def test_wrong_body_is_refused_with_what_was_expected(
    local: Path, daemon: Recorded, act: str, body: object, says: str
) -> None:
    status, tree = ask(local, "POST", f"/v1/models/digits/{act}", body)
    assert status == 400
    assert says in str(tree["error"])
    assert daemon.told == []


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/models/digits/nothing", 404),
        ("POST", "/v1/models/Digits!/labels", 404),
        ("POST", "/v1/status", 405),
        ("GET", "/v1/models/digits/labels", 405),
        ("GET", "/v1/models/digits/outcomes", 405),
        ("PUT", "/v1/models/digits/veto", 405),
    ],
)
def test_other_address_or_method_is_refused(local: Path, method: str, target: str, expected: int) -> None:
    assert ask(local, method, target, {} if method != "GET" else None)[0] == expected


def test_model_that_is_not_here_is_404(local: Path) -> None:
    status, tree = ask(local, "POST", "/v1/models/other/veto", {"seconds": 5})
    assert (status, tree["error"]) == (404, "this device has no model 'other'")


def test_status_is_the_daemons_snapshot(local: Path) -> None:
    assert ask(local, "GET", "/v1/status") == (200, {"device": "press-1"})


def test_large_body_is_refused_before_it_is_read(local: Path, daemon: Recorded) -> None:
    status, tree = ask(local, "POST", "/v1/models/digits/labels", b" " * 300_000)
    assert status == 413
    assert "262144" in str(tree["error"])
    assert daemon.told == []


def test_socket_is_for_owner_and_group_and_goes_with_the_agent(run_dir: Path, daemon: Recorded) -> None:
    served = LocalSocket(run_dir, "pinnace", daemon)
    assert stat.S_IMODE((run_dir / "agent.sock").stat().st_mode) == 0o660
    served.close()
    assert not (run_dir / "agent.sock").exists()
