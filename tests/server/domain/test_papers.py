"""What is wrong with a card or a lineage, in words."""

from __future__ import annotations

import pytest

from pinnace_contract.ids import Digest
from pinnace_server.domain import card, lineage
from pinnace_server.domain.lineage import Lineage


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (Lineage(), ""),
        (Lineage(code_commit="0123abc"), ""),
        (Lineage(code_commit="a" * 64, data_digest=Digest("0" * 64), environment=Digest("f" * 64)), ""),
        (Lineage(code_commit="0123ab"), "expected 7 to 64 lower-case hexadecimal digits, found '0123ab'"),
        (Lineage(code_commit="v1.0.0-main"), "code commit: expected"),
        (Lineage(code_commit="ABCDEF0"), "code commit: expected"),
        (Lineage(data_digest=Digest("0" * 63)), "data digest: expected a SHA-256"),
        (Lineage(environment=Digest("x" * 64)), "environment: expected a SHA-256"),
    ],
)
def test_lineage_is_hexadecimal_or_nothing(said: Lineage, wrong: str) -> None:
    found = lineage.wrong_with(said)
    assert wrong in found
    assert bool(found) == bool(wrong)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, ""),
        ({"intended_use": "meters", "licence2": ""}, ""),
        ({"Intended use": "meters"}, "expected a field's name of lower-case letters"),
        ({"": "x"}, "found ''"),
        ({"a" * 64: "x"}, "at most 63"),
        ({"a": "x" * 8193}, "field 'a': expected at most 8192 characters, found 8193"),
        ({f"a{n}": "" for n in range(65)}, "expected at most 64 fields, found 65"),
        ({f"a{n}": "x" * 8000 for n in range(9)}, "expected at most 65536 characters in all, found 72000"),
    ],
)
def test_card_has_limits(fields: dict[str, str], wrong: str) -> None:
    found = card.wrong_with_fields(fields)
    assert wrong in found
    assert bool(found) == bool(wrong)


def test_field_that_says_nothing_is_missing() -> None:
    assert card.missing(["use", "limits", "data"], {"use": "meters", "limits": " \n", "other": "x"}) == (
        "limits",
        "data",
    )
