"""What a server may ask of an agent besides assignments.

A command's id makes it idempotent: asked again, it is only answered again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.surroundings import Host
from pinnace_agent.uplink import Uplink
from pinnace_contract import topics
from pinnace_contract.ids import CommandId
from pinnace_contract.latest import Command, CommandKind, CommandResult, CommandStatus

log = logging.getLogger(__name__)

REMEMBERED_MAX: Final = 32
LOG_CHARS_MAX: Final = 200 * 1024  # of the 256 KiB that a result carries


@dataclass(slots=True, kw_only=True)
class Commands:
    """Obeys commands whose signature, address and time were checked."""

    host: Host
    uplink: Uplink
    log_lines: Iterable[str]
    restart_asked: bool = False
    results: dict[CommandId, bytes] = field(default_factory=dict)

    def take(self, command: Command, state: DeviceState, unix_s: float) -> None:
        """Do what is asked, once, and say what became of it."""
        if command.command not in self.results:
            self.results[command.command] = self.uplink.seal(self._obey(command, state, unix_s))
            while len(self.results) > REMEMBERED_MAX:
                del self.results[next(iter(self.results))]
        topic = topics.ResultTopic(device=self.host.device, command=command.command)
        self.uplink.say(topic, self.results[command.command])

    def _obey(self, command: Command, state: DeviceState, unix_s: float) -> CommandResult:
        status, detail, text = CommandStatus.DONE, "", ""
        match command.kind:
            case CommandKind.LOGS:
                text = "\n".join(self.log_lines)[-LOG_CHARS_MAX:]
            case CommandKind.RESTART:
                self.restart_asked = True
            case CommandKind.IDENTIFY:
                log.warning("identify: this is %s", self.host.device)
            case _:
                status, detail = CommandStatus.REFUSED, f"this agent does not know the command {command.kind}"
        return CommandResult(
            device=self.host.device,
            incarnation=state.incarnation,
            seq=self.uplink.next_seq(),
            command=command.command,
            status=status,
            detail=detail,
            text=text,
            at_s=unix_s,
        )
