"""What of a fleet is played otherwise than it is, so that the days of a rollout can be played at all, and said so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import Final

from pinnace_sim.rehearsal.forecast import Rehearsal
from pinnace_sim.rehearsal.profiles import ERROR_SHARE, LATENCY_SPREAD
from pinnace_sim.rehearsal.snapshot import FleetDevice
from pinnace_sim.temper import LATENCY_S

ANSWERED_AN_HOUR_MAX: Final = 3_600.0  # more are noticed sooner, and cost as much more to play
ANSWERED_AN_HOUR: Final = 60.0  # where nobody of the fleet counted anything


def playable(device: FleetDevice, rehearsal: Rehearsal, report_every_s: int) -> FleetDevice:
    """Return a device as it is played."""
    rate = device.answered_an_hour.get(rehearsal.model, usual_rate(rehearsal))
    return replace(
        device,
        report_every_s=max(device.report_every_s, report_every_s),
        answered_an_hour={**device.answered_an_hour, rehearsal.model: min(rate, ANSWERED_AN_HOUR_MAX)},
    )


def usual_rate(rehearsal: Rehearsal) -> float:
    """Return how much a device is asked of which nothing was counted: as much as the others, in the middle."""
    known = [each.answered_an_hour.get(rehearsal.model) for each in rehearsal.snapshot.devices]
    rates = [each for each in known if each is not None]
    return median(rates) if rates else ANSWERED_AN_HOUR


def simplified(rehearsal: Rehearsal, report_every_s: int) -> Iterator[str]:
    """Yield what is taken to be otherwise, or is not known."""
    model, snapshot = rehearsal.model, rehearsal.snapshot
    devices = [each for each in snapshot.devices if each.seen_at_s is not None]
    rates = [each.answered_an_hour.get(model) for each in devices]
    unknown, busy = rates.count(None), sum(each is not None and each > ANSWERED_AN_HOUR_MAX for each in rates)
    if unknown:
        yield f"{unknown} device(s) have counted no inferences: asked {usual_rate(rehearsal):,.0f} times an hour"
    if busy:
        yield f"{busy} device(s) answer more than {ANSWERED_AN_HOUR_MAX:,.0f} times an hour: played with so many"
    quick = sum(each.report_every_s < report_every_s for each in devices)
    if quick:
        yield f"{quick} device(s) report more often than every {report_every_s} s: played with that"
    slow = sum(each.p95_ms is None for each in devices)
    if slow:
        yield f"{slow} device(s) have no p95: their median is {LATENCY_S * 1000:g} ms"
    blind = sum(model not in each.error_share for each in devices)
    if blind:
        yield f"{blind} device(s) have no share of errors: {ERROR_SHARE:.1%} of their answers fail"
    yield f"latencies are lognormal (sigma {LATENCY_SPREAD:g}), and traffic is the same at every hour and has no bursts"
    if snapshot.anonymous:
        yield "the snapshot is anonymous: it has no labels, so no sites, time zones or cohorts by label"
