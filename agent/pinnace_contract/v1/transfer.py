"""Asking for the chunks of a blob and carrying them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Final

from pinnace_contract.errors import Malformed, TooLarge
from pinnace_contract.fields import count, limited
from pinnace_contract.ids import DeviceId, Digest, IncarnationId
from pinnace_contract.v1.release import CHUNK_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A device asks for chunks of one blob. Unsigned loss is harmless: it is repeated until the blob is whole.

    ``missing`` is a bitmap, bit ``n % 8`` of byte ``n // 8`` set for each chunk still missing; empty means that the
    device has no chunk list (the release file itself: plain pieces of ``CHUNK_BYTES_MAX``). ``window`` is how many it
    takes at once.
    """

    KIND: ClassVar[str] = "want"
    BYTES_MAX: ClassVar[int] = 16 * 1024

    device: DeviceId
    incarnation: IncarnationId
    seq: int = count()
    blob: Digest
    chunks: int = limited(1, smallest=1, largest=65_536)
    missing: bytes = limited(b"", largest=8192)
    window: int = limited(16, smallest=1, largest=256)


_HEADER: Final = struct.Struct(">4sBBHI32sII")  # magic, version, encryption, flags, status, blob, index, payload length
_MAGIC: Final = b"PNCk"
DATA_BYTES_MAX: Final = _HEADER.size + CHUNK_BYTES_MAX

STATUS_OK: Final = 200
STATUS_GONE: Final = 410
STATUS_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """One chunk under a small binary header, or a status that ends the wish (404 unknown, 410 withdrawn).

    ``encryption`` is room for a later scheme; 0 is none. Trust comes from the chunk's digest in the signed release.
    """

    blob: Digest
    index: int
    payload: bytes = b""
    status: int = STATUS_OK
    encryption: int = 0

    def to_bytes(self) -> bytes:
        """Return header and payload."""
        if len(self.payload) > CHUNK_BYTES_MAX:
            raise TooLarge("chunk", len(self.payload), CHUNK_BYTES_MAX)
        blob = bytes.fromhex(self.blob)
        return (
            _HEADER.pack(_MAGIC, 1, self.encryption, 0, self.status, blob, self.index, len(self.payload)) + self.payload
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Data:
        """Read a chunk message.

        Raises:
            TooLarge: more than ``DATA_BYTES_MAX`` bytes.
            Malformed: not a chunk of version 1, or its length is not what the header says.
        """
        if len(data) > DATA_BYTES_MAX:
            raise TooLarge("chunk message", len(data), DATA_BYTES_MAX)
        if len(data) < _HEADER.size:
            raise Malformed("chunk message", f"{len(data)} bytes, the header alone has {_HEADER.size}")
        magic, version, encryption, _flags, status, blob, index, length = _HEADER.unpack_from(data)
        if magic != _MAGIC or version != 1:
            raise Malformed("chunk message", "not a Pinnace chunk of version 1")
        if length != len(data) - _HEADER.size:
            raise Malformed("chunk message", f"header says {length} bytes, {len(data) - _HEADER.size} follow")
        return cls(
            blob=Digest(blob.hex()), index=index, payload=data[_HEADER.size :], status=status, encryption=encryption
        )
