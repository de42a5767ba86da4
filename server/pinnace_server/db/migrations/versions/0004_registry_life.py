"""The life of the registry: what aliases pointed at, rules, approvals, cards, lineage, origins, and the archive.

What aliases pointed at before is worked out from the log, which has every move. What versions were converted from is in
the jobs that made them; their files are gone.
"""

from __future__ import annotations

import json
import time

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("models", sa.Column("card_required", sa.Text(), nullable=False, server_default=""))
    op.add_column("models", sa.Column("archived_at_s", sa.Float(), nullable=True))
    op.add_column("versions", sa.Column("card_fields", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("versions", sa.Column("lineage", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("versions", sa.Column("archived_at_s", sa.Float(), nullable=True))
    op.create_table(
        "origins",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "version"], ["versions.model", "versions.version"], name="fk_origins_model_version_versions"
        ),
        sa.PrimaryKeyConstraint("model", "version", name="pk_origins"),
    )
    _fill_origins()
    _make_aliases()
    _fill_pointings()
    if op.get_bind().dialect.name == "sqlite":
        _guard_pointings()


def _fill_origins() -> None:
    database = op.get_bind()
    made = database.execute(
        sa.text(
            "SELECT jobs.model, jobs.version, jobs.request, jobs.report FROM jobs JOIN versions "
            "ON versions.model = jobs.model AND versions.version = jobs.version "
            "WHERE jobs.state = 'done' ORDER BY jobs.created_at_s, jobs.id"
        )
    ).all()
    for model, version, request, report in {(row[0], row[1]): row for row in made}.values():
        asked = {name: value for name, value in json.loads(request).items() if name != "card"}
        known = {name: asked[name] for name in ("source", "source_name") if name in asked}
        named = {"model": model, "version": version}
        database.execute(
            sa.text("INSERT INTO origins VALUES (:model, :version, :request, :report, :kept)"),
            {**named, "request": json.dumps(asked), "report": report, "kept": False},
        )
        database.execute(
            sa.text("UPDATE versions SET lineage = :lineage WHERE model = :model AND version = :version"),
            {**named, "lineage": json.dumps({"lineage": known})},
        )


def _make_aliases() -> None:
    op.create_table(
        "pointings",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("from_s", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("means", sa.String(), nullable=False),
        sa.Column("rollout", sa.String(), nullable=True),
        sa.Column("until_s", sa.Float(), nullable=True),
        sa.Column("ended_by", sa.String(), nullable=False),
        sa.Column("ended_reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_pointings_model_models"),
        sa.PrimaryKeyConstraint("number", name="pk_pointings"),
        sqlite_autoincrement=True,
    )
    still = sa.text("until_s IS NULL")
    op.create_index(
        "ix_pointings_open", "pointings", ["model", "alias"], unique=True, sqlite_where=still, postgresql_where=still
    )
    op.create_index("ix_pointings_model_alias", "pointings", ["model", "alias"])
    op.create_table(
        "alias_rules",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("rollout", sa.Boolean(), nullable=False),
        sa.Column("failures_max", sa.Integer(), nullable=False),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_alias_rules_model_models"),
        sa.PrimaryKeyConstraint("model", "alias", name="pk_alias_rules"),
    )
    op.create_table(
        "approvals",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("pointing", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_approvals_model_models"),
        sa.ForeignKeyConstraint(["pointing"], ["pointings.number"], name="fk_approvals_pointing_pointings"),
        sa.PrimaryKeyConstraint("number", name="pk_approvals"),
    )
    waits = sa.text("pointing IS NULL")
    op.create_index(
        "ix_approvals_waiting",
        "approvals",
        ["model", "alias", "version", "person"],
        unique=True,
        sqlite_where=waits,
        postgresql_where=waits,
    )
    op.create_index("ix_approvals_pointing", "approvals", ["pointing"])


def _fill_pointings() -> None:
    """Replay the log. An alias that it does not explain, as in a database that was mended by hand, begins now."""
    database = op.get_bind()
    moves = database.execute(
        sa.text(
            "SELECT at_s, kind, actor, model, version, data FROM events "
            "WHERE kind IN ('alias_moved', 'alias_removed') ORDER BY number"
        )
    ).all()
    open_at: dict[tuple[str, str], str] = {}
    for at_s, kind, actor, model, version, data in moves:
        alias = json.loads(data)["alias"]
        _end(model, alias, at_s, actor)
        open_at.pop((model, alias), None)
        if kind == "alias_moved":
            _begin(model, alias, version, at_s, actor, "")
            open_at[model, alias] = version
    now = time.time()
    rows = database.execute(sa.text("SELECT model, alias, version FROM aliases"))
    there = {(model, alias): version for model, alias, version in rows}
    for model, alias in sorted(there.keys() | open_at.keys()):
        version = there.get((model, alias))
        if open_at.get((model, alias)) == version:
            continue
        _end(model, alias, now, "")
        if version is not None:
            _begin(model, alias, version, now, "", "it pointed there when history began, and the log does not say why")


def _begin(model: str, alias: str, version: str, at_s: float, actor: str, reason: str) -> None:
    op.get_bind().execute(
        sa.text(
            "INSERT INTO pointings (model, alias, version, from_s, actor, reason, means, until_s, ended_by, "
            "ended_reason) VALUES (:model, :alias, :version, :at_s, :actor, :reason, 'set', NULL, '', '')"
        ),
        {"model": model, "alias": alias, "version": version, "at_s": at_s, "actor": actor, "reason": reason},
    )


def _end(model: str, alias: str, at_s: float, actor: str) -> None:
    op.get_bind().execute(
        sa.text(
            "UPDATE pointings SET until_s = :at_s, ended_by = :actor "
            "WHERE model = :model AND alias = :alias AND until_s IS NULL"
        ),
        {"model": model, "alias": alias, "at_s": at_s, "actor": actor},
    )


def _guard_pointings() -> None:
    """What was is not changed: a row may be ended once, and that is all."""
    op.execute(
        "CREATE TRIGGER pointings_no_delete BEFORE DELETE ON pointings "
        "BEGIN SELECT RAISE(ABORT, 'the history of aliases is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER pointings_end_once BEFORE UPDATE ON pointings WHEN OLD.until_s IS NOT NULL "
        "OR NEW.number <> OLD.number OR NEW.model <> OLD.model OR NEW.alias <> OLD.alias "
        "OR NEW.version <> OLD.version OR NEW.from_s <> OLD.from_s OR NEW.actor <> OLD.actor "
        "OR NEW.reason <> OLD.reason OR NEW.means <> OLD.means "
        "BEGIN SELECT RAISE(ABORT, 'the history of aliases is append-only'); END"
    )
