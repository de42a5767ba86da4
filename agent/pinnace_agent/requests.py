"""What local applications ask for: from the thread of ``agent.sock`` to the loop by a queue, back by a snapshot."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pinnace_agent.core import events
from pinnace_agent.outcomes import NotTaken, Outcome, Outcomes, Weighed
from pinnace_agent.worker.protocol import Truth
from pinnace_contract.ids import Digest, ModelName
from pinnace_contract.latest import Block


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An application has something to tell the lifecycle of a model."""

    model: ModelName
    event: events.Vetoed | events.VetoLifted | events.ContractsDeclared


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Applications told outcomes, which belong into the report window."""

    blocks: tuple[Block, ...]


class Desk:
    """The daemon's side of ``agent.sock``. Called from its thread; everything returns at once."""

    def __init__(
        self,
        happened: queue.Queue[Any],
        label: Callable[[ModelName, tuple[Truth, ...]], None],
        outcomes: Outcomes,
    ) -> None:
        self._happened, self._label, self._outcomes = happened, label, outcomes
        self.snapshot: Callable[[], Mapping[str, object]] = dict
        self.models: frozenset[ModelName] = frozenset()

    def label(self, model: ModelName, truths: tuple[Truth, ...], /) -> bool:
        """Pass ground truth on to the worker that answered."""
        if model not in self.models:
            return False
        self._label(model, truths)
        return True

    def outcome(self, model: ModelName, outcomes: Sequence[Outcome], /) -> Weighed:
        """Count what came of answers.

        Raises:
            NotTaken
        """
        if model not in self.models:
            raise NotTaken(f"this device has no model {model!r}", status=404)
        weighed = self._outcomes.weigh(model, outcomes)
        if weighed.blocks:
            try:
                self._happened.put_nowait(Told(blocks=weighed.blocks))
            except queue.Full:
                raise NotTaken("the agent is busy: tell it again", status=503, retry_after_s=2) from None
        self._outcomes.keep(model, outcomes, weighed)
        return weighed

    def veto(self, model: ModelName, seconds: float, reason: str, /) -> bool:
        """Hold the model's next activation."""
        return self._tell(model, events.Vetoed(seconds=seconds, reason=reason))

    def lift_veto(self, model: ModelName, /) -> bool:
        """Hold nothing any more."""
        return self._tell(model, events.VetoLifted())

    def accept(self, model: ModelName, contracts: tuple[Digest, ...], /) -> bool:
        """Declare contracts, also for a model that is not assigned yet: its first release is to be held to them."""
        return self._tell(model, events.ContractsDeclared(accepts=contracts))

    def status(self) -> Mapping[str, object]:
        """Return the last snapshot, which is replaced whole by the loop's thread."""
        return self.snapshot()

    def _tell(self, model: ModelName, event: events.Vetoed | events.VetoLifted | events.ContractsDeclared) -> bool:
        try:
            self._happened.put_nowait(Request(model=model, event=event))
        except queue.Full:
            return False
        return True
