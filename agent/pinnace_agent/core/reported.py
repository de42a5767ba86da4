"""What the server is told of the slots: the retained ``reported``, and the ``active`` part of a birth."""

from __future__ import annotations

from dataclasses import replace

from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.siting import lease_left_s
from pinnace_agent.core.slot import Slot
from pinnace_agent.core.surroundings import Surroundings
from pinnace_contract import codec
from pinnace_contract.errors import TooLarge
from pinnace_contract.latest import ActiveModel, ModelState, Reported, Running, Standby


def reported(state: DeviceState, seq: int, around: Surroundings) -> Reported:
    """Return the device's answer to ``desired``; with many models that all have much to say, without their details."""
    told = _reported(state, seq, around)
    try:
        codec.to_json(told)
    except TooLarge:
        return replace(told, models=tuple(replace(each, detail="", accepts=()) for each in told.models))
    return told


def active(state: DeviceState) -> tuple[ActiveModel, ...]:
    """Return what serves each model now, candidates on trial included."""
    return tuple(ActiveModel(model=slot.model, running=_running(slot)) for slot in state.slots)


def _reported(state: DeviceState, seq: int, around: Surroundings) -> Reported:
    return Reported(
        device=around.host.device,
        incarnation=state.incarnation,
        seq=seq,
        boot=around.host.boot,
        generation=state.generation,
        cause=state.refused.cause,
        detail=state.refused.detail,
        models=tuple(_model_state(slot, around) for slot in state.slots),
        audit_head=state.audit_head,
        at_s=around.unix_s,
    )


def _running(slot: Slot) -> Running | None:
    return slot.serving.running if slot.serving else None


def _model_state(slot: Slot, around: Surroundings) -> ModelState:
    work = slot.work
    candidate = work.candidate if work else None
    return ModelState(
        model=slot.model,
        generation=slot.generation,
        attempt=slot.attempt,
        phase=slot.phase,
        cause=slot.reason.cause,
        detail=slot.reason.detail,
        current=slot.current.running if slot.current else None,
        candidate=candidate.servable.running if candidate else None,
        last_good=tuple(each.running for each in slot.last_good),
        floor=slot.floor,
        fetched_bytes=work.fetched_bytes if work else 0,
        fetch_bytes=candidate.variant.size_bytes if candidate else 0,
        accepts=slot.accepts,
        lease_left_s=lease_left_s(slot, around),
        control=slot.split.control.running if slot.split else None,
        standby=_standby(slot, around.unix_s),
    )


def _standby(slot: Slot, unix_s: float) -> Standby | None:
    standby = slot.standby
    if standby is None:
        return None
    return Standby(
        running=standby.servable.running,
        warm=standby.warm,
        until_s=max(0, int(min(standby.until_s, unix_s + standby.left_s))),
        cause=standby.reason.cause,
        detail=standby.reason.detail,
    )
