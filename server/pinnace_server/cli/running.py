"""``pinnace serve`` runs the server and tells what to do next; ``pinnace restore`` prepares one that was put back."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pinnace_server import settings as defaults
from pinnace_server.cli import shown
from pinnace_server.service.door import ADMIN
from pinnace_server.settings import EmbeddedBroker, Settings

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from pinnace_server.bootstrap import Started


def add_parsers(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``serve``."""
    parser = verbs.add_parser(
        "serve",
        help="run the server",
        description="Run the server with everything that it needs: API, console, broker, signer. Nothing has to be "
        "configured; keys and database are made in the data directory.",
    )
    parser.add_argument(
        "--data-dir", type=Path, default=defaults.DATA_DIRECTORY, metavar="DIR", help="default: ./%(default)s"
    )
    parser.add_argument("--host", default=defaults.HOST, help="an address of this machine alone (default: %(default)s)")
    parser.add_argument("--port", type=int, default=defaults.PORT, help="0 is any that is free (default: %(default)s)")
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST:PORT or mqtts://…, instead of one of its own")
    parser.add_argument(
        "--embedded-broker",
        type=EmbeddedBroker,
        choices=list(EmbeddedBroker),
        default=EmbeddedBroker.AUTO,
        help="default: mosquitto where it is installed, else amqtt",
    )
    parser.add_argument(
        "--upload-bytes-max", type=int, default=defaults.UPLOAD_BYTES_MAX, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    parser.set_defaults(run=run)
    _add_restore(verbs)


def _add_restore(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "restore",
        help="begin a new era after the database was put back from a backup",
        description="Begin a new era in a data directory that was put back from a backup, before its server is "
        "started again: nothing that was reserved before is signed, and no device is planned for until it has said "
        "what it runs.",
    )
    parser.add_argument(
        "--data-dir", type=Path, default=defaults.DATA_DIRECTORY, metavar="DIR", help="default: ./%(default)s"
    )
    parser.add_argument("--era", type=int, metavar="N", help="default: the one after all that are remembered here")
    parser.add_argument("--reason", default="", help="for the log")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.set_defaults(run=restore)


def run(chosen: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    from pinnace_server import bootstrap  # with it come FastAPI, SQLAlchemy and tuf, which no other verb needs

    logging.basicConfig(level=chosen.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings(
        data_directory=chosen.data_dir,
        host=chosen.host,
        port=chosen.port,
        broker_url=chosen.broker,
        embedded_broker=chosen.embedded_broker,
        upload_bytes_max=chosen.upload_bytes_max,
        # Source, calibration and held-out data of one version must fit at the very least.
        quarantine_bytes_max=max(defaults.QUARANTINE_BYTES_MAX, 4 * chosen.upload_bytes_max),
    )
    bootstrap.serve(settings, lambda started: print(words(started), flush=True))
    return 0


def restore(chosen: argparse.Namespace) -> int:
    """Begin a new era in a data directory in which no server works."""
    from pinnace_server import bootstrap

    done = bootstrap.restore(chosen.data_dir, era=chosen.era, reason=chosen.reason, actor=ADMIN)
    if chosen.json:
        print(shown.as_json({"era": done.era, "devices": done.devices, "unknown": done.unknown}))
        return 0
    print(f"era {done.era} begins: {done.devices} device(s) are planned for again when they have said what they run")
    if done.unknown:
        print(f"{done.unknown} device(s) enrolled after the backup: this server does not know them, enrol them again")
    print("start the server now: pinnace serve")
    return 0


def words(started: Started) -> str:
    """Return what an operator should know when the server runs."""
    lines = [
        f"pinnace serves at {started.url}",
        f"  console  {started.url}/   (sign in with the admin token)",
        f"  API      {started.url}/docs",
        f"  broker   {started.broker_url}   ({started.broker})",
        f"  data     {started.data_directory}",
    ]
    if started.fresh_token is not None:
        lines += ["", f"Admin token, shown this once: {started.fresh_token}"]
    server = "" if started.url.endswith(f":{defaults.PORT}") else f"PINNACE_SERVER={started.url} "
    here = started.data_directory == (Path.cwd() / defaults.DATA_DIRECTORY).resolve()
    token = "" if here else f'PINNACE_TOKEN="$(cat {shlex.quote(str(started.data_directory / "admin-token"))})" '
    if started.empty:
        lines += [
            "",
            "Enrol a device of this machine (in another terminal):",
            f'  pinnace-agent enroll --server {started.url} --token "$({token}{server}pinnace token create --quiet)"',
            "  pinnace-agent run",
            "Register a model:",
            f"  {token}{server}pinnace version add MODEL 1 model.onnx --calibration data.npz",
            "Let every device run it:",
            f"  {token}{server}pinnace assign MODEL 1",
        ]
    lines += ["", f"Ctrl-C ends it (process {os.getpid()})."]
    return "\n".join(lines)
