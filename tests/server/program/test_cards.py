"""Cards as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinnace_server.cli import cards
from pinnace_server.cli.api import CallFailed

FIELDS = {"intended_use": "Reading meters", "accuracy": "0.980", "tags": "meters, night"}


@pytest.mark.parametrize(
    ("name", "content", "text", "fields"),
    [
        ("card.md", "# Digits\nRead meters.\n", "# Digits\nRead meters.\n", {}),
        ("card.txt", "plain", "plain", {}),
        (
            "card.md",
            "---\nintended_use: Reading meters\naccuracy: 0.980\ntags: [meters, night]\n---\n\n# Digits\n",
            "# Digits\n",
            FIELDS,
        ),
        ("card.md", "---\n---\nafter\n", "after\n", {}),
        ("card.yaml", "intended_use: Reading meters\naccuracy: 0.980\ntags: [meters, night]\n", "", FIELDS),
        ("card.YML", "limits: |\n  at night\n  in fog\n", "", {"limits": "at night\nin fog\n"}),
        ("card.json", '{"intended_use": "Reading meters", "rows": 3, "none": null, "held_out": true}', "", None),
        ("card.yaml", "", "", {}),
        ("card.md", "", "", {}),
    ],
)
def test_card_is_read(tmp_path: Path, name: str, content: str, text: str, fields: dict[str, str] | None) -> None:
    (tmp_path / name).write_text(content)
    found = cards.read(tmp_path / name)
    expected = {"intended_use": "Reading meters", "rows": "3", "none": "", "held_out": "true"}
    assert (found.text, found.fields) == (text, expected if fields is None else fields)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("card.json", "{", "expected JSON, found"),
        ("card.json", "[1]", "expected a map of named fields, found a list"),
        ("card.yaml", "a: [", "expected YAML, found"),
        ("card.yaml", "just words", "expected a map of named fields, found text"),
        ("card.yaml", "use: {a: b}", "field 'use': expected text, found a map"),
        ("card.yaml", "use: [[a]]", "field 'use': expected text, found a list"),
        ("card.md", "---\nuse: x\n", "front matter begins with --- and does not end"),
        ("card.yaml", "!!python/object/apply:os.system ['false']", "expected a map of named fields"),
    ],
)
def test_card_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CallFailed, match=r"expected|front matter") as refused:
        cards.read(tmp_path / name)
    assert said in refused.value.message


def test_card_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(CallFailed, match="cannot be read"):
        cards.read(tmp_path / "none.md")
    (tmp_path / "card.md").write_bytes(b"\xff\xfe")
    with pytest.raises(CallFailed, match="cannot be read"):
        cards.read(tmp_path / "card.md")
    (tmp_path / "card.md").write_bytes(b"x" * (cards.CARD_BYTES_MAX + 1))
    with pytest.raises(CallFailed, match="at most"):
        cards.read(tmp_path / "card.md")
