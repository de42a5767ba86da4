"""``pinnace convert``: a model file and data in, a folder with a draft release out, and a table to read.

Owns the words of the command line only; ``pinnace`` mounts it. Results go to stdout, progress and errors to stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pinnace_contract.latest import AssetKind, Precision
from pinnace_converters import declaration, table
from pinnace_converters.conversion import convert
from pinnace_converters.declaration import Declaration
from pinnace_converters.errors import ConversionError, NoVariant
from pinnace_converters.given import BUILT
from pinnace_converters.options import AGREEMENT_MIN, AssetFile, Options
from pinnace_converters.progress import Progress

if TYPE_CHECKING:
    from argparse import _SubParsersAction

REFUSED: Final = 1
CANCELLED: Final = 130  # what a shell reports of a program that Ctrl-C ended
_SHOWN_CHARS: Final = 78


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``convert``; the namespace's ``run`` is what to call with it."""
    parser = subparsers.add_parser(
        "convert",
        help="make checked variants of a model file",
        description="Convert a model into variants that are known to answer as the source does, with golden vectors "
        "and a baseline, and print a table to choose from.",
    )
    parser.add_argument("model", type=Path, help="an .onnx or .tflite file")
    parser.add_argument(
        "--calibration", type=Path, required=True, metavar="DATA.npz", help="raw inputs by name, and labels if known"
    )
    parser.add_argument(
        "--heldout", type=Path, metavar="DATA.npz", help="data that was not calibrated with; else a fifth is split off"
    )
    parser.add_argument(
        "--processing", type=Path, metavar="FILE.json", help="declared steps, classes, units, expectations"
    )
    parser.add_argument(
        "--variant", type=Path, action="append", default=[], metavar="FILE.tflite", help="a ready variant to check too"
    )
    parser.add_argument(
        "--asset",
        type=_asset,
        action="append",
        default=[],
        metavar="KIND:NAME=FILE",
        help=f"a file of the release; KIND is one of {', '.join(_ASSET_KINDS)}",
    )
    parser.add_argument(
        "--precisions", type=_precisions, default=BUILT, metavar="LIST", help=f"of {','.join(BUILT)} (default: all)"
    )
    parser.add_argument(
        "--agreement-min", type=_share, default=AGREEMENT_MIN, metavar="SHARE", help="default: %(default)s"
    )
    parser.add_argument(
        "--accuracy-loss-max", type=_share, metavar="SHARE", help="with labels: enough instead of the agreement"
    )
    parser.add_argument("--force", default="", metavar="REASON", help="offer what only numbers refuse; recorded")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder, or an earlier result")
    parser.add_argument("--json", action="store_true", help="print the draft instead of the table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert, print, and return the exit status."""
    shown = _Terminal()
    try:
        declared = declaration.read(arguments.processing) if arguments.processing else Declaration()
        options = Options(
            declaration=declared,
            precisions=tuple(arguments.precisions),
            variants=tuple(arguments.variant),
            assets=tuple(arguments.asset),
            force=arguments.force,
            agreement_min=arguments.agreement_min,
            accuracy_loss_max=arguments.accuracy_loss_max,
            seed=arguments.seed,
        )
        draft = convert(arguments.model, arguments.calibration, arguments.heldout, options, arguments.out, shown.show)
    except KeyboardInterrupt:
        shown.clear()
        print("cancelled; nothing was written", file=sys.stderr)
        return CANCELLED
    except ConversionError as error:
        shown.clear()
        _print_error(error, arguments.json)
        return REFUSED
    shown.clear()
    if arguments.json:
        print(draft.to_json().decode())
    else:
        print(table.render(draft.report))
        print(f"\nwritten to {arguments.out}: {len(draft.variants)} variants, {draft.golden.vectors} golden vectors")
    return 0


def _print_error(error: ConversionError, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": {"code": error.code, "message": str(error)}}))
        return
    if isinstance(error, NoVariant):
        print(table.render(error.report))
        print("\nno variant passed its checks; nothing was written", file=sys.stderr)
        return
    print(f"pinnace convert: {error}", file=sys.stderr)


class _Terminal:
    """Progress on stderr: one line that is written over on a terminal, one line per piece of work elsewhere."""

    def __init__(self) -> None:
        self._over = sys.stderr.isatty()
        self._last = ""

    def show(self, progress: Progress) -> None:
        """Show where the conversion is."""
        if not progress.what:
            return
        line = f"[{progress.done}/{progress.total}] {progress.what}"[:_SHOWN_CHARS]
        if self._over:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif line.partition(":")[0] != self._last.partition(":")[0]:
            print(line, file=sys.stderr)
        self._last = line

    def clear(self) -> None:
        """Leave the line empty for what comes next."""
        if self._over and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


_ASSET_KINDS: Final = tuple(str(kind) for kind in AssetKind if kind is not AssetKind.UNKNOWN)


def _asset(text: str) -> AssetFile:
    kind, _, rest = text.partition(":")
    name, _, path = rest.partition("=")
    if kind not in _ASSET_KINDS or not name or not path:
        raise argparse.ArgumentTypeError(
            f"expected KIND:NAME=FILE with KIND of {', '.join(_ASSET_KINDS)}, found {text!r}"
        )
    return AssetFile(name=name, kind=AssetKind(kind), path=Path(path))


def _precisions(text: str) -> tuple[Precision, ...]:
    names = text.split(",")
    unknown = [name for name in names if name not in BUILT]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(BUILT)}, found {unknown[0]!r}")
    return tuple(Precision(name) for name in names)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
    return value
