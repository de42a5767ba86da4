"""What the model's socket answers: the routes of the Open Inference Protocol, each inference counted.

Owns routes, errors as clients see them and the order "answer first, count afterwards". Tensors are read and written by
``open_inference.py``, bytes are moved by ``local_http.py`` or shared memory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pinnace_agent.http_message import Head, Part, Response, is_length, not_allowed, refusal
from pinnace_agent.local_http import Connection
from pinnace_agent.loopback_guard import guard
from pinnace_agent.worker import answer_name, open_inference
from pinnace_agent.worker.copies import Forwarder
from pinnace_agent.worker.counts import Counts
from pinnace_agent.worker.model import Model, means_no_memory
from pinnace_agent.worker.protocol import Load
from pinnace_agent.worker.reply import Reply
from pinnace_agent.worker.split import Split
from pinnace_contract.latest import Runtime
from pinnace_runtime.errors import BadInput, InferenceError

PLATFORMS: Final = {Runtime.ONNX: "onnx_onnxv1", Runtime.TFLITE: "tensorflow_tflite", Runtime.UNKNOWN: ""}
HEADER_LENGTH: Final = "inference-header-content-length"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """What a path means; for an inference, how many bytes of the body are JSON (None: all).

    ``pinned``: it names the version of this process, so no other arm may answer.
    """

    name: str
    json_bytes: int | None
    pinned: bool


class Service:
    """Answers requests with the one model of this process."""

    def __init__(self, model: Model, order: Load, counts: Counts, later: list[Callable[[], None]]) -> None:
        """``later`` is emptied by the loop after each answer has left."""
        self._model, self._counts, self._later = model, counts, later
        self._token_sha256, self._tag = order.token_sha256, order.tag
        self._name, self._version = str(model.release.model), str(model.release.version)
        self._what_answers = {"pinnace_release": str(order.release), "pinnace_variant": str(model.variant.digest)}
        self._reader = open_inference.Reader(model.release.contract)
        self._writer = open_inference.Writer(model=self._name, version=self._version, parameters=self._what_answers)
        self._requests = 0
        self._forwarder: Forwarder | None = None
        self._asked = 0
        self._split: Split | None = None
        self._open_shared: Callable[[memoryview, Connection], Response] | None = None

    def forward_to(self, forwarder: Forwarder | None) -> None:
        """Copy answers to a candidate in its shadow from now on, in the place of whoever got them before."""
        if self._forwarder is not None:
            self._forwarder.close()
        self._forwarder = forwarder

    def split_with(self, split: Split | None) -> None:
        """Ask another arm for its share from now on, in the place of whoever had one; None: answer everything."""
        if self._split is not None:
            self._split.close()
        self._split = split

    @property
    def split(self) -> Split | None:
        """The other arm, where there is one."""
        return self._split

    def with_shared_memory(self, opened: Callable[[memoryview, Connection], Response]) -> None:
        """Let clients on the Unix socket ask for shared memory."""
        self._open_shared = opened

    # --- what the HTTP server asks ---------------------------------------------------------------------------------

    def admit(self, head: Head) -> Response | None:
        """Refuse by address, method and right."""
        if head.route is not None:
            return None  # the same bytes were admitted before, token and all
        refused = guard(head, self._token_sha256)
        if refused is not None:
            return refused
        route = self._route(head.path)
        if isinstance(route, Response):
            return route
        allowed = ("POST",) if route in ("infer", "shared_memory") else ("GET", "HEAD")
        if head.method not in allowed:
            return not_allowed(*allowed)
        if route == "shared_memory" and (head.loopback or self._open_shared is None):
            return refusal(404, "shared memory is only for clients on the Unix socket")
        announced = head.headers.get(HEADER_LENGTH)
        if announced is not None and not (is_length(announced) and int(announced) <= head.length):
            return refusal(400, f"Inference-Header-Content-Length must be at most the body's {head.length} bytes")
        pinned = head.path.strip("/").split("/")[3:4] == ["versions"]
        head.route = _Route(name=route, json_bytes=None if announced is None else int(announced), pinned=pinned)
        return None

    def allocate(self, head: Head) -> memoryview:
        """Return a buffer in which the first binary tensor will be aligned."""
        json_bytes = (head.route.json_bytes or 0) if isinstance(head.route, _Route) else 0
        return open_inference.room_for(head.length, json_bytes)

    def answer(self, head: Head, body: memoryview, connection: Connection) -> Response:
        """Answer an admitted request."""
        route = head.route
        if not isinstance(route, _Route):
            raise AssertionError("a request that was not admitted")
        if route.name == "infer":
            return _http(self.infer(body, route.json_bytes, alone=route.pinned))
        if route.name == "shared_memory" and self._open_shared is not None:
            return self._open_shared(body, connection)
        return Response(parts=(json.dumps(self._document(route.name)).encode(),))

    # --- inference -------------------------------------------------------------------------------------------------

    def infer(self, body: memoryview, json_bytes: int | None, *, lent: bool = False, alone: bool = False) -> Reply:
        """Answer one inference request, unless it is the other arm's; ``alone``: in any case.

        A body that is ``lent`` is its client's again with the answer.

        Raises:
            MemoryError: an allocation failed inside the model: this process must end.
        """
        self._asked += 1
        if self._split is not None and not alone and self._split.asks(self._asked):
            reply = self._split.ask(body, json_bytes)
            if reply is not None:
                return reply
        began = time.monotonic_ns()
        timed = self._model.timed
        timed.spent_ns = 0
        try:
            asked, inputs = self._reader.read(body, json_bytes)
            outputs = self._model.pipeline.infer(inputs, raw=not asked.preprocessed)
        except open_inference.TooLargeToRead as error:
            return _error(503, str(error))
        except (open_inference.BadRequest, BadInput) as error:
            self._counts.failed("bad_request", reached_the_model=False)
            return _error(400, str(error))
        except InferenceError as error:
            if means_no_memory(error):
                raise MemoryError(str(error)) from error
            self._counts.failed("runtime", reached_the_model=True)
            return _error(500, str(error))
        number = self._requests = self._requests + 1
        described, tensors = self._writer.write(asked, outputs, answer_name.named(self._tag, self._counts.arm, number))
        run_ns = timed.spent_ns
        total_ns = time.monotonic_ns() - began
        raw = None if asked.preprocessed else inputs
        self._later.append(lambda: self._counts.answered(number, raw, outputs, total_ns=total_ns, run_ns=run_ns))
        # What a client prepared for this release says nothing about one that may prepare it in another way.
        forwarder = self._forwarder if raw is not None else None
        if forwarder is not None and forwarder.wants(number):
            kept = memoryview(bytes(body)) if lent else body
            self._later.append(lambda: forwarder.offer(kept, json_bytes, outputs))
        return Reply(status=200, json=described, tensors=tuple(tensors))

    # --- routes ----------------------------------------------------------------------------------------------------

    def _route(self, path: str) -> str | Response:
        parts = path.strip("/").split("/")
        match parts:
            case ["v2"]:
                return "server"
            case ["v2", "health", "live" | "ready" as which]:
                return which
            case ["v2", "models", model, *rest]:
                return self._model_route(model, rest)
            case _:
                return refusal(404, "no such address; the Open Inference Protocol begins at /v2")

    def _model_route(self, model: str, rest: list[str]) -> str | Response:
        if model != self._name:
            return refusal(404, f"this socket serves {self._name!r} and no other model")
        if rest[:1] == ["versions"] and len(rest) > 1:
            if rest[1] != self._version:
                return refusal(404, f"version {self._version!r} of {self._name!r} is served here and no other")
            rest = rest[2:]
        match rest:
            case []:
                return "model"
            case ["ready"]:
                return "model_ready"
            case ["infer" | "shared_memory" as which]:
                return which
            case _:
                return refusal(404, "no such address of a model; there are /ready and /infer")

    def _document(self, route: str) -> dict[str, object]:
        match route:
            case "server":
                return {"name": "pinnace", "version": "2", "extensions": ["binary_tensor_data"]}
            case "live":
                return {"live": True}
            case "ready":
                return {"ready": True}
            case "model_ready":
                return {"name": self._name, "ready": True}
            case _:
                document = open_inference.metadata(
                    self._model.release.contract,
                    model=self._name,
                    version=self._version,
                    platform=PLATFORMS[self._model.variant.runtime],
                )
                return document | {"parameters": self._what_answers}


def _http(reply: Reply) -> Response:
    if not reply.tensors:
        return Response(status=reply.status, parts=(reply.json,))
    parts: tuple[Part, ...] = (reply.json, *reply.tensors)
    return Response(
        parts=parts,
        content_type="application/octet-stream",
        headers=(("Inference-Header-Content-Length", str(len(reply.json))),),
    )


def _error(status: int, message: str) -> Reply:
    return Reply(status=status, json=json.dumps({"error": message}).encode())
