"""The agent's settings: read once from the command line and an optional TOML file, checked, frozen, passed on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from pinnace_agent.errors import AgentError
from pinnace_contract import ids
from pinnace_contract.ids import ModelName

STORE_VARIABLE: Final = "PINNACE_AGENT_STORE"
DEFAULT_STORE: Final = "pinnace-agent-store"
_HARDWARE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class BadSetting(AgentError):
    """A setting that cannot be used; the message names it, what was found and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. ``docs/operating-an-agent.md`` says what each is for."""

    store: Path
    run_dir: Path
    report_every_s: int = 60
    hardware: str = ""
    socket_group: str = "pinnace"
    worker_memory_bytes: int = 1024 * 1024 * 1024
    worker_threads: int = 1
    worker_niceness: int = 5
    hang_s: float = 10.0
    loopback_ports: tuple[tuple[ModelName, int], ...] = ()
    loopback_token_file: Path | None = None
    broker: str = ""
    log_level: str = "info"


_RANGES: Final[dict[str, tuple[float, float]]] = {
    "report_every_s": (1, 86_400),
    "worker_memory_bytes": (16 * 1024 * 1024, 2**40),
    "worker_threads": (1, 64),
    "worker_niceness": (0, 19),
    "hang_s": (0.5, 3600),
}
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def read(given: Mapping[str, Any], config: Path | None) -> Settings:
    """Return the settings: what was given on the command line, then the file, then the defaults.

    ``given`` holds only what was really given.

    Raises:
        BadSetting
    """
    merged = (_file(config) if config else {}) | dict(given)
    store = Path(merged.pop("store", None) or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE).absolute()
    run_dir = Path(merged.pop("run_dir", None) or store / "run").absolute()
    known = {field.name for field in fields(Settings)}
    unknown = sorted(set(merged) - known)
    if unknown:
        raise BadSetting(f"unknown setting {unknown[0]!r}; expected one of {', '.join(sorted(known))}")
    settings = Settings(store=store, run_dir=run_dir)
    for name, value in merged.items():
        settings = replace(settings, **{name: _checked(name, value)})
    if settings.loopback_ports and settings.loopback_token_file is None:
        raise BadSetting("loopback_ports need loopback_token_file: any web page on this machine can reach loopback")
    return settings


def _file(path: Path) -> dict[str, Any]:
    import tomllib  # here, because it is not needed without a settings file: 0.1 MiB less in the supervisor

    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise BadSetting(f"{path}: expected a readable settings file ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path}: expected TOML: {error}") from error


def _checked(name: str, value: Any) -> Any:
    if name in _RANGES:
        return _number(name, value)
    if name == "loopback_ports":
        return _ports(value)
    if name == "loopback_token_file":
        return Path(str(value)).absolute()
    if not isinstance(value, str):
        raise BadSetting(f"{name}: expected text, found {value!r}")
    if name == "log_level" and value not in LOG_LEVELS:
        raise BadSetting(f"log_level: expected one of {', '.join(LOG_LEVELS)}, found {value!r}")
    if name == "hardware" and _HARDWARE.fullmatch(value) is None:
        raise BadSetting(f"hardware: expected letters, digits, dot, dash and underscore (at most 64), found {value!r}")
    return value


def _number(name: str, value: Any) -> float:
    smallest, largest = _RANGES[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not smallest <= value <= largest:
        raise BadSetting(f"{name}: expected a number from {smallest:g} to {largest:g}, found {value!r}")
    if name != "hang_s" and not isinstance(value, int):
        raise BadSetting(f"{name}: expected a whole number, found {value!r}")
    return value


def _ports(value: Any) -> tuple[tuple[ModelName, int], ...]:
    """Read ``{model = port}`` of a file or ``["model=port"]`` of the command line."""
    pairs = value.items() if isinstance(value, dict) else (str(each).partition("=")[::2] for each in value)
    found = []
    for model, port in pairs:
        if not ids.fits(ModelName, str(model)) or not str(port).isdigit() or not 1 <= int(port) <= 65_535:
            raise BadSetting(f"loopback_ports: expected MODEL=PORT, found {model}={port}")
        found.append((ModelName(str(model)), int(port)))
    return tuple(found)
