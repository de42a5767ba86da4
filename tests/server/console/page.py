"""Reads a page as a browser would: its text, its links, its forms. No selectors beyond what the tests ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        found = [child for child in self.children if child.tag == tag]
        return found + [inner for child in self.children for inner in child.all(tag)]

    @property
    def words(self) -> str:
        """The text of the element and what is in it, white space as one space."""
        return " ".join(self.text.split())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag in [element.tag for element in self.open]:
            while self.open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def read(html: str) -> Element:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.root


def links(html: str) -> list[str]:
    return [element.attributes.get("href", "") for element in read(html).all("a")]


def form(html: str, action: str) -> dict[str, str]:
    """The fields of the posting form to this address, as a browser would send them untouched."""
    found = next(
        element
        for element in read(html).all("form")
        if element.attributes.get("action") == action and element.attributes.get("method") == "post"
    )
    fields = {e.attributes["name"]: e.attributes.get("value", "") for e in found.all("input") if "name" in e.attributes}
    for area in found.all("textarea"):
        fields[area.attributes["name"]] = area.text.removeprefix("\n")
    for select in found.all("select"):
        options = select.all("option")
        chosen = next((option for option in options if "selected" in option.attributes), options[0])
        fields[select.attributes["name"]] = chosen.attributes.get("value", chosen.words)
    return fields
