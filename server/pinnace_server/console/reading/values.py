"""Records as the screens show them. Pure: what has to be looked up is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.latest import ModelState, Outcome, Phase, Release, Running
from pinnace_server.console import shown
from pinnace_server.console.words import CAUSE_WORDS
from pinnace_server.domain import records
from pinnace_server.domain.records import Assignment, Device, DeviceState, EventKind, ReceiptRecord, Severity
from pinnace_server.domain.statuses import is_online, silence_s, status_of

BAD_OUTCOMES = frozenset({Outcome.FAILED, Outcome.REVERTED, Outcome.REJECTED})
Releases = Mapping[ReleaseId, Release]

_SEVERITIES = {Severity.INFO: "", Severity.WARNING: "warn", Severity.ERROR: "bad"}
_GOOD_NEWS = frozenset(
    {EventKind.RECEIPT_COMMITTED, EventKind.ROLLOUT_FINISHED, EventKind.VERSION_ADDED, EventKind.DEVICE_READMITTED}
)


def moment(seconds: float) -> datetime:
    """Return Unix seconds as a moment."""
    return datetime.fromtimestamp(seconds, UTC)


def moment_or_none(seconds: float | None) -> datetime | None:
    """Return a moment, or None for what never was."""
    return None if seconds is None else moment(seconds)


def build(running: Running, releases: Releases) -> shown.Build:
    """Return one release on a device; its runtime and precision come from the release file."""
    release = releases.get(running.release)
    variant = release.variant(running.variant) if release else None
    return shown.Build(
        version=running.version,
        release=running.release,
        variant=running.variant,
        runtime=variant.runtime if variant else "",
        precision=variant.precision if variant else "",
    )


def slots(
    said: Sequence[records.Slot],
    wanted: Sequence[Assignment],
    releases: Releases,
    receipts: Mapping[ModelName, ReceiptRecord] | None = None,
) -> tuple[shown.Slot, ...]:
    """Return every model that a device holds or should hold, by name."""
    by_model = {slot.model: slot for slot in said}
    assignments = {assignment.model: assignment for assignment in wanted}
    return tuple(
        _slot(model, by_model.get(model), assignments.get(model), releases, (receipts or {}).get(model))
        for model in sorted({*by_model, *assignments})
    )


def _slot(
    model: ModelName,
    said: records.Slot | None,
    wanted: Assignment | None,
    releases: Releases,
    receipt: ReceiptRecord | None,
) -> shown.Slot:
    slot = _said(said.state, releases) if said else shown.Slot(model=model, phase=Phase.IDLE)
    if wanted is not None:
        unanswered = wanted.outcome is None and slot.generation < wanted.entry.generation
        slot = replace(
            slot,
            unanswered=unanswered,
            went_back=wanted.outcome is not None and wanted.release != (slot.active.release if slot.active else None),
            wanted=_wanted(wanted, releases) if unanswered else None,
            generation=wanted.entry.generation,
            last_outcome=wanted.outcome,
            last_cause=wanted.cause,
            last_detail=wanted.detail,
            last_outcome_at=moment_or_none(wanted.ended_at_s),
        )
    return _with_receipt(slot, receipt) if receipt else slot


def _said(state: ModelState, releases: Releases) -> shown.Slot:
    current = state.current
    earlier = [good for good in state.last_good if current is None or good.release != current.release]
    fetching = state.phase is Phase.FETCHING and state.fetch_bytes > 0
    return shown.Slot(
        model=state.model,
        phase=state.phase,
        cause=state.cause,
        detail=state.detail,
        active=build(current, releases) if current else None,
        previous=build(earlier[0], releases) if earlier else None,
        candidate=build(state.candidate, releases) if state.candidate else None,
        standby=build(state.standby.running, releases) if state.standby and state.standby.warm else None,
        generation=state.generation,
        fetched_share=min(1.0, state.fetched_bytes / state.fetch_bytes) if fetching else None,
    )


def _with_receipt(slot: shown.Slot, receipt: ReceiptRecord) -> shown.Slot:
    body = receipt.body
    return replace(
        slot,
        last_outcome=body.outcome,
        last_version=body.version or "",
        last_cause=body.cause,
        last_detail=body.detail,
        last_outcome_at=moment(receipt.received_at_s),
        last_log=body.log,
        evidence=body.evidence.kind if body.evidence else None,
        evidence_inferences=body.evidence.inferences if body.evidence else 0,
    )


def _wanted(assignment: Assignment, releases: Releases) -> shown.Build | None:
    release = releases.get(assignment.release) if assignment.release else None
    if assignment.release is None or release is None:
        return None
    first = assignment.entry.variants[0] if assignment.entry.variants else Digest("")
    variant = release.variant(first)
    return shown.Build(
        version=release.version,
        release=assignment.release,
        variant=first,
        runtime=variant.runtime if variant else "",
        precision=variant.precision if variant else "",
    )


def urgency(slot: shown.Slot) -> int:
    """Rank slots for a line that has room for one: what failed, what moves, the rest."""
    if slot.last_outcome in BAD_OUTCOMES:
        return 0
    return 1 if slot.phase is not Phase.IDLE or slot.unanswered else 2


def releases_of(said: Iterable[records.Slot], wanted: Iterable[Assignment]) -> set[ReleaseId]:
    """Return every release that slots and assignments name."""
    running = [
        each
        for slot in said
        for each in (slot.state.current, slot.state.candidate, *slot.state.last_good)
        if each is not None
    ]
    return {each.release for each in running} | {each.release for each in wanted if each.release is not None}


def why(device: Device, now_s: float) -> str:
    """Say in half a sentence why a device has its status."""
    if device.state is DeviceState.PENDING:
        return "enrolled, and not heard of yet"
    if device.state is DeviceState.DECOMMISSIONED:
        return "decommissioned: nothing it says counts"
    if device.state is DeviceState.QUARANTINED:
        return f"quarantined: {CAUSE_WORDS.get(device.cause, ('', ''))[0] or device.cause}"
    if is_online(device, now_s):
        return f"over MQTT, reports every {device.report_every_s} s"
    if not device.online:
        return "its connection to the broker ended"
    return f"silent for longer than {silence_s(device.report_every_s):.0f} s"


def row(device: Device, models: Sequence[shown.Slot], wanted_model: str, now_s: float) -> shown.DeviceRow:
    """Return a device as one line."""
    named = next((slot for slot in models if slot.model == wanted_model), None)
    return shown.DeviceRow(
        id=device.id,
        name=device.name or device.id,
        status=status_of(device, now_s),
        labels=device.labels,
        slot=named or min(models, key=urgency, default=None),
        more_models=max(0, len(models) - 1),
        p95_ms=device.p95_ms,
        last_seen=moment_or_none(device.seen_at_s),
        agent_version=device.agent_version,
    )


def health(device: Device) -> shown.Health | None:
    """Return what a device last said of itself."""
    said = device.health
    if said is None or device.health_at_s is None:
        return None
    return shown.Health(
        at=moment(device.health_at_s),
        cpu_share=said.cpu_share,
        memory_free_bytes=said.memory_free_bytes,
        memory_total_bytes=said.memory_total_bytes,
        disk_free_bytes=said.disk_free_bytes,
        temperature_c=said.temperature_c,
    )


def event(line: records.Event) -> shown.Event:
    """Return a line of the log."""
    return shown.Event(
        number=line.number,
        at=moment(line.at_s),
        kind=line.kind.value,
        actor=line.actor,
        summary=line.summary,
        severity="ok" if line.kind in _GOOD_NEWS else _SEVERITIES[line.severity],
        device=line.device or "",
        model=line.model or "",
        version=line.version or "",
        data={key: value for key, value in line.data.items() if value},
    )


def shares(serving: Iterable[tuple[str, str | None, int]]) -> tuple[shown.VersionShare, ...]:
    """Return how many devices serve which version, the most served first within a model."""
    found = [shown.VersionShare(model=model, version=version or "", devices=n) for model, version, n in serving]
    return tuple(sorted(found, key=lambda share: (share.model, -share.devices, share.version)))


def progress(rollout: records.Rollout, counts: Mapping[str, int]) -> shown.Progress:
    """Return how far a rollout is."""
    state = records.MemberState
    failed = (state.REVERTED, state.FAILED, state.REJECTED)
    return shown.Progress(
        rollout=rollout.id,
        model=rollout.model,
        version=rollout.version or "",
        intent=rollout.intent.value,
        state=rollout.state.value,
        reason=rollout.reason,
        actor=rollout.actor,
        committed=counts.get(state.COMMITTED, 0),
        under_way=sum(counts.get(each, 0) for each in records.UNDER_WAY),
        failed=sum(counts.get(each, 0) for each in failed),
        waiting=counts.get(state.WAITING, 0),
        left_out=sum(counts.get(each, 0) for each in (state.SKIPPED, state.SUPERSEDED, state.CANCELLED)),
        since=moment(rollout.created_at_s),
    )
