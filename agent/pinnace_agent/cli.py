"""``pinnace-agent``: enroll, run, status. Reads the command line; the work is elsewhere, imported when needed."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pinnace_agent import settings as agent_settings
from pinnace_agent.errors import AgentError
from pinnace_agent.settings import Settings
from pinnace_agent.version import AGENT_VERSION

EXIT_REFUSED: Final = 2  # the caller can mend it: a wrong setting, a store in use, a token used up

_EPILOG: Final = """\
A device in three steps:
  pinnace-agent enroll --server http://127.0.0.1:8080 --token pnc1.…   # once
  pinnace-agent run                                                    # for as long as the device is up
  pinnace-agent status                                                 # what it runs, and why
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run_command(options)
    except AgentError as error:
        print(f"pinnace-agent: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pinnace-agent",
        description="Keeps the models of one device as its server wants them, and proves it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pinnace-agent {AGENT_VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_enroll(commands)
    _add_run(commands)
    _add_status(commands)
    return parser


def _add_enroll(commands: Any) -> None:
    enroll = commands.add_parser("enroll", help="get an identity from a server, once")
    _add_store(enroll)
    enroll.add_argument("--server", required=True, metavar="URL", help="the server's address")
    enroll.add_argument("--token", required=True, help="the claim token; - reads it from standard input")
    enroll.add_argument("--name", default="", help="what people call this device (default: the host's name)")
    enroll.add_argument("--serial", default="", help="the device's serial number")
    enroll.add_argument("--hardware", default=None, help="the class of hardware (default: read from the board)")
    enroll.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what the device says of itself; may be repeated. Cohorts go by labels that an operator set, unless "
        "a policy trusts these",
    )
    enroll.set_defaults(run_command=_enroll)


def _add_run(commands: Any) -> None:
    run = commands.add_parser("run", help="run the agent")
    _add_store(run)
    run.add_argument("--report-every-s", type=int, metavar="S", help="seconds between reports (default 60)")
    run.add_argument("--hardware", help="the class of hardware (default: what was enrolled)")
    run.add_argument("--broker", metavar="URL", help="use this broker instead of those the server named")
    run.add_argument("--socket-group", metavar="GROUP", help="who may use the local sockets (default pinnace)")
    run.add_argument("--worker-memory-bytes", type=int, metavar="N", help="most memory of one model (default 1 GiB)")
    run.add_argument("--worker-threads", type=int, metavar="N", help="threads of one model (default 1)")
    run.add_argument("--worker-niceness", type=int, metavar="N", help="0..19 (default 5)")
    run.add_argument("--hang-s", type=float, metavar="S", help="an inference that takes longer is a hang (default 10)")
    run.add_argument(
        "--loopback-ports", action="append", metavar="MODEL=PORT", help="serve a model on 127.0.0.1 as well"
    )
    run.add_argument("--loopback-token-file", metavar="FILE", help="the bearer token that loopback clients send")
    run.add_argument("--log-level", choices=agent_settings.LOG_LEVELS)
    run.set_defaults(run_command=_run)


def _add_status(commands: Any) -> None:
    status = commands.add_parser("status", help="show what the running agent does")
    _add_store(status)
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run_command=_status)


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", metavar="DIR", help=f"the agent's store (default ./{agent_settings.DEFAULT_STORE})")
    parser.add_argument("--run-dir", metavar="DIR", help="where the local sockets are (default STORE/run)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML, under the same names")


_NOT_SETTINGS: Final = frozenset({"config", "run_command", "server", "token", "name", "serial", "label", "json"})


def _settings(options: argparse.Namespace) -> Settings:
    given = {name: value for name, value in vars(options).items() if value is not None and name not in _NOT_SETTINGS}
    return agent_settings.read(given, options.config)


def _enroll(options: argparse.Namespace) -> int:
    from pinnace_agent.enrolment import Wishes, enroll

    settings = _settings(options)
    token = sys.stdin.readline() if options.token == "-" else options.token  # noqa: S105  # not a secret but its place
    wishes = Wishes(name=options.name, serial=options.serial, labels=tuple(options.label))
    identity = enroll(settings, options.server, token, wishes)
    print(f"enrolled as {identity.device}; start it with: pinnace-agent run --store {settings.store}")
    return 0


def _run(options: argparse.Namespace) -> int:
    from pinnace_agent.bootstrap import run

    settings = _settings(options)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    return run(settings)


def _status(options: argparse.Namespace) -> int:
    from pinnace_agent.status import fetch, lines

    found = fetch(_settings(options).run_dir)
    print(json.dumps(found, indent=2) if options.json else "\n".join(lines(found)))
    return 0
