"""The payload of ``down/{id}/desired``: the director's three files as the original bytes, each behind its length.

The files are TUF metadata, verified by the device from these very bytes; the assignment set stands inside the signed
targets under ``ASSIGNMENT_FIELD``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from pinnace_contract.errors import Malformed, TooLarge
from pinnace_contract.ids import ModelName, ReleaseId

DESIRED_BYTES_MAX: Final = 8 * 1024  # 1.6 KB for one model; a set that does not fit is refused when it is planned
ASSIGNMENT_FIELD: Final = "x-pinnace-assignments"  # in the signed part of the director's targets

_HEADER: Final = struct.Struct(">4sIII")
_MAGIC: Final = b"PNd1"


def target_path(model: ModelName, release: ReleaseId) -> str:
    """Return the name under which a release is a target of the image repository and of the director."""
    return f"models/{model}/{release}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """Director metadata of one device, as signed."""

    timestamp: bytes
    snapshot: bytes
    targets: bytes

    def to_bytes(self) -> bytes:
        """Return the retained message.

        Raises:
            TooLarge: the three files are over ``DESIRED_BYTES_MAX``.
        """
        files = (self.timestamp, self.snapshot, self.targets)
        packed = _HEADER.pack(_MAGIC, *(len(each) for each in files)) + b"".join(files)
        if len(packed) > DESIRED_BYTES_MAX:
            raise TooLarge("desired", len(packed), DESIRED_BYTES_MAX)
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> Desired:
        """Cut a message into its files; nothing is verified.

        Raises:
            TooLarge, Malformed
        """
        if len(data) > DESIRED_BYTES_MAX:
            raise TooLarge("desired", len(data), DESIRED_BYTES_MAX)
        if len(data) < _HEADER.size:
            raise Malformed("desired", f"{len(data)} bytes, the header alone has {_HEADER.size}")
        magic, *lengths = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise Malformed("desired", "not version 1 of this message")
        if _HEADER.size + sum(lengths) != len(data):
            raise Malformed("desired", "the lengths in the header do not add up to the message")
        ends = [_HEADER.size + sum(lengths[: n + 1]) for n in range(3)]
        return cls(
            timestamp=data[_HEADER.size : ends[0]], snapshot=data[ends[0] : ends[1]], targets=data[ends[1] : ends[2]]
        )
