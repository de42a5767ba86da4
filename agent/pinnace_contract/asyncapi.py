"""The AsyncAPI document of the device protocol, generated from the message types, so that it cannot fall behind them.

``python -m pinnace_contract.asyncapi`` prints it; the copy in ``docs/`` is held equal by a test.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from enum import StrEnum
from typing import Any, Final, NewType

from pinnace_contract import codec, desired, envelope, fields, ids, latest, topics

_ID: Final[dict[str, Any]] = {"device": ids.DeviceId, "command": ids.CommandId, "statement": ids.StatementId}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One topic pattern: who sends, how it is delivered, and what is inside."""

    address: str
    sender: str
    qos: int
    retained: bool
    summary: str
    message: type[codec.Message] | None = None
    raw: str = ""
    size_bytes_max: int = 0


_UP: Final = f"{topics.PREFIX}/up/{{device}}"
_DOWN: Final = f"{topics.PREFIX}/down/{{device}}"
_META: Final = f"{topics.PREFIX}/meta"

CHANNELS: Final[dict[str, Channel]] = {
    "state": Channel(
        address=f"{_UP}/state",
        sender="device",
        qos=1,
        retained=True,
        summary="Birth, repeated every 15 minutes, and the will of the same connection.",
        message=latest.Presence,
    ),
    "reported": Channel(
        address=f"{_UP}/reported",
        sender="device",
        qos=1,
        retained=True,
        summary="The generation applied, and phase, reason and releases of every model.",
        message=latest.Reported,
    ),
    "receipt": Channel(
        address=f"{_UP}/receipt",
        sender="device",
        qos=1,
        retained=False,
        summary="The outcome of one assignment; repeated with back-off until acknowledged.",
        message=latest.Receipt,
    ),
    "report": Channel(
        address=f"{_UP}/report",
        sender="device",
        qos=1,
        retained=False,
        summary="Telemetry of one window; repeated until acknowledged.",
        message=latest.Report,
    ),
    "want": Channel(
        address=f"{_UP}/want",
        sender="device",
        qos=0,
        retained=False,
        summary="Chunks of one blob that the device still misses.",
        message=latest.Want,
    ),
    "result": Channel(
        address=f"{_UP}/res/{{command}}",
        sender="device",
        qos=1,
        retained=False,
        summary="What became of a command.",
        message=latest.CommandResult,
    ),
    "desired": Channel(
        address=f"{_DOWN}/desired",
        sender="server",
        qos=1,
        retained=True,
        summary="Director metadata (TUF timestamp, snapshot, targets) with the assignment set in the signed targets "
        f"under {desired.ASSIGNMENT_FIELD}.",
        raw="magic PNd1, three big-endian 32-bit lengths, then the three files as signed",
        size_bytes_max=desired.DESIRED_BYTES_MAX,
    ),
    "ack": Channel(
        address=f"{_DOWN}/ack",
        sender="server",
        qos=1,
        retained=False,
        summary="Receipts and reports that are in the server's database; only on it a device deletes its copies.",
        message=latest.Ack,
    ),
    "command": Channel(
        address=f"{_DOWN}/cmd/{{command}}",
        sender="server",
        qos=1,
        retained=False,
        summary="A request to one incarnation of the device.",
        message=latest.Command,
    ),
    "data": Channel(
        address=f"{_DOWN}/data",
        sender="server",
        qos=0,
        retained=False,
        summary="One chunk for one device.",
        raw="magic PNCk, version, encryption, flags, status, blob SHA-256, chunk index, length, payload",
        size_bytes_max=latest.DATA_BYTES_MAX,
    ),
    "broadcast": Channel(
        address=f"{topics.PREFIX}/blob/{{wave}}/{{segment}}/{{chunk}}",
        sender="server",
        qos=0,
        retained=False,
        summary="One chunk for all devices of a wave.",
        raw="as data",
        size_bytes_max=latest.DATA_BYTES_MAX,
    ),
    "statement": Channel(
        address=f"{_META}/statement/{{statement}}",
        sender="server",
        qos=1,
        retained=True,
        summary="A signed statement: permission to downgrade, time reset, withdrawal, profile delegation.",
        message=latest.Statement,
    ),
    "root": Channel(
        address=f"{_META}/{{repository}}/root/{{version}}",
        sender="server",
        qos=1,
        retained=True,
        summary="Every root ever of the image, director and offline repositories.",
        raw="TUF root metadata, JSON",
        size_bytes_max=64 * 1024,
    ),
    "imageTimestamp": Channel(
        address=f"{_META}/image/timestamp",
        sender="server",
        qos=1,
        retained=True,
        summary="Timestamp of the image repository.",
        raw="TUF timestamp metadata, JSON",
        size_bytes_max=16 * 1024,
    ),
    "imageMetadata": Channel(
        address=f"{_META}/image/{{role}}.{{version}}",
        sender="server",
        qos=1,
        retained=True,
        summary="Snapshot and targets of the image repository under consistent-snapshot names; current and previous.",
        raw="TUF metadata, JSON",
        size_bytes_max=2 * 1024 * 1024,
    ),
}


def document(version: str) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document; ``version`` is that of the distribution."""
    schemas = _Schemas()
    messages = {name: _message(channel, schemas) for name, channel in CHANNELS.items()}
    schemas.of(latest.Release)
    schemas.of(latest.AssignmentSet)
    schemas.of(latest.Baseline)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Pinnace device protocol",
            "version": version,
            "description": "MQTT 3.1.1. A field left out of a JSON or CBOR object has the default stated here; unknown "
            "fields are ignored; unknown enum values are read as UNKNOWN. Device messages and ack, cmd and statement "
            "are DSSE envelopes.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(name, channel) for name, channel in CHANNELS.items()},
        "operations": {
            ("send" if channel.sender == "device" else "receive") + name[0].upper() + name[1:]: {
                "action": "send" if channel.sender == "device" else "receive",
                "channel": {"$ref": f"#/channels/{name}"},
                "summary": channel.summary,
                "bindings": {"mqtt": {"qos": channel.qos, "retain": channel.retained}},
            }
            for name, channel in CHANNELS.items()
        },
        "components": {"messages": messages, "schemas": schemas.found},
    }


def _channel(name: str, channel: Channel) -> dict[str, Any]:
    parts = [part[1:-1] for part in channel.address.replace(".", "/").split("/") if part.startswith("{")]
    return {
        "address": channel.address,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "parameters": {part: {"description": _parameter(part)} for part in parts},
    }


def _parameter(name: str) -> str:
    kind = _ID.get(name)
    return f"matches {ids.GRAMMARS[kind].pattern}" if kind is not None else name


def _message(channel: Channel, schemas: _Schemas) -> dict[str, Any]:
    if channel.message is None:
        return {
            "contentType": "application/octet-stream",
            "summary": channel.raw,
            "payload": {"type": "string", "format": "binary", "maxLength": channel.size_bytes_max},
        }
    return {
        "name": channel.message.KIND,
        "contentType": "application/cbor" if channel.message is latest.Report else "application/json",
        "summary": f"DSSE envelope, payloadType {envelope.payload_type_of(channel.message)}, at most "
        f"{envelope.size_bytes_max(channel.message)} bytes; the payload has at most {channel.message.BYTES_MAX}.",
        "payload": schemas.of(channel.message),
    }


class _Schemas:
    """JSON schemas of dataclasses, each once."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """Return a reference to the schema of a dataclass, making it if need be."""
        name = kind.__name__
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self._object(kind)
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, kind: Any) -> dict[str, Any]:
        hints = typing.get_type_hints(kind)
        properties: dict[str, Any] = {}
        required = []
        if "OP" in kind.__dict__ and kind.OP:
            properties["op"] = {"const": kind.OP}
            required.append("op")
        for field in dataclasses.fields(kind):
            schema = self._value(hints[field.name], fields.limits_of(field))
            key = fields.limits_of(field).key
            if key is not None:
                schema["x-cbor-key"] = key
            if field.default is dataclasses.MISSING:
                required.append(field.name)
            else:
                schema["default"] = _plain_default(field.default)
            properties[field.name] = schema
        first_line = (kind.__doc__ or "").strip().split("\n")[0]
        return {"type": "object", "description": first_line, "properties": properties, "required": required}

    def _value(self, hint: Any, limits: fields.Limits) -> dict[str, Any]:
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
            return {"oneOf": [self._value(member, limits) for member in typing.get_args(hint)]}
        if hint is types.NoneType:
            return {"type": "null"}
        if typing.get_origin(hint) is tuple:
            return {
                "type": "array",
                "items": self._value(typing.get_args(hint)[0], fields.Limits(chars=limits.chars)),
                "minItems": int(limits.smallest or 0),
                "maxItems": int(limits.largest if limits.largest is not None else fields.ITEMS_MAX),
            }
        if dataclasses.is_dataclass(hint):
            return self.of(hint)
        return _scalar(hint, limits)


def _scalar(hint: Any, limits: fields.Limits) -> dict[str, Any]:
    if isinstance(hint, NewType):
        return {"type": "string", "pattern": f"^(?:{ids.GRAMMARS[hint].pattern})$"}
    if hint is bool:
        return {"type": "boolean"}
    if hint is str:
        return {"type": "string", "maxLength": limits.chars if limits.chars is not None else fields.TEXT_CHARS_MAX}
    if hint is bytes:
        return {
            "type": "string",
            "contentEncoding": "base64",
            "x-bytes-max": int(limits.largest if limits.largest is not None else fields.BYTES_MAX),
        }
    if issubclass(hint, StrEnum):
        return {"type": "string", "enum": [str(member) for member in hint if member.name != "UNKNOWN"]}
    schema: dict[str, Any] = {"type": "integer" if hint is int else "number"}
    if limits.smallest is not None:
        schema["minimum"] = limits.smallest
    if limits.largest is not None:
        schema["maximum"] = limits.largest
    return schema


def _plain_default(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return codec.plain(value)
    if isinstance(value, tuple):
        return list(value)
    return value.decode() if isinstance(value, bytes) else value


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(sys.argv[1] if len(sys.argv) > 1 else "1"), indent=1) + "\n")
