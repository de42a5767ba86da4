"""mosquitto as the embedded broker: where it is found, its configuration, and its command line.

Its defaults must not be ours: with them a kill loses every retained message and a burst of QoS 0 is dropped in silence.
Running and watching the process is left to ``child.py``.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from pinnace_server.mqtt import tethered

# A base64 envelope of the largest message has 0.5 MiB, the image repository's flat list of 10,000 releases 1.3 MiB.
PACKET_BYTES_MAX: Final = 4 * 1024 * 1024
INFLIGHT_MESSAGES: Final = 100  # unacknowledged at once to one client; the server handles them one by one
QUEUED_MESSAGES_MAX: Final = 100_000  # for one client that is away: the server's session, for a whole fleet
QUEUED_BYTES_MAX: Final = 64 * 1024 * 1024
# Every save writes the whole database. Saving at each change (autosave_on_changes) cost 2 ms and 2 MB for every message
# with 1,000 retained messages of 2 KB, 20 ms and 20 MB with 10,000; saving by time costs 0.1 ms. What a kill takes of
# the last seconds is made good by the protocol: the server republishes, and everybody repeats until acknowledged.
AUTOSAVE_S: Final = 5
SESSION_DAYS_MAX: Final = 30  # a client that is away longer finds its retained messages, and asks for the rest

# Daemons live where a user's PATH often does not look.
_FOLDERS: Final = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")

_CONFIGURATION: Final = """\
# Written by the Pinnace server at every start; changes are lost.
listener {port} 127.0.0.1
allow_anonymous true
{user}persistence true
persistence_location {folder}/
persistence_file mosquitto.db
autosave_on_changes false
autosave_interval {autosave}
persistent_client_expiration {days}d
max_packet_size {packet}
max_inflight_messages {inflight}
max_queued_messages {messages}
max_queued_bytes {queued}
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages false
"""


def find() -> Path | None:
    """Return where mosquitto is installed, or None."""
    found = shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_FOLDERS]))
    return Path(found) if found else None


def configuration(folder: Path, port: int) -> str:
    """Return the configuration file for a loopback listener with everything kept in ``folder``."""
    return _CONFIGURATION.format(
        port=port,
        folder=folder,
        # Started by root it would become a user that cannot read the data directory.
        user="user root\n" if os.getuid() == 0 else "",
        autosave=AUTOSAVE_S,
        days=SESSION_DAYS_MAX,
        packet=PACKET_BYTES_MAX,
        inflight=INFLIGHT_MESSAGES,
        messages=QUEUED_MESSAGES_MAX,
        queued=QUEUED_BYTES_MAX,
    )


class MosquittoProgram:
    """How to start mosquitto in a folder."""

    name = "mosquitto"

    def __init__(self, path: Path) -> None:
        self._path = path

    def command(self, folder: Path, port: int) -> list[str]:
        """Write the configuration and return the command line."""
        file = folder / "mosquitto.conf"
        file.write_text(configuration(folder.resolve(), port))
        return [sys.executable, "-IS", tethered.__file__, str(os.getpid()), str(self._path), "-c", str(file)]
