"""What the two processes on a device may not load: each name here costs memory on every device, for ever.

The agent's processes are imported whole in a fresh interpreter, so that an import hidden behind another one shows too.
"""

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.project import PACKAGES

SERVER_ONLY = ["alembic", "amqtt", "fastapi", "jinja2", "onnx", "pydantic", "rich", "sklearn", "sqlalchemy", "sqlmodel"]
RUNTIMES = ["ai_edge_litert", "onnxruntime", "tflite_runtime"]

# The supervisor holds keys and the link and never a model.
SUPERVISOR_FORBIDDEN = [
    *SERVER_ONLY,
    *RUNTIMES,
    "asyncio",
    "cryptography.x509",  # for enrolment only
    "numpy",
    "pinnace_runtime",
    "requests",
    "tomllib",  # for a settings file only
    "urllib3",
]
# The worker holds a model and has neither keys nor a network. Runtimes are loaded when a model says which.
WORKER_FORBIDDEN = [
    *SERVER_ONLY,
    *RUNTIMES,
    "asyncio",
    "cryptography",
    "paho",
    "requests",
    "securesystemslib",
    "ssl",
    "tuf",
    "urllib3",
]

IMPORT_AND_LIST = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(sys.modules)))
"""


def _modules_under(package: str) -> list[str]:
    folder = PACKAGES["pinnace_agent"].joinpath(*package.split("."))
    found = [name for _, name, _ in pkgutil.walk_packages([str(folder)], package + ".")]
    return [package, *(name for name in found if not name.endswith("__main__"))]


def _loaded_by(modules: list[str]) -> set[str]:
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_LIST, json.dumps(modules)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout))


def test_supervisor_loads_no_model_library_and_nothing_of_the_server() -> None:
    # The worker is a process of its own, and the client belongs to applications.
    modules = [
        name
        for name in _modules_under("pinnace_agent")
        if not name.startswith(("pinnace_agent.worker.", "pinnace_agent.client"))
    ]
    assert "pinnace_agent.cli" in modules
    assert "pinnace_agent.daemon" in modules
    assert _loaded_by(modules) & set(SUPERVISOR_FORBIDDEN) == set()


def test_worker_loads_no_keys_no_network_and_no_runtime_before_it_knows_which() -> None:
    modules = _modules_under("pinnace_agent.worker")
    assert len(modules) > 1
    assert _loaded_by(modules) & set(WORKER_FORBIDDEN) == set()


@pytest.mark.parametrize("name", ["numpy", "ssl", "cryptography.x509"])
def test_the_budget_sees_what_is_loaded(name: str) -> None:
    assert name in _loaded_by([name])
