"""The signed envelope around messages: DSSE (Dead Simple Signing Envelope), as JSON and, for reports, as CBOR.

The signature covers the payload's type and its bytes as sent (DSSE's pre-authentication encoding), so that nothing is
parsed before it is known who sent it. Making and checking signatures is the caller's: this module has no keys.
Source: https://github.com/secure-systems-lab/dsse, protocol.md and envelope.md, version 1.0.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import cbor2

from pinnace_contract import codec, ids
from pinnace_contract.errors import BadEnvelope, TooLarge
from pinnace_contract.ids import KeyId
from pinnace_contract.v1.report import Report

M = TypeVar("M", bound=codec.Message)
Sign = Callable[[bytes], bytes]
Verify = Callable[[KeyId, bytes, bytes], None]
"""``verify(keyid, signed_bytes, signature)`` raises the caller's own error if the signature is not good."""

_OVERHEAD_BYTES: Final = 1024  # type, key id, signature and framing around a payload
_SIGNATURE_BYTES_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload as sent, who says to have signed it, and the signature. Nothing is checked yet."""

    payload_type: str
    payload: bytes
    keyid: KeyId
    signature: bytes

    @property
    def signed_bytes(self) -> bytes:
        """The bytes under the signature."""
        return pae(self.payload_type, self.payload)


def payload_type_of(kind: type[codec.Message]) -> str:
    """Return the media type that names a kind of message inside envelopes."""
    return f"application/vnd.pinnace.v1.{kind.KIND}+{'cbor' if _compact(kind) else 'json'}"


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding."""
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def seal(message: codec.Message, keyid: KeyId, sign: Sign) -> bytes:
    """Return the message, encoded and signed, ready to publish.

    Raises:
        ContractError: the message is over its limits.
    """
    kind = type(message)
    payload = codec.to_cbor(message) if _compact(kind) else codec.to_json(message)
    payload_type = payload_type_of(kind)
    signature = sign(pae(payload_type, payload))
    if _compact(kind):
        return cbor2.dumps({1: payload_type, 2: payload, 3: keyid, 4: signature})
    return codec.canonical_json(
        {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
        }
    )


def parse(kind: type[codec.Message], data: bytes) -> Envelope:
    """Read an envelope for one kind of message, without trusting anything in it.

    Raises:
        TooLarge: more than the kind's limit allows.
        Malformed, BadEnvelope: not an envelope, or one of another kind.
    """
    limit = size_bytes_max(kind)
    if len(data) > limit:
        raise TooLarge(f"{kind.KIND} envelope", len(data), limit)
    envelope = _parse_cbor(kind, data) if _compact(kind) else _parse_json(kind, data)
    if envelope.payload_type != payload_type_of(kind):
        raise BadEnvelope(f"expected {payload_type_of(kind)}, found {ascii(envelope.payload_type)[:80]}")
    if not ids.fits(KeyId, envelope.keyid):
        raise BadEnvelope("the key id is not a SHA-256")
    return envelope


def unseal(kind: type[M], data: bytes, verify: Verify) -> M:
    """Check the signature over the bytes received, then read the message once.

    Raises:
        ContractError: not an envelope of this kind, or not this message.
        Exception: whatever ``verify`` raises for a signature that is not good.
    """
    envelope = parse(kind, data)
    verify(envelope.keyid, envelope.signed_bytes, envelope.signature)
    return codec.from_cbor(kind, envelope.payload) if _compact(kind) else codec.from_json(kind, envelope.payload)


def size_bytes_max(kind: type[codec.Message]) -> int:
    """Return the largest envelope of this kind: its payload, as base64 where that is the form, and the frame."""
    return _OVERHEAD_BYTES + (kind.BYTES_MAX if _compact(kind) else (kind.BYTES_MAX + 2) // 3 * 4)


def _compact(kind: type[codec.Message]) -> bool:
    return kind is Report


def _parse_cbor(kind: type[codec.Message], data: bytes) -> Envelope:
    tree = codec.parse_cbor(f"{kind.KIND} envelope", data)
    if not isinstance(tree, dict):
        raise BadEnvelope("expected a map")
    return _checked(tree.get(1), tree.get(2), tree.get(3), tree.get(4))


def _parse_json(kind: type[codec.Message], data: bytes) -> Envelope:
    tree = codec.parse_json(f"{kind.KIND} envelope", data, size_bytes_max(kind))
    if not isinstance(tree, dict):
        raise BadEnvelope("expected an object")
    signatures = tree.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise BadEnvelope("expected exactly one signature")
    only = signatures[0]
    return _checked(
        tree.get("payloadType"), _unbase64(tree.get("payload")), only.get("keyid"), _unbase64(only.get("sig"))
    )


def _checked(payload_type: object, payload: object, keyid: object, signature: object) -> Envelope:
    if (
        not isinstance(payload_type, str)
        or not isinstance(payload, bytes)
        or not isinstance(keyid, str)
        or not isinstance(signature, bytes)
    ):
        raise BadEnvelope("payload type, payload, key id or signature is missing")
    if not 0 < len(signature) <= _SIGNATURE_BYTES_MAX:
        raise BadEnvelope(f"a signature of 1 to {_SIGNATURE_BYTES_MAX} bytes is expected")
    return Envelope(payload_type=payload_type, payload=payload, keyid=KeyId(keyid), signature=signature)


def _unbase64(value: object) -> bytes | None:
    if not isinstance(value, str):
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadEnvelope("not base64") from error
