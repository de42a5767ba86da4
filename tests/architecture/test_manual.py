"""The manual: every page can be reached, and the glossary knows the words that devices use."""

from typing import Any

import pytest
import yaml

from pinnace_contract.v1.enums import Outcome, Phase, TrustLevel, WithdrawMode
from tests.architecture.project import ROOT

DOCS = ROOT / "docs"


def _pages(entry: Any) -> list[str]:
    match entry:
        case str():
            return [entry]
        case list():
            return [page for one in entry for page in _pages(one)]
        case dict():
            return [page for one in entry.values() for page in _pages(one)]
    raise AssertionError(f"not an entry of a navigation: {entry!r}")


SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = _pages(SETTINGS["nav"])


@pytest.mark.parametrize("page", PAGES)
def test_page_of_the_navigation_exists_and_has_a_title(page: str) -> None:
    assert (DOCS / page).read_text().startswith("# ")


def test_every_page_is_in_the_navigation() -> None:
    assert {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} == set(PAGES)


def test_manual_is_built_without_a_network() -> None:
    assert SETTINGS["theme"]["font"] is False
    assert set(SETTINGS["plugins"]) <= {"search"}
    assert "extra_javascript" not in SETTINGS
    assert "extra_css" not in SETTINGS


@pytest.mark.parametrize("words", [Phase, Outcome, TrustLevel, WithdrawMode])
def test_glossary_knows_the_words_of_the_wire(words: type[Phase | Outcome | TrustLevel | WithdrawMode]) -> None:
    glossary = (DOCS / "concepts.md").read_text()
    missing = [word.value for word in words if word.name != "UNKNOWN" and f"`{word.value}`" not in glossary]
    assert not missing
