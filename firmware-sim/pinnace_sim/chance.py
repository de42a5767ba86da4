"""Everything that is drawn comes from one seed: a stream of its own for each name, and keys and ids that repeat.

A stream depends on the seed and its name alone, so that a fault that is taken out of a world leaves the draws of
everybody else as they were. Nothing here is fit for secrets.
"""

from __future__ import annotations

import hashlib
import random
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from securesystemslib.signer import CryptoSigner

from pinnace_contract.ids import KeyId, digest_of
from pinnace_server.device_keys import P256Keys
from pinnace_server.signing.keys import KeyName, Keys

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_MADE_MAX: Final = 4_096
_made: dict[bytes, tuple[str, bytes]] = {}  # by signature: who made it, over what
_ECDSA: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)  # RFC 6979: no nonce is drawn


def drawn(seed: int, name: str) -> bytes:
    """Return 32 bytes that belong to a name under a seed."""
    return hashlib.sha256(f"pinnace-sim {seed} {name}".encode()).digest()


def stream(seed: int, name: str) -> random.Random:
    """Return the stream of a name under a seed."""
    return random.Random(int.from_bytes(drawn(seed, name), "big"))


def stream_hex(chance: random.Random, size_bytes: int) -> str:
    """Return so many bytes of a stream as hexadecimal digits."""
    return chance.randbytes(size_bytes).hex()


class SeededChance:
    """``ports.Chance``."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def secret_hex(self, size_bytes: int) -> str:
        """Return so many bytes as hexadecimal digits."""
        return stream_hex(self._chance, size_bytes)


class DeviceKey:
    """A device's P-256 key from the seed; it signs the same bytes the same way each time."""

    def __init__(self, seed: int, name: str) -> None:
        number = int.from_bytes(drawn(seed, f"device key {name}"), "big") % (_P256_ORDER - 1) + 1
        self._key = ec.derive_private_key(number, ec.SECP256R1())
        self._name = name
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.keyid = KeyId(digest_of(public))
        self._public = (
            self._key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def sign(self, data: bytes) -> bytes:
        """Return an ECDSA signature (DER) over SHA-256 of ``data``."""
        signature = self._key.sign(data, _ECDSA)
        _made[signature] = (self._public, data)
        if len(_made) > _MADE_MAX:
            del _made[next(iter(_made))]
        return signature

    def signing_request(self) -> str:
        """Return a PKCS#10 request in PEM."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        request = builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        return request.public_bytes(serialization.Encoding.PEM).decode()


class KnownKeys(P256Keys):
    """``ports.DeviceKeys`` that knows a signature which was made here of late; every other one is checked as ever."""

    def check(self, public_key_pem: str, signed_bytes: bytes, signature: bytes) -> None:
        """Check a signature (DER) of one device."""
        if _made.get(signature) != (public_key_pem, signed_bytes):
            super().check(public_key_pem, signed_bytes, signature)


def server_keys(seed: int) -> Keys:
    """Return the server's keys, one for each role (Ed25519, which is deterministic by itself)."""
    return {name: _ed25519(seed, f"server key {name}") for name in KeyName}


def _ed25519(seed: int, name: str) -> CryptoSigner:
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(drawn(seed, name)))


def picked(chance: random.Random, share: float) -> bool:
    """Tell whether something that happens with this probability happens; nothing is drawn for what never does."""
    return share > 0 and chance.random() < share
