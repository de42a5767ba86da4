"""The business metric: what an application tells of answers, counted for the release that gave them.

An outcome is often known long after its answer, when another release serves already. So it is counted here, by the name
of the answer, and not by a worker that may be gone. Called from the thread of ``agent.sock`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pinnace_agent.worker.events import WorkerRef
from pinnace_contract.ids import ModelName
from pinnace_contract.latest import Arm, Block, OutcomeCounts
from pinnace_contract.merging import merge_all

METRIC_CHARS_MAX: Final = 64
TOLD_MAX: Final = 4096  # answers of a model whose outcome is remembered, so that it is not counted twice
METRIC_HELD_S: Final = 3600.0  # a model has one metric; another may follow when nobody told the first for so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one answer, or of some that nobody names. ``request`` None: of whatever serves now."""

    metric: str
    request: str | None = None
    trials: int = 1
    successes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerer:
    """A worker that answers applications, and the arm in which it gave the answer in question."""

    worker: WorkerRef
    arm: Arm = Arm.SERVING


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What becomes of a batch: blocks to count, and how many outcomes were counted, unknown, or told before."""

    blocks: tuple[Block, ...] = ()
    counted: int = 0
    unknown: int = 0
    repeated: int = 0
    requests: tuple[str, ...] = ()


class NotTaken(Exception):
    """A batch of which nothing is counted; the message says why, and ``retry`` whether to come back with it."""

    def __init__(self, why: str, *, status: int, retry_after_s: int | None = None) -> None:
        self.status, self.retry_after_s = status, retry_after_s
        super().__init__(why)


@dataclass(slots=True)
class _Known:
    """What was told of one model so far."""

    metric: str
    at_s: float
    told: dict[str, None] = field(default_factory=dict)


class Outcomes:
    """Which release an outcome belongs to, which metric counts, and what was told before."""

    def __init__(
        self,
        who_answered: Callable[[str], Answerer | None],
        answering: Callable[[ModelName], Sequence[WorkerRef]],
        clock: Callable[[], float],
    ) -> None:
        """``who_answered`` finds whoever gave an answer, by its name."""
        self._who_answered, self._answering, self._clock = who_answered, answering, clock
        self._known: dict[ModelName, _Known] = {}

    def weigh(self, model: ModelName, outcomes: Sequence[Outcome]) -> Weighed:
        """Return what a batch counts for; nothing is remembered until ``keep``.

        Raises:
            NotTaken: another metric, or an outcome names no answer where nobody serves, or two releases do.
        """
        self._one_metric(model, outcomes)
        known = self._known.get(model)
        told = dict(known.told) if known and any(each.request for each in outcomes) else {}
        blocks, requests, unknown, repeated = [], [], 0, 0
        for each in outcomes:
            by = self._by(model, each)
            if by is None:
                unknown += 1
            elif each.request is not None and each.request in told:
                repeated += 1
            else:
                blocks.append(_block(by, each))
                if each.request is not None:
                    told[each.request] = None
                    requests.append(each.request)
        return Weighed(
            blocks=merge_all(blocks),
            counted=len(blocks),
            unknown=unknown,
            repeated=repeated,
            requests=tuple(requests),
        )

    def keep(self, model: ModelName, outcomes: Sequence[Outcome], weighed: Weighed) -> None:
        """Remember a batch that will be counted."""
        if not weighed.counted:
            return
        known = self._known.setdefault(model, _Known(metric="", at_s=0.0))
        known.metric, known.at_s = outcomes[0].metric, self._clock()
        known.told |= dict.fromkeys(weighed.requests)
        while len(known.told) > TOLD_MAX:
            del known.told[next(iter(known.told))]

    def _one_metric(self, model: ModelName, outcomes: Sequence[Outcome]) -> None:
        known = self._known.get(model)
        held = known.metric if known and self._clock() - known.at_s < METRIC_HELD_S else outcomes[0].metric
        other = next((each.metric for each in outcomes if each.metric != held), None)
        if other is not None:
            raise NotTaken(
                f"a model has one metric: {model} counts {held!r}, found {other!r}. "
                f"Another one is taken when nobody told this one for {METRIC_HELD_S / 60:g} minutes",
                status=409,
            )

    def _by(self, model: ModelName, outcome: Outcome) -> Answerer | None:
        if outcome.request is None:
            answering = self._answering(model)
            if not answering:
                raise NotTaken(
                    f"nothing serves {model} now: name the answer that an outcome is of in "
                    '"request", or tell it when something serves again',
                    status=503,
                    retry_after_s=5,
                )
            if len(answering) > 1:
                raise NotTaken(
                    f"two releases answer for {model} now, each its share: name the answer that an outcome is of in "
                    '"request"',
                    status=409,
                )
            return Answerer(worker=answering[0])
        found = self._who_answered(outcome.request)
        return found if found is not None and found.worker.model == model else None


def _block(by: Answerer, outcome: Outcome) -> Block:
    counts = OutcomeCounts(metric=outcome.metric, trials=outcome.trials, successes=outcome.successes)
    ref = by.worker
    return Block(model=ref.model, release=ref.release, variant=ref.variant, arm=by.arm, outcome=counts)
