"""Which devices are meant: ``site=lyon, class in (a, b), has camera``. All must hold; an empty one means every device.

Looks at operator-set labels and, under the key ``device``, at the id. Owns the grammar and its meaning; ``db`` asks the
same question in SQL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pinnace_contract.ids import DeviceId
from pinnace_server.errors import Code, Refused

SELECTOR_CHARS_MAX: Final = 4096
TERMS_MAX: Final = 32
VALUES_MAX: Final = 256
DEVICE_KEY: Final = "device"

KEY_PATTERN: Final = r"[A-Za-z][A-Za-z0-9._-]{0,62}"
VALUE_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}"

_TERM: Final = re.compile(
    rf"\s*(?:has\s+(?P<has>{KEY_PATTERN})"
    rf"|(?P<key>{KEY_PATTERN})\s*=\s*(?P<value>{VALUE_PATTERN})"
    rf"|(?P<of>{KEY_PATTERN})\s+in\s*\((?P<values>[^()]*)\))\s*(?:,|$)"
)
_HINT: Final = "write key=value, key in (a, b) or has key, with commas between; device=ID names one device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One condition. ``values`` empty: the key must be there, whatever its value."""

    key: str
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.values:
            return f"has {self.key}"
        return f"{self.key}={self.values[0]}" if len(self.values) == 1 else f"{self.key} in ({', '.join(self.values)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """A conjunction of terms; none selects every device."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return ", ".join(str(term) for term in self.terms)

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
    terms: list[Term] = []
    at = 0
    while text[at:].strip():
        found = _TERM.match(text, at)
        if found is None:
            raise _bad(f"expected a condition at character {at + 1}, found {text[at : at + 30]!r}")
        terms.append(_term(found))
        at = found.end()
    if text.rstrip().endswith(","):
        raise _bad("expected another condition after the last comma")
    if len(terms) > TERMS_MAX:
        raise _bad(f"at most {TERMS_MAX} conditions are allowed, found {len(terms)}")
    return Selector(terms=tuple(terms))


def of_devices(devices: tuple[DeviceId, ...]) -> Selector:
    """Return the selector that means exactly these devices."""
    return Selector(terms=(Term(key=DEVICE_KEY, values=tuple(devices)),))


def _holds(term: Term, device: DeviceId, labels: Mapping[str, str]) -> bool:
    if term.key == DEVICE_KEY:
        return not term.values or device in term.values
    value = labels.get(term.key)
    return value is not None and (not term.values or value in term.values)


def _term(found: re.Match[str]) -> Term:
    if found["has"]:
        return Term(key=found["has"])
    if found["key"]:
        return Term(key=found["key"], values=(found["value"],))
    values = tuple(part.strip() for part in found["values"].split(","))
    for value in values:
        if re.fullmatch(VALUE_PATTERN, value) is None:
            raise _bad(f"expected values in ({found['values'][:60]}), found {value[:30]!r}")
    if len(values) > VALUES_MAX:
        raise _bad(f"at most {VALUES_MAX} values are allowed in one condition, found {len(values)}")
    return Term(key=found["of"], values=values)


def _bad(problem: str) -> Refused:
    return Refused(f"selector: {problem}", hint=_HINT, code=Code.BAD_SELECTOR)
