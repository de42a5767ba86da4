"""What devices and operators type reaches pages as text, whatever it looks like."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import pinnace_server.console
from pinnace_server.console import svg
from tests.server.console.fleet import HOSTILE, HOSTILE_DETAIL, MODEL
from tests.server.console.page import Element, read

PAGES = ["/", "/devices", "/devices/dev-0003", "/devices/dev-0014", "/log", f"/models/{MODEL}", f"/models/{MODEL}/5",
         f"/models/{MODEL}/5/assign", "/devices/dev-0003/assign", "/devices/dev-0003/revert",
         "/rollouts", "/rollouts/r-4", "/rollouts/r-5", "/rollouts/r-6"]  # fmt: skip
TEMPLATES = sorted((Path(pinnace_server.console.__file__).parent / "templates").glob("*.html"))


def _elements(root: Element) -> list[Element]:
    return [root, *(inner for child in root.children for inner in _elements(child))]


@pytest.mark.parametrize("address", PAGES)
def test_hostile_strings_stay_text(operator: TestClient, address: str) -> None:
    page = read(operator.get(address).text)
    assert HOSTILE in page.words or HOSTILE_DETAIL in page.words
    for element in _elements(page):
        assert element.tag != "img"
        assert not [name for name in element.attributes if name.startswith("on")], element
    assert all("src" in script.attributes for script in page.all("script"))


@pytest.mark.parametrize("value", [HOSTILE, HOSTILE_DETAIL, "'\"><svg onload=alert(1)>"])
@pytest.mark.parametrize(
    "address",
    [
        "/devices?q={}",
        "/devices?label={}",
        "/log?actor={}",
        "/login?next={}",
        "/{}",
        "/rollouts?model={}",
        "/rollouts/new?version={}",
        "/log?rollout={}",
    ],
)
def test_hostile_address_stays_text(operator: TestClient, address: str, value: str) -> None:
    page = read(operator.get(address.format(value.replace("&", "%26").replace("#", "%23"))).text)
    for element in _elements(page):
        assert element.tag != "img"
        assert not [name for name in element.attributes if name.startswith("on")], element


def test_pictures_escape_what_they_are_told() -> None:
    for picture in (
        svg.columns([svg.Column(label=HOSTILE, value=1.0, text=HOSTILE)], HOSTILE),
        svg.share_bar(1, 2, HOSTILE),
        svg.meter(1, 2, HOSTILE, "ok", 1.5),
        svg.bar([svg.Segment(count=1, word=HOSTILE, colour="ok")]),
    ):
        assert "<img" not in picture


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_template_has_no_way_round_escaping_or_the_policy(template: Path) -> None:
    source = template.read_text()
    html = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", source)
    assert "|safe" not in source.replace(" ", "")
    assert "autoescape" not in source
    assert "Markup" not in source
    for element in _elements(read(html)):
        assert "style" not in element.attributes, element
        assert element.tag != "style"
        assert not [name for name in element.attributes if name.startswith("on")], element
        if element.tag == "script":
            assert "src" in element.attributes
            assert not element.words
        if element.tag in ("script", "link", "img", "iframe"):
            assert "//" not in element.attributes.get("src", "") + element.attributes.get("href", "")
