"""The roll call of a rollout, which is read every second, finds all that it asks of members in one index."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_members_muster", "members", ["rollout", "wave", "device", "state", "cause", "changed_at_s"])
