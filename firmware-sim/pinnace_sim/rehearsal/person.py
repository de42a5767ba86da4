"""The person of a rehearsal: agrees to whatever waits for agreement, so long after it began to wait."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Final

from pinnace_contract.ids import RolloutId
from pinnace_server.domain import ramp as ramps
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.errors import ServerError
from pinnace_server.service.ramps import ramp_of
from pinnace_sim.server import SimServer

STAND_INS: Final = tuple(f"person-{number}" for number in range(1, 65))
"""Who agrees where the policy names nobody; as many as it can ask for."""


class Person:
    """One who is asked, or several of them: each wave is agreed to ``delay_s`` after it began to wait."""

    def __init__(self, server: SimServer, rollout: RolloutId, delay_s: float) -> None:
        self._server, self._rollout, self._delay_s = server, rollout, delay_s
        self._since_s: dict[int, float] = {}
        self.agreed: list[int] = []

    def look(self, now_s: float) -> None:
        """Agree to what has waited long enough."""
        with self._server.store.read() as tables:
            found = tables.rollouts.get(self._rollout)
            ramp = ramp_of(tables, found) if found is not None else None
        if ramp is None or ramp.current is None or ramp.current.started_at_s is not None:
            return
        wave = ramp.current.number
        if ramps.standing(ramp, None, now_s).waiting_on is not WaitingOn.APPROVAL:
            return
        if now_s - self._since_s.setdefault(wave, now_s) < self._delay_s:
            return
        self.agreed.append(wave)
        for approval in ramp.policy.approvals_before(wave):
            for name in (approval.by or STAND_INS)[: approval.count]:
                # Whoever may not agree, or is too late, is told so; the rollout goes on waiting.
                with contextlib.suppress(ServerError):
                    self._server.guarded(partial(self._server.steering.approve, self._rollout, wave, actor=name))
