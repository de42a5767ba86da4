"""Minutes and stretches count what was compared in a shadow, and what differed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("minutes", "stretches"):
        for column in ("pairs", "disagreements"):
            op.add_column(table, sa.Column(column, sa.BigInteger(), nullable=False, server_default=sa.text("0")))
