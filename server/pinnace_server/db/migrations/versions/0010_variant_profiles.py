"""What variants take on classes of hardware, and why a device of a rollout tries the variant that it tries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "variant_profiles",
        sa.Column("release", sa.String(), nullable=False),
        sa.Column("variant", sa.String(), nullable=False),
        sa.Column("hardware", sa.String(), nullable=False),
        sa.Column("runtime", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("p50_ms", sa.Float(), nullable=False),
        sa.Column("p95_ms", sa.Float(), nullable=False),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("inferences", sa.BigInteger(), nullable=False),
        sa.Column("results", sa.BigInteger(), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("release", "variant", "hardware", "runtime", "source", name="pk_variant_profiles"),
    )
    op.add_column("members", sa.Column("chosen", sa.Text(), nullable=False, server_default=sa.text("''")))
