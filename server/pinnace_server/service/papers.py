"""What comes with a version besides its release, and is not signed: its card, its lineage, how it was converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pinnace_contract.ids import Digest
from pinnace_server.domain import card, lineage
from pinnace_server.domain.card import CARD_CHARS_MAX
from pinnace_server.domain.lineage import NOTHING_SAID, Lineage
from pinnace_server.domain.records import Model
from pinnace_server.errors import Code, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """``files`` are kept beside the release's own: the environment's lock, and what the conversion was made of.

    ``request`` and ``report`` are those of ``lineage.Origin``; ``kept`` says that ``files`` has all of the request's.
    """

    card: str = ""
    card_fields: Mapping[str, str] = field(default_factory=dict)
    lineage: Lineage = NOTHING_SAID
    request: str = ""
    report: str = ""
    kept: bool = False
    files: Mapping[Digest, Path] = field(default_factory=dict)


NO_PAPERS: Final = Papers()


def check(model: Model, papers: Papers) -> None:
    """Make sure that a model takes these.

    Raises:
        Refused: what is wrong, or which required fields of the card are missing.
    """
    if len(papers.card) > CARD_CHARS_MAX:
        raise Refused(f"card: expected at most {CARD_CHARS_MAX} characters, found {len(papers.card)}")
    if wrong := card.wrong_with_fields(papers.card_fields):
        raise Refused(f"card: {wrong}")
    if wrong := lineage.wrong_with(papers.lineage):
        raise Refused(f"lineage: {wrong}")
    if papers.lineage.environment_kept:
        _check_environment(papers)
    if missing := card.missing(model.card_required, papers.card_fields):
        raise Refused(
            f"the card of a version of {model.name} must have {', '.join(model.card_required)}; "
            f"missing: {', '.join(missing)}",
            hint="give a card with these fields: pinnace version add … --card FILE",
            code=Code.CARD_INCOMPLETE,
        )


def _check_environment(papers: Papers) -> None:
    environment = papers.lineage.environment
    if environment is None:
        raise Refused("lineage: a file of the environment is kept under its digest, and none was given")
    path = papers.files.get(environment)
    if path is not None and path.stat().st_size > lineage.ENVIRONMENT_BYTES_MAX:
        raise Refused(
            f"lineage: expected an environment file of at most {lineage.ENVIRONMENT_BYTES_MAX} bytes, "
            f"found {path.stat().st_size}",
            hint="give the lock file itself, or only its digest",
        )
