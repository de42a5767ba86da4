"""What every screen is given: the services behind it, the way to render, and who may look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pinnace_server.console.guard import Guard
from pinnace_server.console.pages import Pages
from pinnace_server.console.ports import ConsoleServices
from pinnace_server.console.sessions import SessionStore
from pinnace_server.console.stream import Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The parts that screens share."""

    services: ConsoleServices
    sessions: SessionStore
    guard: Guard
    pages: Pages
    streams: Streams
    clock: Callable[[], datetime]
