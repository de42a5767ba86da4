"""``pinnace assign``, ``revert``, ``rollout``, ``events``: moving devices, and watching them move."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from pinnace_server.cli import shown, steering
from pinnace_server.cli.api import Api, CallFailed, quoted
from pinnace_server.cli.asking import add_group, add_verb

if TYPE_CHECKING:
    from argparse import _SubParsersAction

FOLLOW_WAIT_S: Final = 20
POLL_S: Final = 0.5
LEFT_SHOWN_MAX: Final = 20  # devices that did not commit: those of a large fleet are for `rollout show`
COMMITTED: Final = "committed"


def add_parsers(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs."""
    assign = add_verb(verbs, "assign", "let devices go to a version", _assign)
    assign.add_argument("model")
    assign.add_argument("version", help="a name, or @ALIAS")
    assign.add_argument("--selector", default="", help="as 'site=lyon, has camera' (default: every device)")
    assign.add_argument("--devices", default="", metavar="ID,ID", help="instead of a selector")
    assign.add_argument("--trial", choices=["live", "none"], default="live", help="default: %(default)s")
    assign.add_argument("--trial-inferences", type=int, metavar="N", help="a trial ends after so many (default: 100)")
    assign.add_argument("--trial-time", type=int, metavar="S", help="or so long without a failure (default: 1800)")
    assign.add_argument("--contact", choices=["required", "none"], default="required", help="default: %(default)s")
    assign.add_argument("--dry-run", action="store_true", help="say what would be touched, and change nothing")
    assign.add_argument("--wait", action="store_true", help="return when the rollout has ended")

    revert = add_verb(verbs, "revert", "move one device back to what it served before", _revert)
    revert.add_argument("device")
    revert.add_argument("model")
    revert.add_argument("--reason", default="")

    rollouts = add_group(verbs, "rollout", "policies that move devices")
    listing = add_verb(rollouts, "list", "list rollouts", _rollouts)
    listing.add_argument("--model")
    listing.add_argument("--state", choices=["active", "finished", "halted", "cancelled"])
    show = add_verb(rollouts, "show", "show a rollout, and what its devices wait on", _rollout)
    show.add_argument("rollout")
    for name, words, run in (
        ("cancel", "stop a rollout where it is", _cancel),
        ("rollback", "halt a rollout and move its devices back", _rollback),
    ):
        end = add_verb(rollouts, name, words, run)
        end.add_argument("rollout")
        end.add_argument("--reason", default="")

    steering.add_rollout_parsers(rollouts)

    events = add_verb(verbs, "events", "read the log", _events)
    events.add_argument("--follow", action="store_true", help="go on, and print each event as it happens")
    events.add_argument("--device")
    events.add_argument("--model")
    events.add_argument("--kind", action="append", default=[])
    events.add_argument("--limit", type=int, default=50, help="how many to begin with (default: %(default)s)")
    add_verb(verbs, "status", "show what runs", _status)


def _assign(api: Api, chosen: argparse.Namespace) -> int:
    choice: dict[str, object] = {"model": chosen.model, "version": chosen.version, "selector": chosen.selector}
    if chosen.devices:
        choice["devices"] = [each.strip() for each in chosen.devices.split(",") if each.strip()]
    if chosen.dry_run:
        match = api.post("/assignments/match", choice)
        print(shown.as_json(match) if chosen.json else _match_words(match))
        return 0
    trial: dict[str, object] = {"mode": chosen.trial}
    if chosen.trial_inferences is not None:
        trial["inferences"] = chosen.trial_inferences
    if chosen.trial_time is not None:
        trial["duration_s"] = chosen.trial_time
    rollout = api.post("/assignments", {**choice, "trial": trial, "contact": {"mode": chosen.contact}})
    if chosen.wait:
        return _waited(api, chosen, rollout)
    print(shown.as_json(rollout) if chosen.json else _begun(rollout))
    return 0


def _begun(rollout: dict[str, Any]) -> str:
    n = shown.devices(sum(rollout["devices"].values()))
    return f"rollout {rollout['id']}: {rollout['model']} {rollout['version'] or ''} on {n}"


def _waited(api: Api, chosen: argparse.Namespace, rollout: dict[str, Any]) -> int:
    bar = shown.Bar()
    while rollout["state"] == "active":
        ended = sum(n for state, n in rollout["devices"].items() if state not in ("waiting", "assigned", "ready"))
        bar.show(f"{rollout['id']}: {shown.cell(rollout['devices'])}", ended / max(sum(rollout["devices"].values()), 1))
        time.sleep(POLL_S)
        rollout = api.get(f"/rollouts/{quoted(rollout['id'])}")
    bar.clear()
    all_committed = set(rollout["devices"]) <= {COMMITTED}
    print(shown.as_json(rollout) if chosen.json else rollout_words(rollout))
    if not all_committed and not chosen.json:
        rows = api.all(f"/rollouts/{quoted(rollout['id'])}/devices")
        print(f"\n{left_words(rollout['id'], rows)}")
    return 0 if all_committed else 1


def left_words(rollout: str, devices: Iterable[dict[str, Any]]) -> str:
    """Return which devices of a rollout did not commit, and why: the first ones, and where the others are listed."""
    left = [row for row in devices if row["state"] != COMMITTED]
    words = _device_table(left[:LEFT_SHOWN_MAX])
    more = len(left) - LEFT_SHOWN_MAX
    return words if more <= 0 else f"{words}\nand {more} more; all of them: pinnace rollout show {rollout}"


def _match_words(match: dict[str, Any]) -> str:
    lines = [f"{len(match['devices'])} device(s), {len(match['already_on_it'])} of them on it already"]
    lines += [f"  left out: {device}: {why}" for device, why in match["excluded"].items()]
    return "\n".join(shown.cell(line, 400) for line in lines)


def _revert(api: Api, chosen: argparse.Namespace) -> int:
    path = f"/devices/{quoted(chosen.device)}/models/{quoted(chosen.model)}/revert"
    rollout = api.post(path, {"reason": chosen.reason})
    words = f"{chosen.device} goes back to {rollout['model']} {rollout['version']} (rollout {rollout['id']})"
    print(shown.as_json(rollout) if chosen.json else words)
    return 0


def _rollouts(api: Api, chosen: argparse.Namespace) -> int:
    rows = list(api.all("/rollouts", model=chosen.model, state=chosen.state))
    if chosen.json:
        print(shown.as_json(rows))
        return 0
    print(
        shown.table(
            ("ROLLOUT", "WHAT", "INTENT", "STATE", "DEVICES", "BY", "BEGUN"),
            [
                (
                    row["id"],
                    f"{row['model']} {row['version'] or ''}".strip(),
                    row["intent"],
                    f"{row['state']} (paused)" if row["paused"] else row["state"],
                    row["devices"],
                    row["actor"],
                    shown.at(row["created_at_s"]),
                )
                for row in rows
            ],
        )
    )
    return 0


def _rollout(api: Api, chosen: argparse.Namespace) -> int:
    rollout = api.get(f"/rollouts/{quoted(chosen.rollout)}")
    devices = list(api.all(f"/rollouts/{quoted(chosen.rollout)}/devices"))
    if chosen.json:
        print(shown.as_json(rollout | {"all_devices": devices}))
        return 0
    print(rollout_words(rollout))
    print()
    if rollout["waves"]:
        print(_waves(rollout))
        print()
    if rollout["sites"]:
        print(_sites(rollout["sites"]))
        print()
    print(_device_table(devices))
    return 0


def _device_table(devices: Iterable[dict[str, Any]]) -> str:
    return shown.table(
        ("DEVICE", "STATE", "WAITS FOR", "CAUSE", "DETAIL"),
        [
            (
                row["device"],
                row["state"],
                shown.waits_for(row["waiting_on"]) or None,
                shown.cause(row["cause"]),
                row["detail"],
            )
            for row in devices
        ],
    )


def rollout_words(rollout: dict[str, Any]) -> str:
    """Return a rollout without its waves and devices."""
    return shown.pairs(
        [
            ("rollout", rollout["id"]),
            ("what", f"{rollout['model']} {rollout['version'] or ''} ({rollout['intent']}, {_strategy(rollout)})"),
            ("state", rollout["state"]),
            ("reason", rollout["reason"]),
            *([("paused", rollout["paused"])] if rollout["paused"] else []),
            ("selector", rollout["selector"] or "every device"),
            ("devices", rollout["devices"]),
            ("waits for", "; ".join(f"{shown.waits_for(on)}: {n}" for on, n in rollout.get("waiting_on", {}).items())),
            ("evidence", _evidence(rollout.get("evidence") or {})),
            ("by", f"{rollout['actor']} at {shown.at(rollout['created_at_s'])}"),
        ]
    )


def _strategy(rollout: dict[str, Any]) -> str:
    strategy = str(rollout["strategy"])
    return "blue/green" if strategy == "blue_green" else strategy.replace("_", " ")


def _evidence(counted: dict[str, Any]) -> str:
    """Return what its devices answered on the release."""
    if not counted.get("inferences"):
        return "no inference on the release yet"
    n = {name: counted.get(name, 0) for name in ("errors", "predictions", "below_threshold", "labels", "label_errors")}
    return (
        f"{counted['inferences']} inferences, {n['errors']} of them failed; "
        f"{n['below_threshold']} of {n['predictions']} predictions were unsure; "
        f"{n['label_errors']} of {n['labels']} labelled answers were wrong"
    )


def _waves(rollout: dict[str, Any]) -> str:
    rows = []
    for wave in rollout["waves"]:
        verdict = wave["verdict"]
        by = f" ({wave['promoted_by']})" if wave["promoted_by"] else ""
        said = "" if verdict is None or wave["promoted_at_s"] else "; ".join(verdict["why"])
        rows.append(
            (
                wave["number"],
                wave["devices"],
                wave["states"],
                shown.at(wave["started_at_s"]),
                f"{shown.at(wave['promoted_at_s'])}{by}",
                said,
            )
        )
    return shown.table(("WAVE", "DEVICES", "STATES", "BEGUN", "PROMOTED", "GATES"), rows)


def _sites(sites: Iterable[dict[str, Any]]) -> str:
    rows = []
    for site in sites:
        decided = f"{site['decision']} at {shown.at(site['decided_at_s'])}" if site["decision"] else ""
        lease = shown.at(site["lease_until_s"]) if site["lease_until_s"] else ""
        prepared = f"{site['prepared']} of {site['devices']}"
        mixed = "mixed" if site["mixed"] else ""
        rows.append((site["site"], site["wave"], prepared, site["keeping"], mixed, decided, lease, site["why"]))
    names = ("SITE", "WAVE", "PREPARED", "KEEP IT", "MIXED", "DECIDED", "LEASE UNTIL", "WHY")
    return shown.table(names, rows)


def _cancel(api: Api, chosen: argparse.Namespace) -> int:
    rollout = api.post(f"/rollouts/{quoted(chosen.rollout)}/cancel", {"reason": chosen.reason})
    print(shown.as_json(rollout) if chosen.json else f"rollout {rollout['id']} is {rollout['state']}")
    return 0


def _rollback(api: Api, chosen: argparse.Namespace) -> int:
    rollout = api.post(f"/rollouts/{quoted(chosen.rollout)}/rollback", {"reason": chosen.reason})
    print(shown.as_json(rollout) if chosen.json else _moves_back(chosen.rollout, rollout))
    return 0


def _moves_back(halted: str, made: dict[str, Any]) -> str:
    n, to = shown.devices(sum(made["devices"].values())), made["version"] or "no version"
    moves = f"rollout {made['id']} moves {n} back to {made['model']} {to}"
    return f"rollout {halted} is halted, and {moves}; see: pinnace why {made['id']}"


def _events(api: Api, chosen: argparse.Namespace) -> int:
    asked = {"device": chosen.device, "model": chosen.model, "kind": chosen.kind or None}
    answer = api.get("/events", **asked, limit=min(max(chosen.limit, 1), 200))
    for event in reversed(answer["items"]):
        _print_event(chosen, event)
    last = answer["last"]
    while chosen.follow:
        try:
            answer = api.get("/events", **asked, after=last, wait_s=FOLLOW_WAIT_S, limit=200)
        except CallFailed as error:
            if error.status and error.status < 500:
                raise
            shown.say(error.message)
            time.sleep(FOLLOW_WAIT_S / 10)
            continue
        for event in answer["items"]:
            _print_event(chosen, event)
        last = answer["items"][-1]["number"] if answer["items"] else max(last, answer["last"])
    return 0


def _print_event(chosen: argparse.Namespace, event: dict[str, Any]) -> None:
    if chosen.json:
        print(shown.as_json(event).replace("\n", "").replace("  ", " "), flush=True)
        return
    print(
        f"{shown.at(event['at_s'])}  {event['severity']:7}  {event['kind']:20}  {shown.cell(event['summary'], 400)}",
        flush=True,
    )


def _status(api: Api, chosen: argparse.Namespace) -> int:
    system = api.get("/system")
    times = {"started_at_s", "now_s"}
    rows = [(name.removesuffix("_s"), shown.at(value) if name in times else value) for name, value in system.items()]
    print(shown.as_json(system) if chosen.json else shown.pairs(rows))
    return 0
