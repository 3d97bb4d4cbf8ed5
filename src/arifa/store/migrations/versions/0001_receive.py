"""The first schema: sources and endpoints, inbox, notifications, cases, deliveries, seals."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make every table, and the triggers that keep some of them append-only."""
    op.create_table(
        "meta",
        sa.Column("name", WORDS, primary_key=True),
        sa.Column("value", WORDS, nullable=False),
    )
    op.create_table(
        "merchants",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sources",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("dialect", WORDS, nullable=False),
        sa.Column("token", WORDS, nullable=False),
        sa.Column("scope", WORDS, nullable=False),
        sa.Column("currency", WORDS, nullable=False),
        sa.Column("timezone", WORDS, nullable=False),
        sa.Column("options", WORDS, nullable=False),
        sa.Column("account", WORDS),
        sa.Column("routes", WORDS, nullable=False),
        sa.Column("credentials", sa.LargeBinary, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("removed_at", sa.BigInteger),
    )
    op.create_table(
        "source_names",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("name", WORDS, primary_key=True),
        sa.Column("source", WORDS, nullable=False),
    )
    op.create_table(
        "source_tokens",
        sa.Column("token", WORDS, primary_key=True),
        sa.Column("merchant", WORDS, nullable=False),
        sa.Column("source", WORDS, nullable=False),
    )
    op.create_table(
        "source_counters",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("source", WORDS, primary_key=True),
        sa.Column("writer", WORDS, primary_key=True),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("refused", sa.BigInteger, nullable=False),
        sa.Column("last_received_at", sa.BigInteger),
    )
    op.create_table(
        "refusals",
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("merchant", WORDS, nullable=False),
        sa.Column("source", WORDS, nullable=False),
        sa.Column("refused_at", sa.BigInteger, nullable=False),
        sa.Column("peer", WORDS),
        sa.Column("outcome", WORDS, nullable=False),
        sa.Column("answer_status", sa.BigInteger, nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("body_hash", sa.LargeBinary, nullable=False),
        sa.Column("body_bytes", sa.BigInteger, nullable=False),
        sa.Column("sample", WORDS, nullable=False),
    )
    op.create_table(
        "endpoints",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("url", WORDS, nullable=False),
        sa.Column("dialect", WORDS, nullable=False),
        sa.Column("currency", WORDS, nullable=False),
        sa.Column("timezone", WORDS, nullable=False),
        sa.Column("options", WORDS, nullable=False),
        sa.Column("filter", WORDS, nullable=False),
        sa.Column("credentials", sa.LargeBinary, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("removed_at", sa.BigInteger),
    )
    op.create_table(
        "endpoint_names",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("name", WORDS, primary_key=True),
        sa.Column("endpoint", WORDS, nullable=False),
    )
    op.create_table(
        "inbox",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("source", WORDS, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("peer", WORDS),
        sa.Column("outcome", WORDS, nullable=False),
        sa.Column("reason", WORDS),
        sa.Column("body_hash", sa.LargeBinary, nullable=False),
        sa.Column("answer_status", sa.BigInteger, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("notifications", sa.BigInteger, nullable=False),
        sa.Column("writer", WORDS, nullable=False),
        sa.Column("seal", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "inbox_bodies",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("inbox", WORDS, primary_key=True),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "notifications",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("source", WORDS, nullable=False),
        sa.Column("dialect", WORDS, nullable=False),
        sa.Column("inbox", WORDS, nullable=False),
        sa.Column("inbox_merchant", WORDS, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("money_hash", sa.LargeBinary, nullable=False),
        sa.Column("reading", WORDS, nullable=False),
    )
    op.create_table(
        "identities",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("notification", WORDS, nullable=False),
        sa.Column("notification_merchant", WORDS, nullable=False),
        sa.Column("money_hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "references_by_term",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("term", WORDS, primary_key=True),
        sa.Column("notification", WORDS, primary_key=True),
    )
    op.create_table(
        "references_cursor",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("notification", WORDS, nullable=False),
    )
    op.create_table(
        "cases",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("case_key", sa.LargeBinary, nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("notification", WORDS, nullable=False),
        sa.Column("notification_merchant", WORDS, nullable=False),
        sa.Column("against", WORDS),
        sa.Column("against_merchant", WORDS),
        sa.Column("source", WORDS, nullable=False),
        sa.Column("inbox", WORDS, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("owner", WORDS),
        sa.Column("decision", WORDS),
        sa.Column("decision_reason", WORDS),
        sa.Column("decided_at", sa.BigInteger),
    )
    op.create_index("cases_by_key", "cases", ["merchant", "case_key"], unique=True)
    op.create_table(
        "deliveries",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("notification", WORDS, nullable=False),
        sa.Column("endpoint", WORDS, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("attempt_count", sa.BigInteger, nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger),
        sa.Column("worker", WORDS),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("last_status", sa.BigInteger),
        sa.Column("last_cause", WORDS),
    )
    op.create_index(
        "deliveries_sending",
        "deliveries",
        ["worker"],
        sqlite_where=sa.text("state = 'sending'"),
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["next_attempt_at"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "attempts",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("delivery", WORDS, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("worker", WORDS, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.BigInteger),
        sa.Column("cause", WORDS, nullable=False),
        sa.Column("detail", WORDS),
    )
    op.create_table(
        "workers",
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "seals",
        sa.Column("writer", WORDS, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("previous", sa.LargeBinary, nullable=False),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("first_request", WORDS, nullable=False),
        sa.Column("last_request", WORDS, nullable=False),
        sa.Column("sealed_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.Column("action", WORDS, nullable=False),
        sa.Column("subject", WORDS, nullable=False),
        sa.Column("detail", WORDS, nullable=False),
    )
    op.bulk_insert(
        sa.table("meta", sa.column("name"), sa.column("value")),
        [{"name": "configuration", "value": "0"}],
    )
    for table in ("inbox", "seals", "audit"):
        _make_append_only(table)


def _make_append_only(table: str) -> None:
    said = f"{table} is append-only"
    if op.get_bind().dialect.name == "sqlite":
        # REPLACE deletes first, and fires this because recursive_triggers is on.
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{said}'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()"
    )
