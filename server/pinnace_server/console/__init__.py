"""The operators' console, rendered on the server: pages, a small set of first-party modules, one stream of changes."""

from pinnace_server.console.mounting import Console, mount

__all__ = ["Console", "mount"]
