"""``pinnace rollout start`` and what follows, ``pinnace why``, ``pinnace audit verify``: rollouts in waves."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pinnace_server.cli import shown
from pinnace_server.cli.api import Api, CallFailed, quoted
from pinnace_server.cli.asking import add_group, add_verb

if TYPE_CHECKING:
    from argparse import _SubParsersAction

PROMOTIONS: Final[dict[str, tuple[str, ...]]] = {
    "proven": ("promote_proven",),
    "unrefuted": ("promote_unrefuted",),
    "empty": ("hold", "promote_proven", "promote_unrefuted"),  # a wave without devices has nothing to judge
}
RULINGS: Final = ("wave_promoted", "gate_fired", "wave_asked", "rollout_paused")
SHOWN_DEVICES: Final = 5


def add_rollout_parsers(rollouts: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add what is said after ``pinnace rollout``."""
    start = add_verb(rollouts, "start", "begin a rollout in waves", _start)
    start.add_argument("model")
    start.add_argument("version", help="a name, or @ALIAS")
    start.add_argument("--policy", type=Path, metavar="FILE", help="YAML or JSON; see docs/rollouts.md")
    start.add_argument("--selector", metavar="SELECTOR", help="the cohort, instead of the policy's")
    start.add_argument("--reason", default="", help="for the log")
    start.add_argument("--dry-run", action="store_true", help="say who would move in which wave, and begin nothing")
    for name, words, run in (
        ("pause", "begin nothing new; what is worse is still moved back", _pause),
        ("resume", "go on after a pause", _resume),
    ):
        _of_rollout(rollouts, name, words, run).add_argument("--reason", default="", help="for the log")
    approve = _of_rollout(rollouts, "approve", "agree that a wave may begin", _approve)
    approve.add_argument("--wave", type=int, metavar="N", help="default: the next one")
    promote = _of_rollout(rollouts, "promote", "decide for the gates of the current wave", _promote)
    promote.add_argument("wave", type=int)
    promote.add_argument("--reason", required=True, help="the log keeps it")
    retry = _of_rollout(rollouts, "retry", "let devices on which it ended badly try again", _retry)
    retry.add_argument("devices", nargs="*", metavar="DEVICE", help="default: all of them")
    for name, words in (
        ("widen", "let more devices join"),
        ("narrow", "let devices go that still wait"),
    ):
        change = _of_rollout(rollouts, name, f"{words}, by saying whom the rollout means from now on", _change_cohort)
        change.add_argument("selector", help="as 'site in (lyon, paris)'")


def add_parsers(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs of their own."""
    why = add_verb(verbs, "why", "say why a device or a rollout is where it is, and what would change it", _why)
    why.add_argument("subject", metavar="DEVICE|ROLLOUT")
    audits = add_group(verbs, "audit", "what the log says, checked")
    verify = add_verb(audits, "verify", "work out again every verdict of a gate that decided something", _verify)
    verify.add_argument("--rollout", help="only this one's")


def _of_rollout(
    rollouts: _SubParsersAction[argparse.ArgumentParser], name: str, words: str, run: Any
) -> argparse.ArgumentParser:
    parser = add_verb(rollouts, name, words, run)
    parser.add_argument("rollout")
    return parser


# --- beginning ----------------------------------------------------------------------------------------------------


def _start(api: Api, chosen: argparse.Namespace) -> int:
    policy = _policy(chosen.policy) if chosen.policy else {}
    if chosen.selector is not None:
        had = policy.get("cohort")
        policy["cohort"] = had | {"selector": chosen.selector} if isinstance(had, dict) else chosen.selector
    if "cohort" not in policy:
        raise CallFailed(
            "expected devices to move, found neither a cohort in the policy nor --selector",
            hint="--selector '' means every device",
        )
    choice = {"model": chosen.model, "version": chosen.version, "policy": policy}
    if chosen.dry_run:
        seen = api.post("/rollouts/preview", choice)
        said = [_preview(seen)] + ([_rehearsed(chosen)] if seen["waves"] else [])
        print(shown.as_json(seen) if chosen.json else "\n".join(said))
        return 0
    rollout = api.post("/rollouts", {**choice, "reason": chosen.reason})
    what = f"{shown.devices(sum(rollout['devices'].values()))} to {rollout['model']} {rollout['version']}"
    return _print(chosen, rollout, f"rollout {rollout['id']}: {what}; see: pinnace why {rollout['id']}")


def _rehearsed(chosen: argparse.Namespace) -> str:
    """Return how to see what its gates would do: a preview deals devices, and plays nothing."""
    policy = chosen.policy or "POLICY"
    return (
        "to play it on twins of the fleet first: pinnace export fleet --out fleet.json && "
        f"pinnace-sim rehearse --fleet fleet.json --release {chosen.model}@{chosen.version} --policy {policy}"
    )


def _policy(file: Path) -> dict[str, Any]:
    """Read a policy: YAML, of which JSON is a part."""
    from pinnace_server import policy_text
    from pinnace_server.errors import Refused

    try:
        return policy_text.parse(file.read_bytes())
    except OSError as error:
        raise CallFailed(f"{file}: {error.strerror}") from error
    except Refused as refusal:
        raise CallFailed(f"{file}: {refusal}") from refusal


def _preview(seen: dict[str, Any]) -> str:
    lines = []
    for wave in seen["waves"]:
        named = ", ".join(wave["devices"][:SHOWN_DEVICES]) + (" …" if len(wave["devices"]) > SHOWN_DEVICES else "")
        held = seen["policy"]["holdback"] is not None and wave["number"] == len(seen["policy"]["waves"]) + 1
        kind = "held back" if held else f"wave {wave['number']}"
        lines.append(f"{kind}: {shown.devices(len(wave['devices']))} ({named})")
    strategy = seen["policy"]["strategy"]
    if strategy["kind"] == "blue_green":
        lines.append(
            "each wave is made ready and switches together, those that are late by themselves "
            f"{strategy['wait_s']} s after the first is ready; "
            f"what served stays loaded for {strategy['keep_s']} s, so that going back takes no load"
        )
    if not seen["waves"] and not seen["already_on_it"] and not seen["excluded"]:
        cohort = seen["policy"]["cohort"]["selector"]
        lines.append(
            f"nobody would move: no device matches {cohort!r}; labels that devices report themselves count with"
            " cohort.trust_reported only"
        )
    elif not seen["waves"]:
        lines.append("nobody would move")
    if seen["already_on_it"]:
        lines.append(f"{shown.devices(len(seen['already_on_it']))} on it already")
    lines += [f"left out: {device}: {why}" for device, why in seen["excluded"].items()]
    counted = sorted(seen["variants"].items(), key=lambda each: (-each[1], each[0]))
    lines += [f"{name} first: {shown.devices(n)}" for name, n in counted]
    if seen["foresight"] and seen["waves"]:
        lines.append(seen["foresight"])
    return "\n".join(shown.cell(line, 400) for line in lines)


# --- steering -----------------------------------------------------------------------------------------------------


def _pause(api: Api, chosen: argparse.Namespace) -> int:
    rollout = api.post(f"/rollouts/{quoted(chosen.rollout)}/pause", {"reason": chosen.reason})
    return _print(chosen, rollout, f"rollout {rollout['id']} is paused")


def _resume(api: Api, chosen: argparse.Namespace) -> int:
    rollout = api.post(f"/rollouts/{quoted(chosen.rollout)}/resume", {"reason": chosen.reason})
    return _print(chosen, rollout, f"rollout {rollout['id']} goes on")


def _approve(api: Api, chosen: argparse.Namespace) -> int:
    rollout = api.post(f"/rollouts/{quoted(chosen.rollout)}/approve", {"wave": chosen.wave})
    wave = "the next wave" if chosen.wave is None else f"wave {chosen.wave}"
    return _print(chosen, rollout, f"you agreed that {wave} of rollout {rollout['id']} may begin")


def _promote(api: Api, chosen: argparse.Namespace) -> int:
    path = f"/rollouts/{quoted(chosen.rollout)}/promote"
    rollout = api.post(path, {"wave": chosen.wave, "reason": chosen.reason})
    return _print(chosen, rollout, f"wave {chosen.wave} of rollout {rollout['id']} is promoted")


def _retry(api: Api, chosen: argparse.Namespace) -> int:
    answer = api.post(f"/rollouts/{quoted(chosen.rollout)}/retry", {"devices": chosen.devices})
    return _print(chosen, answer, f"{shown.devices(answer['devices'])} will try again")


def _change_cohort(api: Api, chosen: argparse.Namespace) -> int:
    answer = api.post(f"/rollouts/{quoted(chosen.rollout)}/cohort", {"cohort": chosen.selector})
    means = f"rollout {chosen.rollout} means {chosen.selector or 'every device'} now"
    changed = f"{shown.devices(answer['joined'])} joined, {shown.devices(answer['let_go'])} let go"
    return _print(chosen, answer, f"{means}: {changed}; those that were told already stay in it")


def _print(chosen: argparse.Namespace, answer: dict[str, Any], words: str) -> int:
    print(shown.as_json(answer) if chosen.json else words)
    return 0


# --- why ----------------------------------------------------------------------------------------------------------


def _why(api: Api, chosen: argparse.Namespace) -> int:
    """Ask about a device, or about a rollout where no device has that name."""
    subject = quoted(chosen.subject)
    try:
        answer = api.get(f"/devices/{subject}/why")
        answers = answer["answers"]
    except CallFailed as error:
        if error.code != "NOT_FOUND":
            raise
        try:
            answer = api.get(f"/rollouts/{subject}/why")
        except CallFailed as other:
            if other.code != "NOT_FOUND":
                raise
            raise CallFailed(
                f"there is no device and no rollout {chosen.subject!r} on this server",
                hint="see: pinnace device list, pinnace rollout list",
                code=other.code,
            ) from other
        answers = [answer]
    if chosen.json:
        print(shown.as_json(answer))
        return 0
    print("\n\n".join(answer_words(each) for each in answers))
    return 0


def answer_words(answer: dict[str, Any]) -> str:
    """Return an answer as it is printed."""
    what = f"{answer['model'] or ''} {answer['version'] or ''}".strip()
    code = answer["waiting_on"]
    waits = f", waits for {shown.waits_for(code)} ({code})" if code else ""
    step = answer["next"]
    when = f" (not before {shown.at(step['at_s'])})" if step["at_s"] else ""
    then = "those that are ready switch" if step["kind"] == "switch" else "the policy decides"
    when += f" (until {shown.at(step['until_s'])}, then {then})" if step["until_s"] else ""
    lines = [
        f"{answer['about']}: {answer['state']}{waits}" + (f"   [{what}]" if what else ""),
        f"  why   {answer['why']}",
        f"  next  {step['words']}{when}",
    ]
    if step["command"]:
        lines.append(f"        {step['command']}")
    if answer["variant"]:
        lines.append(f"  variant {answer['variant']}")
    return "\n".join(shown.cell(line, 1000) for line in lines)


# --- audit --------------------------------------------------------------------------------------------------------


def _verify(api: Api, chosen: argparse.Namespace) -> int:
    """Work out every verdict here, not at the server, from records whose digests the log names."""
    if chosen.rollout is not None:
        api.get(f"/rollouts/{quoted(chosen.rollout)}")  # nothing to verify is no success where the name is mistyped
    found = [_checked(api, event) for event in _rulings(api, chosen.rollout)]
    broken = [each for each in found if each["problem"]]
    if chosen.json:
        print(shown.as_json({"verdicts": found, "broken": len(broken)}))
        return 1 if broken else 0
    rows = [(each["event"], each["rollout"], each["kind"], each["wave"], each["problem"] or "holds") for each in found]
    print(shown.table(("EVENT", "ROLLOUT", "RULING", "WAVE", "WORKED OUT AGAIN"), rows))
    print(f"{len(found)} verdict(s), {len(broken)} of them broken")
    return 1 if broken else 0


def _rulings(api: Api, rollout: str | None) -> list[dict[str, Any]]:
    """Return the events in which gates or their time decided, oldest first; what a person decided has no verdict."""
    events = api.all("/events", kind=list(RULINGS), rollout=rollout)
    ruled = [each for each in events if "record" in each["data"] or each["data"].get("by") in PROMOTIONS]
    return sorted(ruled, key=lambda each: int(each["number"]))


def _checked(api: Api, event: dict[str, Any]) -> dict[str, Any]:
    named = "record" in event["data"]
    kept = str(api.get(f"/events/{event['number']}/verdict")["record"]) if named else None
    return {
        "event": event["number"],
        "rollout": event["rollout"],
        "kind": event["kind"],
        "wave": event["data"].get("wave", ""),
        "problem": "the log names no record" if kept is None else problem_of(event, kept),
    }


def problem_of(event: dict[str, Any], record: str) -> str:
    """Return what is wrong with the record of a ruling, empty if nothing is."""
    from pinnace_server.domain.gates import records
    from pinnace_server.errors import Refused

    if hashlib.sha256(record.encode()).hexdigest() != event["data"]["record"]:
        return "the record is not the one that the log names"
    try:
        kept = json.loads(record)
        if kept["about"] != {"rollout": event["rollout"], "wave": int(event["data"]["wave"])}:
            return f"the record is about {kept['about']}"
        if not records.holds(kept):
            return "the verdict does not follow from its evidence"
    except (ValueError, KeyError, TypeError, Refused) as error:
        return str(error)
    said = kept["verdict"]["decision"]
    return "" if said in _allowed(event) else f"the log says {event['kind']}, the verdict {said}"


def _allowed(event: dict[str, Any]) -> tuple[str, ...]:
    """Return the verdicts from which a ruling may follow."""
    if event["kind"] == "wave_promoted":
        return PROMOTIONS.get(event["data"].get("by", ""), ())
    return ("hold",) if event["data"].get("decided_by") == "time" else ("roll_back",)
