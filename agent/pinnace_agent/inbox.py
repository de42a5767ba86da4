"""What arrives from the broker: bounded, its signature checked, then read once; metadata is handed to the belief.

Chunks carry no signature: the signed release names their digests. Everything else does, and is for this device and this
store, or it is refused.
"""

from __future__ import annotations

from typing import TypeVar

from pinnace_agent.adapters.keys_file import message_verifier
from pinnace_agent.belief import Belief
from pinnace_agent.core.device import DeviceState
from pinnace_agent.errors import Refused
from pinnace_contract import envelope, topics
from pinnace_contract.errors import ContractError
from pinnace_contract.latest import Ack, Cause, Command, Data


class Unreadable(Refused):
    """Bytes that are not what their topic says."""

    cause = Cause.SIGNATURE_INVALID


class NotForUs(Refused):
    """A signed message for another device, another store of it, or another time."""

    cause = Cause.WRONG_DEVICE


Message = Data | Ack | Command
A = TypeVar("A", Ack, Command)


class Inbox:
    """Reads messages for one device."""

    def __init__(self, belief: Belief) -> None:
        self._belief = belief

    def read(self, topic_text: str, payload: bytes, state: DeviceState, now_s: float) -> Message | None:
        """Return the message, or None for metadata, which the belief keeps.

        Raises:
            Refused: unreadable, wrongly signed, or not for this device, store and time.
        """
        try:
            topic = topics.parse(topic_text)
            if self._belief.arrived(topic, payload):
                return None
            match topic:
                case topics.DownTopic(channel=topics.Down.DATA) | topics.BroadcastTopic():
                    return Data.from_bytes(payload)
                case topics.DownTopic(channel=topics.Down.ACK):
                    ack = envelope.unseal(Ack, payload, message_verifier(state.message_keys))
                    return _addressed(ack, state, now_s)
                case topics.CommandTopic():
                    command = envelope.unseal(Command, payload, message_verifier(state.message_keys))
                    return _addressed(command, state, now_s)
                case _:
                    return None  # statements come with a later agent; kept by the broker until then
        except ContractError as error:
            raise Unreadable(str(error)) from error


def _addressed(message: A, state: DeviceState, now_s: float) -> A:
    if message.device != state.device:
        raise NotForUs(f"it is for {message.device}")
    if message.incarnation != state.incarnation:
        raise NotForUs("it is for another store of this device")
    if message.expires_s < now_s:
        raise NotForUs(f"it expired {now_s - message.expires_s:.0f} s ago, or this clock is wrong")
    return message
