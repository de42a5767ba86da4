"""The first schema. Events are append-only by trigger too, so that a mistake in a service cannot rewrite the log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blobs"),
    )
    op.create_table(
        "claims",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        sa.Column("expires_s", sa.Float(), nullable=False),
        sa.Column("serial_pattern", sa.String(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_claims"),
        sa.UniqueConstraint("secret_hash", name="uq_claims_secret_hash"),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("public_key_pem", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("reported_labels", sa.Text(), nullable=False),
        sa.Column("hardware", sa.String(), nullable=False),
        sa.Column("runtimes", sa.String(), nullable=False),
        sa.Column("agent_version", sa.String(), nullable=False),
        sa.Column("incarnation", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_at_s", sa.Float(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("silent", sa.Boolean(), nullable=False),
        sa.Column("boot", sa.String(), nullable=True),
        sa.Column("connection", sa.BigInteger(), nullable=False),
        sa.Column("report_every_s", sa.Integer(), nullable=False),
        sa.Column("seen_at_s", sa.Float(), nullable=True),
        sa.Column("reported_generation", sa.BigInteger(), nullable=False),
        sa.Column("reported_cause", sa.String(), nullable=False),
        sa.Column("reported_detail", sa.String(), nullable=False),
        sa.Column("reported_boot", sa.String(), nullable=True),
        sa.Column("reported_seq", sa.BigInteger(), nullable=False),
        sa.Column("degraded", sa.Boolean(), nullable=False),
        sa.Column("updating", sa.Boolean(), nullable=False),
        sa.Column("p95_ms", sa.Float(), nullable=True),
        sa.Column("health", sa.Text(), nullable=True),
        sa.Column("health_at_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
        sa.UniqueConstraint("key", name="uq_devices_key"),
    )
    op.create_index("ix_devices_name", "devices", ["name"])
    op.create_index("ix_devices_seen_at_s", "devices", ["seen_at_s"])
    op.create_index("ix_devices_state", "devices", ["state"])

    op.create_table(
        "events",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=True),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("rollout", sa.String(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_at_s", "events", ["at_s"])
    op.create_index("ix_events_device", "events", ["device"])
    op.create_index("ix_events_kind", "events", ["kind"])
    op.create_index("ix_events_model", "events", ["model"])
    op.create_index("ix_events_rollout", "events", ["rollout"])
    op.create_index("ix_events_severity", "events", ["severity"])

    op.create_table(
        "jobs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at_s", sa.Float(), nullable=False),
        sa.Column("ended_at_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_created_at_s", "jobs", ["created_at_s"])
    op.create_index("ix_jobs_model", "jobs", ["model"])
    op.create_index("ix_jobs_state", "jobs", ["state"])

    op.create_table(
        "models",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_at_s", sa.Float(), nullable=False),
        sa.Column("updated_at_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_models"),
    )
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("release", sa.String(), nullable=True),
        sa.Column("intent", sa.String(), nullable=False),
        sa.Column("selector", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("halts", sa.String(), nullable=True),
        sa.Column("plan", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at_s", sa.Float(), nullable=False),
        sa.Column("ended_at_s", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_rollouts"),
    )
    op.create_index("ix_rollouts_created_at_s", "rollouts", ["created_at_s"])
    op.create_index("ix_rollouts_model", "rollouts", ["model"])
    op.create_index("ix_rollouts_state", "rollouts", ["state"])

    op.create_table(
        "aliases",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_aliases_model_models"),
        sa.PrimaryKeyConstraint("model", "alias", name="pk_aliases"),
    )
    op.create_table(
        "assignments",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("release", sa.String(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("rollout", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("assigned_at_s", sa.Float(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("ended_at_s", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_assignments_device_devices"),
        sa.PrimaryKeyConstraint("device", "model", name="pk_assignments"),
    )
    op.create_index("ix_assignments_release", "assignments", ["release"])
    op.create_index("ix_assignments_rollout", "assignments", ["rollout"])

    op.create_table(
        "desired",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", sa.String(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("signed_at_s", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_desired_device_devices"),
        sa.PrimaryKeyConstraint("device", name="pk_desired"),
    )
    op.create_index("ix_desired_signed_at_s", "desired", ["signed_at_s"])

    op.create_table(
        "evidence",
        sa.Column("rollout", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("predictions", sa.BigInteger(), nullable=False),
        sa.Column("below", sa.BigInteger(), nullable=False),
        sa.Column("labels", sa.BigInteger(), nullable=False),
        sa.Column("label_errors", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_evidence_device_devices"),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"], name="fk_evidence_rollout_rollouts"),
        sa.PrimaryKeyConstraint("rollout", "device", name="pk_evidence"),
    )
    op.create_table(
        "incarnations",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("incarnation", sa.String(), nullable=False),
        sa.Column("first_seen_s", sa.Float(), nullable=False),
        sa.Column("last_seen_s", sa.Float(), nullable=False),
        sa.Column("first_generation", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_incarnations_device_devices"),
        sa.PrimaryKeyConstraint("device", "incarnation", name="pk_incarnations"),
    )
    op.create_table(
        "labels",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_labels_device_devices"),
        sa.PrimaryKeyConstraint("device", "key", name="pk_labels"),
    )
    op.create_index("ix_labels_key_value", "labels", ["key", "value"])

    op.create_table(
        "members",
        sa.Column("rollout", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("release", sa.String(), nullable=True),
        sa.Column("variants", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("changed_at_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_members_device_devices"),
        sa.ForeignKeyConstraint(["rollout"], ["rollouts.id"], name="fk_members_rollout_rollouts"),
        sa.PrimaryKeyConstraint("rollout", "device", name="pk_members"),
    )
    op.create_index("ix_members_device_generation", "members", ["device", "generation"])

    op.create_table(
        "minutes",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("release", sa.String(), nullable=False),
        sa.Column("variant", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("error_count", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.Text(), nullable=False),
        sa.Column("slow", sa.BigInteger(), nullable=False),
        sa.Column("latency_zero", sa.BigInteger(), nullable=False),
        sa.Column("latency_offset", sa.Integer(), nullable=False),
        sa.Column("latency", sa.LargeBinary(), nullable=False),
        sa.Column("predictions", sa.BigInteger(), nullable=False),
        sa.Column("below", sa.BigInteger(), nullable=False),
        sa.Column("confidence", sa.LargeBinary(), nullable=False),
        sa.Column("classes", sa.LargeBinary(), nullable=False),
        sa.Column("labels", sa.BigInteger(), nullable=False),
        sa.Column("label_errors", sa.BigInteger(), nullable=False),
        sa.Column("features", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_minutes_device_devices"),
        sa.PrimaryKeyConstraint("device", "model", "release", "variant", "arm", "minute", name="pk_minutes"),
    )
    op.create_index("ix_minutes_minute", "minutes", ["minute"])
    op.create_index("ix_minutes_release_device", "minutes", ["release", "device"])

    op.create_table(
        "raw_reports",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("boot", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("received_at_s", sa.Float(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_raw_reports_device_devices"),
        sa.PrimaryKeyConstraint("device", "boot", "seq", name="pk_raw_reports"),
    )
    op.create_index("ix_raw_reports_received_at_s", "raw_reports", ["received_at_s"])

    op.create_table(
        "receipts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("incarnation", sa.String(), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("release", sa.String(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("received_at_s", sa.Float(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_receipts_device_devices"),
        sa.PrimaryKeyConstraint("id", name="pk_receipts"),
    )
    op.create_index("ix_receipts_device", "receipts", ["device"])
    op.create_index("ix_receipts_device_incarnation_counter", "receipts", ["device", "incarnation", "counter"])
    op.create_index("ix_receipts_model_version_outcome", "receipts", ["model", "version", "outcome"])
    op.create_index("ix_receipts_received_at_s", "receipts", ["received_at_s"])
    op.create_index("ix_receipts_release_device", "receipts", ["release", "device"])

    op.create_table(
        "report_ranges",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("boot", sa.String(), nullable=False),
        sa.Column("dropped", sa.Boolean(), nullable=False),
        sa.Column("seq_from", sa.BigInteger(), nullable=False),
        sa.Column("seq_to", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_report_ranges_device_devices"),
        sa.PrimaryKeyConstraint("device", "boot", "dropped", "seq_from", name="pk_report_ranges"),
    )
    op.create_table(
        "slots",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("release", sa.String(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("incarnation", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("said_at_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.id"], name="fk_slots_device_devices"),
        sa.PrimaryKeyConstraint("device", "model", name="pk_slots"),
    )
    op.create_index("ix_slots_model_version", "slots", ["model", "version"])
    op.create_index("ix_slots_release", "slots", ["release"])

    op.create_table(
        "versions",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("release", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at_s", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("share_below", sa.Float(), nullable=True),
        sa.Column("withdrawn", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_versions_model_models"),
        sa.PrimaryKeyConstraint("model", "version", name="pk_versions"),
        sa.UniqueConstraint("release", name="uq_versions_release"),
    )
    op.create_index("ix_versions_model_sequence", "versions", ["model", "sequence"], unique=True)
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER events_no_{verb.lower()} BEFORE {verb} ON events "
                "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END"
            )
