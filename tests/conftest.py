"""Fixtures that tests of several parts share.

Imports nothing of the server: the environment that tests tflite-runtime has only the agent's base.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.brokers import Mosquitto, running_mosquitto
from tests.needs import IN_CI, need, need_chromium, need_models

# onnxruntime 1.29 and later else report models to their maker; tests that import it themselves must not either.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# No deadline for an example: the machine may be doing other things, and no test asserts an absolute time.
# In CI the examples are the same on every run, so that a red build is the change's and not the dice's.
settings.register_profile(
    "pinnace",
    deadline=None,
    derandomize=IN_CI,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("pinnace")

# A test that asks for one of these fixtures carries the marker of the same name.
FIXTURES_WITH_MARKER = ("mosquitto", "chromium")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in FIXTURES_WITH_MARKER:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(name)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker of this test's own, with persistence and one-second autosave."""
    with running_mosquitto(need("mosquitto"), tmp_path / "mosquitto") as broker:
        yield broker


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser's program."""
    return need_chromium()


@pytest.fixture(scope="session")
def models() -> Path:
    """A folder of real model files."""
    return need_models()
