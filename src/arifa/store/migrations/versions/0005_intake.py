"""Identities get keys in the order of the banks' references; the plain ones take no rows any more."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
SAID = "this database has been upgraded: start the newer program here"


def upgrade() -> None:
    """Add the table, and close the old one: a payment claimed in both would count twice.

    Not to be run beside an older program. One that still runs on PostgreSQL answers its banks "try
    again" from here on, as it does where the database cannot be reached (57P03).
    """
    op.create_table(
        "identity_keys",
        sa.Column("merchant", WORDS, primary_key=True),
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("notification", WORDS, nullable=False),
        sa.Column("notification_merchant", WORDS, nullable=False),
        sa.Column("money_hash", sa.LargeBinary, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER identities_no_insert BEFORE INSERT ON identities "
            f"BEGIN SELECT RAISE(ABORT, '{SAID}'); END"
        )
        return
    op.execute(
        "CREATE FUNCTION identities_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{SAID}' USING ERRCODE = '57P03'; END $$"
    )
    op.execute(
        "CREATE TRIGGER identities_no_insert BEFORE INSERT ON identities "
        "FOR EACH STATEMENT EXECUTE FUNCTION identities_refuse()"
    )
