"""Which devices are meant: ``site=plant-7, class in (pi4, jetson), tags has line-2``. All must hold; an empty one means
every device.

Looks at operator-set labels and, under the key ``device``, at the id. Owns the grammar (``docs/selectors.md``) and its
meaning; ``db`` asks the same question in SQL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn

from pinnace_contract.ids import DeviceId
from pinnace_server.errors import Code, Refused

SELECTOR_CHARS_MAX: Final = 4096
TERMS_MAX: Final = 32
VALUES_MAX: Final = 256
KEY_CHARS_MAX: Final = 63
VALUE_CHARS_MAX: Final = 128
DEVICE_KEY: Final = "device"

KEY_PATTERN: Final = rf"[A-Za-z][A-Za-z0-9._-]{{0,{KEY_CHARS_MAX - 1}}}"
VALUE_PATTERN: Final = rf"[A-Za-z0-9][A-Za-z0-9._:/@-]{{0,{VALUE_CHARS_MAX - 1}}}"
"""A value that needs no quotes."""

_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_BARE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_SPACE: Final = re.compile(r"\s*")
# `has` and `lacks` are keys too, as in `has=1`, `has in (1)` and `has has 1`: only these two words alone ask for a key.
_PRESENCE: Final = re.compile(r"(?P<word>has|lacks)\s+(?P<key>[A-Za-z][A-Za-z0-9._-]*)\s*(?=,|$)")
_FOUND_CHARS: Final = 30  # of the text, shown where it stops making sense
_HINT: Final = (
    "write key=value, key!=value, key in (a, b), key not in (a, b), key has item, key lacks item, has key "
    'or lacks key, with commas between; "a, b" quotes a value; device=ID names one device'
)


class Asked(StrEnum):
    """What is asked of a label's value. ``LISTS``: the value is a list of words, and this is one of them."""

    PRESENT = "present"
    ONE_OF = "one of"
    LISTS = "lists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One condition. ``negated``: it holds exactly where it otherwise would not, so also where the key is missing.

    ``values`` is empty for ``PRESENT``, has one value for ``LISTS``, and at least one for ``ONE_OF``.
    """

    key: str
    asked: Asked
    values: tuple[str, ...] = ()
    negated: bool = False

    def __str__(self) -> str:
        return self.spelled(comma=", ")

    def spelled(self, *, comma: str) -> str:
        """Return the condition in the grammar, with ``comma`` between values."""
        verb = "lacks" if self.negated else "has"
        match self.asked:
            case Asked.PRESENT:
                return f"{verb} {self.key}"
            case Asked.LISTS:
                return f"{self.key} {verb} {quoted(self.values[0])}"
            case Asked.ONE_OF if len(self.values) == 1:
                return f"{self.key}{'!=' if self.negated else '='}{quoted(self.values[0])}"
            case Asked.ONE_OF:
                space = comma[1:]
                values = comma.join(quoted(value) for value in self.values)
                return f"{self.key}{' not' if self.negated else ''} in{space}({values})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """A conjunction of terms; none selects every device."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        spaced = ", ".join(str(term) for term in self.terms)
        if len(spaced) <= SELECTOR_CHARS_MAX:
            return spaced
        # Spaces after commas must not push a selector that was read over the limit, or nobody could read it again.
        return ",".join(term.spelled(comma=",") for term in self.terms)

    def matches(self, device: DeviceId, labels: Mapping[str, str]) -> bool:
        """Tell whether a device with these labels is meant."""
        return all(_holds(term, device, labels) for term in self.terms)


EVERY_DEVICE: Final = Selector()


def parse(text: str) -> Selector:
    """Read a selector.

    Raises:
        Refused: with the place where the text stops making sense.
    """
    if len(text) > SELECTOR_CHARS_MAX:
        raise _bad(f"a selector has at most {SELECTOR_CHARS_MAX} characters, this one has {len(text)}")
    reading = _Reading(text)
    terms: list[Term] = []
    while not reading.at_end():
        if terms:
            reading.expect(",", "a comma or the end")
            if reading.at_end():
                raise _bad("expected another condition after the last comma")
        terms.append(_term(reading))
    if len(terms) > TERMS_MAX:
        raise _bad(f"at most {TERMS_MAX} conditions are allowed, found {len(terms)}")
    return Selector(terms=tuple(terms))


def of_devices(devices: tuple[DeviceId, ...]) -> Selector:
    """Return the selector that means exactly these devices; there must be one."""
    return Selector(terms=(Term(key=DEVICE_KEY, asked=Asked.ONE_OF, values=tuple(devices)),))


def is_value(text: str) -> bool:
    """Tell whether a selector can name this value, with quotes if need be: printable, no space at either end."""
    return 0 < len(text) <= VALUE_CHARS_MAX and text.isprintable() and text == text.strip()


def listed(value: str) -> tuple[str, ...]:
    """Return the words of a label that is a list: commas and spaces stand between them."""
    return tuple(word for word in value.replace(",", " ").split(" ") if word)


def quoted(value: str) -> str:
    """Return a value as it stands in a selector."""
    if re.fullmatch(VALUE_PATTERN, value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _holds(term: Term, device: DeviceId, labels: Mapping[str, str]) -> bool:
    value = device if term.key == DEVICE_KEY else labels.get(term.key)
    return _passes(term, value) is not term.negated


def _passes(term: Term, value: str | None) -> bool:
    if value is None:
        return False
    match term.asked:
        case Asked.PRESENT:
            return True
        case Asked.ONE_OF:
            return value in term.values
        case Asked.LISTS:
            return term.values[0] in listed(value)


# --- reading ------------------------------------------------------------------------------------------------------


class _Reading:
    """A text and how far it was read."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def at_end(self) -> bool:
        self.skip_space()
        return self._at == len(self._text)

    def skip_space(self) -> None:
        self.take(_SPACE)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def takes(self, word: str) -> bool:
        self.skip_space()
        there = self._text.startswith(word, self._at)
        self._at += len(word) if there else 0
        return there

    def expect(self, word: str, expected: str) -> None:
        if not self.takes(word):
            self.fail(expected)

    def fail(self, expected: str) -> NoReturn:
        self.skip_space()
        found = self._text[self._at : self._at + _FOUND_CHARS]
        shown = repr(found) if found else "the end"
        raise _bad(f"expected {expected} at character {self._at + 1}, found {shown}")

    def back(self, word: str) -> None:
        self._at -= len(word)


def _term(reading: _Reading) -> Term:
    reading.skip_space()
    presence = reading.take(_PRESENCE)
    if presence is not None:
        return Term(key=_key(presence["key"]), asked=Asked.PRESENT, negated=presence["word"] == "lacks")
    word = reading.take(_WORD)
    if word is None:
        reading.fail("a condition")
    key = _key(word[0])
    if reading.takes("!="):
        return Term(key=key, asked=Asked.ONE_OF, values=(_value(reading, f"a value for {key}"),), negated=True)
    if reading.takes("="):
        return Term(key=key, asked=Asked.ONE_OF, values=(_value(reading, f"a value for {key}"),))
    reading.skip_space()
    return _worded(reading, key)


def _worded(reading: _Reading, key: str) -> Term:
    found = reading.take(_WORD)
    verb = found[0] if found else ""
    match verb:
        case "has" | "lacks":
            item = _value(reading, f"an item of {key}")
            if listed(item) != (item,):
                raise _bad(f"expected one item of {key} without commas or spaces, found {item[:_FOUND_CHARS]!r}")
            return Term(key=key, asked=Asked.LISTS, values=(item,), negated=verb == "lacks")
        case "in":
            return Term(key=key, asked=Asked.ONE_OF, values=_values(reading, key))
        case "not":
            reading.expect("in", f"`in` after `{key} not`")
            return Term(key=key, asked=Asked.ONE_OF, values=_values(reading, key), negated=True)
        case _:
            reading.back(verb)
            reading.fail(f"`=`, `!=`, `in (`, `not in (`, `has` or `lacks` after {key!r}")


def _values(reading: _Reading, key: str) -> tuple[str, ...]:
    reading.expect("(", "`(`")
    values = [_value(reading, f"values for {key}")]
    while not reading.takes(")"):
        reading.expect(",", "a comma or `)`")
        values.append(_value(reading, f"values for {key}"))
    if len(values) > VALUES_MAX:
        raise _bad(f"at most {VALUES_MAX} values are allowed in one condition, found {len(values)}")
    return tuple(values)


def _value(reading: _Reading, expected: str) -> str:
    reading.skip_space()
    bare = reading.take(_BARE)
    text = reading.take(_QUOTED) if bare is None else None
    if bare is None and text is None:
        reading.fail(f"{expected} (with \"quotes\" unless it is of letters, digits and '._:/@-')")
    value = bare[0] if bare else re.sub(r"\\(.)", r"\1", text[1] if text else "")
    if not is_value(value):
        raise _bad(
            f"expected {expected} of 1 to {VALUE_CHARS_MAX} printable characters without a space at either end, "
            f"found {value[:_FOUND_CHARS]!r} of {len(value)}"
        )
    return value


def _key(text: str) -> str:
    if len(text) > KEY_CHARS_MAX:
        raise _bad(f"a key has at most {KEY_CHARS_MAX} characters, {text[:_FOUND_CHARS]!r}… has {len(text)}")
    return text


def _bad(problem: str) -> Refused:
    return Refused(f"selector: {problem}", hint=_HINT, code=Code.BAD_SELECTOR)
