"""What was decided about sites that move whole, and when a prepared device goes back by itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("slots", sa.Column("lease_until_s", sa.Float(), nullable=True))
    op.create_table(
        "site_rulings",
        sa.Column("rollout", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("decided_at_s", sa.Float(), nullable=False),
        sa.Column("prepared", sa.Integer(), nullable=False),
        sa.Column("counted", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"], name="fk_site_rulings_rollout_rollouts"),
        sa.PrimaryKeyConstraint("rollout", "site", name="pk_site_rulings"),
    )
