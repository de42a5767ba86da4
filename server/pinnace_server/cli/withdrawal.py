"""``pinnace withdraw``: no device may start a version again, or must unload it now."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from pinnace_server.cli import shown
from pinnace_server.cli.api import Api, quoted
from pinnace_server.cli.asking import add_verb

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SHOWN_DEVICES: Final = 5


def add_parsers(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    verb = add_verb(verbs, "withdraw", "let no device start a version again, or unload it now", _withdraw)
    verb.add_argument("model")
    verb.add_argument("version", help="a name, or @ALIAS")
    verb.add_argument(
        "--mode",
        required=True,
        choices=["retire", "stop"],
        help="retire: no new start, what runs runs on; stop: unloaded now, and not taken back",
    )
    verb.add_argument("--reason", default="", help="the log keeps it; asked for unless --dry-run")
    verb.add_argument(
        "--security", action="store_true", help="raise the security epoch of the next version above this one's"
    )
    verb.add_argument("--dry-run", action="store_true", help="say who serves it and who would go dark; change nothing")
    verb.add_argument("--confirm-dark", type=int, metavar="N", help="you know that N devices will serve nothing")


def _withdraw(api: Api, chosen: argparse.Namespace) -> int:
    path = f"/models/{quoted(chosen.model)}/versions/{quoted(chosen.version)}/withdrawal"
    choice = {"mode": chosen.mode, "security": chosen.security}
    if chosen.dry_run:
        seen = api.post(f"{path}/preview", choice)
        print(shown.as_json(seen) if chosen.json else _words(seen))
        return 0
    done = api.post(path, {**choice, "reason": chosen.reason, "confirm_dark": chosen.confirm_dark})
    if chosen.json:
        print(shown.as_json(done))
        return 0
    did = done["did"]
    again = ", as it was before" if did["before"] == did["mode"] else ""
    print(shown.cell(f"version {did['version']} of {did['model']} is withdrawn ({did['mode']}){again}", 400))
    print(_words(did))
    for rollback in done["rollbacks"]:
        print(f"moved back by rollout {rollback}; see: pinnace why {rollback}")
    return 0


def _words(seen: dict[str, Any]) -> str:
    lines = [f"serving it: {_devices(seen['serving'])}"]
    if seen["mode"] == "stop":
        lines.append(f"going dark, having nothing else that may run: {_devices(seen['dark'])}")
    lines.append(f"told: {seen['told']} device{'s' * (seen['told'] != 1)}")
    if seen["rollouts"]:
        lines.append(f"halted: {', '.join(seen['rollouts'])}")
    if seen["aliases"]:
        lines.append(f"still pointing at it: {', '.join(seen['aliases'])}; move with: pinnace alias")
    if seen["least_next_epoch"]:
        lines.append(f"the next version has security epoch {seen['least_next_epoch']} or more")
    if seen["before"] and seen["before"] != seen["mode"]:
        lines.append(f"withdrawn before: {seen['before']}")
    return "\n".join(shown.cell(line, 400) for line in lines)


def _devices(names: list[str]) -> str:
    named = ", ".join(names[:SHOWN_DEVICES]) + (" …" if len(names) > SHOWN_DEVICES else "")
    return f"{len(names)} ({named})" if names else "none"
