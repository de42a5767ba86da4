"""Sets that say what was decided about a site are signed before all others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("desired", sa.Column("decides", sa.Boolean(), nullable=False, server_default=sa.false()))
