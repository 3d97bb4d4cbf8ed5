"""Invoices, and the payments that were taken for them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add tables; what an earlier program reads and writes stays as it was."""
    op.create_table(
        "invoices",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("number", WORDS, nullable=False),
        sa.Column("origin", WORDS, nullable=False),
        sa.Column("client", WORDS),
        sa.Column("reference", WORDS),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("currency", WORDS, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("paid", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("callback_url", WORDS),
        sa.Column("revenue_head", WORDS),
        sa.Column("category", WORDS),
        sa.Column("external_reference", WORDS),
        sa.Column("description", WORDS),
        sa.Column("payer", WORDS, nullable=False, server_default="{}"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("paid_at", sa.BigInteger),
    )
    op.create_index("invoices_by_number", "invoices", ["merchant", "number"], unique=True)
    op.create_index(
        "invoices_by_reference", "invoices", ["merchant", "reference", "client"], unique=True
    )
    op.create_table(
        "invoice_payments",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("invoice", WORDS, nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("provider", WORDS, nullable=False),
        sa.Column("reference", WORDS, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("channel", WORDS),
        sa.Column("bank", WORDS, nullable=False, server_default="{}"),
        sa.Column("occurred_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("reverses", WORDS),
        sa.Column("reason", WORDS),
        sa.Column("notification", WORDS),
    )
    op.create_index(
        "invoice_payments_once",
        "invoice_payments",
        ["merchant", "invoice", "provider", "reference", "kind"],
        unique=True,
    )
    op.create_index(
        "invoice_payments_reversed_once",
        "invoice_payments",
        ["merchant", "reverses"],
        unique=True,
        sqlite_where=sa.text("reverses IS NOT NULL"),
        postgresql_where=sa.text("reverses IS NOT NULL"),
    )
