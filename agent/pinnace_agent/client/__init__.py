"""For applications on the device: ask a model, tell the truth about its answers, ask for quiet.

Speaks to the agent's Unix sockets and needs numpy only; nothing of the supervisor is loaded. A ``Client`` belongs to
one thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, cast
from urllib.parse import quote

from pinnace_agent.client.errors import BadAnswer as BadAnswer
from pinnace_agent.client.errors import ClientError as ClientError
from pinnace_agent.client.errors import InferenceFailed as InferenceFailed
from pinnace_agent.client.errors import NotReachable as NotReachable
from pinnace_agent.client.errors import Refused as Refused
from pinnace_agent.client.errors import Unavailable as Unavailable
from pinnace_agent.client.http import HttpConnection, check
from pinnace_agent.client.shared import SharedConnection
from pinnace_agent.client.tensors import Answers, Array, Descriptions, content, contiguous
from pinnace_agent.client.tensors import Result as Result

RUN_DIR: Final = Path("/run/pinnace")
TIMEOUT_S: Final = 30.0
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # it stands in paths and addresses


class Client:
    """An application's side of the agent."""

    def __init__(self, at: Path | str = RUN_DIR, *, timeout_s: float = TIMEOUT_S, shared_memory: bool = False) -> None:
        """``at`` is the agent's run directory, or the socket of one model.

        With ``shared_memory`` tensors are not sent but laid where the worker reads them: worth it above some 10 KB.
        """
        self._at, self._timeout_s, self._shared = Path(at), timeout_s, shared_memory
        self._one_socket = self._at.is_socket()
        self._connections: dict[Path, HttpConnection] = {}
        self._models: dict[str, HttpConnection | SharedConnection] = {}
        self._descriptions, self._answers = Descriptions(), Answers()

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        *,
        outputs: Sequence[str] | None = None,
        preprocessed: bool = False,
    ) -> Result:
        """Ask the model. Inputs are raw, as the release's contract describes them, unless ``preprocessed``.

        Raises:
            Unavailable: nobody serves the model just now; says why and when to try again.
            Refused: the inputs are not what the model takes.
            InferenceFailed: the model failed on them.
            NotReachable: there is no agent.
        """
        arrays = contiguous(inputs)
        described = self._descriptions.of(arrays, outputs, preprocessed)
        parts = [content(array) for array in arrays.values()]
        asked = self._models.get(model) or self._reach(model)
        if isinstance(asked, SharedConnection):
            answer = check(asked.ask(described, parts))
        else:
            head = _infer_head(model, len(described), sum(map(len, parts)))
            answer = check(asked.ask(head + described, parts))
        json_bytes = answer.headers.get("inference-header-content-length")
        return self._answers.read(answer.body, int(json_bytes) if json_bytes and json_bytes.isdecimal() else None)

    def metadata(self, model: str) -> Mapping[str, object]:
        """Return what the model takes and gives, and which release and variant serve now."""
        return self._json(self._model_socket(model), "GET", f"/v2/models/{quote(model)}")

    def label(
        self,
        model: str,
        request: str,
        label: int | Sequence[int] | None = None,
        *,
        correct: bool | None = None,
        group: str = "",
    ) -> None:
        """Tell the truth about one answer: the right class (of each row), or just whether it was right.

        ``group`` declares whom or what the answer was about, for the guard ``fairness``.
        """
        given: dict[str, object] = {"request": request}
        if group:
            given["group"] = group
        self.labels(model, [given | ({"label": label} if correct is None else {"correct": correct})])

    def labels(self, model: str, labels: Sequence[Mapping[str, object]]) -> None:
        """Tell the truth about several answers: ``{"request": …, "label": …}`` or ``{"request": …, "correct": …}``."""
        self._act(model, "POST", "labels", {"labels": list(labels)})

    def outcome(self, model: str, metric: str, success: bool, *, request: str | None = None) -> bool:
        """Tell whether an answer led to what it was for; without ``request``, an answer of whatever serves now.

        Tells whether it was counted: an answer of an earlier run of the agent is not known any more.

        Raises:
            Refused: the model counts another metric.
            Unavailable: nothing serves, and no answer was named.
        """
        given: dict[str, object] = {"metric": metric, "success": success}
        return self.outcomes(model, [given | ({} if request is None else {"request": request})])["counted"] == 1

    def outcomes(self, model: str, outcomes: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
        """Tell several outcomes: ``{"metric": …, "request": …, "success": …}``, or ``trials`` and ``successes``.

        Returns how many were ``counted``, how many ``unknown`` and how many ``repeated``.
        """
        return self._act(model, "POST", "outcomes", {"outcomes": list(outcomes)})

    def veto(self, model: str, seconds: float, reason: str = "") -> None:
        """Ask that no other release is activated for a while. The operator sees the reason."""
        self._act(model, "POST", "veto", {"seconds": seconds, "reason": reason})

    def lift_veto(self, model: str) -> None:
        """Mind no longer."""
        self._act(model, "DELETE", "veto", None)

    def accepts(self, model: str, contracts: Sequence[str]) -> None:
        """Declare the digests of the I/O contracts that this application can work with."""
        self._act(model, "POST", "accepts", {"contracts": list(contracts)})

    def status(self) -> Mapping[str, object]:
        """Return what the agent runs, and why."""
        return self._json(self._agent_socket(), "GET", "/v1/status")

    def close(self) -> None:
        """End all connections."""
        for connection in self._connections.values():
            connection.close()
        for asked in self._models.values():
            asked.close()
        self._connections.clear()
        self._models.clear()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- sockets ---------------------------------------------------------------------------------------------------

    def _model_socket(self, model: str) -> Path:
        _check_name(model)
        return self._at if self._one_socket else self._at / f"{model}.sock"

    def _agent_socket(self) -> Path:
        return (self._at.parent if self._one_socket else self._at) / "agent.sock"

    def _of(self, path: Path) -> HttpConnection:
        found = self._connections.get(path)
        if found is None:
            found = self._connections[path] = HttpConnection(path, self._timeout_s)
        return found

    def _reach(self, model: str) -> HttpConnection | SharedConnection:
        path = self._model_socket(model)
        found = self._models[model] = SharedConnection(path, model, self._timeout_s) if self._shared else self._of(path)
        return found

    def _act(self, model: str, method: str, act: str, tree: object) -> Mapping[str, object]:
        _check_name(model)
        return self._json(self._agent_socket(), method, f"/v1/models/{quote(model)}/{act}", tree)

    def _json(self, path: Path, method: str, target: str, tree: object = None) -> Mapping[str, object]:
        body = b"" if tree is None else json.dumps(tree).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        answer = check(self._of(path).ask(head.encode() + body))
        try:
            return cast(Mapping[str, object], json.loads(bytes(answer.body)))
        except ValueError as error:
            raise BadAnswer(f"{path} did not answer in JSON") from error


def _check_name(model: str) -> None:
    if not _NAME.fullmatch(model):
        raise Refused(f"expected a model's name of at most 63 of a-z, 0-9 and -, found {model[:80]!a}", 400)


def _infer_head(model: str, json_bytes: int, tensor_bytes: int) -> bytes:
    return (
        f"POST /v2/models/{quote(model)}/infer HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {json_bytes}\r\nContent-Length: {json_bytes + tensor_bytes}\r\n\r\n"
    ).encode()
