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

# Files that take half a minute or more, the longest first. `make test` gives a worker one file after another: a long
# one that began last would be waited for by all others. Those that wait for processes stand among those that compute.
LONG_FILES = (
    "tests/sim/test_stores.py",
    "tests/e2e/test_road.py",
    "tests/sim/test_mutations.py",
    "tests/agent/test_agent_process.py",
    "tests/e2e/test_phases.py",
    "tests/sim/test_scenarios.py",
    "tests/e2e/test_shadow.py",
    "tests/server/service/test_guarded_rollouts.py",
    "tests/e2e/test_demo.py",
    "tests/sim/test_rehearse_policy.py",
    "tests/e2e/test_site_atomic.py",
    "tests/sim/test_world.py",
    "tests/sim/test_pace.py",
    "tests/e2e/test_blue_green.py",
    "tests/e2e/test_going_back.py",
    "tests/server/console/test_browser.py",
    "tests/server/service/test_climbing.py",
    "tests/server/program/test_serve.py",
    "tests/e2e/test_waves.py",
    "tests/sim/test_fleet.py",
    "tests/server/program/test_policy_text.py",
    "tests/e2e/test_device_store.py",
    "tests/sim/test_waves.py",
    "tests/e2e/test_ab.py",
    "tests/sim/test_rehearse_natures.py",
    "tests/e2e/test_told.py",
    "tests/server/program/test_registry_verbs.py",
    "tests/server/http/test_borders.py",
    "tests/converters/test_conversion.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in FIXTURES_WITH_MARKER:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(name)
    turns = {name: turn for turn, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: turns.get(item.location[0], len(turns)))


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
