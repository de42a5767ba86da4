"""The two distributions are cut from the same sources: what they declare agrees, and each holds what it should."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.architecture.project import PACKAGES, ROOT, pyproject

RUNTIME_EXTRAS = ["onnx", "litert", "tflite"]
SLIM_PACKAGES = {"pinnace_contract", "pinnace_runtime", "pinnace_agent"}


def _built_wheel(folder: Path, out: Path) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def _top_names(wheel: zipfile.ZipFile) -> set[str]:
    return {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" not in name}


def _read(wheel: zipfile.ZipFile, ending: str) -> str:
    return wheel.read(next(name for name in wheel.namelist() if name.endswith(ending))).decode()


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return _built_wheel(ROOT / "agent", tmp_path_factory.mktemp("slim"))


@pytest.mark.parametrize("key", ["version", "requires-python", "license", "dependencies"])
def test_slim_agent_declares_what_the_root_declares(key: str) -> None:
    assert pyproject(ROOT / "agent")["project"][key] == pyproject()["project"][key]


@pytest.mark.parametrize("extra", RUNTIME_EXTRAS)
def test_slim_agent_offers_the_roots_runtimes(extra: str) -> None:
    slim, root = pyproject(ROOT / "agent")["project"], pyproject()["project"]
    assert slim["optional-dependencies"][extra] == root["optional-dependencies"][extra]


def test_slim_agent_offers_nothing_else() -> None:
    assert set(pyproject(ROOT / "agent")["project"]["optional-dependencies"]) == set(RUNTIME_EXTRAS)


def test_slim_wheel_holds_the_agent_and_nothing_of_the_server(slim: zipfile.ZipFile) -> None:
    assert _top_names(slim) == SLIM_PACKAGES


def test_slim_wheel_holds_every_module_of_its_packages(slim: zipfile.ZipFile) -> None:
    held = set(slim.namelist())
    modules = {
        path.relative_to(ROOT / "agent").as_posix()
        for package in SLIM_PACKAGES
        for path in (ROOT / "agent" / package).rglob("*.py")
        if "golden" not in path.parts
    }
    assert modules - held == set()


def test_slim_wheel_offers_the_agents_command_alone(slim: zipfile.ZipFile) -> None:
    scripts = [line for line in _read(slim, "entry_points.txt").splitlines() if "=" in line]
    assert scripts == ["pinnace-agent = pinnace_agent.cli:main"]


def test_slim_wheel_carries_the_licence(slim: zipfile.ZipFile) -> None:
    assert _read(slim, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()


def test_full_wheel_holds_every_package_with_its_type_marker(tmp_path: Path) -> None:
    wheel = _built_wheel(ROOT, tmp_path)
    assert _top_names(wheel) == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(wheel.namelist())


def test_runtimes_that_exclude_each_other_are_declared_so() -> None:
    conflicts = [{entry["extra"] for entry in group} for group in pyproject()["tool"]["uv"]["conflicts"]]
    assert {"tflite", "litert"} in conflicts
