"""Reports on a disk that fails: nothing ends the agent, nothing is lost."""

from __future__ import annotations

import random

from pinnace_agent.reporting import GRACE_S, Reporting
from pinnace_agent.resend import Resend
from pinnace_agent.store import Store
from pinnace_agent.store_port import StorageBroken
from pinnace_agent.store_spool import SPOOL, Spooled
from pinnace_agent.window import Window
from pinnace_contract import codec
from pinnace_contract.ids import BootId, DeviceId
from pinnace_contract.latest import Health, ReportRange
from pinnace_sim.disk import Disk
from tests.agent.core.scene import INCARNATION

BOOT = BootId("0" * 32)
BOTH = (ReportRange(boot=BOOT, seq_from=1, seq_to=2),)


def reporting(disk: Disk) -> Reporting[Spooled]:
    store = Store(disk)
    store.open()
    window = Window(device=DeviceId("camera"), incarnation=INCARNATION, boot=BOOT, opened_s=0.0)
    made = Reporting(
        window=window, spool=store, resend=Resend(random.Random(1)), seal=codec.to_cbor, every_s=60.0, awake_s=0.0
    )
    for number in (1, 2):
        assert made.collecting_due(number * 60.0)
        made.close_if_due(number * 60.0 + GRACE_S, number * 60.0, Health)
    assert made.waiting == 2
    return made


def test_an_acknowledgement_that_the_disk_cannot_follow_is_followed_by_the_next_one() -> None:
    disk = Disk()
    made = reporting(disk)
    removed: list[str] = []

    def break_the_second(operation: str, path: str) -> None:
        if operation == "remove" and path.startswith(SPOOL):
            removed.append(path)
            if len(removed) == 2:
                raise StorageBroken(operation, path, "Input/output error")

    disk.before_each = break_the_second
    made.acknowledged(BOTH)
    assert len(removed) == 2, "the disk must have failed"
    assert made.waiting == 1
    assert len(made.to_send(1_000.0)) == 1
    made.acknowledged(BOTH)
    assert made.waiting == 0
