"""``pinnace token``, ``pinnace device``, ``pinnace receipt``: devices and what they said."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any, Final

from pinnace_server.cli import shown
from pinnace_server.cli.api import Api, CallFailed, quoted
from pinnace_server.cli.asking import add_group, add_verb

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_parsers(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs."""
    tokens = add_group(verbs, "token", "claim tokens, with which devices enrol")
    create = add_verb(tokens, "create", "make a claim token", _create_token)
    create.add_argument("--uses", type=int, default=1, help="for how many devices (default: %(default)s)")
    create.add_argument("--life", type=_seconds, default=86_400, metavar="TIME", help="as 30m, 24h, 7d (default: 24h)")
    create.add_argument("--note", default="")
    create.add_argument("--serial", default="", metavar="GLOB", help="only for serial numbers like this")
    create.add_argument("--label", action="append", default=[], type=_label, metavar="KEY=VALUE")
    create.add_argument("--quiet", action="store_true", help="print the token and nothing else")
    add_verb(tokens, "list", "list claim tokens", _tokens)
    revoke = add_verb(tokens, "revoke", "make a claim token worthless", _revoke)
    revoke.add_argument("id")

    devices = add_group(verbs, "device", "devices")
    listing = add_verb(devices, "list", "list devices", _devices)
    listing.add_argument("--selector", default="", help="as 'site=lyon, has camera'")
    listing.add_argument("--status", choices=["degraded", "updating", "online", "offline", "pending"])
    listing.add_argument("--model")
    listing.add_argument("--version", help="only devices that serve it")
    listing.add_argument("--text", default="", help="part of id, name or serial number")
    show = add_verb(devices, "show", "show a device", _device)
    show.add_argument("device")
    label = add_verb(devices, "label", "set or remove labels", _label_device)
    label.add_argument("device")
    label.add_argument("labels", nargs="+", metavar="KEY=VALUE", help="KEY- removes a label")
    rename = add_verb(devices, "rename", "give a device another name", _rename)
    rename.add_argument("device")
    rename.add_argument("name")
    readmit = add_verb(devices, "readmit", "end a quarantine, and say which store is the device", _readmit)
    readmit.add_argument("device")
    readmit.add_argument("--incarnation", help="default: the one believed in so far")
    decommission = add_verb(devices, "decommission", "take a device out for good", _decommission)
    decommission.add_argument("device")

    replace = add_verb(devices, "replace", "put a device in the place of another, which is decommissioned", _replace)
    replace.add_argument("old", metavar="OLD")
    replace.add_argument("new", metavar="NEW", help="an active device; it takes name, labels and models")
    replace.add_argument("--reason", default="", help="for the log")

    receipts = add_verb(verbs, "receipts", "list how assignments ended", _receipts)
    receipts.add_argument("--device")
    receipts.add_argument("--model")
    receipts.add_argument("--version")
    receipts.add_argument("--limit", type=int, default=50, help="default: %(default)s")


def _create_token(api: Api, chosen: argparse.Namespace) -> int:
    made = api.post(
        "/claim-tokens",
        {
            "uses": chosen.uses,
            "life_s": chosen.life,
            "note": chosen.note,
            "serial_pattern": chosen.serial,
            "labels": dict(chosen.label),
        },
    )
    if chosen.json:
        print(shown.as_json(made))
    elif chosen.quiet:
        print(made["token"])
    else:
        claim = made["claim"]
        print(f"claim token {claim['id']}, for {claim['uses_left']} device(s) until {shown.at(claim['expires_s'])}:\n")
        print(made["token"])
        print(f"\nOn the device:\n  pinnace-agent enroll --server {api.server} --token {made['token']}")
    return 0


def _tokens(api: Api, chosen: argparse.Namespace) -> int:
    rows = list(api.all("/claim-tokens"))
    if chosen.json:
        print(shown.as_json(rows))
        return 0
    print(
        shown.table(
            ("TOKEN", "USES LEFT", "EXPIRES", "LABELS", "NOTE"),
            [(row["id"], row["uses_left"], shown.at(row["expires_s"]), row["labels"], row["note"]) for row in rows],
        )
    )
    return 0


def _revoke(api: Api, chosen: argparse.Namespace) -> int:
    api.delete(f"/claim-tokens/{quoted(chosen.id)}")
    return 0


def _devices(api: Api, chosen: argparse.Namespace) -> int:
    rows = list(
        api.all(
            "/devices",
            selector=chosen.selector,
            status=chosen.status,
            model=chosen.model,
            version=chosen.version,
            text=chosen.text,
        )
    )
    if chosen.json:
        print(shown.as_json(rows))
        return 0
    print(
        shown.table(
            ("DEVICE", "STATUS", "MODELS", "P95 MS", "LABELS", "SEEN"),
            [
                (
                    row["id"],
                    row["status"] if row["cause"] == "NONE" else f"{row['status']} ({row['cause']})",
                    [_model_words(each) for each in row["models"]],
                    row["p95_ms"],
                    row["labels"],
                    shown.at(row["seen_at_s"]),
                )
                for row in rows
            ],
        )
    )
    return 0


def _model_words(slot: dict[str, Any]) -> str:
    serves = slot["current"]["version"] if slot["current"] else "no model"
    if slot["phase"] == "idle":
        return f"{slot['model']} {serves}"
    to = slot["candidate"]["version"] if slot["candidate"] else (slot["wanted"] or {}).get("version")
    return f"{slot['model']} {serves} → {to} ({slot['phase']})"


def _device(api: Api, chosen: argparse.Namespace) -> int:
    device = api.get(f"/devices/{quoted(chosen.device)}")
    print(shown.as_json(device) if chosen.json else device_words(device))
    return 0


def device_words(device: dict[str, Any]) -> str:
    """Return everything that is known of a device."""
    age = None if device["seen_at_s"] is None else round(device["answered_at_s"] - device["seen_at_s"])
    head = shown.pairs(
        [
            ("device", device["id"]),
            ("name", device["name"]),
            ("status", device["status"]),
            ("state", device["state"] if device["cause"] == "NONE" else f"{device['state']}: {device['cause']}"),
            ("seen", "never" if age is None else f"{age} s ago; it reports every {device['report_every_s']} s"),
            ("labels", device["labels"]),
            ("it says itself", device["reported_labels"] or None),
            ("hardware", device["hardware"]),
            ("runtimes", device["runtimes"]),
            ("agent", device["agent_version"]),
            ("generation", f"{device['generation']}, it says to have {device['reported_generation']}"),
            ("incarnation", device["incarnation"]),
            ("health", shown.health(device["health"]) or None),
        ]
    )
    rows = [
        (
            slot["model"],
            slot["current"]["version"] if slot["current"] else "no model",
            slot["phase"] if slot["cause"] == "NONE" else f"{slot['phase']}: {slot['cause']}",
            (slot["wanted"] or {}).get("version"),
            slot["outcome"] if slot["outcome_cause"] == "NONE" else f"{slot['outcome']}: {slot['outcome_cause']}",
            [each["version"] for each in slot["last_good"]],
            _standby(slot["standby"]),
        )
        for slot in device["models"]
    ]
    models = (
        shown.table(("MODEL", "SERVES", "PHASE", "WANTED", "OUTCOME", "LAST GOOD", "STANDBY"), rows)
        if rows
        else "no models"
    )
    return "\n\n".join([head, models, *map(_choice_words, device["variants"])])


def _choice_words(choice: dict[str, Any]) -> str:
    """Return which variant a device tries first, why, and what is known of its hardware by now."""
    rule = f"the policy asks for {choice['rule']}" if choice["rule"] else "a plain assignment, which has no policy"
    first, *others = choice["order"]
    return shown.pairs(
        [
            (f"{choice['model']} {choice['version']}", f"rollout {choice['rollout']}; {rule}"),
            ("variant", choice["why"]),
            *([("if it fails", f"then {', '.join(others)}")] if others else [("if it fails", f"none beside {first}")]),
            (f"on {choice['hardware'] or 'unnamed hardware'}", "; ".join(map(measured_words, choice["measured"]))),
        ]
    )


def measured_words(found: dict[str, Any]) -> str:
    """Return what is known of a variant on a class of hardware."""
    if found["p95_ms"] is None:
        return f"{found['variant']} not measured"
    n = found["results"]
    what = "measurement" if found["source"] == "measured_on_device" else "receipt"
    few = "" if found["believed"] else ", too few to choose by"
    return f"{found['variant']} {found['p95_ms']:.3g} ms p95 ({n} {what}{'s' * (n != 1)}{few})"


def _standby(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    how = f"until {shown.at(found['until_s'])}" if found["warm"] else f"not loaded: {found['cause']}"
    return f"{found['version']} ({how})"


def _label_device(api: Api, chosen: argparse.Namespace) -> int:
    changes: dict[str, object] = {}
    for text in chosen.labels:
        if text.endswith("-") and "=" not in text:
            changes[text[:-1]] = None
        else:
            key, value = _label(text)
            changes[key] = value
    device = api.patch(f"/devices/{quoted(chosen.device)}", {"labels": changes})
    print(shown.as_json(device) if chosen.json else shown.pairs([("labels", device["labels"])]))
    return 0


def _rename(api: Api, chosen: argparse.Namespace) -> int:
    device = api.patch(f"/devices/{quoted(chosen.device)}", {"name": chosen.name})
    print(shown.as_json(device) if chosen.json else shown.pairs([("name", device["name"])]))
    return 0


def _readmit(api: Api, chosen: argparse.Namespace) -> int:
    device = api.post(f"/devices/{quoted(chosen.device)}/readmit", {"incarnation": chosen.incarnation})
    print(shown.as_json(device) if chosen.json else device_words(device))
    return 0


def _decommission(api: Api, chosen: argparse.Namespace) -> int:
    device = api.post(f"/devices/{quoted(chosen.device)}/decommission")
    print(shown.as_json(device) if chosen.json else f"device {device['id']} is decommissioned")
    return 0


def _replace(api: Api, chosen: argparse.Namespace) -> int:
    done = api.post(f"/devices/{quoted(chosen.old)}/replace", {"by": chosen.new, "reason": chosen.reason})
    if chosen.json:
        print(shown.as_json(done))
        return 0
    print(shown.cell(f"device {done['device']} takes the place of {chosen.old}, which is decommissioned", 400))
    for rollout in done["rollouts"]:
        print(f"given by rollout {rollout}; see: pinnace why {rollout}")
    for model, why in done["left_out"].items():
        print(shown.cell(f"left out: {model}: {why}", 400))
    return 0


def _receipts(api: Api, chosen: argparse.Namespace) -> int:
    answer = api.get(
        "/receipts", device=chosen.device, model=chosen.model, version=chosen.version, limit=min(chosen.limit, 200)
    )
    if chosen.json:
        print(shown.as_json(answer["items"]))
        return 0
    print(
        shown.table(
            ("RECEIVED", "DEVICE", "VERSION", "OUTCOME", "CAUSE", "EVIDENCE", "SWITCH"),
            [
                (
                    shown.at(row["received_at_s"]),
                    row["device"],
                    f"{row['model']} {row['version']}",
                    row["outcome"] if row["counted"] else f"{row['outcome']} (not counted)",
                    shown.cause(row["cause"]),
                    _evidence(row["receipt"]),
                    _switch(row["receipt"]),
                )
                for row in answer["items"]
            ],
        )
    )
    return 0


def _switch(receipt: dict[str, Any]) -> str:
    """Return how long it took to let the other loaded worker answer, and to go back."""
    times = (("", receipt.get("switch_ms")), ("back ", receipt.get("switch_back_ms")))
    return ", ".join(f"{name}{ms:.3g} ms" for name, ms in times if ms is not None)


def _evidence(receipt: dict[str, Any]) -> str:
    evidence = receipt.get("evidence")
    return f"{evidence['kind']}, {evidence.get('inferences', 0)} inferences" if evidence else "no trial"


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise CallFailed(f"expected KEY=VALUE, found {text!r}")
    return key, value


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]*)([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected a time as 30m, 24h or 7d, found {text!r}")
    return int(found[1]) * _UNITS[found[2]]
