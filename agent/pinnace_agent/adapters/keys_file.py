"""The device's key in a file of mode 0600, and checking the server's message signatures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pinnace_agent.errors import DeviceTrouble, Refused
from pinnace_contract.envelope import Verify
from pinnace_contract.ids import KeyId, digest_of
from pinnace_contract.latest import Cause, MessageKey


class KeyUnusable(DeviceTrouble):
    """The device's key file is missing, unreadable or not a P-256 key."""

    cause = Cause.STORAGE_ERROR


class MessageSignatureInvalid(Refused):
    """A message of the server that none of its known keys signed."""

    cause = Cause.SIGNATURE_INVALID


class DeviceKey:
    """A P-256 key that signs everything the device says."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.keyid = KeyId(digest_of(public))

    @classmethod
    def load_or_make(cls, path: Path) -> DeviceKey:
        """Return the key in ``path``; make one, readable by its owner only, if there is none.

        Raises:
            KeyUnusable
        """
        return cls.load(path) if path.exists() else cls._make(path)

    @classmethod
    def load(cls, path: Path) -> DeviceKey:
        """Return the key in ``path``.

        Raises:
            KeyUnusable
        """
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise KeyUnusable(
                f"{path}: expected the device's P-256 key; enrol again if it is lost ({error})"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise KeyUnusable(f"{path}: expected a P-256 key, found {type(key).__name__}")
        return cls(key)

    @classmethod
    def _make(cls, path: Path) -> DeviceKey:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        unfinished = path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return cls(key)

    def sign(self, data: bytes) -> bytes:
        """Return an ECDSA signature (DER) over SHA-256 of ``data``."""
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def signing_request(self, name: str) -> str:
        """Return a PKCS#10 request in PEM; the server chooses the subject, ``name`` is only a wish."""
        # Here, because a device enrols once and then runs for years: 0.7 MiB less in the supervisor.
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64] or "device")])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self._key, hashes.SHA256())
        return request.public_bytes(serialization.Encoding.PEM).decode()


def message_verifier(keys: Sequence[MessageKey]) -> Verify:
    """Return a check of Ed25519 signatures against the server's message keys that the director signed for.

    The returned function raises MessageSignatureInvalid.
    """
    by_id = {key.keyid: key for key in keys}

    def verify(keyid: KeyId, signed_bytes: bytes, signature: bytes) -> None:
        key = by_id.get(keyid)
        if key is None:
            raise MessageSignatureInvalid("the message is signed with a key that the director does not name")
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public_hex)).verify(signature, signed_bytes)
        except (InvalidSignature, ValueError) as error:
            raise MessageSignatureInvalid("the signature is not that of the server's message key") from error

    return verify
