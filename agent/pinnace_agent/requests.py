"""What local applications ask for: from the thread of ``agent.sock`` to the loop by a queue, back by a snapshot."""

from __future__ import annotations

import math
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pinnace_agent.core import events
from pinnace_agent.outcomes import NotTaken, Outcome, Outcomes, Weighed
from pinnace_agent.worker.protocol import Truth
from pinnace_contract.ids import Digest, ModelName
from pinnace_contract.latest import Block

# In the loop's queue, before an application is told to come back: workers need room there, too.
WAITING_MAX: Final = 256
# Of vetoes and declarations: each is saved, and an application in a loop must not wear out the flash.
SAVED_MAX: Final = 60
SAVED_WITHIN_S: Final = 60.0
MODELS_MAX: Final = 16  # of a device, for an application to declare one more; half of what it has room for
BUSY: Final = "the agent is busy: tell it again"


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._happened, self._label, self._outcomes = happened, label, outcomes
        self.snapshot: Callable[[], Mapping[str, object]] = dict
        self.models: frozenset[ModelName] = frozenset()
        self._declared: set[ModelName] = set()
        self._clock = clock
        self._saved_s: deque[float] = deque(maxlen=SAVED_MAX)

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
            self._tell(Told(blocks=weighed.blocks))
        self._outcomes.keep(model, outcomes, weighed)
        return weighed

    def veto(self, model: ModelName, seconds: float, reason: str, /) -> bool:
        """Hold the model's next activation.

        Raises:
            NotTaken
        """
        return self._ask(model, events.Vetoed(seconds=seconds, reason=reason))

    def lift_veto(self, model: ModelName, /) -> bool:
        """Hold nothing any more.

        Raises:
            NotTaken
        """
        return self._ask(model, events.VetoLifted())

    def accept(self, model: ModelName, contracts: tuple[Digest, ...], /) -> bool:
        """Declare contracts, also for a model that is not assigned yet: its first release is to be held to them.

        Raises:
            NotTaken: busy, or so many models are known that the last places are kept for what is assigned.
        """
        if model not in self.models:
            self._declared = {*self._declared - self.models, model}
            if len(self.models | self._declared) > MODELS_MAX:
                self._declared.discard(model)
                raise NotTaken(
                    f"this device has no model {model!r}, and {MODELS_MAX} others already: declare what it accepts "
                    "once it is assigned",
                    status=409,
                )
        self._save(Request(model=model, event=events.ContractsDeclared(accepts=contracts)))
        return True

    def status(self) -> Mapping[str, object]:
        """Return the last snapshot, which is replaced whole by the loop's thread."""
        return self.snapshot()

    def _ask(self, model: ModelName, event: events.Vetoed | events.VetoLifted) -> bool:
        if model not in self.models:
            return False
        self._save(Request(model=model, event=event))
        return True

    def _save(self, request: Request) -> None:
        now_s = self._clock()
        rest_s = self._saved_s[0] + SAVED_WITHIN_S - now_s if len(self._saved_s) == SAVED_MAX else 0.0
        if rest_s > 0:
            raise NotTaken(
                f"vetoes and contracts are taken {SAVED_MAX} times a minute at most, because each is saved",
                status=503,
                retry_after_s=math.ceil(rest_s),
            )
        self._tell(request)
        self._saved_s.append(now_s)

    def _tell(self, happened: Request | Told) -> None:
        if self._happened.qsize() >= WAITING_MAX:
            raise NotTaken(BUSY, status=503, retry_after_s=2)
        try:
            self._happened.put_nowait(happened)
        except queue.Full:
            raise NotTaken(BUSY, status=503, retry_after_s=2) from None
