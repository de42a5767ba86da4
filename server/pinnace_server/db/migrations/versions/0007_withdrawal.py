"""What is withdrawn, by whom and why; whom a new set is owed; and whom a server that was restored has not heard yet.

Nothing could be withdrawn before, so nothing has to be filled in.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("withdrawn_at_s", sa.Float(), nullable=True))
    op.add_column("versions", sa.Column("withdrawn_by", sa.String(), nullable=False, server_default=""))
    op.add_column("versions", sa.Column("withdrawn_reason", sa.Text(), nullable=False, server_default=""))
    op.add_column("versions", sa.Column("least_next_epoch", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("devices", sa.Column("unadopted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "owed_sets",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_owed_sets_device_devices"),
        sa.PrimaryKeyConstraint("number", name="pk_owed_sets"),
        sa.UniqueConstraint("device", name="uq_owed_sets_device"),
    )
