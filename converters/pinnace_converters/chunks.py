"""Cuts content into the pieces that a release lists and MQTT carries. Aligning them to tensors is left to delivery."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from pinnace_contract.ids import Digest, digest_of
from pinnace_contract.latest import CHUNK_BYTES_MAX, Blob, Chunk

CHUNKS_MAX: Final = 4096  # what a release may list for one blob
BLOB_BYTES_MAX: Final = CHUNKS_MAX * CHUNK_BYTES_MAX


def cut(content: bytes | Path) -> Blob:
    """Return the blob of some content, read once and piecewise; an empty one has no chunks.

    Raises:
        ValueError: more than ``BLOB_BYTES_MAX`` bytes.
    """
    if isinstance(content, bytes):
        pieces = [content[at : at + CHUNK_BYTES_MAX] for at in range(0, len(content), CHUNK_BYTES_MAX)]
        return _blob(digest_of(content), [Chunk(digest=digest_of(piece), size_bytes=len(piece)) for piece in pieces])
    whole, chunks = hashlib.sha256(), []
    with content.open("rb") as file:
        while piece := file.read(CHUNK_BYTES_MAX):
            whole.update(piece)
            chunks.append(Chunk(digest=digest_of(piece), size_bytes=len(piece)))
            if len(chunks) > CHUNKS_MAX:
                break
    return _blob(Digest(whole.hexdigest()), chunks)


def _blob(digest: Digest, chunks: list[Chunk]) -> Blob:
    if len(chunks) > CHUNKS_MAX:
        raise ValueError(f"a blob may have {BLOB_BYTES_MAX} bytes; this one has more")
    return Blob(digest=digest, size_bytes=sum(chunk.size_bytes for chunk in chunks), chunks=tuple(chunks))
