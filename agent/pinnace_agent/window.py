"""The report window: what workers counted since the last report, added up until it is closed.

Pure bookkeeping; collecting from workers, sealing and spooling are the daemon's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from pinnace_contract.errors import ContractError
from pinnace_contract.ids import BootId, DeviceId, IncarnationId
from pinnace_contract.latest import Block, DroppedRange, Health, Report
from pinnace_contract.merging import BlockKey, block_key, merge_blocks

log = logging.getLogger(__name__)


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
        """Add what a worker counted; counts that cannot be added are dropped and said so."""
        key = block_key(block)
        try:
            self.blocks[key] = merge_blocks(self.blocks[key], block) if key in self.blocks else block
        except ContractError as error:
            log.warning("a worker's counts were dropped: %s", error)

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
