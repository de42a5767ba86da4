"""The project as its files say it is: where things lie, and what the two pyproject files declare."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Package → the folder that holds it.
PACKAGES = {
    "pinnace_contract": ROOT / "agent",
    "pinnace_runtime": ROOT / "agent",
    "pinnace_agent": ROOT / "agent",
    "pinnace_converters": ROOT / "converters",
    "pinnace_server": ROOT / "server",
    "pinnace_sim": ROOT / "firmware-sim",
}


def pyproject(folder: Path = ROOT) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


def distribution_of(requirement: str) -> str:
    """`Foo_bar[x]>=1; marker` → `foo-bar`, the form in which indexes and locks write it."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, f"not a requirement: {requirement!r}"
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def distributions(*extras: str) -> set[str]:
    """Direct dependencies of the base and of these extras, extras of our own followed."""
    project = pyproject()["project"]
    found: set[str] = set()
    waiting = list(project["dependencies"])
    for extra in extras:
        waiting += project["optional-dependencies"][extra]
    while waiting:
        requirement = waiting.pop()
        if own := re.match(r"pinnace\[([a-z,]+)\]", requirement):
            for extra in own.group(1).split(","):
                waiting += project["optional-dependencies"][extra]
        else:
            found.add(distribution_of(requirement))
    return found
