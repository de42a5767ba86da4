"""What the developer declares about a model: processing, layout, units, classes, expectations, requirements.

Owns the form of that file (the contract's own words in JSON) and its strict reading: it is written by hand, so a
misspelt key is an error here, where the wire ignores it.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_contract.fields import limited
from pinnace_contract.latest import (
    Datatype,
    Expectations,
    Processing,
    Requirements,
    Step,
    UnknownStep,
)
from pinnace_converters.errors import DeclarationInvalid

_STEPS: Final[Mapping[str, type]] = {kind.OP: kind for kind in typing.get_args(Step) if kind is not UnknownStep}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorNote:
    """What no file says about a tensor of the I/O contract. ``datatype`` asks for another type than the model gives."""

    name: str = limited(chars=256)
    layout: str = limited("", chars=16)
    unit: str = limited("", chars=64)
    classes: tuple[str, ...] = limited((), largest=2048, chars=128)
    datatype: Datatype | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """Everything declared. Empty means: raw input is model input, and whatever the model answers is the answer."""

    KIND: ClassVar[str] = "declaration"
    BYTES_MAX: ClassVar[int] = 256 * 1024

    before: tuple[Step, ...] = limited((), largest=32)
    after: tuple[Step, ...] = limited((), largest=32)
    inputs: tuple[TensorNote, ...] = limited((), largest=64)
    outputs: tuple[TensorNote, ...] = limited((), largest=64)
    expectations: Expectations = Expectations()  # noqa: RUF009 -- frozen
    requirements: Requirements = Requirements()  # noqa: RUF009 -- frozen

    @property
    def processing(self) -> Processing:
        """The declared steps as a release carries them."""
        return Processing(before=self.before, after=self.after)


def read(path: Path) -> Declaration:
    """Read a declaration file.

    Raises:
        DeclarationInvalid: no such file, or not in this form.
    """
    try:
        if path.stat().st_size > Declaration.BYTES_MAX:
            raise DeclarationInvalid(f"{path.name}: expected at most {Declaration.BYTES_MAX} bytes")
        return parse(path.read_bytes())
    except OSError as error:
        raise DeclarationInvalid(f"cannot read {path}: {error.strerror}") from error


def parse(data: bytes) -> Declaration:
    """Read the bytes of a declaration file.

    Raises:
        DeclarationInvalid: names the field, what was expected and what was found.
    """
    try:
        tree = codec.parse_json(Declaration.KIND, data, Declaration.BYTES_MAX)
        declared = codec.from_plain(Declaration, tree)
    except ContractError as error:
        raise DeclarationInvalid(str(error)) from error
    check(declared)
    _refuse_unknown_keys(Declaration, tree, "declaration")
    return declared


def check(declared: Declaration) -> None:
    """Refuse steps that this program does not know.

    Raises:
        DeclarationInvalid
    """
    for step in (*declared.before, *declared.after):
        if isinstance(step, UnknownStep):
            raise DeclarationInvalid(f"unknown step {step.op!r}; the steps are {', '.join(sorted(_STEPS))}")


def _refuse_unknown_keys(kind: type, tree: object, path: str) -> None:
    if not isinstance(tree, dict):
        return
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)} | ({"op"} if "OP" in vars(kind) else set())
    unknown = sorted(set(tree) - names)
    if unknown:
        raise DeclarationInvalid(f"{path}: unknown key {unknown[0]!r}; expected {', '.join(sorted(names))}")
    for name, value in tree.items():
        if name == "op":
            continue
        for place, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
            where = f"{path}.{name}" if place is None else f"{path}.{name}[{place}]"
            member = _member(hints[name], item)
            if member is not None:
                _refuse_unknown_keys(member, item, where)


def _member(hint: object, item: object) -> type | None:
    """Return the dataclass that an item of a field was read as."""
    if isinstance(item, dict) and "op" in item:
        return _STEPS.get(item["op"])
    for candidate in (hint, *typing.get_args(hint)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None
