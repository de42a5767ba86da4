"""Reports on a disk that fails, and of workers that count nonsense: nothing ends the agent, nothing else is lost."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pinnace_agent.reporting import GAPS_MAX, GRACE_S, Reporting
from pinnace_agent.resend import Resend
from pinnace_agent.store import Store
from pinnace_agent.store_port import StorageBroken
from pinnace_agent.store_spool import SPOOL, Spooled
from pinnace_agent.window import BLOCKS_MAX, Window
from pinnace_contract import codec
from pinnace_contract.fields import NUMBER_MAX
from pinnace_contract.ids import BootId, DeviceId, Digest, ModelName, ReleaseId
from pinnace_contract.latest import Block, DroppedRange, FeatureCounts, Health, OutcomeCounts, Report, ReportRange
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


def block(release: int, **counted: Any) -> Block:
    named = Digest(f"{release:064x}")
    return Block(model=ModelName("digits"), release=ReleaseId(named), variant=named, **counted)


def reported(*blocks: Block) -> dict[ReleaseId, Block]:
    """Count, close the window, and return what the server reads."""
    made = reporting(Disk())
    made.to_send(0.0)
    for each in blocks:
        made.add(each)
    assert made.collecting_due(180.0)
    made.close_if_due(180.0 + GRACE_S, 180.0, Health)
    report = codec.from_cbor(Report, made.to_send(181.0)[-1])
    assert report.seq_to == 3
    return {each.release: each for each in report.blocks}


def noise(n: int) -> bytes:
    """Counts that no compression makes smaller."""
    chance = random.Random(n)
    return bytes(chance.randrange(128) for _ in range(32_000))


def test_more_blocks_than_a_report_has_room_for_leave_the_first() -> None:
    blocks = [block(n, n=1) for n in range(BLOCKS_MAX + 6)]
    found = reported(*blocks, block(0, n=1))
    assert list(found) == [each.release for each in blocks[:BLOCKS_MAX]]
    assert found[blocks[0].release].n == 2


BEYOND = FeatureCounts(baseline=Digest("a" * 64), sums=(1e308,))


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param([block(1, n=NUMBER_MAX), block(1, n=NUMBER_MAX)], id="a sum beyond all numbers"),
        pytest.param([block(1, outcome=OutcomeCounts(metric="\ud800", trials=1))], id="a name without bytes"),
        pytest.param([block(1, features=BEYOND), block(1, features=BEYOND)], id="an infinite sum"),
    ],
)
def test_counts_that_no_report_can_carry_cost_nobody_elses(nonsense: list[Block]) -> None:
    found = reported(block(2, n=7), *nonsense, block(3, n=8))
    assert found == {each.release: each for each in (block(2, n=7), block(3, n=8))}


def test_a_report_that_would_be_too_large_goes_without_its_largest_counts() -> None:
    large = [block(n, features=FeatureCounts(baseline=Digest("a" * 64), counts=noise(n))) for n in (1, 2, 3)]
    found = reported(*large, block(4, n=7))
    assert found[block(4).release].n == 7
    assert len(found) == 3


def test_more_gaps_than_a_report_has_room_for_are_told_with_the_next() -> None:
    made = reporting(Disk())
    gaps = tuple(DroppedRange(boot=BOOT, seq_from=n, seq_to=n) for n in range(0, 200, 2))
    made._lost = gaps
    for number in (3, 4):
        assert made.collecting_due(number * 60.0)
        made.close_if_due(number * 60.0 + GRACE_S, number * 60.0, Health)
    assert codec.from_cbor(Report, made.to_send(300.0)[2]).dropped == gaps[:GAPS_MAX]
    made.acknowledged((ReportRange(boot=BOOT, seq_from=1, seq_to=4),))
    assert made._lost == gaps[GAPS_MAX:]
