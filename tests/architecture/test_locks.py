"""The locks: every dependency is there with its hashes, and none of them says where it came from."""

import re
from pathlib import Path

import pytest

from tests.architecture.project import ROOT, distributions

LOCKS = {
    "requirements.lock": ["server", "converters", "sim", "onnx", "litert", "demo", "test", "dev"],
    "requirements-demo.lock": ["demo"],
    "requirements-tflite.lock": ["tflite", "test"],
}
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;\\]+)")
EVERY_LOCK = pytest.mark.parametrize("name", LOCKS)


def _blocks(path: Path) -> list[str]:
    """A pin with the lines that belong to it."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    return re.split(r"\n(?=\S)", text.strip())


def _pins(path: Path) -> set[tuple[str, str]]:
    found = [PIN.match(block) for block in _blocks(path)]
    return {(pin["name"], pin["version"]) for pin in found if pin is not None}


@EVERY_LOCK
def test_lock_names_no_place(name: str) -> None:
    text = (ROOT / name).read_text()
    for sign in ("://", "--index", "--extra-index", "--find-links", "--trusted-host", " @ "):
        assert sign not in text, f"{name} says where to look: {sign}"


@EVERY_LOCK
def test_every_line_is_a_pin_with_hashes(name: str) -> None:
    for block in _blocks(ROOT / name):
        assert PIN.match(block), f"{name}: not a pinned version:\n{block}"
        assert "--hash=sha256:" in block, f"{name}: no hash:\n{block}"


@EVERY_LOCK
def test_lock_covers_every_direct_dependency(name: str) -> None:
    locked = {pin for pin, _ in _pins(ROOT / name)}
    missing = distributions(*LOCKS[name]) - locked
    assert not missing, f"{name} is behind pyproject.toml, run `make lock`: {sorted(missing)}"


def test_demo_runs_on_the_versions_that_the_tests_run_on() -> None:
    assert _pins(ROOT / "requirements-demo.lock") <= _pins(ROOT / "requirements.lock")


def test_every_lock_is_made_by_the_recipe() -> None:
    assert {path.name for path in ROOT.glob("*.lock")} == set(LOCKS)
    makefile = (ROOT / "Makefile").read_text()
    for name in LOCKS:
        assert f"-o {name} " in makefile
