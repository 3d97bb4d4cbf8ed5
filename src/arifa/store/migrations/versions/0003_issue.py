"""Transactions that this hub issues, with their keys and rules; the audit log by its subject."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add tables and indexes; what an earlier program reads and writes stays as it was."""
    op.create_table(
        "transactions",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("origin", WORDS, nullable=False),
        sa.Column("reference", WORDS, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("batch", WORDS),
        sa.Column("source_account", WORDS),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("reading", WORDS, nullable=False),
        sa.Column("reason", WORDS),
        sa.Column("notification", WORDS),
        sa.Column("deliveries", WORDS, nullable=False, server_default="[]"),
        sa.Column("untold", WORDS, nullable=False, server_default="[]"),
        sa.Column("worker", WORDS),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "transactions_by_reference",
        "transactions",
        ["merchant", "reference", "origin"],
        unique=True,
    )
    op.create_index(
        "transactions_open",
        "transactions",
        ["state", "id"],
        sqlite_where=sa.text("state <> 'complete'"),
        postgresql_where=sa.text("state <> 'complete'"),
    )
    op.create_table(
        "transaction_keys",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("key", WORDS, primary_key=True),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("answer", WORDS, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "transaction_rules",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("name", WORDS, primary_key=True),
        sa.Column("decision", WORDS, nullable=False),
        sa.Column("currency", WORDS),
        sa.Column("up_to", sa.BigInteger),
        sa.Column("source_account", WORDS),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "deliveries_replays",
        "deliveries",
        ["merchant", "notification"],
        sqlite_where=sa.text("replay_of IS NOT NULL"),
        postgresql_where=sa.text("replay_of IS NOT NULL"),
    )
    op.create_index("audit_by_subject", "audit", ["merchant", "subject"])
