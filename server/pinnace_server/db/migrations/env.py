"""Alembic's entry: runs the steps on the connection that ``store`` hands over."""

from __future__ import annotations

from alembic import context

from pinnace_server.db.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite cannot change a column in place
)
with context.begin_transaction():
    context.run_migrations()
