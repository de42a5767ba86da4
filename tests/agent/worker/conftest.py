"""A worker host for each test, on a socket path short enough for the system."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pinnace_agent.worker.hosting import HostSettings
from tests.agent.worker.building import MODEL, Hosted, OnDisk, hosted, linear, put_release


@pytest.fixture
def run_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pw-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def host_with(run_dir: Path) -> Iterator[Callable[..., Hosted]]:
    """Make a host with other settings; its socket is open."""
    made: list[Hosted] = []

    def make(**settings: object) -> Hosted:
        found = hosted(run_dir, HostSettings(run_dir=run_dir, **settings))  # type: ignore[arg-type]
        made.append(found)
        found.host.open(MODEL)
        return found

    yield make
    for each in made:
        each.host.close()


@pytest.fixture
def host(host_with: Callable[..., Hosted]) -> Hosted:
    return host_with()


@pytest.fixture
def release(tmp_path: Path) -> OnDisk:
    return put_release(tmp_path / "store", linear())
