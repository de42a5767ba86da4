"""``pinnace reproduce``: run a version's conversion again on this machine, and say whether it gives the same files.

The conversion runs here with what is installed here, in the converters' own sandbox; nothing on the server changes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import digest_of
from pinnace_contract.latest import PassRecord, Release, Variant
from pinnace_server.cli import shown
from pinnace_server.cli.api import Api, CallFailed, quoted
from pinnace_server.cli.asking import add_verb
from pinnace_server.errors import Code

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from pinnace_converters.draft import Draft
    from pinnace_converters.progress import Progress
    from pinnace_server.service.conversions import ConversionRequest

SAME: Final = 0
DIFFERENT: Final = 1
RESULT_FOLDER: Final = "draft"
_RELEASE_FILE: Final = "release.json"
_SAID: Final = {True: "same", False: "different"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One variant beside its twin. ``recorded`` or ``made`` is None where only the other is there.

    ``first_difference`` says at which step the two part, empty where they do not or where nothing says.
    """

    variant: str
    recorded: str | None
    made: str | None
    same: bool
    first_difference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherTool:
    """A tool that is not of the version that it was. None: not there, or not recorded."""

    name: str
    recorded: str | None
    here: str | None


def add_parser(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "reproduce", "convert a version's source again, here, and compare the results", _run)
    parser.add_argument("model")
    parser.add_argument("version", help="a name, or @ALIAS")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder for the files, and for the result")


def _run(api: Api, chosen: argparse.Namespace) -> int:
    path = f"/models/{quoted(chosen.model)}/versions/{quoted(chosen.version)}"
    origin = api.get(f"{path}/origin")
    if not origin["reproducible"]:
        raise CallFailed(
            f"{origin['model']} {origin['version']} cannot be reproduced: {origin['why_not']}",
            hint="versions that this server converts from now on can be, unless --forget-files was given",
            code=Code.NOT_KEPT,
        )
    with _folder(chosen.keep) as folder:
        release = _fetched(api, path, origin, folder)
        draft = _converted(origin, folder)
    variants = compare(release.variants, draft.variants)
    recorded = {each["name"]: each["version"] for each in (origin["report"] or {}).get("tools", [])}
    others = other_tools(recorded, {tool.name: tool.version for tool in draft.report.tools})
    same = all(each.same for each in variants)
    answer = {
        "model": origin["model"],
        "version": origin["version"],
        "same": same,
        "variants": [asdict(each) for each in variants],
        "tools_recorded": bool(recorded),
        "other_tools": [asdict(each) for each in others],
        "folder": str(chosen.keep) if chosen.keep else None,
    }
    print(shown.as_json(answer) if chosen.json else _words(answer, variants, others))
    return SAME if same else DIFFERENT


def compare(recorded: Sequence[Variant], made: Sequence[Variant]) -> list[Compared]:
    """Put each variant beside the one of the same runtime and precision, of which a release has one."""
    then, now = ({f"{each.runtime} {each.precision}": each for each in some} for some in (recorded, made))
    found = []
    for name in dict.fromkeys([*then, *now]):
        old, new = then.get(name), now.get(name)
        same = old is not None and new is not None and old.digest == new.digest
        found.append(
            Compared(
                variant=name,
                recorded=old.digest if old else None,
                made=new.digest if new else None,
                same=same,
                first_difference="" if same else _first_difference(old, new),
            )
        )
    return found


def other_tools(recorded: Mapping[str, str], here: Mapping[str, str]) -> list[OtherTool]:
    """Return the tools whose version is another than the recorded one, by name; none where none was recorded."""
    names = sorted(recorded.keys() | here.keys()) if recorded else []
    return [
        OtherTool(name=name, recorded=recorded.get(name), here=here.get(name))
        for name in names
        if recorded.get(name) != here.get(name)
    ]


def _first_difference(old: Variant | None, new: Variant | None) -> str:
    if new is None:
        return "it was not offered this time"
    if old is None:
        return "it was not offered then"
    for then, now in zip(old.provenance, new.provenance, strict=False):
        if then.output != now.output:
            return _step(then, now)
    return "" if len(old.provenance) == len(new.provenance) else "it was made in other steps"


def _step(then: PassRecord, now: PassRecord) -> str:
    if then.name != now.name:
        return f"{then.name} then, {now.name} now"
    if then.tool != now.tool:
        return f"{then.name} with {then.tool} then, {now.tool} now"
    if then.parameters != now.parameters:
        return f"{then.name} told {then.parameters!r} then, {now.parameters!r} now"
    return f"{then.name} with {then.tool}, as then"


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="pinnace-reproduce-") as folder:
            yield Path(folder)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        occupied = any(keep.iterdir())
    except OSError as error:
        raise CallFailed(f"{keep}: {error.strerror}", hint="name a folder that can be made") from error
    if occupied:
        raise CallFailed(f"{keep} is not empty", hint="name a new folder with --keep")
    yield keep


def _fetched(api: Api, path: str, origin: dict[str, Any], folder: Path) -> Release:
    """Fetch the release and every file of the conversion, each checked against its digest."""
    bar = shown.Bar()
    api.download(f"{path}/release", origin["release"], folder / _RELEASE_FILE)
    for n, file in enumerate(origin["files"]):
        bar.show(f"fetching {file['name']}", n / len(origin["files"]))
        if Path(file["name"]).name != file["name"]:
            raise CallFailed(f"the server names a file {shown.cell(file['name'])!r}, which is no file's name")
        api.download(f"{path}/origin/files/{file['digest']}", file["digest"], folder / file["name"])
    bar.clear()
    data = (folder / _RELEASE_FILE).read_bytes()
    assert digest_of(data) == origin["release"], "it was checked on its way"
    try:
        return codec.from_json(Release, data)
    except ContractError as error:
        raise CallFailed(f"the release cannot be read: {error}", hint="a newer server may have made it") from error


def _converted(origin: dict[str, Any], folder: Path) -> Draft:
    from pinnace_converters.conversion import convert
    from pinnace_converters.errors import ConversionError
    from pinnace_server.conversion.asked import options_of

    request = _request(origin)
    bar = shown.Bar()

    def tell(progress: Progress) -> None:
        if progress.what:
            bar.show(progress.what, progress.done / max(progress.total, 1))

    heldout = folder / request.heldout_file if request.heldout else None
    try:
        return convert(
            folder / request.source_file,
            folder / request.calibration_file,
            heldout,
            options_of(request, folder),
            folder / RESULT_FOLDER,
            tell,
        )
    except ConversionError as error:
        raise CallFailed(
            f"{origin['model']} {origin['version']} cannot be converted again here: {error}", code=error.code
        ) from error
    finally:
        bar.clear()


def _request(origin: dict[str, Any]) -> ConversionRequest:
    from pinnace_server.service.conversions import ConversionRequest

    try:
        return codec.from_plain(ConversionRequest, origin["request"])
    except ContractError as error:
        raise CallFailed(f"the recorded request cannot be read: {error}") from error


def _words(answer: dict[str, Any], variants: Sequence[Compared], others: Sequence[OtherTool]) -> str:
    rows = [
        (each.variant, (each.recorded or "-")[:12], (each.made or "-")[:12], _SAID[each.same], each.first_difference)
        for each in variants
    ]
    lines = [shown.table(("VARIANT", "RECORDED", "MADE HERE", "", "FIRST DIFFERENCE"), rows), ""]
    for each in others:
        lines.append(f"{each.name}: {each.recorded or 'not there'} then, {each.here or 'not there'} here")
    if not answer["tools_recorded"]:
        lines.append("the versions of the tools were not recorded then")
    lines.append(f"{answer['model']} {answer['version']}: {'the same' if answer['same'] else 'not the same'}")
    return "\n".join(lines)
