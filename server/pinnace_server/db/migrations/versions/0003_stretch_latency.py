"""Ten minutes keep their latencies whole.

The device's own counts of slow answers go: each release had another threshold for them, so that no gate could compare
two, and none ever read them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("stretches", sa.Column("latency", sa.LargeBinary(), nullable=False, server_default=sa.text("x''")))
    for gone in ("slow", "slow_fresh_n", "slow_fresh", "slow_stale"):
        op.drop_column("stretches", gone)
