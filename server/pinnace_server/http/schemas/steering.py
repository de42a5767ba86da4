"""Rollouts in waves: what is asked for, what it would do, how its waves stand, and why."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import BaseModel, Field

from pinnace_server.domain import ramp, sites, wave_report
from pinnace_server.domain.records import MemberState
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.why import Answer, StepKind
from pinnace_server.http.schemas.body import asked, like
from pinnace_server.service import steering

_POLICY: dict[str, Any] = {
    "cohort": "site=lyon",
    "waves": [1, "25%", "rest"],
    "gates": {"soak_s": 14400},
    "approvals": [{"before": "last"}],
}
_WAVE = {
    "number": 1,
    "devices": 3,
    "states": {"committed": 3},
    "started_at_s": 1795438900.0,
    "told_at_s": None,
    "switched_at_s": 1795438960.0,
    "promoted_at_s": None,
    "promoted_by": "",
    "verdict": {
        "at_s": 1795439000.0,
        "decision": "hold",
        "kind": "relative",
        "why": ["watched for 1 of 30 minutes"],
        "guards": [{"guard": "errors", "worse": 0.1, "not_worse": 0.4, "trials": 600, "bad": 1}],
        "thresholds": {"roll_back": 7.6, "proven": 3.0, "refuting": 1.6},
        "devices": {"wave": 3, "reachable": 3, "committed": 3, "reporting": 6, "speaking": 6},
        "record": "",
    },
}
_SITE = {
    "site": "lyon",
    "wave": 1,
    "devices": 4,
    "prepared": 2,
    "keeping": 0,
    "mixed": False,
    "waits_for": ["camera-7-a1b2c3", "camera-8-d4e5f6"],
    "decision": None,
    "why": "waits for 2 of 4 at site lyon (camera-7-a1b2c3, camera-8-d4e5f6)",
    "decided_at_s": None,
    "lease_until_s": 1795442500.0,
}
_WHY = {
    "about": "camera-7-a1b2c3",
    "state": "waiting",
    "why": "it is in wave 2, and wave 1 is not promoted yet; wave 1: watched for 1 min of 30 min",
    "waiting_on": "EARLIER_WAVE",
    "cause": "NONE",
    "model": "digits",
    "version": "2",
    "rollout": "r-0a1b2c3d4e",
    "variant": "int8-static because 4.1 ms p95 on jetson-orin, fp32 11 ms; from 212 receipts",
    "next": {
        "kind": "promote",
        "words": "its gates promote the wave, or a person does",
        "command": "pinnace rollout promote r-0a1b2c3d4e 1 --reason …",
        "rollout": "r-0a1b2c3d4e",
        "wave": 1,
        "at_s": 1795453360.0,
        "until_s": None,
    },
}


NOTHING_FORESEEN = "what this fleet could notice is not known: nobody asked its devices anything in the last day"


class PolicyChoice(BaseModel):
    """A version and the policy that moves a cohort to it."""

    model_config = asked({"model": "digits", "version": "2", "policy": _POLICY})

    model: str = Field(max_length=63)
    version: str = Field(max_length=65, description="A version's name, or `@alias`.")
    policy: dict[str, Any] = Field(description="The policy; the manual has every field (docs/rollouts.md).")


class NewRollout(PolicyChoice):
    """A rollout to begin."""

    model_config = asked({"model": "digits", "version": "2", "policy": _POLICY, "reason": "retrained in November"})

    reason: str = Field(default="", max_length=512)


class WavePreview(BaseModel):
    """A wave before it is dealt. The holdback is the last."""

    model_config = like({"number": 1, "devices": ["camera-7-a1b2c3"], "hardware": {"pi4": 1}})

    number: int
    devices: list[str]
    hardware: dict[str, int] = Field(description="How many devices of each class.")


class RolloutPreview(BaseModel):
    """What a rollout would do. The same cohort is dealt the same way when it begins."""

    model_config = like(
        {
            "policy": _POLICY,
            "waves": [{"number": 1, "devices": ["camera-7-a1b2c3"], "hardware": {"pi4": 1}}],
            "already_on_it": [],
            "excluded": {"camera-8-d4e5f6": "quarantined: CLONE_SUSPECTED"},
            "variants": {"int8-static": 1},
            "foresight": "this fleet can notice error ratios above ×3 and p95 above +20 % within 28 hours",
        }
    )

    policy: dict[str, Any] = Field(description="The policy with every field, as it would be kept.")
    waves: list[WavePreview]
    already_on_it: list[str]
    excluded: dict[str, str]
    variants: dict[str, int] = Field(description="How many devices try which variant first; empty: there is one.")
    foresight: str = Field(description="What the first wave could notice, going by the cohort's last day.")

    @classmethod
    def of(cls, seen: steering.Preview) -> RolloutPreview:
        """Return a preview as a body."""
        hardware = {device.id: device.hardware for device in seen.dealt.match.devices}
        members: dict[int, list[str]] = {}
        for device, number in sorted(seen.dealt.numbers.items(), key=lambda pair: (pair[1], pair[0])):
            members.setdefault(number, []).append(device)
        return cls(
            policy=reading.plain(seen.policy),
            waves=[
                WavePreview(
                    number=number,
                    devices=devices,
                    hardware=dict(Counter(hardware[each] for each in devices)),  # type: ignore[index]
                )
                for number, devices in members.items()
            ],
            already_on_it=list(seen.dealt.match.already_on_it),
            excluded={str(device): reason for device, reason in seen.dealt.match.excluded.items()},
            variants=dict(seen.variants()),
            foresight=NOTHING_FORESEEN if seen.foresight is None else seen.foresight.text,
        )


class GuardVerdict(BaseModel):
    """One guard: natural logarithms of the e-values that the release is worse, and that it is no worse."""

    model_config = like({"guard": "errors", "worse": 0.1, "not_worse": 0.4, "trials": 600, "bad": 1})

    guard: str
    worse: float
    not_worse: float
    trials: int
    bad: int


class WaveVerdict(BaseModel):
    """What the gates of a wave said when they last looked."""

    model_config = like(_WAVE["verdict"])  # type: ignore[arg-type]

    at_s: float
    decision: str
    kind: str
    why: list[str]
    guards: list[GuardVerdict]
    thresholds: dict[str, float] = Field(description="Logarithms of the e-values that decide.")
    devices: dict[str, int]
    record: str = Field(description="The digest of the record, once something was decided; see /events/N/verdict.")


class Wave(BaseModel):
    """One wave of a rollout; the holdback is the last."""

    model_config = like(_WAVE)

    number: int
    devices: int
    states: dict[str, int] = Field(description="How many of its devices are in each state.")
    started_at_s: float | None
    told_at_s: float | None = Field(description="When its devices that were ready were told to switch (blue_green).")
    switched_at_s: float | None = Field(description="When its first device served the release.")
    promoted_at_s: float | None
    promoted_by: str = Field(description="`proven`, `unrefuted`, `empty`, or `person:NAME`.")
    verdict: WaveVerdict | None

    @classmethod
    def of(cls, wave: ramp.Wave, states: dict[MemberState, int]) -> Wave:
        """Return a wave as a body."""
        said = wave_report.read(wave.verdict)
        return cls(
            number=wave.number,
            devices=wave.devices,
            states={str(state): n for state, n in sorted(states.items())},
            started_at_s=wave.started_at_s,
            told_at_s=wave.told_at_s,
            switched_at_s=wave.switched_at_s,
            promoted_at_s=wave.promoted_at_s,
            promoted_by=wave.promoted_by,
            verdict=None if said is None else _verdict(said),
        )


class Site(BaseModel):
    """How a site stands that moves whole."""

    model_config = like(_SITE)

    site: str
    wave: int
    devices: int = Field(description="Those that its decision waits for.")
    prepared: int = Field(description="Those that are prepared, or keep the release.")
    keeping: int
    mixed: bool = Field(description="Some keep the release and others do not, by what they last said.")
    waits_for: list[str] = Field(description="Devices that are not prepared.")
    decision: str | None = Field(description="`commit` or `revert`; null while nothing is decided.")
    why: str
    decided_at_s: float | None
    lease_until_s: float | None = Field(description="When its first prepared device goes back by itself.")

    @classmethod
    def of(cls, site: sites.Site) -> Site:
        """Return a site as a body."""
        ruling = site.ruling
        return cls(
            site=site.name,
            wave=site.wave,
            devices=len(site.counted),
            prepared=site.prepared,
            keeping=site.keeping,
            mixed=site.mixed,
            waits_for=[each.device for each in site.missing] if ruling is None else [],
            decision=None if ruling is None else ruling.verdict.value,
            why=sites.waits(site) if ruling is None else ruling.why,
            decided_at_s=None if ruling is None else ruling.decided_at_s,
            lease_until_s=site.lease_until_s if ruling is None else None,
        )


class NextStep(BaseModel):
    """The next thing that would change it."""

    model_config = like(_WHY["next"])  # type: ignore[arg-type]

    kind: StepKind
    words: str
    command: str = Field(description="What a person may type; empty where it comes by itself.")
    rollout: str | None
    wave: int | None
    at_s: float | None = Field(description="When it comes at the earliest, where that is known.")
    until_s: float | None = Field(description="When the policy decides otherwise, where that is known.")


class Why(BaseModel):
    """Why a device or a rollout is where it is."""

    model_config = like(_WHY)

    about: str
    state: str
    why: str
    waiting_on: str | None
    cause: str
    model: str | None
    version: str | None
    rollout: str | None
    variant: str = Field(description="Which variant it tries first and why; empty: there is one, or it goes back.")
    next: NextStep

    @classmethod
    def of(cls, answer: Answer) -> Why:
        """Return an answer as a body."""
        step = answer.step
        return cls(
            about=answer.about,
            state=answer.state,
            why=answer.why,
            waiting_on=answer.waiting_on,
            cause=answer.cause,
            model=answer.model,
            version=answer.version,
            rollout=answer.rollout,
            variant=answer.variant,
            next=NextStep(
                kind=step.kind,
                words=step.words,
                command=step.command,
                rollout=step.rollout,
                wave=step.wave,
                at_s=step.at_s,
                until_s=step.until_s,
            ),
        )


class WhyDevice(BaseModel):
    """One answer for each rollout under way that means the device, or for each of its models."""

    model_config = like({"device": "camera-7-a1b2c3", "answers": [_WHY]})

    device: str
    answers: list[Why]


class Approval(BaseModel):
    """Whoever asks agrees that a wave may begin."""

    model_config = asked({"wave": 2})

    wave: int | None = Field(default=None, ge=1, le=33, description="By default the next one.")


class Promotion(BaseModel):
    """A person decides for the gates of the current wave."""

    model_config = asked({"wave": 1, "reason": "the customer checked line 3 by hand"})

    wave: int = Field(ge=1, le=33)
    reason: str = Field(min_length=1, max_length=512)


class Retry(BaseModel):
    """Devices on which the release ended badly; none named is all of them."""

    model_config = asked({"devices": ["camera-7-a1b2c3"]})

    devices: list[str] = Field(default=[], max_length=256)


class Retried(BaseModel):
    """How many devices try again."""

    model_config = like({"devices": 1})

    devices: int


class CohortChange(BaseModel):
    """Whom a rollout means from now on."""

    model_config = asked({"cohort": "site in (lyon, paris)"})

    cohort: str | dict[str, Any] = Field(description="A selector, or a cohort as in a policy.")


class CohortChanged(BaseModel):
    """How many devices joined, and how many that still waited were let go."""

    model_config = like({"joined": 12, "let_go": 0})

    joined: int
    let_go: int


class VerdictRecord(BaseModel):
    """Everything that a ruling of a gate was made from, so that anybody can work it out again."""

    model_config = like({"event": 42, "digest": "0" * 64, "record": '{"rules": "gates-1"}'})

    event: int
    digest: str = Field(description="sha256 of the record's bytes.")
    record: str = Field(description="JSON, as it was kept.")


def _verdict(said: wave_report.WaveReport) -> WaveVerdict:
    return WaveVerdict(
        at_s=said.at_s,
        decision=said.decision,
        kind=said.kind,
        why=list(said.why),
        guards=[
            GuardVerdict(guard=each.guard, worse=each.worse, not_worse=each.not_worse, trials=each.trials, bad=each.bad)
            for each in said.guards
        ],
        thresholds=dict(said.thresholds),
        devices=dict(said.devices),
        record=said.record,
    )
