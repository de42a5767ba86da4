"""What workers count: whose it is, what the lifecycle hears of it, and what a report is given."""

from __future__ import annotations

import logging
from typing import Final

from pinnace_agent.core import events
from pinnace_agent.serving.telling import Telling
from pinnace_agent.serving.workers import Workers
from pinnace_agent.worker import events as worker_events
from pinnace_agent.worker.events import WorkerRef
from pinnace_contract.errors import ContractError
from pinnace_contract.histogram import Histogram
from pinnace_contract.latest import Arm, Block, LatencySummary, ShadowCounts

log = logging.getLogger(__name__)

CALLERS_FAULT: Final = "bad_request"  # errors under this name say nothing about the model


def collected(model: Workers, event: worker_events.Collected, telling: Telling) -> Block | None:
    """Take what a worker counted; returns it for the report window, unless it may not say that."""
    block = event.block
    own = _is_own(event.worker, block)
    if not own and not _is_unanswered(model, event.worker, block):
        log.warning("a worker counted what is not its own: %s of %s, as %s", block.model, block.release, block.arm)
        return None
    if block.arm is Arm.SHADOW:  # nobody saw these answers
        if block.shadow is not None and block.shadow.pairs:
            telling.say(event.worker.model, _compared(event.worker, block.shadow))
        return block
    errors = sum(error.n for error in block.errors if error.name != CALLERS_FAULT)
    callers = sum(error.n for error in block.errors if error.name == CALLERS_FAULT)
    judged = own and event.worker == (model.main_arm or model.serving)
    if judged:
        try:
            model.latency.merge(Histogram.from_wire(block.latency))
        except ContractError as error:
            log.warning("a worker's latencies were dropped: %s", error)
    telling.say(
        event.worker.model,
        events.Served(
            release=block.release,
            variant=block.variant,
            inferences=max(0, block.n - callers),
            errors=errors,
            latency=summary_of(model.latency) if judged else None,
        ),
    )
    return block


def summary_of(latency: Histogram) -> LatencySummary | None:
    """Return the percentiles of a histogram of seconds, in milliseconds; None when nothing was measured."""
    n = latency.n
    if n == 0:
        return None
    p50, p95, p99 = ((latency.quantile(share) or 0.0) * 1000 for share in (0.5, 0.95, 0.99))
    return LatencySummary(samples=n, p50_ms=round(p50, 3), p95_ms=round(p95, 3), p99_ms=round(p99, 3))


def _is_own(ref: WorkerRef, block: Block) -> bool:
    return (block.model, block.release, block.variant) == (ref.model, ref.release, ref.variant)


def _is_unanswered(model: Workers, ref: WorkerRef, block: Block) -> bool:
    """Tell whether this is what the other arm was asked and did not answer: whoever asked it may say that, once."""
    asked = model.asked.get(ref)
    if asked is None or not 0 < block.n <= asked.missing_max or block != asked.unanswered(ref.model, block.n):
        return False
    asked.missing_max -= block.n
    return True


def _compared(ref: WorkerRef, counts: ShadowCounts) -> events.Compared:
    return events.Compared(
        release=ref.release, variant=ref.variant, pairs=counts.pairs, disagreements=counts.disagreements
    )
