"""amqtt as the broker of last resort, in a process of its own: ``python -m pinnace_server.mqtt.amqtt_child PORT``.

Loopback only, for development and some tens of devices: no persistence, no access control. Prints ``ready PORT`` when
it listens and ends when its standard input closes, so that it never outlives the server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from typing import Final

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.session import Session

from pinnace_server.mqtt.address import LOOPBACK

_ANONYMOUS: Final = "amqtt.plugins.authentication.AnonymousAuthPlugin"


class _Subscriptions(dict[str, list[tuple[Session, int]]]):
    """Filters that may be added while somebody walks over them: amqtt awaits inside its walk over them on connect."""

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(super().__iter__()))


class GuardedBroker(Broker):  # type: ignore[misc]  # amqtt has no types
    """amqtt 0.12.1 without its leak: on connect it walks the filters of *every* client and sends the newcomer what is
    retained under them, so each client received what it never subscribed to. Only its own filters count here."""

    def __init__(self, config: BrokerConfig) -> None:
        super().__init__(config)
        self._subscriptions = _Subscriptions()

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        if any(each.client_id == session.client_id for each, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)


async def serve(port: int, kind: type[Broker] = GuardedBroker) -> None:
    """Serve on the loopback port (0: any) until standard input closes."""
    listener = ListenerConfig(bind=f"{LOOPBACK}:{port}")
    broker = kind(BrokerConfig(listeners={"default": listener}, plugins={_ANONYMOUS: {"allow_anonymous": True}}))
    await broker.start()
    (server,) = broker._servers.values()
    (bound, *_) = server.instance.sockets
    print(f"ready {bound.getsockname()[1]}", flush=True)  # noqa: T201 -- the ready line is this program's output
    await _end_of_input()
    await broker.shutdown()


async def _end_of_input() -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            ended.set()

    loop.add_reader(sys.stdin.fileno(), readable)
    await ended.wait()


def main() -> None:
    """Run until standard input closes."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
