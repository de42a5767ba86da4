"""Why a device or a rollout is where it is, in words, and the next thing that would change it.

Answers are made from the planner's report and a rollout's waves; nothing is looked up here. The step that an answer
names is the first of a chain: a device of the fourth wave is told what the first one waits on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from pinnace_contract.ids import DeviceId, ModelName, RolloutId, VersionName
from pinnace_contract.latest import PERMANENT, Cause
from pinnace_server.domain.gates.verdicts import Reason
from pinnace_server.domain.plans import DeviceReport, WaitingOn
from pinnace_server.domain.ramp import Ramp, Standing
from pinnace_server.domain.records import MemberState, Rollout, RolloutState
from pinnace_server.domain.sites import Site, waits
from pinnace_server.domain.waiting import counted
from pinnace_server.domain.wave_report import WaveReport


class StepKind(StrEnum):
    """What would change something."""

    NOTHING = "nothing"
    TICK = "tick"
    CONTACT = "contact"
    DEVICE = "device"
    SOMEBODY_THERE = "somebody_there"
    READMIT = "readmit"
    RESUME = "resume"
    APPROVE = "approve"
    PROMOTE = "promote"
    SWITCH = "switch"
    RETRY = "retry"
    MOVE_BACK = "move_back"
    OTHER_ROLLOUT = "other_rollout"
    SITE = "site"
    ROOM = "room"
    WINDOW = "window"
    NAME_ZONE = "name_zone"
    ASSIGN = "assign"
    MEND = "mend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next thing that would change it. ``command`` is what a person may type, empty where it comes by itself.

    ``at_s`` is when it comes at the earliest, ``until_s`` when the policy decides otherwise, where that is known.
    """

    kind: StepKind
    words: str
    command: str = ""
    rollout: RolloutId | None = None
    wave: int | None = None
    at_s: float | None = None
    until_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Why something is where it is. ``model`` and ``version`` are what the rollout moves, or what is served.

    ``variant``: which one the device tries first and why, empty where there is one, or it goes back.
    """

    about: str
    state: str
    why: str
    step: Step
    waiting_on: WaitingOn | None = None
    cause: Cause = Cause.NONE
    model: ModelName | None = None
    version: VersionName | None = None
    rollout: RolloutId | None = None
    variant: str = ""


NOTHING: Final = Step(kind=StepKind.NOTHING, words="nothing is left to do")

_ON_THE_DEVICE: Final = {
    WaitingOn.ANSWER: "it was told, and has not answered yet",
    WaitingOn.OFFERED: "it knows of the release, and has not begun to fetch it",
    WaitingOn.FETCHING: "it fetches the release",
    WaitingOn.SELF_TEST: "it runs the golden vectors on its own hardware",
    WaitingOn.SHADOW: "the release answers copies of its requests, unseen, and is compared with what it serves",
    WaitingOn.TRIAL: "it tries the release, and has not kept it yet",
    WaitingOn.CONTACT: "it has proved the release, and waits for this server's acknowledgement",
    WaitingOn.REVERTING: "it goes back to its last good release",
    WaitingOn.RECEIPT: "it is done, and its receipt has not come yet",
}
_THERE: Final = {
    WaitingOn.VETO: "an application on the device asked it to wait",
    WaitingOn.APP_CONTRACT: "no application on the device accepts the release's inputs and outputs",
    WaitingOn.METERED: "its link is metered, and the policy fetches over none",
}
_ENDED_BADLY: Final = (MemberState.FAILED, MemberState.REVERTED, MemberState.REJECTED)
_NOT_TRIED_AGAIN: Final = PERMANENT | {Cause.KNOWN_BAD}
_STOPPED: Final = frozenset({Reason.INSTALLS_STOPPED, Reason.HARDWARE_STOPPED})


def of_device(
    rollout: Rollout,
    report: DeviceReport,
    *,
    ramp: Ramp | None,
    standing: Standing | None,
    said: WaveReport | None,
    kept: int = 0,
) -> Answer:
    """Return why a device of a rollout is where it is.

    ``standing`` and ``said`` are of the rollout's current wave, None for a plain assignment; ``kept``: how many of its
    devices keep the release.
    """
    why, step = _device(rollout, report, ramp, standing, said, kept)
    return Answer(
        about=report.device,
        state=report.state.value,
        why=why,
        step=step,
        waiting_on=report.waiting_on,
        cause=report.cause,
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
    )


def of_rollout(
    rollout: Rollout,
    waiting: dict[WaitingOn, int],
    *,
    ramp: Ramp | None,
    standing: Standing | None,
    said: WaveReport | None,
    kept: int = 0,
    sites: Sequence[Site] = (),
    unreadable: str = "",
    examples: Mapping[WaitingOn, DeviceReport] | None = None,
) -> Answer:
    """Return why a rollout is where it is. ``waiting`` counts devices by what they wait on; ``sites`` move whole.

    ``kept``: how many devices of the current wave keep the release. ``unreadable``: what of its row cannot be read.
    ``examples``: one device for each thing that is waited on.
    """
    if rollout.state is not RolloutState.ACTIVE:
        why = "every device of it is done" if rollout.state is RolloutState.FINISHED else f"it is {rollout.state}"
        return _about(rollout, f"{why}: {rollout.reason}" if rollout.reason else why, NOTHING)
    if unreadable:
        return _about(rollout, unreadable, _mended(rollout), WaitingOn.UNREADABLE)
    stopped = waiting.get(WaitingOn.INSTALLS_STOPPED, 0)
    if stopped and ramp is not None and not ramp.paused:
        n = "one device waits" if stopped == 1 else f"{stopped} devices wait"
        why = f"{n} because installs failed and were stopped" + (f"; {'; '.join(said.why)}" if said else "")
        return _about(rollout, why, _after_failures(rollout, said), WaitingOn.INSTALLS_STOPPED)
    undecided = [each for each in sites if each.ruling is None and each.has_begun and each.missing]
    if undecided and waiting.get(WaitingOn.SITE_DECISION, 0):
        return _about(rollout, _sites_words(undecided), replace(_SITE, rollout=rollout.id), WaitingOn.SITE_DECISION)
    here: dict[WaitingOn, int] = {on: n for on, n in waiting.items() if on is not WaitingOn.EARLIER_WAVE}
    if ramp is not None and standing is not None and ramp.current is not None:
        why, step = _wave(rollout, ramp, standing, said, kept)
        if here and not kept and step.kind is StepKind.PROMOTE and _nobody_serves(ramp, standing):
            devices, step = _devices(rollout, here, examples or {})
            return _about(rollout, f"{why}; {devices}", step, standing.waiting_on)
        return _about(rollout, why, step, standing.waiting_on)
    if not waiting:
        words = "the controller closes it at its next look"
        return _about(rollout, "every device of it is done", Step(kind=StepKind.TICK, words=words))
    devices, step = _devices(rollout, waiting, examples or {})
    return _about(rollout, devices, step, max(waiting, key=lambda each: waiting[each]))


def _devices(
    rollout: Rollout, waiting: Mapping[WaitingOn, int], examples: Mapping[WaitingOn, DeviceReport]
) -> tuple[str, Step]:
    """Return what devices wait for, and whom of them to ask about."""
    most = max(waiting, key=lambda each: waiting[each])
    one = examples.get(most)
    said = f" ({one.device}: {one.detail})" if one is not None and one.detail else ""
    words = f"what most of its devices wait for; for one of them: pinnace why {one.device if one else 'DEVICE'}"
    step = Step(
        kind=StepKind.DEVICE, words=words, command=f"pinnace why {one.device}" if one else "", rollout=rollout.id
    )
    return f"its devices wait: {counted(waiting)}{said}", step


def _sites_words(undecided: Sequence[Site]) -> str:
    shown = [f"site {each.name}: {each.prepared} of {len(each.counted)} prepared; {waits(each)}" for each in undecided]
    more = len(shown) - SITES_SHOWN
    return "; ".join(shown[:SITES_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def of_nothing(device: DeviceId, model: ModelName | None, version: VersionName | None, served: str) -> Answer:
    """Return why a device that no rollout wants anything of is where it is."""
    words = "assign it a version, or begin a rollout that means it"
    command = f"pinnace assign {model or 'MODEL'} VERSION --devices {device}"
    return Answer(
        about=device,
        state=served,
        why="no rollout that is under way wants anything of it",
        step=Step(kind=StepKind.ASSIGN, words=words, command=command),
        model=model,
        version=version,
    )


def of_quarantined(answer: Answer, cause: Cause) -> Answer:
    """Return an answer about a device that gets nothing new: whatever else there is waits on that."""
    if answer.step.kind is StepKind.READMIT:
        return answer
    on = WaitingOn.CLONE_SUSPECTED if cause is Cause.CLONE_SUSPECTED else WaitingOn.QUARANTINED
    step = Step(kind=StepKind.READMIT, words="a person readmits it", command=f"pinnace device readmit {answer.about}")
    return replace(answer, why=_PLAIN[on], step=step, waiting_on=on, cause=cause)


def of_unadopted(answer: Answer) -> Answer:
    """Return an answer about a device of which nothing was heard since the server was put back from a backup."""
    on = WaitingOn.RESTORED
    return replace(answer, why=_PLAIN[on], step=_SPEAKS, waiting_on=on)


def _about(rollout: Rollout, why: str, step: Step, waiting_on: WaitingOn | None = None) -> Answer:
    return Answer(
        about=rollout.id,
        state=rollout.state.value,
        why=why,
        step=step,
        waiting_on=waiting_on,
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
    )


# --- a device -----------------------------------------------------------------------------------------------------


def _device(
    rollout: Rollout,
    report: DeviceReport,
    ramp: Ramp | None,
    standing: Standing | None,
    said: WaveReport | None,
    kept: int,
) -> tuple[str, Step]:
    if rollout.state is not RolloutState.ACTIVE and report.state is MemberState.WAITING:
        return f"the rollout is {rollout.state}: {rollout.reason or 'no reason given'}", _assigned_anew(report.device)
    if report.waiting_on is None:
        return _ended(rollout, report)
    on, detail = report.waiting_on, report.detail
    if on in (WaitingOn.EARLIER_WAVE, WaitingOn.SWITCH) and ramp is not None and standing is not None:
        why, step = _wave(rollout, ramp, standing, said, kept)
        return f"{detail or _PLAIN.get(on, on.value)}; {why}", step
    if on in _ON_THE_DEVICE:
        why = _ON_THE_DEVICE[on] + (f" ({detail})" if detail else "")
        return why, Step(kind=StepKind.DEVICE, words="its next message", rollout=rollout.id)
    if on is WaitingOn.SITE_DECISION:
        why = detail or "it is prepared, and waits for the decision of its site"
        return why, replace(_SITE, rollout=rollout.id)
    if on in _THERE:
        why = _THERE[on] + (f" ({detail})" if detail else "")
        return why, Step(kind=StepKind.SOMEBODY_THERE, words="somebody at the device, or time", rollout=rollout.id)
    if on is WaitingOn.PAUSED:
        return f"the rollout is paused ({detail})" if detail else "the rollout is paused", _resumed(rollout)
    return detail or _PLAIN.get(on, on.value), _held(rollout, report, said)


_PLAIN: Final = {
    WaitingOn.DEVICE_NEVER_SEEN: "it was enrolled and never heard of since",
    WaitingOn.DEVICE_OFFLINE: "it is offline",
    WaitingOn.CLONE_SUSPECTED: "it may be two devices, and gets nothing new until somebody decides",
    WaitingOn.QUARANTINED: "it is quarantined, and gets nothing new until it is readmitted",
    WaitingOn.SWITCH: "it is ready, and waits for the switch of its wave",
    WaitingOn.PLANNING: "the controller has not planned it yet",
    WaitingOn.RESTORED: "this server was put back from a backup, and the device has not said since what it runs",
}
SITES_SHOWN: Final = 5
_SITE: Final = Step(kind=StepKind.SITE, words="the last of its site is prepared or fails, or its lease ends")
_SPEAKS: Final = Step(kind=StepKind.CONTACT, words="it connects, and says what it runs")


def _held(rollout: Rollout, report: DeviceReport, said: WaveReport | None) -> Step:
    device = report.device
    match report.waiting_on:
        case WaitingOn.DEVICE_NEVER_SEEN | WaitingOn.DEVICE_OFFLINE:
            return Step(kind=StepKind.CONTACT, words="it connects", rollout=rollout.id)
        case WaitingOn.CLONE_SUSPECTED | WaitingOn.QUARANTINED:
            words = "a person readmits it"
            return Step(kind=StepKind.READMIT, words=words, command=f"pinnace device readmit {device}")
        case WaitingOn.RESTORED:
            return replace(_SPEAKS, rollout=rollout.id)
        case WaitingOn.UNREADABLE:
            return _mended(rollout)
        case WaitingOn.OTHER_ROLLOUT:
            words = "the other rollout ends, or a person cancels it"
            other = f"pinnace why {report.rival}" if report.rival is not None else ""
            return Step(kind=StepKind.OTHER_ROLLOUT, words=words, command=other)
        case WaitingOn.BUDGET:
            words = "a device that is under way is done, or one that is ill is well again"
            return Step(kind=StepKind.ROOM, words=words, rollout=rollout.id)
        case WaitingOn.SITE:
            words = (
                "the others of its site can be told, or somebody takes them out (rollout narrow, device decommission)"
            )
            return Step(kind=StepKind.SITE, words=words, rollout=rollout.id)
        case WaitingOn.INSTALLS_STOPPED:
            return _after_failures(rollout, said)
        case WaitingOn.WINDOW:
            words = "somebody names the time zone of its site"
            command = f"pinnace device label {device} zone=Europe/Berlin"
            return Step(kind=StepKind.NAME_ZONE, words=words, command=command)
        case _:
            return Step(kind=StepKind.TICK, words="the controller's next look, within seconds", rollout=rollout.id)


def _ended(rollout: Rollout, report: DeviceReport) -> tuple[str, Step]:
    cause = f"{report.cause}" if report.cause is not Cause.NONE else ""
    why = ": ".join(each for each in (cause, report.detail) if each)
    if report.state in _ENDED_BADLY:
        if report.cause in _NOT_TRIED_AGAIN:
            words = "assign it another version: it does not try this one again"
            command = f"pinnace assign {rollout.model} VERSION --devices {report.device}"
            return why, Step(kind=StepKind.ASSIGN, words=words, command=command)
        if rollout.state is RolloutState.ACTIVE and rollout.rules:
            words = "a person lets it try again"
            command = f"pinnace rollout retry {rollout.id} {report.device}"
            return why, Step(kind=StepKind.RETRY, words=words, command=command, rollout=rollout.id)
        return why, _assigned_anew(report.device, rollout)
    if report.state is MemberState.COMMITTED:
        return why or "it keeps the release", NOTHING
    return why or f"it is {report.state}", _assigned_anew(report.device, rollout)


def _assigned_anew(device: DeviceId, rollout: Rollout | None = None) -> Step:
    what = f"{rollout.model} {rollout.version or 'VERSION'}" if rollout is not None else "MODEL VERSION"
    command = f"pinnace assign {what} --devices {device}"
    return Step(kind=StepKind.ASSIGN, words="assign it a version again", command=command)


# --- a wave -------------------------------------------------------------------------------------------------------


def _wave(rollout: Rollout, ramp: Ramp, standing: Standing, said: WaveReport | None, kept: int) -> tuple[str, Step]:
    """Return what the current wave waits on, and what would let it go on."""
    wave, name = standing.wave, rollout.id
    if standing.ruling is not None:
        words = "the controller's next look, within seconds"
        return f"wave {wave}: {standing.ruling.why}", Step(kind=StepKind.TICK, words=words, rollout=name, wave=wave)
    if standing.waiting_on is WaitingOn.PAUSED:
        return f"the rollout is paused ({ramp.paused})", _resumed(rollout)
    if standing.waiting_on is WaitingOn.SWITCH:
        words, until_s = "the others are ready, or the first has waited long enough", standing.until_s
        step = Step(kind=StepKind.SWITCH, words=words, rollout=name, wave=wave, until_s=until_s)
        return f"wave {wave}: {standing.detail}", step
    begun = wave in ramp.begun
    if standing.waiting_on is WaitingOn.APPROVAL and not begun:
        words, command = "that many people agree", f"pinnace rollout approve {name} --wave {wave}"
        return standing.detail, Step(kind=StepKind.APPROVE, words=words, command=command, rollout=name, wave=wave)
    why = _watched(wave, ramp, standing, said, kept)
    if said is not None and _STOPPED & set(said.reasons) and standing.waiting_on is not WaitingOn.APPROVAL:
        return f"wave {wave}: {why}", replace(_after_failures(rollout, said), wave=wave)
    command = f"pinnace rollout promote {name} {wave} --reason …"
    if standing.waiting_on is WaitingOn.APPROVAL:
        words = "a person promotes the wave or moves it back (pinnace rollout rollback)"
    else:
        untold = said is not None and Reason.NOT_TOLD in said.reasons
        words = _TOLD if untold else "its gates promote the wave, or a person does"
    soaks = standing.waiting_on is WaitingOn.SOAK_TIME
    step = Step(
        kind=StepKind.PROMOTE,
        words=words,
        command=command,
        rollout=name,
        wave=wave,
        at_s=standing.until_s if soaks else None,
        until_s=None if soaks else standing.until_s,
    )
    return f"wave {wave}: {why}", step


def _watched(wave: int, ramp: Ramp, standing: Standing, said: WaveReport | None, kept: int) -> str:
    """Return what gates wait for. Where nobody serves the release there is nothing that they could have seen."""
    tried = said is not None and _STOPPED & set(said.reasons)
    if _nobody_serves(ramp, standing) and not tried:
        if kept:  # since they looked
            n = "one of its devices keeps" if kept == 1 else f"{kept} of its devices keep"
            return f"{n} the release; its gates look soon"
        told = any(each.number == wave and each.told_at_s is not None for each in ramp.waves)
        begun = "its ready devices were told to switch" if told else "it has begun"
        return f"{begun}, and none of its devices serves the release yet"
    return "; ".join(said.why) if said is not None and said.why else standing.detail


_TOLD: Final = "applications tell what its gates ask for, or a person promotes the wave or moves it back"


def _nobody_serves(ramp: Ramp, standing: Standing) -> bool:
    """Tell whether no device of the current wave serves the release yet."""
    served = any(each.number == standing.wave and each.switched_at_s is not None for each in ramp.waves)
    return standing.waiting_on is WaitingOn.DEVICES and not served


def _after_failures(rollout: Rollout, said: WaveReport | None) -> Step:
    """Return what a person does about stopped installs: what failed its golden vectors fails them again."""
    if said is not None and Reason.HARDWARE_STOPPED in said.reasons:
        words = "a person moves it back, or promotes the wave in spite of what failed; it fails there again"
        command = f"pinnace rollout rollback {rollout.id} --reason …"
        return Step(kind=StepKind.MOVE_BACK, words=words, command=command, rollout=rollout.id)
    words = "a person looks at what failed, and lets it try again or moves all back"
    command = f"pinnace rollout retry {rollout.id}"
    return Step(kind=StepKind.RETRY, words=words, command=command, rollout=rollout.id)


def _mended(rollout: Rollout) -> Step:
    words = "the server that wrote it is started again, or a person cancels the rollout or moves it back"
    return Step(kind=StepKind.MEND, words=words, command=f"pinnace rollout cancel {rollout.id}", rollout=rollout.id)


def _resumed(rollout: Rollout) -> Step:
    command = f"pinnace rollout resume {rollout.id}"
    return Step(kind=StepKind.RESUME, words="a person lets it go on", command=command, rollout=rollout.id)
