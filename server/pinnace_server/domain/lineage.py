"""Where a version comes from: what its maker says, and what the server knows itself. None of it is signed.

A release says what devices run; lineage is about how it came to be, and is kept beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from pinnace_contract import ids
from pinnace_contract.fields import limited
from pinnace_contract.ids import Digest, ModelName, VersionName

COMMIT_CHARS_MIN: Final = 7  # what git shows of one
COMMIT_CHARS_MAX: Final = 64  # SHA-256 in hexadecimal; SHA-1 has 40
ENVIRONMENT_BYTES_MAX: Final = 4 * 1024**2  # a lock file with every hash of a thousand packages
_COMMIT: Final = re.compile(rf"[0-9a-f]{{{COMMIT_CHARS_MIN},{COMMIT_CHARS_MAX}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Said by the maker: the commit of the training code, and digests of the data and of the environment's lock.

    Known by the server: ``source``, the model that was converted. ``environment_kept``: the lock itself is here.
    Empty and None are "not said".
    """

    KIND: ClassVar[str] = "lineage"
    BYTES_MAX: ClassVar[int] = 4 * 1024

    code_commit: str = limited("", chars=COMMIT_CHARS_MAX)
    data_digest: Digest | None = None
    environment: Digest | None = None
    environment_kept: bool = False
    source: Digest | None = None
    source_name: str = limited("", chars=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The record of a conversion. ``request`` and ``report`` are JSON texts, empty where they are not known.

    ``kept``: every file that the request names is among the blobs, so that the conversion can be run again.
    """

    model: ModelName
    version: VersionName
    request: str = ""
    report: str = ""
    kept: bool = False


NOTHING_SAID: Final = Lineage()


def wrong_with(lineage: Lineage) -> str:
    """Return what is wrong with what a maker says, or nothing."""
    if lineage.code_commit and _COMMIT.fullmatch(lineage.code_commit) is None:
        return (
            f"code commit: expected {COMMIT_CHARS_MIN} to {COMMIT_CHARS_MAX} lower-case hexadecimal digits, "
            f"found {lineage.code_commit[:70]!r}"
        )
    said: Mapping[str, Digest | None] = {"data digest": lineage.data_digest, "environment": lineage.environment}
    for name, digest in said.items():
        if digest is not None and not ids.fits(Digest, digest):
            return f"{name}: expected a SHA-256 as 64 lower-case hexadecimal digits, found {digest[:70]!r}"
    return ""
