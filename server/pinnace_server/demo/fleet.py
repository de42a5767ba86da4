"""What the demo asks of the server, over the REST API with the admin token: exactly what an operator could ask.

Owns requests and the reading of answers. It hands in versions, assigns them and then only looks; what to think of what
it sees is ``story``'s.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlencode, urlsplit

from pinnace_contract.latest import Cause, Outcome, Phase
from pinnace_server.demo.errors import ConversionRefused, ServerSaidNo
from pinnace_server.demo.story import DeviceView, Ending, Rollback, Seen
from pinnace_server.demo.versions import MODEL, DemoVersion, VersionFiles

ANSWER_S = 30.0  # on a board that is busy with six other programs
ROWS = 200  # of one page; five devices never fill it in the time of one version
JOB_S = 180.0  # the longest that a conversion of this small a model may take anywhere
JOB_POLL_S = 0.3

Tree = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How long a version must prove itself on a device. Short, so that the story fits into a few minutes."""

    inferences: int = 100
    duration_s: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """A version that was assigned to every device: the rollout, and when it began by the server's clock."""

    rollout: str
    at_s: float


class Fleet:
    """The API of one server."""

    def __init__(self, *, url: str, token: str) -> None:
        self.url, self._token = url, token
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or http.client.HTTP_PORT

    def ready(self) -> bool:
        """Tell whether the server answers and has its broker."""
        try:
            self._call("GET", "/ready")
        except (ServerSaidNo, OSError):
            return False
        return True

    def add_model(self, description: str) -> None:
        """Make the model family."""
        self._call("POST", "/models", {"name": MODEL, "description": description})

    def claim_token(self, devices: int) -> str:
        """Make a token with which so many devices may enrol."""
        made = self._call("POST", "/claim-tokens", {"uses": devices, "life_s": 3600, "note": "the demo's devices"})
        return _text(made, "token")

    def register(
        self, version: DemoVersion, files: VersionFiles, *, force: str, tell: Callable[[str], None]
    ) -> tuple[str, ...]:
        """Upload a version, let the server convert and sign it, and return the precisions that it offers.

        Raises:
            ConversionRefused: no variant passed its checks; the reasons are the converter's.
        """
        begun = self._call(
            "POST",
            f"/models/{MODEL}/versions",
            {
                "version": version.name,
                "source": self._upload(files.model.read_bytes()),
                "source_name": files.model.name,
                "calibration": self._upload(files.calibration.read_bytes()),
                "heldout": self._upload(files.heldout.read_bytes()),
                "declaration": json.loads(files.processing.read_bytes()),
                "precisions": [str(precision) for precision in version.precisions],
                "force": force,
                "card": f"Handwritten digits, 8 × 8. This one: {version.title}.",
            },
        )
        self._wait_for_job(_text(begun, "id"), version, tell)
        made = self._call("GET", f"/models/{MODEL}/versions/{version.name}")
        return tuple(_text(variant, "precision") for variant in _trees(made, "variants"))

    def assign(self, version: str, trial: Trial) -> Assigned:
        """Let every device go to a version."""
        made = self._call(
            "POST",
            "/assignments",
            {
                "model": MODEL,
                "version": version,
                "trial": {"inferences": trial.inferences, "duration_s": trial.duration_s},
            },
        )
        return Assigned(rollout=_text(made, "id"), at_s=_number(made, "created_at_s"))

    def seen(self, assigned: Assigned) -> Seen:
        """Look at everything that happened since a version was assigned."""
        return Seen(
            devices=self.devices(),
            endings=tuple(ending for ending in self._endings() if ending.at_s >= assigned.at_s),
            rollbacks=tuple(self._rollbacks(assigned)),
        )

    def devices(self) -> tuple[DeviceView, ...]:
        """Look at the devices, by name."""
        found = self._call("GET", "/devices?" + urlencode({"limit": ROWS, "order": "name"}))
        return tuple(_device(tree) for tree in _trees(found, "items"))

    def _endings(self) -> tuple[Ending, ...]:
        found = self._call("GET", "/receipts?" + urlencode({"limit": ROWS, "model": MODEL}))
        return tuple(
            Ending(
                device=_text(tree, "device"),
                version=str(tree.get("version") or ""),
                outcome=Outcome(_text(tree, "outcome")),
                cause=Cause(_text(tree, "cause")),
                detail=_text(tree, "detail"),
                at_s=_number(tree, "received_at_s"),
            )
            for tree in _trees(found, "items")
        )

    def _rollbacks(self, assigned: Assigned) -> list[Rollback]:
        found = self._call("GET", "/rollouts?" + urlencode({"limit": ROWS, "model": MODEL}))
        rollouts = _trees(found, "items")
        halted = next(tree for tree in rollouts if tree.get("id") == assigned.rollout)
        return [
            Rollback(
                version=_text(halted, "version"), reason=_text(halted, "reason"), at_s=_number(tree, "created_at_s")
            )
            for tree in rollouts
            if tree.get("halts") == assigned.rollout
        ]

    def _upload(self, content: bytes) -> str:
        return _text(self._call("POST", "/uploads", content), "digest")

    def _wait_for_job(self, job: str, version: DemoVersion, tell: Callable[[str], None]) -> None:
        deadline = time.monotonic() + JOB_S
        while time.monotonic() < deadline:
            found = self._call("GET", f"/jobs/{job}")
            state = _text(found, "state")
            if state == "done":
                return
            if state in ("failed", "cancelled"):
                raise ConversionRefused(version=version.name, why=_text(found, "detail"))
            tell(_text(found, "stage"))
            time.sleep(JOB_POLL_S)
        raise ServerSaidNo(asked=f"job {job}", status=None, said=f"still running after {JOB_S:.0f} s")

    def _call(self, method: str, address: str, message: object = None) -> Tree:
        headers = {"Authorization": f"Bearer {self._token}"}
        if isinstance(message, bytes):
            body, headers["Content-Type"] = message, "application/octet-stream"
        else:
            body, headers["Content-Type"] = json.dumps(message).encode(), "application/json"
        connection = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_S)
        try:
            connection.request(method, "/api/v1" + address, None if message is None else body, headers)
            response = connection.getresponse()
            said = response.read()
        finally:
            connection.close()
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise ServerSaidNo(asked=f"{method} {address}", status=response.status, said=_problem(said))
        return cast(Tree, json.loads(said))


def _device(tree: Tree) -> DeviceView:
    slot: Tree = next((slot for slot in _trees(tree, "models") if slot.get("model") == MODEL), {})
    current = cast("Tree | None", slot.get("current"))
    return DeviceView(
        id=_text(tree, "id"),
        name=_text(tree, "name"),
        online=_text(tree, "status") not in ("offline", "pending"),
        serving=_text(current, "version") if current else None,
        phase=Phase(str(slot.get("phase", Phase.IDLE))),
        cause=Cause(str(slot.get("cause", Cause.NONE))),
    )


def _text(tree: Tree, name: str) -> str:
    return str(tree[name])


def _number(tree: Tree, name: str) -> float:
    return float(cast(float, tree[name]))


def _trees(tree: Tree, name: str) -> list[Tree]:
    return cast("list[Tree]", tree[name])


def _problem(body: bytes) -> str:
    try:
        tree = cast(Tree, json.loads(body))
        return f"{tree['message']} {tree.get('hint', '')}".strip()
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
