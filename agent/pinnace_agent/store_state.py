"""The one commit point: the device's state as two copies of one JSON file, each with its checksum.

Both copies carry a number that grows with every save; reading takes the highest that is whole. The second copy is
written after the first is durable, so at no moment are both damaged by the same power cut.
"""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass
from typing import Final

from pinnace_agent.core.device import DeviceState
from pinnace_agent.store_port import Files, StateLost, StorageError, read_whole, write_durably
from pinnace_contract import codec
from pinnace_contract.errors import ContractError, Malformed

STATE: Final = "state.json"
COPY: Final = "state.json.bak"
SCHEMA: Final = 1  # grows only when an older agent must not read the file; new fields with defaults do not count


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A state as read. ``damage`` says what was wrong with the other copy, if anything."""

    state: DeviceState
    saves: int
    damage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    state: DeviceState | None = None
    saves: int = -1
    problem: str = ""


def load(files: Files) -> Loaded | None:
    """Read the newest whole copy, or None where there never was a state.

    Raises:
        StateLost: there are files, and none of them can be read.
        StorageBroken: the disk.
    """
    copies = [_read(files, name) for name in (STATE, COPY)]
    newest = max(copies, key=lambda copy: copy.saves)
    damage = "; ".join(copy.problem for copy in copies if copy.problem)
    if newest.state is not None:
        return Loaded(state=newest.state, saves=newest.saves, damage=damage)
    if damage:
        raise StateLost(damage)
    return None


def save(files: Files, state: DeviceState, saves: int) -> None:
    """Write both copies, one after the other; the state is saved when the first is durable.

    Raises:
        StorageFull, StorageBroken: the last state is still there.
    """
    data = _encoded(state, saves)
    write_durably(files, STATE, data)
    with contextlib.suppress(StorageError):  # the copy is against damage to come; the next save tries it again
        write_durably(files, COPY, data)


def _encoded(state: DeviceState, saves: int) -> bytes:
    tree = codec.plain(state)
    return codec.canonical_json({"schema": SCHEMA, "saves": saves, "crc": _crc(tree, saves), "state": tree})


def _crc(tree: object, saves: int) -> int:
    return zlib.crc32(codec.canonical_json([saves, tree]))


def _read(files: Files, name: str) -> _Copy:
    data = read_whole(files, name, DeviceState.BYTES_MAX)
    if data is None:
        return _Copy()
    try:
        tree = codec.parse_json(name, data, DeviceState.BYTES_MAX)
        if not isinstance(tree, dict) or not isinstance(tree.get("saves"), int):
            return _Copy(problem=f"{name} is not a state")
        if tree.get("schema") != SCHEMA:
            return _Copy(problem=f"{name} has schema {tree.get('schema')!r}, this agent reads {SCHEMA}")
        if tree.get("crc") != _crc(tree.get("state"), tree["saves"]):
            return _Copy(problem=f"the checksum of {name} is wrong")
        return _Copy(state=codec.from_plain(DeviceState, tree.get("state")), saves=tree["saves"])
    except Malformed as error:
        return _Copy(problem=str(error))
    except ContractError as error:
        return _Copy(problem=f"{name}: {error}")
