"""What should stand on the broker: said again wherever a broker may have lost it."""

from __future__ import annotations

from collections.abc import Iterable

from pinnace_contract.topics import DownTopic, Topic
from pinnace_server.service.ports import Signing, Store


def retained(signing: Signing, store: Store) -> Iterable[tuple[Topic, bytes]]:
    """Yield every retained message of the server; an empty payload clears what a device that is gone was told."""
    yield from signing.image_metadata()
    with store.read() as tables:
        gone, unheard = tables.devices.decommissioned(), tables.devices.unadopted()
    for topic, payload in signing.all_desired():
        if isinstance(topic, DownTopic) and topic.device in unheard:
            continue  # what stands there may be newer than all that this server remembers
        left_out = isinstance(topic, DownTopic) and topic.device in gone
        yield topic, b"" if left_out else payload
