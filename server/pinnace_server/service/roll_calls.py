"""The roll call of each rollout, and what its devices that are told said last: read once for one tick.

For 100,000 devices a roll call takes half a second, so that large ones are not called each second. What is found by it
is looked at again, in the transaction that carries it out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.ids import DeviceId, RolloutId
from pinnace_contract.latest import Entry
from pinnace_server.domain.muster import Mustered
from pinnace_server.domain.ramp import Ramp
from pinnace_server.domain.records import MemberState, Rollout, Slot
from pinnace_server.service.ports import Tables

SMALL: Final = 10_000  # devices, which may be called each second; a larger fleet is called so many seconds apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What devices under way were told by a rollout, and what they said of its model."""

    entries: Mapping[DeviceId, Entry]
    slots: Mapping[DeviceId, Slot]


def told(tables: Tables, rollout: Rollout, muster: Iterable[Mustered]) -> Told:
    """Read it for those of a roll call that are under way."""
    names = [each.device for each in muster if each.state is MemberState.ASSIGNED]
    return Told(
        entries={
            each.device: each.entry
            for each in tables.assignments.of(names)
            if each.model == rollout.model and each.rollout == rollout.id
        },
        slots={slot.device: slot for slot in tables.devices.slots(names, rollout.model)},
    )


class RollCalls:
    """What was read of each rollout; inside ``remembered`` no more than once."""

    def __init__(self) -> None:
        self._remembers = False
        self._near: dict[tuple[RolloutId, frozenset[int]], Sequence[Mustered]] = {}
        self._told: dict[RolloutId, Told] = {}
        self._looked: dict[RolloutId, int] = {}
        self._worked_out: dict[RolloutId, tuple[Ramp, float, int]] = {}

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """Read each rollout's no more than once inside the block."""
        self._remembers = True
        try:
            yield
        finally:
            self._remembers = False
            self._near.clear()
            self._told.clear()
            self._looked.clear()

    def near(self, tables: Tables, rollout: RolloutId, begun: Collection[int]) -> Sequence[Mustered]:
        """Return the members of waves that began, and those of others that are under way: a part of a large fleet."""
        key = (rollout, frozenset(begun))
        found = self._near.get(key)
        if found is None:
            found = tables.rollouts.mustered_near(rollout, begun)
            if self._remembers:
                self._near[key] = found
        return found

    def gates_look(self, rollout: RolloutId, devices: int) -> None:
        """Note that the gates of a rollout over so many devices look in this tick."""
        if self._remembers:
            self._looked[rollout] = devices

    def may_wait(self, rollout: RolloutId, ramp: Ramp, now_s: float) -> bool:
        """Tell whether who may move in a large fleet can wait: it was worked out for this ramp a moment ago, or its
        gates look in this very tick, and nothing was decided since it was worked out.

        A place that becomes free in a budget is then taken some seconds later.
        """
        if rollout not in self._worked_out:
            return self._looked.get(rollout, 0) > SMALL
        of, at_s, devices = self._worked_out[rollout]
        if devices <= SMALL or of != _decided(ramp):
            return False
        return rollout in self._looked or 0 <= now_s - at_s < devices / SMALL

    def worked_out(self, rollout: RolloutId, ramp: Ramp, now_s: float, devices: int) -> None:
        """Note that who may move was worked out, from the roll call of so many devices."""
        if self._remembers:
            self._worked_out[rollout] = (_decided(ramp), now_s, devices)

    def forget_but(self, rollouts: Collection[RolloutId]) -> None:
        """Forget the rollouts that are over."""
        self._worked_out = {name: each for name, each in self._worked_out.items() if name in rollouts}

    def told(self, tables: Tables, rollout: Rollout, begun: Collection[int]) -> Told:
        """Return what all members under way were told and said; ``begun`` are the waves that began."""
        found = self._told.get(rollout.id)
        if found is None:
            found = told(tables, rollout, self.near(tables, rollout.id, begun))
            if self._remembers:
                self._told[rollout.id] = found
        return found


def _decided(ramp: Ramp) -> Ramp:
    """Return a ramp without what gates only saw, which is otherwise at each of their looks: nobody moves by it."""
    waves = (replace(wave, verdict="", ready_at_s=None, switched_at_s=None) for wave in ramp.waves)
    return replace(ramp, waves=tuple(waves))
