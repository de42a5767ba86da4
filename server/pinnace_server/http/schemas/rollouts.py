"""Assignments, rollouts, the log, the system."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from pinnace_contract.latest import ContactMode, ContactPolicy, OnNoContact, TrialMode, TrialPolicy
from pinnace_server.domain import plans, records
from pinnace_server.domain.policy import Terms
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.http.schemas.body import asked, like
from pinnace_server.http.schemas.catalogue import OTHER_DIGEST
from pinnace_server.http.schemas.steering import Site, Wave
from pinnace_server.service import matching, rollouts, rules

_ROLLOUT = {
    "id": "r-0a1b2c3d4e",
    "model": "digits",
    "version": "2",
    "release": OTHER_DIGEST,
    "intent": "upgrade",
    "selector": "site=lyon",
    "state": "active",
    "reason": "",
    "paused": "",
    "strategy": "canary",
    "verdict": {},
    "halts": None,
    "actor": "admin",
    "created_at_s": 1795438900.0,
    "ended_at_s": None,
    "devices": {"assigned": 4, "committed": 1},
}
_EVENT = {
    "number": 42,
    "at_s": 1795439000.0,
    "kind": "receipt_committed",
    "actor": "device:camera-7-a1b2c3",
    "summary": "camera-7-a1b2c3 keeps digits 2",
    "severity": "info",
    "device": "camera-7-a1b2c3",
    "model": "digits",
    "version": "2",
    "rollout": None,
    "data": {"generation": "7"},
}


class Trial(BaseModel):
    """When a release has proved itself on a device: after so many inferences, or so long without a failure."""

    model_config = asked({"mode": "live", "inferences": 100, "duration_s": 1800})

    mode: Literal[TrialMode.LIVE, TrialMode.NONE] = TrialMode.LIVE
    inferences: int = Field(default=100, ge=1, le=1_000_000)
    duration_s: int = Field(default=1_800, ge=1, le=30 * 86_400)
    crashes_max: int = Field(default=3, ge=1, le=100)


class Contact(BaseModel):
    """Whether a proven release waits for this server before it commits, how long, and what then."""

    model_config = asked({"mode": "required", "timeout_s": 604800, "on_no_contact": "commit"})

    mode: Literal[ContactMode.REQUIRED, ContactMode.NONE] = ContactMode.REQUIRED
    timeout_s: int = Field(default=7 * 86_400, ge=1, le=90 * 86_400)
    on_no_contact: Literal[OnNoContact.COMMIT, OnNoContact.REVERT] = OnNoContact.COMMIT


class Choice(BaseModel):
    """A version and the devices that should run it."""

    model_config = asked({"model": "digits", "version": "2", "selector": "site=lyon"})

    model: str = Field(max_length=63)
    version: str = Field(max_length=65, description="A version's name, or `@alias`.")
    selector: str = Field(
        default="", max_length=4096, description="`key=value, key in (a, b), key has word`; empty is every device."
    )
    devices: list[str] = Field(default=[], max_length=256, description="Ids, instead of a selector.")


class NewAssignment(Choice):
    """A version to assign."""

    model_config = asked({"model": "digits", "version": "2", "selector": "site=lyon", "trial": {"inferences": 100}})

    trial: Trial = Trial()
    contact: Contact = Contact()

    def terms(self) -> Terms:
        """Return the terms as the planner takes them."""
        return Terms(
            trial=TrialPolicy(
                mode=self.trial.mode,
                inferences=self.trial.inferences,
                duration_s=self.trial.duration_s,
                crashes_max=self.trial.crashes_max,
            ),
            contact=ContactPolicy(
                mode=self.contact.mode,
                timeout_s=self.contact.timeout_s,
                on_no_contact=self.contact.on_no_contact,
            ),
        )


class Match(BaseModel):
    """What an assignment would touch."""

    model_config = like(
        {
            "devices": ["camera-7-a1b2c3"],
            "already_on_it": [],
            "excluded": {"camera-8-d4e5f6": "quarantined: CLONE_SUSPECTED"},
        }
    )

    devices: list[str]
    already_on_it: list[str]
    excluded: dict[str, str] = Field(description="Devices that the selector means and that cannot take it, and why.")

    @classmethod
    def of(cls, match: matching.Match) -> Match:
        """Return a match as a body."""
        return cls(
            devices=[device.id for device in match.devices],
            already_on_it=list(match.already_on_it),
            excluded={str(device): why for device, why in match.excluded.items()},
        )


class Reason(BaseModel):
    """Why, for the log."""

    model_config = asked({"reason": "answers got worse on line 3"})

    reason: str = Field(default="", max_length=512)


class Rollout(BaseModel):
    """A policy that moves devices to a release."""

    model_config = like(_ROLLOUT)

    id: str
    model: str
    version: str | None
    release: str | None
    intent: str
    selector: str
    state: records.RolloutState
    reason: str
    paused: str = Field(description="Who paused it and why; empty while it is not.")
    strategy: str = Field(description="`plain` is an assignment, without waves and gates; `unreadable`: nobody knows.")
    verdict: dict[str, str] = Field(description="What the health rule judged, when it halted the rollout.")
    halts: str | None = Field(description="The rollout that this one moves back.")
    actor: str
    created_at_s: float
    ended_at_s: float | None
    devices: dict[str, int] = Field(description="How many devices are in each state.")

    @classmethod
    def of(cls, rollout: records.Rollout, counts: dict[str, int]) -> Rollout:
        """Return a record as a body."""
        return cls(
            id=rollout.id,
            model=rollout.model,
            version=rollout.version,
            release=rollout.release,
            intent=rollout.intent,
            selector=rollout.selector,
            state=rollout.state,
            reason=rollout.reason,
            paused=rollout.paused,
            strategy=_strategy(rollout),
            verdict=dict(rollout.verdict),
            halts=rollout.halts,
            actor=rollout.actor,
            created_at_s=rollout.created_at_s,
            ended_at_s=rollout.ended_at_s,
            devices=counts,
        )


class RolloutDetail(Rollout):
    """A rollout with its policy, its waves, what its devices wait on and what they answered."""

    model_config = like(
        _ROLLOUT
        | {
            "waiting_on": {"FETCHING": 3, "DEVICE_OFFLINE": 1},
            "evidence": {"inferences": 250, "labels": 0},
            "policy": {"cohort": {"selector": "site=lyon"}},
            "waves": [],
            "sites": [],
        }
    )

    waiting_on: dict[str, int]
    policy: dict[str, Any] | None = Field(description="With every field; null for a plain assignment.")
    waves: list[Wave] = Field(description="None for a plain assignment. The holdback is the last.")
    sites: list[Site] = Field(description="Sites that move whole, of waves that began; only with `site_atomic`.")
    evidence: dict[str, int] = Field(description="Answers on this release by devices that keep it: the rule's inputs.")

    @classmethod
    def of_progress(cls, progress: rollouts.Progress) -> RolloutDetail:
        """Return a rollout's progress as a body."""
        counts = {str(state): n for state, n in progress.report.by_state().items()}
        evidence = progress.evidence
        return cls(
            **dict(Rollout.of(progress.rollout, counts)),
            waiting_on={str(on): n for on, n in progress.report.waiting().items()},
            policy=None if progress.ramp is None else reading.plain(progress.ramp.policy),
            waves=[]
            if progress.ramp is None
            else [Wave.of(wave, dict(progress.counts.get(wave.number, {}))) for wave in progress.ramp.waves],
            sites=[Site.of(site) for site in progress.sites],
            evidence={
                "inferences": evidence.n,
                "errors": evidence.errors,
                "predictions": evidence.predictions,
                "below_threshold": evidence.below,
                "labels": evidence.labels,
                "label_errors": evidence.label_errors,
            },
        )


def _strategy(rollout: records.Rollout) -> str:
    if rules.unreadable(rollout):
        return "unreadable"
    policy = rules.policy_of(rollout)
    return "plain" if policy is None else policy.strategy.KIND


class RolloutDevice(BaseModel):
    """How far one device of a rollout is."""

    model_config = like(
        {
            "device": "camera-7-a1b2c3",
            "wave": 0,
            "state": "assigned",
            "waiting_on": "TRIAL",
            "cause": "NONE",
            "detail": "",
        }
    )

    device: str
    wave: int
    state: records.MemberState
    waiting_on: str | None
    cause: str
    detail: str

    @classmethod
    def of(cls, report: plans.DeviceReport) -> RolloutDevice:
        """Return a device's report as a body."""
        return cls(
            device=report.device,
            wave=report.wave,
            state=report.state,
            waiting_on=report.waiting_on,
            cause=report.cause,
            detail=report.detail,
        )


class Event(BaseModel):
    """One line of the append-only log."""

    model_config = like(_EVENT)

    number: int
    at_s: float
    kind: records.EventKind
    actor: str
    summary: str
    severity: records.Severity
    device: str | None
    model: str | None
    version: str | None
    rollout: str | None
    data: dict[str, str]

    @classmethod
    def of(cls, event: records.Event) -> Event:
        """Return a record as a body."""
        return cls(
            number=event.number,
            at_s=event.at_s,
            kind=event.kind,
            actor=event.actor,
            summary=event.summary,
            severity=event.severity,
            device=event.device,
            model=event.model,
            version=event.version,
            rollout=event.rollout,
            data=dict(event.data),
        )


class EventList(BaseModel):
    """Events, and how far the log is."""

    model_config = like({"items": [_EVENT], "total": 1, "next": None, "last": 42})

    items: list[Event]
    total: int
    next: int | None
    last: int = Field(description="The number of the newest event of all; ask for those `after` it.")


class Health(BaseModel):
    """That the server answers."""

    model_config = like({"status": "ok", "version": "0.1.0"})

    status: Literal["ok"]
    version: str


class Readiness(BaseModel):
    """Whether the server can do its work."""

    model_config = like({"ready": True, "database": True, "broker": True})

    ready: bool
    database: bool
    broker: bool


class System(BaseModel):
    """What runs."""

    model_config = like(
        {
            "version": "0.1.0",
            "started_at_s": 1795435200.0,
            "now_s": 1795439000.0,
            "broker": "embedded mosquitto, loopback only",
            "broker_url": "mqtt://127.0.0.1:1883",
            "connected": True,
            "messages": {"taken": 1200, "refused": 0},
            "waiting_out_bytes": 0,
            "disk_free_bytes": 21474836480,
            "devices": {"online": 5},
            "events": 42,
        }
    )

    version: str
    started_at_s: float
    now_s: float
    broker: str
    broker_url: str
    connected: bool
    messages: dict[str, int]
    waiting_out_bytes: int
    disk_free_bytes: int
    devices: dict[str, int]
    events: int
