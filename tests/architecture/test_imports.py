"""What each package may import directly, as a table; an import that no row allows fails with its file and line.

import-linter (see pyproject.toml) holds the directions with everything an import drags in; this holds the word "only".
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.architecture.project import PACKAGES, ROOT, distributions


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`package` may import itself, the standard library, `ours`, and the third parties named."""

    package: str
    ours: set[str] = field(default_factory=set)
    third: set[str] = field(default_factory=set)
    # Modules of the same top package that this part may not import, because it is a core.
    own_top: bool = True


AGENT_BASE = {"cbor2", "cryptography", "httptools", "paho", "securesystemslib", "tuf"}
RUNTIMES = {"ai_edge_litert", "onnxruntime", "tflite_runtime"}

# The most particular row decides: pinnace_agent.core before pinnace_agent.
RULES = [
    Rule(package="pinnace_contract", third={"cbor2"}),
    Rule(package="pinnace_runtime", ours={"pinnace_contract"}, third={"numpy"} | RUNTIMES),
    Rule(package="pinnace_agent.core", ours={"pinnace_contract"}, own_top=False),
    Rule(
        package="pinnace_agent.worker",
        ours={"pinnace_contract", "pinnace_runtime", "pinnace_agent.errors"},
        third={"httptools", "numpy"},
    ),
    Rule(package="pinnace_agent.client", ours={"pinnace_contract"}, third={"numpy"}),
    Rule(package="pinnace_agent", ours={"pinnace_contract"}, third=AGENT_BASE),
    Rule(
        package="pinnace_converters",
        ours={"pinnace_contract", "pinnace_runtime"},
        third={"ai_edge_litert", "numpy", "onnx", "onnxruntime"},
    ),
    Rule(
        package="pinnace_server.domain",
        ours={"pinnace_contract", "pinnace_server.errors"},
        own_top=False,
    ),
    Rule(
        package="pinnace_server.service",
        ours={"pinnace_contract", "pinnace_converters", "pinnace_server.domain", "pinnace_server.errors"},
        own_top=False,
    ),
    Rule(package="pinnace_server.db", ours={"pinnace_contract"}, third={"alembic", "sqlalchemy", "sqlmodel"}),
    Rule(package="pinnace_server.mqtt", ours={"pinnace_contract"}, third={"amqtt", "paho"}),
    Rule(
        package="pinnace_server.signing", ours={"pinnace_contract"}, third={"cryptography", "securesystemslib", "tuf"}
    ),
    Rule(package="pinnace_server.http", ours={"pinnace_contract"}, third={"fastapi", "pydantic", "starlette"}),
    Rule(
        package="pinnace_server.console",
        ours={"pinnace_contract"},
        third={"fastapi", "jinja2", "markupsafe", "starlette"},
    ),
    Rule(
        package="pinnace_server.demo",
        ours={"pinnace_contract"},
        third={"numpy", "onnx", "onnxruntime", "rich", "sklearn"},
    ),
    Rule(
        package="pinnace_server",
        ours={"pinnace_contract", "pinnace_converters"},
        third={"alembic", "cryptography", "fastapi", "sqlalchemy", "sqlmodel", "uvicorn", "yaml"},
    ),
    # Keys that come from a seed are made with what the agent and the signer make theirs with.
    Rule(package="pinnace_sim", ours=set(PACKAGES), third={"cryptography", "numpy", "securesystemslib"}),
]

# A core takes values and returns values: it has no way to look at a clock, a disk, a network or a log.
CORES = ["pinnace_agent.core", "pinnace_server.domain"]
THE_WORLD = {
    "asyncio",
    "concurrent",
    "http",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "secrets",
    "shutil",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}

# Import name → distribution, where they differ.
DISTRIBUTION = {
    "ai_edge_litert": "ai-edge-litert",
    "markupsafe": "jinja2",
    "paho": "paho-mqtt",
    "sklearn": "scikit-learn",
    "tflite_runtime": "tflite-runtime",
    "pydantic": "fastapi",
    "starlette": "fastapi",
    "sqlalchemy": "sqlmodel",
    "yaml": "pyyaml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    importer: str
    imported: str
    where: str

    @property
    def top(self) -> str:
        return self.imported.partition(".")[0]


def _inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def _modules() -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _imports() -> Iterator[Import]:
    for module, path in _modules():
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            match node:
                case ast.Import(names=names):
                    targets = [name.name for name in names]
                case ast.ImportFrom(module=str(origin), names=names):
                    # `from package import module` imports the module; whether a name is one shows on the disk alone.
                    targets = [
                        f"{origin}.{name.name}" if _is_module(f"{origin}.{name.name}") else origin for name in names
                    ]
                case _:
                    continue
            for target in targets:
                yield Import(importer=module, imported=target, where=f"{path.relative_to(ROOT)}:{node.lineno}")


def _is_module(name: str) -> bool:
    top = name.partition(".")[0]
    if top not in PACKAGES:
        return False
    path = PACKAGES[top].joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


IMPORTS = list(_imports())


def _rule_for(module: str) -> Rule:
    return max((rule for rule in RULES if _inside(module, rule.package)), key=lambda rule: len(rule.package))


def _allowed(imported: Import, rule: Rule) -> bool:
    if imported.top in sys.stdlib_module_names:
        return True
    if imported.top not in PACKAGES:
        return imported.top in rule.third
    own = rule.package.partition(".")[0] if rule.own_top else rule.package
    return any(_inside(imported.imported, package) for package in {own} | rule.ours)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.package)
def test_package_imports_only_what_its_row_allows(rule: Rule) -> None:
    wrong = [
        f"{one.where}: {one.importer} imports {one.imported}"
        for one in IMPORTS
        if _rule_for(one.importer) is rule and not _allowed(one, rule)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("core", CORES)
def test_core_has_no_way_to_reach_the_world(core: str) -> None:
    wrong = [
        f"{one.where}: {one.importer} imports {one.imported}"
        for one in IMPORTS
        if _inside(one.importer, core) and one.top in THE_WORLD
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("package", "extras"),
    [
        ("pinnace_contract", []),
        ("pinnace_runtime", ["onnx", "litert", "tflite"]),
        ("pinnace_agent", []),
        ("pinnace_converters", ["converters", "litert"]),
        ("pinnace_server.demo", ["demo"]),
        ("pinnace_server", ["server"]),
        ("pinnace_sim", ["sim"]),
    ],
)
def test_every_third_party_import_is_declared_where_it_is_needed(package: str, extras: list[str]) -> None:
    declared = distributions(*extras)
    wrong = [
        f"{one.where}: {one.importer} imports {one.imported}"
        for one in IMPORTS
        if _inside(one.importer, package)
        and not (package == "pinnace_server" and _inside(one.importer, "pinnace_server.demo"))
        and one.top not in sys.stdlib_module_names
        and one.top not in PACKAGES
        and DISTRIBUTION.get(one.top, one.top).replace("_", "-") not in declared
    ]
    assert not wrong, f"not in the base or in the extras {extras}:\n" + "\n".join(wrong)


def test_every_package_has_a_row() -> None:
    assert {rule.package.partition(".")[0] for rule in RULES} == set(PACKAGES)


def test_forbidden_import_is_found() -> None:
    core, contract = _rule_for("pinnace_agent.core.step"), _rule_for("pinnace_contract.codec")
    assert not _allowed(Import(importer="", imported="pinnace_agent.store", where=""), core)
    assert not _allowed(Import(importer="", imported="numpy", where=""), contract)
    assert _allowed(Import(importer="", imported="pinnace_agent.core.table", where=""), core)
