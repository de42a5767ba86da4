"""How a rollout in waves of a world stands, and whether anything more of it begins by itself.

Looks on from outside, at what the server wrote down. Benchmarks and rehearsals play whole rollouts by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pinnace_contract.ids import RolloutId
from pinnace_server.domain import wave_report
from pinnace_server.domain.gates.verdicts import Reason
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.ramp import Wave
from pinnace_server.domain.records import Rollout, RolloutState
from pinnace_server.domain.wave_report import WaveReport
from pinnace_sim.server import SimServer

_STOPPED: Final = {Reason.INSTALLS_STOPPED, Reason.HARDWARE_STOPPED}


class End(StrEnum):
    """What became of a rollout."""

    PROMOTED = "promoted"  # through its last wave, by its gates
    MOVED_BACK = "moved_back"
    INSTALLS_STOPPED = "installs_stopped"
    HELD = "held"  # before its last wave
    BUDGET_HELD = "budget_held"  # in its last wave, of which the budget of healthy devices keeps the rest
    HELD_LAST = "held_last"  # every device was told: nothing was left to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where a rollout stands. ``current`` is the first wave that is not promoted, else the last one."""

    end: End
    rollout: Rollout
    waves: tuple[Wave, ...]
    current: Wave
    report: WaveReport | None


def newest(server: SimServer, rollouts: Sequence[RolloutId]) -> RolloutId | None:
    """Return the last of these rollouts that is in waves."""
    with server.store.read() as tables:
        named = [each for each in rollouts if (r := tables.rollouts.get(each)) is not None and r.rules]
    return named[-1] if named else None


def is_over(server: SimServer, name: RolloutId) -> bool:
    """Tell whether nothing more begins without a person."""
    with server.store.read() as tables:
        rollout = tables.rollouts.get(name)
    return rollout is None or rollout.state is not RolloutState.ACTIVE or bool(rollout.paused)


def stand(server: SimServer, name: RolloutId) -> Stand:
    """Return where a rollout stands."""
    with server.store.read() as tables:
        rollout, waves = tables.rollouts.get(name), tuple(tables.rollouts.waves(name))
    assert rollout is not None, "it was begun"
    waits = server.rollouts.progress(name).report.devices
    budget = any(each.waiting_on is WaitingOn.BUDGET for each in waits)
    current = next((each for each in waves if each.promoted_at_s is None), waves[-1])
    report = wave_report.read(current.verdict)
    end = _end(rollout.state, waves, report, budget=budget)
    return Stand(end=end, rollout=rollout, waves=waves, current=current, report=report)


def _end(state: RolloutState, waves: Sequence[Wave], report: WaveReport | None, *, budget: bool) -> End:
    if state is RolloutState.HALTED:
        return End.MOVED_BACK
    if all(each.promoted_at_s is not None for each in waves):
        return End.PROMOTED
    if report is not None and _STOPPED & set(report.reasons):
        return End.INSTALLS_STOPPED
    if any(each.started_at_s is None for each in waves):
        return End.HELD
    return End.BUDGET_HELD if budget else End.HELD_LAST
