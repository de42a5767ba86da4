"""Waves of blue/green rollouts note when their first device was ready."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("waves", sa.Column("ready_at_s", sa.Float(), nullable=True))
