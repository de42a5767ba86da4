"""Waves of blue/green rollouts note when their devices were told to switch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("waves", sa.Column("told_at_s", sa.Float(), nullable=True))
