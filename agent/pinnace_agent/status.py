"""``pinnace-agent status``: what the running agent says of itself, for people and for scripts."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.slot import Servable, Slot, Split
from pinnace_agent.errors import NotYet
from pinnace_contract.ids import DeviceId, Digest, ModelName
from pinnace_contract.latest import Cause

TIMEOUT_S: Final = 5.0
_BYTES_MAX: Final = 1024 * 1024


class NotRunning(NotYet):
    """No agent answers on this run directory."""


def compose(
    state: DeviceState,
    device: DeviceId,
    *,
    connected: bool,
    problem: str,
    unsent_reports: int,
    version: str,
    serving: Mapping[ModelName, Digest],
    unix_s: float,
) -> dict[str, object]:
    """Return the snapshot that ``GET /v1/status`` answers. ``serving`` maps a model to the variant that answers now."""
    return {
        "device": device,
        "incarnation": state.incarnation,
        "agent_version": version,
        "connected": connected,
        "connection_problem": problem,
        "generation": state.generation,
        "refused": _reason(state.refused.cause, state.refused.detail),
        "receipts_waiting": len(state.outbox),
        "reports_waiting": unsent_reports,
        "models": {slot.model: _slot(slot, serving.get(slot.model)) for slot in state.slots},
        "at_s": round(unix_s, 3),
    }


def fetch(run_dir: Path) -> dict[str, Any]:
    """Ask the agent whose sockets are in ``run_dir``.

    Raises:
        NotRunning
    """
    path = run_dir / "agent.sock"
    connection = http.client.HTTPConnection("agent", timeout=TIMEOUT_S)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.connect(str(path))
        connection.request("GET", "/v1/status")
        found: dict[str, Any] = json.loads(connection.getresponse().read(_BYTES_MAX))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotRunning(
            f"no agent answers on {path} ({error}); start it with `pinnace-agent run`, or name its --store"
        ) from error
    finally:
        connection.close()
    return found


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the status for people."""
    link = "connected" if found["connected"] else f"not connected ({found['connection_problem'] or 'connecting'})"
    out = [
        f"device      {found['device']}  (agent {found['agent_version']})",
        f"link        {link}",
        f"generation  {found['generation']}{_why(found['refused'])}",
        f"waiting     {found['receipts_waiting']} receipts, {found['reports_waiting']} reports",
    ]
    if not found["models"]:
        out.append("models      none assigned yet")
    for name, model in found["models"].items():
        out.append("")
        out.append(f"{name}: {model['phase']}{_why(model['reason'])}")
        out.append(f"  serving    {_running(model['serving'], 'nothing: the local endpoint answers 503')}")
        out.append(f"  committed  {_running(model['current'], 'nothing yet')}")
        if model["candidate"]:
            out.append(f"  candidate  {_running(model['candidate'], '')}")
        if model["control"]:
            share = f"{model['control']['share_percent']} % of the requests"
            out.append(f"  control    {_running(model['control'], '')}, {share}")
        if model["standby"]:
            out.append(f"  standby    {_running(model['standby'], '')}{_why(model['standby']['why'])}")
        for good in model["last_good"]:
            out.append(f"  last good  {_running(good, '')}")
        if model["ended"]:
            out.append(f"  last end   {model['ended']['outcome']}{_why(model['ended'])}")
    return out


def _slot(slot: Slot, serving: Digest | None) -> dict[str, object]:
    candidate = slot.work.candidate.servable if slot.work and slot.work.candidate else None
    control = slot.split.control if slot.split else None
    answering = next((each for each in (candidate, slot.current, control) if each and each.variant == serving), None)
    return {
        "phase": str(slot.phase),
        "reason": _reason(slot.reason.cause, slot.reason.detail),
        "generation": slot.generation,
        "attempt": slot.attempt,
        "serving": _servable(answering),
        "current": _servable(slot.current),
        "candidate": _servable(candidate),
        "control": _control(slot.split),
        "standby": _standby(slot),
        "last_good": [_servable(each) for each in slot.last_good],
        "floor": slot.floor,
        "ended": None
        if slot.ended is None
        else {
            "outcome": str(slot.ended.outcome),
            "generation": slot.ended.generation,
            **(_reason(slot.ended.reason.cause, slot.ended.reason.detail) or {"cause": "", "detail": ""}),
        },
    }


def _control(split: Split | None) -> dict[str, object] | None:
    if split is None:
        return None
    asked = {"share_percent": split.share_percent, "left_s": round(split.left_s), "until_s": split.until_s}
    return {**(_servable(split.control) or {}), **asked}


def _servable(found: Servable | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "version": found.version,
        "release": found.release,
        "variant": found.variant,
        "runtime": str(found.runtime),
        "sequence": found.sequence,
    }


def _standby(slot: Slot) -> dict[str, object] | None:
    standby = slot.standby
    if standby is None:
        return None
    why = _reason(standby.reason.cause, standby.reason.detail)
    return {**(_servable(standby.servable) or {}), "warm": standby.warm, "why": why}


def _reason(cause: Cause, detail: str) -> dict[str, str] | None:
    return None if cause is Cause.NONE else {"cause": str(cause), "detail": detail}


def _running(found: Mapping[str, Any] | None, nothing: str) -> str:
    if not found:
        return nothing
    return f"version {found['version']} ({found['runtime']}, variant {found['variant'][:12]})"


def _why(reason: Mapping[str, Any] | None) -> str:
    return f"  {reason['cause']}: {reason['detail']}" if reason and reason.get("cause") else ""
