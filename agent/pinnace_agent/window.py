"""The report window: what workers counted since the last report, added up until it is closed.

Pure bookkeeping; collecting from workers, sealing and spooling are the daemon's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Final

from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import BootId, DeviceId, IncarnationId
from pinnace_contract.latest import Block, DroppedRange, Health, Report
from pinnace_contract.merging import BlockKey, block_key, merge_blocks

log = logging.getLogger(__name__)

BLOCKS_MAX: Final = 64  # the limit of the field


@dataclass(slots=True)
class Window:
    """One report in the making. ``seq`` is the number that it will get."""

    device: DeviceId
    incarnation: IncarnationId
    boot: BootId
    opened_s: float
    seq: int = 1
    blocks: dict[BlockKey, Block] = field(default_factory=dict)

    def add(self, block: Block) -> None:
        """Add what was counted; counts that cannot be added, or have no room, are dropped and said so."""
        key = block_key(block)
        known = self.blocks.get(key)
        if known is None and len(self.blocks) >= BLOCKS_MAX:
            log.warning("counts of %s were dropped: a report has at most %d blocks", block.model, BLOCKS_MAX)
            return
        try:
            self.blocks[key] = block if known is None else merge_blocks(known, block)
        except ContractError as error:
            log.warning("counts of %s were dropped: %s", block.model, error)

    def close(self, now_s: float, health: Health, dropped: tuple[DroppedRange, ...]) -> Report:
        """Return the report of this window and open the next one."""
        report = Report(
            device=self.device,
            incarnation=self.incarnation,
            boot=self.boot,
            seq_from=self.seq,
            seq_to=self.seq,
            from_s=min(self.opened_s, now_s),
            to_s=now_s,
            blocks=tuple(self.blocks.values()),
            health=health,
            dropped=dropped,
        )
        self.seq += 1
        self.opened_s = now_s
        self.blocks = {}
        return report


def reportable(report: Report) -> Report:
    """Return a report that can be written: without counts outside their limits, and without the largest of too many.

    Workers run hostile files and may count anything; that must not end the agent, or cost other models their counts.
    """
    kept: set[BlockKey] = set()
    room_bytes = Report.BYTES_MAX
    sizes = ((_alone_bytes(report, block), block_key(block)) for block in report.blocks)
    for size_bytes, key in sorted(sizes):
        room_bytes -= size_bytes
        if room_bytes >= 0:
            kept.add(key)
    return replace(report, blocks=tuple(block for block in report.blocks if block_key(block) in kept))


def _alone_bytes(report: Report, block: Block) -> int:
    try:
        return len(codec.to_cbor(replace(report, blocks=(block,))))
    except ContractError:
        return Report.BYTES_MAX + 1
