"""Minutes and stretches count outcomes and declared groups, and stretches classes, for the guards that judge them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("minutes", "stretches"):
        for column in ("outcomes", "groups"):
            op.add_column(table, sa.Column(column, sa.Text(), nullable=False, server_default=sa.text("'{}'")))
    op.add_column("stretches", sa.Column("classes", sa.LargeBinary(), nullable=False, server_default=sa.text("x''")))
