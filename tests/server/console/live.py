"""A console that really listens, for a browser: started, stopped and started again on the same port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from pinnace_server.console.mounting import Console, build
from pinnace_server.console.sessions import MemorySessions
from pinnace_server.console.stream import Pace
from tests.server.console.fleet import Fleet

# The page goes stale after ten seconds; the server's pace is quick, so that nothing here waits for it.
PACE = Pace(coalesce_s=0.05, tick_s=0.2, heartbeat_s=0.5, check_s=0.2, retry_ms=100)


class LiveConsole:
    """One console behind one port. Sessions outlive a restart, as a database row would."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.sessions = MemorySessions()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._console: Console | None = None

    def start(self) -> None:
        self._console = build(self.fleet.services(), sessions=self.sessions, pace=PACE)
        started = threading.Event()
        config = uvicorn.Config(self._console.app, port=self.port, log_level="warning", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(20), "the console did not start"

    def _serve(self, started: threading.Event) -> None:
        server = self._server
        assert server is not None
        begin = server.startup

        async def startup(sockets: list[socket.socket] | None = None) -> None:
            await begin(sockets)
            started.set()

        server.startup = startup  # type: ignore[method-assign]
        server.run()

    def stop(self) -> None:
        if self._server is None or self._thread is None or self._console is None:
            return
        self._console.close()
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "open streams held the server up"
        self._server = None

    @property
    def streams(self) -> int:
        assert self._console is not None
        return self._console.streams.open_count


@contextmanager
def live_console(fleet: Fleet) -> Iterator[LiveConsole]:
    console = LiveConsole(fleet)
    console.start()
    try:
        yield console
    finally:
        console.stop()
