"""Enrolment over HTTP: a claim token and a signing request against an identity and the first roots."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import ClassVar, Final

from pinnace_contract import codec
from pinnace_contract.errors import Malformed
from pinnace_contract.fields import limited
from pinnace_contract.ids import DeviceId, Digest, IncarnationId
from pinnace_contract.v1.enums import Runtime

_PREFIX: Final = "pnc1."


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """``key=value`` on a device."""

    key: str = limited(chars=63)
    value: str = limited(chars=128)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimToken:
    """What an operator hands to a device: the secret, and the digests of the first roots that it may trust.

    Written as ``pnc1.`` and the URL-safe base64 of its JSON (``claim_token_text``). The server keeps only a hash of the
    secret.
    """

    KIND: ClassVar[str] = "claim-token"
    BYTES_MAX: ClassVar[int] = 4 * 1024

    secret_hex: str = limited(chars=64)
    image_root: Digest
    director_root: Digest
    expires_s: int = limited(smallest=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolRequest:
    """``POST /api/v1/enrol``. ``csr_pem`` is a PKCS#10 request over the device's P-256 key, which proves possession."""

    KIND: ClassVar[str] = "enrol-request"
    BYTES_MAX: ClassVar[int] = 32 * 1024

    secret_hex: str = limited(chars=64)
    csr_pem: str = limited(chars=8192)
    incarnation: IncarnationId
    name: str = limited("", chars=128)
    serial: str = limited("", chars=128)
    hardware: str = limited("", chars=64)
    agent_version: str = limited("", chars=32)
    runtimes: tuple[Runtime, ...] = limited((), largest=8)
    labels: tuple[Label, ...] = limited((), largest=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """The server's answer: the id it chose, where the broker is, and both repositories' roots, oldest first."""

    KIND: ClassVar[str] = "enrolled"
    BYTES_MAX: ClassVar[int] = 256 * 1024

    device: DeviceId
    endpoints: tuple[str, ...] = limited(largest=8, smallest=1, chars=512)
    image_roots: tuple[bytes, ...] = limited(largest=64, smallest=1)
    director_roots: tuple[bytes, ...] = limited(largest=64, smallest=1)


def claim_token_text(token: ClaimToken) -> str:
    """Return the one line that an operator copies."""
    return _PREFIX + base64.urlsafe_b64encode(codec.to_json(token)).decode().rstrip("=")


def parse_claim_token(text: str) -> ClaimToken:
    """Read the line that an operator was given.

    Raises:
        ContractError: not a claim token, or a part of one.
    """
    line = text.strip()
    if not line.startswith(_PREFIX):
        raise Malformed("claim token", f"expected it to begin with {_PREFIX}")
    body = line[len(_PREFIX) :]
    try:
        data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except (binascii.Error, ValueError) as error:
        raise Malformed("claim token", "cut off or mistyped: not base64") from error
    return codec.from_json(ClaimToken, data)
