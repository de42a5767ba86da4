"""Every option of ``pinnace serve`` stands in the manual."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from pinnace_server.cli import program

MANUAL = Path(__file__).parents[3] / "docs" / "operating-the-server.md"


def test_every_option_of_serve_is_in_the_manual() -> None:
    parser = program.make_parser()
    (verbs,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    options = {option for action in verbs.choices["serve"]._actions for option in action.option_strings}
    documented = set(re.findall(r"^\| `(--[a-z-]+)` \|", MANUAL.read_text(), re.MULTILINE))
    assert {option for option in options if option.startswith("--")} - {"--help"} == documented
