"""An answer to an inference before it travels: by HTTP, by shared memory, or from one worker to the one that asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Reply:
    """An answer to an inference, however it travels: JSON, then binary tensors."""

    status: int
    json: bytes
    tensors: tuple[memoryview, ...] = ()
