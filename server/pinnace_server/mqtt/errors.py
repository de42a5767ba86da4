"""What can go wrong with the broker, said for the person who starts the server."""

from __future__ import annotations

from pathlib import Path

from pinnace_server.errors import Code, Refused, StartRefused


class BrokerFailed(StartRefused):
    """The embedded broker did not start."""

    code = Code.BROKER

    def __init__(self, name: str, problem: str, *, log: str = "", hint: str = "") -> None:
        self.log = log
        shown = f"\n{log}" if log else ""
        super().__init__(
            f"{name}: {problem}{shown}", hint=hint or "name a broker of your own with --broker mqtt://HOST:PORT"
        )


class PortTaken(BrokerFailed):
    """The port that devices know belongs to somebody else now."""

    def __init__(self, name: str, port: int, remembered: Path) -> None:
        self.port = port
        super().__init__(
            name,
            f"port {port}, which the broker had before and where devices look for it, is used by another program",
            hint=f"stop that program, or remove {remembered} and enrol the devices again under a new port",
        )


class BadBrokerUrl(Refused):
    """A broker URL that cannot be understood. The password in it is never repeated."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"broker URL: {problem}", hint="expected mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts:// for TLS"
        )
