"""``pinnace export fleet``: the fleet as a file, for tools that plan with it."""

from __future__ import annotations

import argparse
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from pinnace_server.cli import shown
from pinnace_server.cli.api import PAGE, Answer, Api, CallFailed
from pinnace_server.cli.asking import add_group, add_verb

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SALT_BYTES: Final = 16
_OF_A_STRETCH: Final = ("total", "next")


def add_parsers(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    exports = add_group(verbs, "export", "what the server knows, as a file")
    fleet = add_verb(exports, "fleet", "export devices, links and versions, without secrets", _fleet)
    fleet.add_argument("--out", type=Path, metavar="FILE", help="default: print it")
    fleet.add_argument("--anonymous", action="store_true", help="hash the ids of devices and drop their labels")


class Getter(Protocol):
    """The part of ``Api`` that an export needs."""

    def get(self, path: str, **query: object) -> Answer: ...


def _fleet(api: Api, chosen: argparse.Namespace) -> int:
    made = snapshot(api, secrets.token_hex(SALT_BYTES) if chosen.anonymous else None)
    if chosen.out is None:
        print(shown.as_json(made))
        return 0
    try:
        with chosen.out.open("w", encoding="utf-8") as file:
            json.dump(made, file, indent=1, ensure_ascii=False)
            file.write("\n")
    except OSError as error:
        raise CallFailed(f"{chosen.out}: {error.strerror}", hint="give --out a file that can be written") from error
    written = {
        "file": str(chosen.out),
        "devices": len(made["devices"]),
        "versions": len(made["versions"]),
        "anonymous": made["anonymous"],
    }
    print(shown.as_json(written) if chosen.json else _words(written))
    return 0


def snapshot(api: Getter, salt: str | None) -> Answer:
    """Ask for stretch after stretch. A device that moves in the list meanwhile is in the snapshot once."""
    first = api.get("/fleet/export", limit=PAGE, salt=salt)
    devices = {each["id"]: each for each in first["devices"]}
    offset: int | None = first["next"]
    while offset is not None:
        answer = api.get("/fleet/export", limit=PAGE, offset=offset, salt=salt)
        devices |= {each["id"]: each for each in answer["devices"]}
        offset = answer["next"]
    rest: Answer = {name: value for name, value in first.items() if name not in _OF_A_STRETCH}
    return rest | {"devices": list(devices.values())}


def _words(written: dict[str, Any]) -> str:
    ids = "ids are hashed, labels left out" if written["anonymous"] else "with ids and labels"
    return f"{written['devices']} device(s) and {written['versions']} version(s), {ids}: {written['file']}"
