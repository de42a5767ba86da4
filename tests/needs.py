"""What a test needs of the machine: found, or else a skip that says why for a user and a failure in CI.

Owns that one decision. Starting what was found is left to the fixtures.
"""

import importlib.util
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

# Set by .ci/run: there a missing program is a hole in the guard, not somebody's laptop.
IN_CI = os.environ.get("PINNACE_CI") == "1"

# Daemons live where a user's PATH often does not look.
DAEMON_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def need(*names: str) -> Path:
    """The first of these programs that is installed; the names are alternatives of one thing."""
    for name in names:
        if found := shutil.which(name, path=DAEMON_PATH):
            return Path(found)
    _missing(f"needs the program {' or '.join(names)}, which is not installed")


def need_module(name: str) -> None:
    """A Python package that not every environment of this project holds."""
    if importlib.util.find_spec(name) is None:
        _missing(f"needs the Python package {name}, which this environment does not have")


def need_chromium() -> Path:
    return need("chromium", "chromium-browser", "google-chrome")


def need_models() -> Path:
    """A folder of real model files, which is not part of the project: always optional."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("PINNACE_MODELS") or root.parent / "shared" / "models")
    if not folder.is_dir():
        pytest.skip("needs a folder of model files: name one in PINNACE_MODELS")
    return folder


def _missing(reason: str) -> NoReturn:
    if IN_CI:
        pytest.fail(f"{reason}, and PINNACE_CI=1 says that nothing may be missing here")
    pytest.skip(reason)
