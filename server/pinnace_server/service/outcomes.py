"""Receipts and reports: how assignments ended, and what devices counted. Everything may come twice and counts once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pinnace_contract.latest import Arm, Cause, Outcome, Receipt, Report
from pinnace_server.domain import stretches, telemetry
from pinnace_server.domain.records import (
    Counts,
    Device,
    DeviceState,
    Event,
    EventKind,
    Minute,
    ReceiptRecord,
    ReceivedRange,
    Severity,
)
from pinnace_server.domain.telemetry import Coverage
from pinnace_server.service import variant_profiles
from pinnace_server.service.closing import close
from pinnace_server.service.condition import refreshed
from pinnace_server.service.fleet import found_device
from pinnace_server.service.hearing import hear, suspect
from pinnace_server.service.ports import Tables, World

_KINDS: Final = {
    Outcome.COMMITTED: (EventKind.RECEIPT_COMMITTED, Severity.INFO, "keeps"),
    Outcome.REVERTED: (EventKind.RECEIPT_REVERTED, Severity.ERROR, "went back from"),
    Outcome.FAILED: (EventKind.RECEIPT_FAILED, Severity.ERROR, "could not use"),
    Outcome.REJECTED: (EventKind.RECEIPT_REJECTED, Severity.WARNING, "refused"),
    Outcome.SUPERSEDED: (EventKind.RECEIPT_SUPERSEDED, Severity.INFO, "was told otherwise before it kept"),
    Outcome.CANCELLED: (EventKind.RECEIPT_CANCELLED, Severity.INFO, "was stopped on the way to"),
    Outcome.UNKNOWN: (EventKind.RECEIPT_FAILED, Severity.WARNING, "ended in a way that this server does not know"),
}


class Outcomes:
    """Takes receipts and reports."""

    def __init__(self, world: World) -> None:
        self._world = world

    def receipt(self, receipt: Receipt, sealed: bytes) -> None:
        """Keep a receipt; it counts unless it is here already or its device may be two."""
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            device = found_device(tables, receipt.device)
            heard = hear(tables, device, receipt.incarnation, now)
            device = found_device(tables, receipt.device)
            if tables.receipts.get(receipt.id) is not None:
                return
            fork = tables.receipts.of_counter(receipt.device, receipt.incarnation, receipt.counter)
            if fork is not None:
                suspect(tables, device, receipt.incarnation, "it used a receipt number twice", now)
            counted = heard is not None and fork is None and device.state is not DeviceState.QUARANTINED
            receipt = _with_version(tables, receipt)
            tables.receipts.add(
                ReceiptRecord(id=receipt.id, body=receipt, envelope=sealed, received_at_s=now, counted=counted)
            )
            tables.events.append(_receipt_event(receipt, counted, now))
            topics = ["devices", f"device:{device.id}", "events", f"model:{receipt.model}"]
            if counted:
                topics += close(tables, receipt, now)
                profile = variant_profiles.of_receipt(receipt, device, now)
                if profile is not None:
                    variant_profiles.note(tables, profile)
                tables.devices.save(refreshed(tables, replace(device, seen_at_s=now, silent=False)))
        self._world.changes.notify(topics)

    def report(self, report: Report, sealed: bytes) -> bool:
        """Merge a report's counts once. False: its store is not believed, so it is not kept; do not acknowledge it."""
        now = self._world.clock.now()
        minutes = telemetry.minutes_of(report.device, report, now)
        with self._world.store.write() as tables:
            heard = hear(tables, found_device(tables, report.device), report.incarnation, now)
            if heard is None:
                return False
            device = heard.device
            known = tables.reports.ranges(report.device, report.boot)
            coverage = telemetry.coverage(known, report.seq_from, report.seq_to)
            if coverage is Coverage.KNOWN:
                return True
            tables.reports.add_range(
                ReceivedRange(device=report.device, boot=report.boot, seq_from=report.seq_from, seq_to=report.seq_to)
            )
            if coverage is Coverage.PARTLY_KNOWN:
                # Counts of some of these windows are in already and cannot be told from the others.
                tables.events.append(_overlap(report, now))
                return True
            self._dropped(tables, report, now)
            tables.reports.keep_raw(report.device, report.boot, report.seq_to, now, sealed)
            for minute in minutes:
                tables.reports.merge(minute)
            if device.state is not DeviceState.QUARANTINED:  # what may be two devices is evidence of neither
                number = stretches.number_at(telemetry.minute_of(report.to_s, now))
                tables.reports.count_arrival(device.id, number, report.seq_to - report.seq_from + 1)
                for minute in minutes:
                    _stretch(tables, minute)
                _add_evidence(tables, device, minutes)
            tables.devices.save(_measured(device, report, minutes, now))
        self._world.changes.notify([f"device:{device.id}", "reports"])
        return True

    def _dropped(self, tables: Tables, report: Report, now: float) -> None:
        for dropped in report.dropped:
            if dropped.seq_to < dropped.seq_from:
                continue
            known = tables.reports.ranges(report.device, dropped.boot)
            if telemetry.coverage(known, dropped.seq_from, dropped.seq_to) is Coverage.KNOWN:
                continue
            tables.reports.add_range(
                ReceivedRange(
                    device=report.device,
                    boot=dropped.boot,
                    seq_from=dropped.seq_from,
                    seq_to=dropped.seq_to,
                    dropped=True,
                )
            )
            n = dropped.seq_to - dropped.seq_from + 1
            tables.events.append(
                Event(
                    at_s=now,
                    kind=EventKind.REPORTS_DROPPED,
                    actor=f"device:{report.device}",
                    summary=f"{report.device} had no room for {n} report{'s' * (n != 1)} and threw them away",
                    severity=Severity.WARNING,
                    device=report.device,
                    data={"boot": dropped.boot, "from": str(dropped.seq_from), "to": str(dropped.seq_to)},
                )
            )


def _stretch(tables: Tables, minute: Minute) -> None:
    """Count a block into its ten minutes; new ones go on where the last ones ended."""
    number, key = stretches.number_of(minute), (minute.device, minute.model, minute.release, minute.arm)
    stretch = tables.reports.stretch(*key, number)
    if stretch is None:
        before = tables.reports.stretch(*key, number - 1)
        stretch = stretches.empty(minute) if before is None else before.following(number)
    tables.reports.save_stretch(stretch.after(minute))


def _add_evidence(tables: Tables, device: Device, minutes: Sequence[Minute]) -> None:
    """Add answers of committed releases to the evidence of the rollouts that put them there.

    In a trial the device is the judge; the rule looks at what a device decided to keep.
    """
    for assignment in tables.assignments.of([device.id]):
        if assignment.outcome is not Outcome.COMMITTED:
            continue
        counts = Counts()
        for minute in minutes:
            ours = minute.model == assignment.model and minute.release == assignment.release
            if ours and minute.arm is not Arm.SHADOW:
                counts = counts.plus(telemetry.counts_of(minute))
        if counts != Counts():
            tables.rollouts.add_evidence(assignment.rollout, device.id, counts)


def _measured(device: Device, report: Report, minutes: Sequence[Minute], now: float) -> Device:
    p95_s = telemetry.histogram_of(each for each in minutes if each.arm is not Arm.SHADOW).quantile(0.95)
    return replace(
        device,
        seen_at_s=now,
        silent=False,
        p95_ms=device.p95_ms if p95_s is None else p95_s * 1000,
        health=report.health,
        health_at_s=now,
    )


def _with_version(tables: Tables, receipt: Receipt) -> Receipt:
    """Name the version where the device could not: it ended before it had read the release file, which says it."""
    if receipt.version is not None or receipt.release is None:
        return receipt
    known = tables.versions.of_release(receipt.release)
    return receipt if known is None or known.model != receipt.model else replace(receipt, version=known.version)


def _receipt_event(receipt: Receipt, counted: bool, now: float) -> Event:
    kind, severity, verb = _KINDS[receipt.outcome]
    why = f": {receipt.cause}" if receipt.cause is not Cause.NONE else ""
    detail = f" ({receipt.detail})" if receipt.detail else ""
    what = f"{receipt.model} {receipt.version}" if receipt.version else receipt.model
    uncounted = "" if counted else "; it does not count, because the device may be two"
    facts = {
        "receipt": receipt.id,
        "generation": str(receipt.generation),
        "attempt": str(receipt.attempt),
        "cause": receipt.cause.value,
        "release": receipt.release or "",
    }
    if receipt.evidence:
        facts |= {
            "evidence": receipt.evidence.kind.value,
            "inferences": str(receipt.evidence.inferences),
            "errors": str(receipt.evidence.errors),
        }
    if receipt.latency:
        facts |= {"p95_ms": f"{receipt.latency.p95_ms:.3g}"}
    return Event(
        at_s=now,
        kind=kind,
        actor=f"device:{receipt.device}",
        summary=f"{receipt.device} {verb} {what}{why}{detail}{uncounted}",
        severity=severity,
        device=receipt.device,
        model=receipt.model,
        version=receipt.version,
        data=facts,
    )


def _overlap(report: Report, now: float) -> Event:
    return Event(
        at_s=now,
        kind=EventKind.MESSAGE_REFUSED,
        actor=f"device:{report.device}",
        summary=f"reports {report.seq_from} to {report.seq_to} were counted in part before, and are not counted again",
        severity=Severity.WARNING,
        device=report.device,
        data={"code": "REPORT_OVERLAP", "boot": report.boot},
    )
