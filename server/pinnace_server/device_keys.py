"""Checks what devices sign: P-256 keys, ECDSA over SHA-256, and the signing requests they enrol with."""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pinnace_contract.ids import KeyId, digest_of
from pinnace_server.errors import Code, Refused, SignatureInvalid

_HINT = "pinnace-agent makes the request; a device of your own sends PKCS#10 over a P-256 key, as PEM"


class P256Keys:
    """``ports.DeviceKeys``."""

    def check(self, public_key_pem: str, signed_bytes: bytes, signature: bytes) -> None:
        """Check a signature (DER) of one device."""
        try:
            _public_key(public_key_pem).verify(signature, signed_bytes, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError) as error:
            raise SignatureInvalid("the signature is not that of the device's key") from error

    def of_request(self, csr_pem: str) -> tuple[KeyId, str]:
        """Return the key of a signing request; its id is the SHA-256 of the key's DER."""
        try:
            request = x509.load_pem_x509_csr(csr_pem.encode())
            key = request.public_key()
            signed = request.is_signature_valid
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _refused("it is not a PKCS#10 request in PEM") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise _refused("its key is not a P-256 key")
        if not signed:
            raise _refused("it is not signed with the key that it is about")
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return KeyId(digest_of(der)), pem.decode()


@lru_cache(maxsize=4096)
def _public_key(pem: str) -> ec.EllipticCurvePublicKey:
    key = serialization.load_pem_public_key(pem.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("expected a P-256 key")
    return key


def _refused(problem: str) -> Refused:
    return Refused(f"the signing request was refused: {problem}", hint=_HINT, code=Code.REQUEST_REFUSED)
