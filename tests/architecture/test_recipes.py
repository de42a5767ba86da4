"""What a person is told to type: each recipe is explained, and CI runs what the README says."""

import os
import re
from pathlib import Path

import pytest

from tests.architecture.project import ROOT, pyproject

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE)
PAGES_THAT_SAY_MAKE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _commands(page: Path, program: str) -> list[str]:
    """Calls of a program in the code of a page, indented, fenced or between backticks."""
    text = page.read_text()
    found = re.findall(rf"^(?: {{4,}}|\t)?({program} [^#`\n]+)", text, re.MULTILINE)
    return [command.strip() for command in found + re.findall(rf"`({program} [^`]+)`", text)]


@pytest.mark.parametrize("target", TARGETS)
def test_recipe_explains_itself_and_is_in_the_contributors_table(target: str) -> None:
    assert re.search(rf"^{target}:.*## \w", MAKEFILE, re.MULTILINE), f"`make help` says nothing of {target}"
    assert f"`make {target}`" in (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_recipe_is_phony(target: str) -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert target in phony.group(1).split()


@pytest.mark.parametrize("page", PAGES_THAT_SAY_MAKE, ids=lambda page: page.name)
def test_page_names_only_recipes_that_exist(page: Path) -> None:
    named = {command.split()[1] for command in _commands(page, "make")}
    assert named <= set(TARGETS)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "make test" in _commands(ROOT / "README.md", "make")
    steps = (ROOT / ".ci" / "run").read_text()
    for target in ("install", "lint", "test", "test-slim", "test-tflite", "docs"):
        assert re.search(rf"make {target}$", steps, re.MULTILINE), f".ci/run leaves out `make {target}`"
    assert "PINNACE_CI=1" in steps


def test_ci_script_can_be_started() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_pages_name_only_extras_that_exist() -> None:
    for page in PAGES_THAT_SAY_MAKE:
        for project, folder in (("./agent", ROOT / "agent"), (r"\.", ROOT)):
            named = re.findall(rf"pip install '{project}\[([a-z,]+)\]'", page.read_text())
            declared = set(pyproject(folder)["project"]["optional-dependencies"])
            assert {extra for group in named for extra in group.split(",")} <= declared
