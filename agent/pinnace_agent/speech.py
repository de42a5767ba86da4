"""What the device says of itself, composed from its state as it was saved: presence, reported, receipts, wishes.

Telemetry is ``reporting``'s. Whether there is a connection, and the numbers and signatures of what is said, are
``uplink``'s. Everything here may be said twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.reported import active, reported
from pinnace_agent.core.slot import Reason
from pinnace_agent.core.surroundings import Host, Surroundings
from pinnace_agent.resend import Resend
from pinnace_agent.uplink import Uplink
from pinnace_contract import codec, topics
from pinnace_contract.ids import Digest
from pinnace_contract.latest import Presence, Runtime, Want

# What a will that came late is mended by. A device that reports more seldom than this is not missed any sooner, and two
# retained messages each quarter of an hour would be most of what it sends.
BIRTH_EVERY_S: Final = 15 * 60.0


class Speech:
    """Keeps what was not said yet: a birth, a changed ``reported``, receipts without an acknowledgement."""

    def __init__(self, uplink: Uplink, host: Host, resend: Resend, report_every_s: int) -> None:
        self._uplink, self._host, self._resend, self._report_every_s = uplink, host, resend, report_every_s
        self._birth_every_s = max(BIRTH_EVERY_S, report_every_s)
        self._born_s: float | None = None
        self._changed = True

    def changed(self) -> None:
        """What the server sees in ``reported`` is different now."""
        self._changed = True

    def connected(self) -> None:
        """Say everything again: what a broker kept may be of an older connection, or gone."""
        self._born_s = None
        self._changed = True
        self._resend.reconnected()

    def say(self, state: DeviceState, around: Surroundings) -> None:
        """Say what is due, if there is a connection."""
        if not self._uplink.connected:
            return
        if self._born_s is None or around.awake_s - self._born_s >= self._birth_every_s:
            birth = self.presence(state, online=True, unix_s=around.unix_s)
            if self._tell(topics.Up.STATE, birth, retained=True):
                self._born_s = around.awake_s
                self._changed = True  # repeated with it: nobody acknowledges what is retained
        if self._changed:
            self._changed = not self._tell_reported(state, around)
        waiting = {str(each.id): each.sealed for each in state.outbox}
        for key in self._resend.due(list(waiting), around.awake_s):
            if self._uplink.say(self._topic(topics.Up.RECEIPT), waiting[key]):
                self._resend.sent(key, around.awake_s)

    def due_s(self, state: DeviceState) -> float:
        """Return when something is to be said, if nothing changes before; there must be a connection."""
        if self._born_s is None or self._changed:
            return 0.0
        return min(self._born_s + self._birth_every_s, self._resend.next_due_s(str(each.id) for each in state.outbox))

    def trouble(self, state: DeviceState, reason: Reason, around: Surroundings) -> None:
        """Say at once why nothing is done, with the last state that was saved."""
        self._tell_reported(state, around, reason)
        self._changed = True

    def want(self, state: DeviceState, blob: Digest, chunks: int, bitmap: bytes) -> bool:
        """Send a wish for the chunks of a blob; False when there is no connection."""
        if not self._uplink.connected:
            return False
        wish = Want(
            device=self._host.device,
            incarnation=state.incarnation,
            seq=self._uplink.next_seq(),
            blob=blob,
            chunks=chunks,
            missing=bitmap,
        )
        return self._tell(topics.Up.WANT, wish, qos=0)

    def connect(self, state: DeviceState, number: int, around: Surroundings) -> None:
        """Begin a connection, with a will under its number, which is among those that were saved."""
        self._uplink.connect(number, lambda: self.presence(state, online=False, unix_s=around.unix_s), around.awake_s)

    def goodbye(self, state: DeviceState, around: Surroundings) -> None:
        """End the connection in order: the same as the will, said by the living."""
        last = self._uplink.seal(self.presence(state, online=False, unix_s=around.unix_s))
        self._uplink.close((self._topic(topics.Up.STATE), last) if self._uplink.connected else None)

    def presence(self, state: DeviceState, *, online: bool, unix_s: float) -> Presence:
        """Return a birth or a will of the connection under way."""
        return Presence(
            device=self._host.device,
            incarnation=state.incarnation,
            seq=self._uplink.next_seq(),
            boot=self._host.boot,
            connection=self._uplink.number,
            online=online,
            agent_version=self._host.agent_version,
            hardware=self._host.hardware,
            runtimes=tuple(Runtime(each.runtime) for each in self._host.runtimes),
            report_every_s=self._report_every_s,
            active=active(state),
            at_s=unix_s,
        )

    def _tell_reported(self, state: DeviceState, around: Surroundings, refused: Reason | None = None) -> bool:
        shown = state if refused is None else replace(state, refused=refused)
        return self._tell(topics.Up.REPORTED, reported(shown, self._uplink.next_seq(), around), retained=True)

    def _tell(self, channel: topics.Up, message: codec.Message, *, qos: int = 1, retained: bool = False) -> bool:
        return self._uplink.say(self._topic(channel), self._uplink.seal(message), qos=qos, retained=retained)

    def _topic(self, channel: topics.Up) -> topics.UpTopic:
        return topics.UpTopic(device=self._host.device, channel=channel)
