"""The agent's version, which presence, receipts and requirements speak of."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final


def _installed() -> str:
    for distribution in ("pinnace-agent", "pinnace"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "0.0.0"


AGENT_VERSION: Final = _installed()
