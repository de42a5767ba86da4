"""Reports that came are counted for each device, and not only where they had something to say about a model.

A device that nobody asks has no blocks in its reports, and seemed silent.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "arrivals",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("reports", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_arrivals_device_devices"),
        sa.PrimaryKeyConstraint("device", "number", name="pk_arrivals"),
    )
    op.create_index("ix_arrivals_number", "arrivals", ["number"])
    op.execute(
        "INSERT INTO arrivals (device, number, reports) "
        "SELECT device, number, max(reports) FROM stretches "
        "WHERE device IN (SELECT id FROM devices) GROUP BY device, number"
    )
    op.drop_column("stretches", "reports")
