"""``agent.sock``: what applications on the device tell the supervisor, and what they may ask it.

Ground-truth labels, outcomes, vetoes, accepted contracts, status. It reads, bounds and hands on; the daemon's
``Applications`` only enqueues or shows a snapshot, because it is called from this module's thread. Inference has a
socket of its own.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeGuard, cast

from pinnace_agent.core.wording import shortened
from pinnace_agent.endpoint import listen_unix
from pinnace_agent.http_message import Head, Response, not_allowed, refusal
from pinnace_agent.local_http import Connection, HttpLimits, HttpServer
from pinnace_agent.outcomes import METRIC_CHARS_MAX, NotTaken, Outcome, Weighed
from pinnace_agent.reactor import Reactor
from pinnace_agent.worker.protocol import Truth
from pinnace_contract.ids import Digest, ModelName, fits

NAME: Final = "agent.sock"
LIMITS: Final = HttpLimits(
    connections=32, body_bytes=256 * 1024, bodies_bytes=1024 * 1024, request_s=10.0, write_s=10.0, idle_s=60.0
)
LABELS_MAX: Final = 1024  # in one request
OUTCOMES_MAX: Final = 1024  # likewise
TRIALS_MAX: Final = 1_000_000  # of one outcome
GROUP_CHARS_MAX: Final = 64
CLASS_MAX: Final = 2**31
CLASSES_MAX: Final = 256  # of one label, one for each row of the batch it is about
REQUEST_CHARS_MAX: Final = 64
VETO_S_MAX: Final = 24 * 3600.0
REASON_CHARS_MAX: Final = 256
FOUND_CHARS_MAX: Final = 80  # of what was found in the place of what was expected
CONTRACTS_MAX: Final = 16
_TURN_S: Final = 1.0


class Applications(Protocol):
    """What the daemon does with it, at once, or it raises ``NotTaken``. ``False``: this device has no such model."""

    def label(self, model: ModelName, truths: tuple[Truth, ...], /) -> bool:
        """Ground truth for answers."""
        ...

    def outcome(self, model: ModelName, outcomes: Sequence[Outcome], /) -> Weighed:
        """What came of answers."""
        ...

    def veto(self, model: ModelName, seconds: float, reason: str, /) -> bool:
        """Do not activate anything for a while."""
        ...

    def lift_veto(self, model: ModelName, /) -> bool:
        """Activate when you like."""
        ...

    def accept(self, model: ModelName, contracts: tuple[Digest, ...], /) -> bool:
        """The I/O contracts that the applications can work with; none: they do not say."""
        ...

    def status(self) -> Mapping[str, object]:
        """Return what this device runs and why, ready for JSON."""
        ...


class LocalSocket:
    """The socket and the thread that serves it."""

    def __init__(self, run_dir: Path, group: str, applications: Applications) -> None:
        """Listen and serve.

        Raises:
            SocketTrouble: the socket cannot be made there.
        """
        self._path = run_dir / NAME
        self._listening = listen_unix(self._path, group)
        self._reactor = Reactor()
        self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._reactor.add(self._stop, lambda _events: None)
        self._server = HttpServer(
            reactor=self._reactor, handler=_Handler(applications), clock=time.monotonic, limits=LIMITS
        )
        self._server.listen(self._listening)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="agent.sock", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and remove the socket."""
        self._closing = True
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)  # not by the thread, which may see the end before it is woken

    def _run(self) -> None:
        next_look_s = time.monotonic() + _TURN_S
        while not self._closing:
            self._turn()
            if time.monotonic() >= next_look_s:
                next_look_s = time.monotonic() + _TURN_S
                self._server.expire()
        self._server.close()
        self._reactor.close()
        self._listening.close()
        self._path.unlink(missing_ok=True)

    def _turn(self) -> None:
        try:
            self._reactor.turn(_TURN_S)
        except Exception:  # a bug of ours: it costs the connections, not the agent
            logging.getLogger(__name__).exception("agent.sock: a request could not be handled; connections are closed")
            self._server.close()
            self._server.listen(self._listening)


class _Bad(Exception):
    """The body is not what this address takes."""


_Act = Callable[[ModelName, object], bool | Mapping[str, object]]


class _Handler:
    def __init__(self, applications: Applications) -> None:
        self._applications = applications
        self._acts: dict[tuple[str, str], tuple[_Act, int]] = {
            ("POST", "labels"): (self._label, 202),
            ("POST", "outcomes"): (self._outcome, 202),
            ("POST", "veto"): (self._veto, 202),
            ("DELETE", "veto"): (self._lift_veto, 202),
            ("POST", "accepts"): (self._accept, 202),
        }

    def admit(self, head: Head) -> Response | None:
        match head.path.split("/"):
            case ["", "v1", "status"]:
                return None if head.method == "GET" else not_allowed("GET")
            case ["", "v1", "models", model, act]:
                methods = [method for method, name in self._acts if name == act]
                if not methods:
                    return _no_such_address()
                if not fits(ModelName, model):
                    return refusal(404, "a model's name is made of a-z, 0-9 and -")
                return None if head.method in methods else not_allowed(*methods)
            case _:
                return _no_such_address()

    def allocate(self, head: Head) -> memoryview:
        return memoryview(bytearray(head.length))

    def answer(self, head: Head, body: memoryview, _connection: Connection) -> Response:
        if head.path == "/v1/status":
            return Response(parts=(json.dumps(self._applications.status()).encode(),))
        _, _, _, model, act = head.path.split("/")
        do, status = self._acts[head.method, act]
        try:
            said = do(ModelName(model), _parsed(body) if head.method == "POST" else None)
        except _Bad as problem:
            return refusal(400, str(problem))
        except NotTaken as problem:
            return refusal(problem.status, str(problem), retry_after_s=problem.retry_after_s)
        if said is False:
            return refusal(404, f"this device has no model {model!r}")
        return Response(status=status, parts=(b"{}" if said is True else json.dumps(said).encode(),))

    def _label(self, model: ModelName, tree: object) -> bool:
        given = _object(tree).get("labels", [tree])
        if not isinstance(given, list) or len(given) > LABELS_MAX:
            raise _Bad(f'expected "labels": a list of at most {LABELS_MAX}, or one label')
        return self._applications.label(model, tuple(_truth(each) for each in given))

    def _outcome(self, model: ModelName, tree: object) -> Mapping[str, object]:
        given = _object(tree).get("outcomes", [tree])
        if not isinstance(given, list) or not 0 < len(given) <= OUTCOMES_MAX:
            raise _Bad(f'expected "outcomes": a list of 1 to {OUTCOMES_MAX}, or one outcome')
        weighed = self._applications.outcome(model, [_told(each) for each in given])
        return {"counted": weighed.counted, "unknown": weighed.unknown, "repeated": weighed.repeated}

    def _veto(self, model: ModelName, tree: object) -> bool:
        asked = _object(tree)
        seconds, reason = asked.get("seconds"), asked.get("reason", "")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= VETO_S_MAX:
            raise _Bad(f'expected "seconds": a number above 0, at most {VETO_S_MAX:g}')
        return self._applications.veto(model, float(seconds), _text("reason", reason, 0, REASON_CHARS_MAX))

    def _lift_veto(self, model: ModelName, _tree: object) -> bool:
        return self._applications.lift_veto(model)

    def _accept(self, model: ModelName, tree: object) -> bool:
        digests = _object(tree).get("contracts")
        if not isinstance(digests, list) or len(digests) > CONTRACTS_MAX:
            raise _Bad(f'expected "contracts": a list of at most {CONTRACTS_MAX} digests')
        if not all(isinstance(each, str) and fits(Digest, each) for each in digests):
            raise _Bad("a contract's digest is 64 hexadecimal digits, as `pinnace` shows it for a release")
        return self._applications.accept(model, tuple(Digest(each) for each in digests))


def _truth(tree: object) -> Truth:
    given = _object(tree)
    request = _text("request", given.get("request"), 1, REQUEST_CHARS_MAX, of='the "pinnace_request" of an answer, ')
    label, correct = given.get("label"), given.get("correct")
    if (label is None) == (correct is None):
        raise _Bad('a label has either "label" (a class number, or one for each row) or "correct" (true or false)')
    group = _text("group", given.get("group", ""), 0, GROUP_CHARS_MAX)
    if correct is not None:
        if not isinstance(correct, bool):
            raise _Bad('"correct" must be true or false')
        return Truth(request=request, correct=correct, group=group)
    listed = cast(list[object], label) if isinstance(label, list) else [label]
    classes = tuple(each for each in listed if isinstance(each, int) and not isinstance(each, bool) and each >= 0)
    if not 0 < len(listed) <= CLASSES_MAX or len(classes) < len(listed) or max(classes) > CLASS_MAX:
        raise _Bad(f'"label" must be a class number from 0 on, or a list of at most {CLASSES_MAX} of them')
    return Truth(request=request, classes=classes, group=group)


def _told(tree: object) -> Outcome:
    given = _object(tree)
    metric = _text("metric", given.get("metric"), 1, METRIC_CHARS_MAX)
    request, success = given.get("request"), given.get("success")
    if request is not None:
        request = _text("request", request, 1, REQUEST_CHARS_MAX, of='the "pinnace_request" of an answer, or nothing, ')
    if (success is None) == (given.get("trials") is None):
        raise _Bad('an outcome has either "success" (true or false) or "trials" and "successes" (numbers)')
    if success is not None:
        if not isinstance(success, bool):
            raise _Bad('"success" must be true or false')
        return Outcome(metric=metric, request=request, successes=int(success))
    trials, successes = given.get("trials"), given.get("successes")
    if not _is_count(trials) or not 0 < trials <= TRIALS_MAX:
        raise _Bad(f'"trials" must be a whole number from 1 to {TRIALS_MAX}')
    if not _is_count(successes) or successes > trials:
        raise _Bad('"successes" must be a whole number from 0 to "trials"')
    return Outcome(metric=metric, request=request, trials=trials, successes=successes)


def _text(name: str, given: object, chars_min: int, chars_max: int, *, of: str = "") -> str:
    """Return a text that can be stored, framed and sent: JSON has texts that have no bytes, of lone surrogates."""
    if not isinstance(given, str):
        found = ascii(given)
    elif not chars_min <= len(given) <= chars_max:
        found = f"{len(given)} characters"
    elif not _has_bytes(given):
        found = f"a lone surrogate in {given!a}"
    else:
        return given
    found = shortened(found, FOUND_CHARS_MAX)
    raise _Bad(f'expected "{name}": {of}a text of {chars_min} to {chars_max} characters, found {found}')


def _has_bytes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _parsed(body: memoryview) -> object:
    try:
        return cast(object, json.loads(bytes(body)))
    except (ValueError, RecursionError) as error:
        raise _Bad(f"the body is not JSON ({type(error).__name__})") from error


def _object(tree: object) -> Mapping[str, object]:
    if not isinstance(tree, dict):
        raise _Bad("expected a JSON object")
    return tree


def _no_such_address() -> Response:
    return refusal(404, "no such address; there are /v1/status and /v1/models/MODEL/{labels,outcomes,veto,accepts}")
