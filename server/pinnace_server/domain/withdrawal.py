"""What withdrawing a release does to the devices that hold it: who serves it, and who would have nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final

from pinnace_contract.ids import ReleaseId
from pinnace_contract.latest import ModelState, Phase, Running, WithdrawMode
from pinnace_server.domain.records import Withdrawal

_TRIED: Final = (Phase.TRIAL, Phase.AWAITING_CONTACT)  # the candidate serves


def serves(state: ModelState) -> Running | None:
    """Return what answers on a device, by what it said last."""
    return state.candidate if state.phase in _TRIED else state.current


def goes_dark(state: ModelState, release: ReleaseId, stopped: Set[ReleaseId], epochs: Mapping[ReleaseId, int]) -> bool:
    """Tell whether a device that serves a release has nothing else that may run once it is stopped.

    ``stopped`` holds what was stopped before, ``epochs`` the security epochs of what is known. A device falls back by
    itself to whatever it committed that was not stopped and is not below its floor.
    """
    running = serves(state)
    if running is None or running.release != release:
        return False
    others = (each for each in (state.current, *state.last_good) if each is not None)
    gone = {release, *stopped}
    return all(each.release in gone or epochs.get(each.release, state.floor) < state.floor for each in others)


def stronger(had: Withdrawal | None, asked: Withdrawal) -> Withdrawal | None:
    """Return what is written after a withdrawal is asked for; None: it says nothing that was not said before.

    A release that was retired may be stopped, and never the other way: devices remember.
    """
    if had is None:
        return asked
    least = max(had.least_next_epoch, asked.least_next_epoch)
    if had.mode is asked.mode and least == had.least_next_epoch:
        return None
    return Withdrawal(mode=asked.mode, at_s=asked.at_s, actor=asked.actor, reason=asked.reason, least_next_epoch=least)


def takes_back(had: Withdrawal | None, mode: WithdrawMode) -> bool:
    """Tell whether a mode would take something back that devices were told."""
    return had is not None and had.mode is WithdrawMode.STOP and mode is not WithdrawMode.STOP
