"""What endpoints can be told, the order of deliveries, replays, rotation, proofs before going live."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add columns and tables; what an earlier program reads and writes stays as it was."""
    op.add_column("sources", sa.Column("proof", WORDS))
    for column in (
        sa.Column("settings", WORDS, nullable=False, server_default="{}"),
        sa.Column("state_reason", WORDS),
        sa.Column("state_at", sa.BigInteger),
        sa.Column("retiring", sa.LargeBinary),
        sa.Column("retires_at", sa.BigInteger),
        sa.Column("proof", WORDS),
    ):
        op.add_column("endpoints", column)
    op.create_table(
        "endpoint_urls",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("endpoint", WORDS, primary_key=True),
        sa.Column("since", sa.BigInteger, primary_key=True),
        sa.Column("url", WORDS, nullable=False),
    )
    op.execute(
        "INSERT INTO endpoint_urls (merchant, endpoint, since, url) "
        "SELECT merchant, id, created_at, url FROM endpoints"
    )
    for column in (
        sa.Column("url", WORDS),
        sa.Column("replay_of", WORDS),
        sa.Column("order_key", WORDS),
        sa.Column("sequence", sa.BigInteger),
    ):
        op.add_column("deliveries", column)
    op.create_index(
        "deliveries_replayed",
        "deliveries",
        ["replay_of"],
        sqlite_where=sa.text("replay_of IS NOT NULL"),
        postgresql_where=sa.text("replay_of IS NOT NULL"),
    )
    is_in_order = "order_key IS NOT NULL AND state IN ('pending', 'sending')"
    op.create_index(
        "deliveries_in_order",
        "deliveries",
        ["merchant", "endpoint", "order_key", "sequence"],
        sqlite_where=sa.text(is_in_order),
        postgresql_where=sa.text(is_in_order),
    )
    op.create_table(
        "delivery_orders",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("endpoint", WORDS, primary_key=True),
        sa.Column("order_key", WORDS, primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("halted_by", WORDS),
    )
    is_due = "state = 'pending' AND next_attempt_at IS NOT NULL"
    op.drop_index("deliveries_due", "deliveries")
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["endpoint", "next_attempt_at"],
        sqlite_where=sa.text(is_due),
        postgresql_where=sa.text(is_due),
    )
    op.add_column("attempts", sa.Column("reference", WORDS))
    op.create_table(
        "endpoint_troubles",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("endpoint", WORDS, primary_key=True),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("cause", WORDS, nullable=False),
        sa.Column("announced_at", sa.BigInteger),
    )
    op.create_table(
        "alerts",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("id", WORDS, primary_key=True),
        sa.Column("about", WORDS, nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("endpoint", WORDS),
        sa.Column("data", WORDS, nullable=False),
        sa.Column("mail_at", sa.BigInteger),
    )
    op.create_index(
        "alerts_to_mail",
        "alerts",
        ["mail_at"],
        sqlite_where=sa.text("mail_at IS NOT NULL"),
        postgresql_where=sa.text("mail_at IS NOT NULL"),
    )
