"""What codes mean, in sentences for the person who has to act: what happened, and what to do next.

A code without a sentence is shown as it is; a test holds that each of the contract has one.
"""

from __future__ import annotations

import math
import re

from pinnace_contract.latest import Cause, Outcome, Phase
from pinnace_server.domain.aliases import Means
from pinnace_server.domain.gates.evidence import Guard
from pinnace_server.domain.gates.verdicts import Decision
from pinnace_server.domain.records import RolloutState, Status
from pinnace_server.domain.rollout_policy.policy import BlueGreen

# (word, shape, colour class): the three always go together.
STATUS_LOOK = {
    Status.ONLINE: ("online", "dot", "ok"),
    Status.DEGRADED: ("degraded", "triangle", "warn"),
    Status.UPDATING: ("updating", "turn", "info"),
    Status.OFFLINE: ("offline", "ring", "off"),
    Status.PENDING: ("pending", "dash", "off"),
}
STATUS_MEANING = {
    Status.ONLINE: "reporting, and on what it was assigned",
    Status.DEGRADED: "reporting, but the last update failed or a model is not served",
    Status.UPDATING: "an update is under way",
    Status.OFFLINE: "silent for longer than three of its own reporting intervals",
    Status.PENDING: "enrolled, and not heard of yet",
}
SEVERITY_LOOK = {
    "ok": ("dot", "ok"),
    "info": ("turn", "info"),
    "warn": ("triangle", "warn"),
    "bad": ("square", "bad"),
    "": ("dash", "off"),
}
OUTCOME_LOOK = {
    Outcome.COMMITTED: ("committed", "dot", "ok"),
    Outcome.REVERTED: ("reverted", "square", "bad"),
    Outcome.FAILED: ("failed", "square", "bad"),
    Outcome.REJECTED: ("rejected", "square", "bad"),
    Outcome.SUPERSEDED: ("superseded", "dash", "off"),
    Outcome.CANCELLED: ("cancelled", "dash", "off"),
    Outcome.UNKNOWN: ("unknown outcome", "triangle", "warn"),
}
ROLLOUT_LOOK = {
    RolloutState.ACTIVE: ("active", "turn", "info"),
    RolloutState.FINISHED: ("finished", "dot", "ok"),
    RolloutState.HALTED: ("halted", "square", "bad"),
    RolloutState.CANCELLED: ("cancelled", "dash", "off"),
}
# What a rollout under way waits for a person to do.
NEED_LOOK = {
    "paused": ("paused", "triangle", "warn"),
    "approval": ("waits for approval", "triangle", "warn"),
    "decision": ("waits for a decision", "triangle", "warn"),
    "installs": ("installs stopped", "square", "bad"),
    "unreadable": ("cannot be read", "square", "bad"),
}
WAVE_LOOK = {
    "promoted": ("promoted", "dot", "ok"),
    "done": ("done", "dot", "ok"),
    "watched": ("watched", "turn", "info"),
    "begun": ("begun", "turn", "info"),
    "readied": ("is made ready", "turn", "info"),
    "asked": ("a person decides", "triangle", "warn"),
    "back": ("moved back", "square", "bad"),
    "stopped": ("stopped", "dash", "off"),
    "not_begun": ("not begun", "ring", "off"),
}
SITE_LOOK = {
    "": ("not decided", "turn", "info"),
    "commit": ("commits", "dot", "ok"),
    "revert": ("goes back", "square", "bad"),
}
DECISION_LOOK = {
    Decision.HOLD: ("hold", "turn", "info"),
    Decision.ROLL_BACK: ("roll back", "square", "bad"),
    Decision.PROMOTE_PROVEN: ("promote: proven", "dot", "ok"),
    Decision.PROMOTE_UNREFUTED: ("promote: nothing speaks against it", "dot", "ok"),
}
COMPARED_WITH = {
    "relative": "compared with devices on the old release, and with each device's own past",
    "absolute": "compared with absolute limits, for want of a control group",
}
# What a guard counts: (what it watches, what a bad one is of).
GUARD_WORDS = {
    Guard.ERRORS: ("errors", "inferences"),
    Guard.SLOW: ("slow answers", "inferences"),
    Guard.INSTALLS: ("failed installs", "attempts"),
    Guard.MISSING: ("missing reports", "reports due"),
    Guard.UNSURE: ("unsure answers", "inferences"),
    Guard.SHADOW: ("other answers in shadow", "shadowed requests"),
    Guard.FAIRNESS: ("gap between groups", "labelled answers"),
    Guard.OUTCOME: ("outcome", "trials"),
    Guard.PREDICTIONS: ("prediction drift", "inferences"),
}
_PROMOTED_BY = {
    "proven": "by its gates (proven)",
    "unrefuted": "by its gates (unrefuted)",
    "empty": "by itself (no device)",
}
# How an alias came to point at a version.
MEANS_WORDS = {
    Means.SET: "set by hand",
    Means.PROMOTED: "promoted by its rule",
    Means.FORCED: "forced past its rule",
}
PHASE_WORDS = {
    Phase.IDLE: "idle",
    Phase.OFFERED: "offered",
    Phase.FETCHING: "fetching",
    Phase.VERIFYING: "verifying",
    Phase.STAGED: "staged",
    Phase.SELF_TEST: "self-test",
    Phase.SHADOW: "shadow",
    Phase.READY: "ready to switch",
    Phase.TRIAL: "trial",
    Phase.PREPARED: "prepared",
    Phase.AWAITING_CONTACT: "awaiting contact",
    Phase.REVERTING: "reverting",
    Phase.UNKNOWN: "unknown phase",
}
# The road of an update as it is drawn on a device's page; phases beside it are shown by their word alone.
ROAD = (
    Phase.OFFERED,
    Phase.FETCHING,
    Phase.VERIFYING,
    Phase.STAGED,
    Phase.SELF_TEST,
    Phase.TRIAL,
    Phase.AWAITING_CONTACT,
)
CANDIDATE_SERVES = (Phase.TRIAL, Phase.PREPARED, Phase.AWAITING_CONTACT)
TRUST_WORDS = {
    "dev": "dev: every key is in the server's data directory",
    "delegated": "delegated: an online key for this model",
    "ceremony": "ceremony: several people signed offline",
}

CAUSE_WORDS: dict[Cause, tuple[str, str]] = {
    Cause.NONE: ("", ""),
    Cause.SIGNATURE_INVALID: (
        "A signature did not match the bytes that arrived.",
        "Check which keys the server signs with; if they did not change, someone between changed the bytes.",
    ),
    Cause.METADATA_EXPIRED: (
        "The signed metadata had expired.",
        "Look at the server's signer and at the device's clock; what runs keeps running.",
    ),
    Cause.METADATA_ROLLBACK: (
        "The metadata were older than what the device had already seen.",
        "If the server was restored from a backup, restore with `pinnace restore`, which raises the era.",
    ),
    Cause.META_INCONSISTENT: (
        "The metadata files did not belong together for ten minutes.",
        "Restart the server's broker connection so that everything retained is published again.",
    ),
    Cause.WRONG_DEVICE: (
        "The assignment was signed for another device.",
        "Check the broker's access rules: a message reached the wrong device.",
    ),
    Cause.WRONG_INCARNATION: (
        "The assignment was made for an earlier store of this device.",
        "Assign again; the device has been reinstalled since.",
    ),
    Cause.GENERATION_SUPERSEDED: ("A newer assignment was already known.", "Nothing to do: the newer one counts."),
    Cause.GENERATION_BEHIND: (
        "The device knows a newer generation than this server.",
        "This server is older than the device's knowledge: restore the newer one, or raise the era.",
    ),
    Cause.BELOW_FLOOR: (
        "The release is below the security floor that this device has committed.",
        "Register a version with the same or a higher security epoch.",
    ),
    Cause.OLDER_RELEASE: (
        "An upgrade named a release that is older than what runs.",
        "Use revert to go back on purpose.",
    ),
    Cause.TRUST_TOO_LOW: (
        "The release is signed with a lower trust level than this device asks for.",
        "Sign the release at the level that the model was declared with.",
    ),
    Cause.WITHDRAWN: ("The release has been withdrawn.", "Assign a version that is not withdrawn."),
    Cause.NO_FALLBACK: (
        "There is nothing to go back to: no release was committed here before that may still run.",
        "Assign a good version; until then the local endpoint answers 503.",
    ),
    Cause.KNOWN_BAD: (
        "This variant has already failed on this device for a lasting reason.",
        "Look at the earlier failure below; assign another version.",
    ),
    Cause.RELEASE_INVALID: ("The release file could not be read.", "Register the version again with this server."),
    Cause.UNSUPPORTED_STEP: (
        "The release uses a processing step that this agent does not know.",
        "Update the agent, or build the version without that step.",
    ),
    Cause.NO_RUNTIME: (
        "The device has none of the runtimes that the variants need.",
        "Install the runtime's extra on the device, or add a variant for the runtime it has.",
    ),
    Cause.NO_VARIANT: (
        "No variant of the release fits this device.",
        "Add a variant for its runtime and hardware.",
    ),
    Cause.AGENT_TOO_OLD: ("The release asks for a newer agent.", "Update the agent on the device."),
    Cause.HARDWARE_MISMATCH: ("The release is not meant for this hardware.", "Check the selector of the assignment."),
    Cause.SET_REFUSED: (
        "Another model of the same atomic set was refused.",
        "Look at the other models of this device for the first reason.",
    ),
    Cause.APP_CONTRACT: (
        "The application on the device does not accept the model's inputs and outputs.",
        "Update the application first, or register a version with the contract it accepts.",
    ),
    Cause.WINDOW: ("Waiting for the maintenance window.", "It goes on by itself when the window opens."),
    Cause.VETO: ("The application asked to wait.", "It goes on when the application allows it or the veto runs out."),
    Cause.METERED: ("The device is on a metered link.", "It goes on when another link is up."),
    Cause.TRANSFER_WAITING: ("Waiting for the transfer to go on.", "Check the link between the device and the broker."),
    Cause.NO_CONTACT: (
        "The server's acknowledgement has not arrived at the device.",
        "Check the link; the device keeps serving the candidate meanwhile.",
    ),
    Cause.SITE_REVERTED: (
        "Its site went back as a whole, for another of its devices.",
        "Look at the device that failed; then let the site try again.",
    ),
    Cause.LEASE_ENDED: ("No decision for the site arrived in time.", "Assign again when the whole site is reachable."),
    Cause.TRANSFER_FAILED: ("The transfer did not finish in time.", "Check the link, then assign again."),
    Cause.TRANSFER_GONE: ("The server no longer offers the file.", "Assign a version that is not withdrawn."),
    Cause.DIGEST_MISMATCH: (
        "The bytes that arrived are not the bytes that were signed.",
        "If it happens again, check the blob store and the disk of the device.",
    ),
    Cause.NO_ROOM: (
        "There is not enough free space on the device.",
        "Free the space that the detail names, then assign again.",
    ),
    Cause.NO_MEMORY: (
        "There is not enough free memory to load the model.",
        "Use a smaller variant, or free memory on the device.",
    ),
    Cause.STORAGE_ERROR: ("The device could not write to its store.", "Check the disk of the device."),
    Cause.LOAD_FAILED: (
        "The runtime refused to load the model.",
        "Read the log below; the file may be damaged or unsupported.",
    ),
    Cause.GOLDEN_MISMATCH: (
        "On this hardware the model did not give the recorded answers.",
        "Compare the variant with its source; the wrong preprocessing is the usual reason.",
    ),
    Cause.CONTRACT_MISMATCH: (
        "The model's inputs or outputs are not those that the release declares.",
        "Build the version again with the right contract.",
    ),
    Cause.CRASHED: (
        "The model's process crashed too often.",
        "Read the log below; try the variant on one such device.",
    ),
    Cause.HUNG: ("The model stopped answering.", "Read the log below; look at memory and temperature."),
    Cause.MEMORY_EXCEEDED: (
        "The model took more memory than it may.",
        "Declare its real peak, or use a smaller variant.",
    ),
    Cause.DISAGREEMENT: (
        "In its shadow it answered too often otherwise than what serves there; it served nobody.",
        "If it is meant to answer otherwise, allow more: gates.guards.shadow in the policy.",
    ),
    Cause.ERROR_RATE: ("Too many inferences failed during the trial.", "Read the log below."),
    Cause.LATENCY: (
        "The model was slower than the release promises.",
        "Use a faster variant, or correct the expectation for this hardware.",
    ),
    Cause.DEADLINE: ("A phase took longer than its deadline.", "Look at the phase in the history, then assign again."),
    Cause.LOOP: (
        "The update went round in circles and was stopped.",
        "Please report this: it is a defect of the agent.",
    ),
    Cause.NEWER_GENERATION: ("A newer assignment took its place.", "Nothing to do: the newer one counts."),
    Cause.CANCELLED_BY_SERVER: ("The assignment was taken back.", "Nothing to do."),
    Cause.REMOVED: ("The model was removed from the device.", "Nothing to do."),
    Cause.CLONE_SUSPECTED: (
        "Two devices answer with the same identity.",
        "Find the copy, then enrol it anew; nothing is assigned until then.",
    ),
    Cause.REINSTALLED: ("The device has a new store.", "Check that this was meant; it starts again from nothing."),
    Cause.UNKNOWN: ("A newer agent gave a reason that this server does not know.", "Update the server."),
}


def size(count: int) -> str:
    """Return bytes in the unit that a person would choose."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit takes everything")


_DIGEST = re.compile(r"[0-9a-f]{20,}")
_BRIEF_CHARS = 48


def brief(text: str) -> str:
    """Return what fits a small label: a digest by its beginning, a long text by as much as there is room for."""
    if _DIGEST.fullmatch(text):
        return f"{text[:12]}…"
    return text if len(text) <= _BRIEF_CHARS else f"{text[: _BRIEF_CHARS - 1]}…"


def number(count: int) -> str:
    """Return a count with thousands apart."""
    return f"{count:,}"


def decimal(value: float) -> str:
    """Return a measurement with three digits that count, never as 1e-05."""
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def promoted_by(by: str) -> str:
    """Say what promoted a wave, a person or which verdict."""
    return _PROMOTED_BY.get(by, f"by {by.removeprefix('person:')}")


def turn(place: int) -> str:
    """Return whose turn it is, from 1."""
    return _TURNS[place - 1] if place <= len(_TURNS) else f"number {place}"


_TURNS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


def strategy(kind: str) -> str:
    """Return a strategy's name as prose has it."""
    return "blue/green" if kind == BlueGreen.KIND else kind.replace("_", " ")


def length_of_time(seconds: float) -> str:
    """Return a length of time as a person would say it, in the largest unit that leaves a short number."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length and seconds % (length / 2) == 0:
            count = seconds / length
            return f"{count:g} {unit}{'s' * (count != 1)}"
    return f"{seconds:,.0f} s"


_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def evidence(log_e: float) -> str:
    """Return an e-value, given as its logarithm, as the factor by which it speaks for what it is evidence of."""
    if log_e >= math.log(1e6):
        return "×10" + f"{log_e / math.log(10):.0f}".translate(_SUPERSCRIPT)
    value = math.exp(max(log_e, -30.0))
    return f"×{value:,.0f}" if value >= 100 else f"×{value:.2g}" if value >= 0.01 else "< ×0.01"
