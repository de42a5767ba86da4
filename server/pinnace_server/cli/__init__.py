"""``pinnace``: the server, and every action of its API as a verb."""

from pinnace_server.cli.program import main

__all__ = ["main"]
