"""The agent's end of its connection to the world's broker, and the network's ``Client``.

What happens to messages on their way is the network's (``network.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pinnace_agent.adapters.mqtt_paho import Arrived, Connected, Disconnected
from pinnace_contract import topics
from pinnace_sim.network import Connection, Message

if TYPE_CHECKING:
    from pinnace_sim.device import SimDevice


class AgentLink:
    """One run's link: at most one connection at a time. What the network does is told to ``hear``."""

    def __init__(self, device: SimDevice, hear: Callable[[Connected | Disconnected | Arrived], None]) -> None:
        self._device, self._hear = device, hear
        self._connection: Connection | None = None

    # --- the agent's side --------------------------------------------------------------------------------------------

    def connect(self, url: str, *, number: int, will: Callable[[], bytes]) -> None:
        """Begin a connection."""
        del url
        device = self._device
        self.close()
        state = topics.UpTopic(device=device.id, channel=topics.Up.STATE)
        self._connection = Connection(
            client=self,
            name=device.id,
            number=number,
            will=lambda: Message(str(state), will(), 1),
            bytes_s=device.plan.bytes_s,
        )
        device.network.connect(self._connection)

    def publish(self, topic: topics.Topic, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Send."""
        connection = self._connection
        if connection is None or not connection.alive:
            return False
        self._device.watch.says(self._device, topic, payload)
        self._device.network.publish(connection, Message(str(topic), payload, qos), retained=retained)
        return True

    def close(self, last: tuple[topics.Topic, bytes] | None = None) -> None:
        """End the connection in order."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._device.network.close(connection, Message(str(last[0]), last[1], 1) if last else None)

    def vanish(self) -> None:
        """Be no more."""
        if self._connection is not None:
            self._device.network.vanish(self._connection)

    # --- the network's side ------------------------------------------------------------------------------------------

    def connected(self, number: int, session: bool) -> None:
        """The broker took the connection."""
        self._hear(Connected(number=number, session=session))

    def lost(self, number: int, reason: str) -> None:
        """The connection is over."""
        self._hear(Disconnected(number=number, reason=reason))

    def arrived(self, message: Message) -> None:
        """A message came."""
        self._hear(Arrived(topic=message.topic, payload=message.payload))
