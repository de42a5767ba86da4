"""Rollouts climb in waves: their rules, what was decided about each wave, who agreed to it, and what gates judge by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rollouts", sa.Column("rules", sa.Text(), nullable=False, server_default=""))
    op.add_column("rollouts", sa.Column("paused", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "waves",
        sa.Column("rollout", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("started_at_s", sa.Float(), nullable=True),
        sa.Column("switched_at_s", sa.Float(), nullable=True),
        sa.Column("promoted_at_s", sa.Float(), nullable=True),
        sa.Column("promoted_by", sa.String(), nullable=False),
        sa.Column("asked_at_s", sa.Float(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"], name="fk_waves_rollout_rollouts"),
        sa.PrimaryKeyConstraint("rollout", "number", name="pk_waves"),
    )
    op.create_table(
        "agreements",
        sa.Column("rollout", sa.String(), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"], name="fk_agreements_rollout_rollouts"),
        sa.PrimaryKeyConstraint("rollout", "wave", "person", name="pk_agreements"),
    )
    op.create_table(
        "stretches",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("release", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("reports", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("errors_fresh_n", sa.Float(), nullable=False),
        sa.Column("errors_fresh", sa.BigInteger(), nullable=False),
        sa.Column("errors_stale", sa.Integer(), nullable=False),
        sa.Column("slow", sa.BigInteger(), nullable=False),
        sa.Column("slow_fresh_n", sa.Float(), nullable=False),
        sa.Column("slow_fresh", sa.BigInteger(), nullable=False),
        sa.Column("slow_stale", sa.Integer(), nullable=False),
        sa.Column("predictions", sa.BigInteger(), nullable=False),
        sa.Column("below", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_stretches_device_devices"),
        sa.PrimaryKeyConstraint("device", "model", "number", "release", "arm", name="pk_stretches"),
    )
    op.create_index("ix_stretches_number", "stretches", ["number"])
