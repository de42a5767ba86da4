"""Devices that do not follow what they were told are told again.

What stands on the broker may be lost with it, or replaced by anybody who may publish there; a device that was away
meanwhile then waits for news that never comes. Its own word shows it.
"""

from __future__ import annotations

import logging
from typing import Final

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Cause, Reported
from pinnace_contract.topics import Down, DownTopic
from pinnace_server.domain.records import DeviceState
from pinnace_server.errors import ServerError
from pinnace_server.service.ports import World

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 60.0  # what was just published is on its way; and no device is told more often than this
DEVICES_MAX: Final = 65_536  # that are remembered as told

REFUSED_ANOTHER: Final = frozenset(
    {Cause.SIGNATURE_INVALID, Cause.METADATA_EXPIRED, Cause.METADATA_ROLLBACK, Cause.WRONG_DEVICE}
)
"""Refusals of a set that is not the one which the server stands by."""


class Reminder:
    """Publishes a device's signed set again. For one thread."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told_at_s: dict[DeviceId, float] = {}

    def is_due(self, reported: Reported) -> bool:
        """Tell whether a device speaks as if its set had never reached it."""
        now = self._world.clock.now()
        if now - self._told_at_s.get(reported.device, -PATIENCE_S) < PATIENCE_S:
            return False
        with self._world.store.read() as tables:
            device, desired = tables.devices.get(reported.device), tables.assignments.desired(reported.device)
        if device is None or device.unadopted:
            return False
        if device.state is not DeviceState.ACTIVE or device.incarnation != reported.incarnation:
            return False
        if desired is None or desired.signed_at_s is None or now - desired.signed_at_s < PATIENCE_S:
            return False
        return reported.generation < desired.generation or reported.cause in REFUSED_ANOTHER

    def remind(self, device: DeviceId) -> None:
        """Publish the last set that was signed for it. What all devices share is not said again for one of them."""
        if len(self._told_at_s) >= DEVICES_MAX:
            self._told_at_s.clear()
        self._told_at_s[device] = self._world.clock.now()
        try:
            standing = self._world.signing.refresh(device)
        except (ServerError, OSError) as error:  # what else follows from the messages of a batch must not wait for it
            _log.warning("%s cannot be told its set again, and will be when it speaks next: %s", device, error)
            return
        if standing is not None:
            self._world.publisher.publish(DownTopic(device=device, channel=Down.DESIRED), standing, retained=True)
