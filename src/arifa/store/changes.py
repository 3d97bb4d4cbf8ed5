"""A count of changes to the configuration, so that whoever serves sees them at the next request.

Everything that changes a source, an endpoint or a merchant calls `count`; the intake reads `number`
in each group's own transaction, and loads anew where it has moved.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from arifa.identifiers import identifier
from arifa.store import bulk
from arifa.store.schema import audit, meta

_NAME = "configuration"


def number(connection: Connection) -> int:
    """How often the configuration has changed."""
    row = bulk.execute(connection, "SELECT value FROM meta WHERE name = ?", (_NAME,)).fetchone()
    return 0 if row is None else int(row[0])


def count(
    connection: Connection,
    *,
    merchant: str,
    action: str,
    subject: str,
    now_us: int,
    detail: str = "",
) -> None:
    """Count one change, and put it into the audit log. `detail` holds no secret."""
    connection.execute(_COUNT)
    record(
        connection,
        merchant=merchant,
        action=action,
        subject=subject,
        now_us=now_us,
        detail=detail,
    )


def record(
    connection: Connection,
    *,
    merchant: str,
    action: str,
    subject: str,
    now_us: int,
    detail: str = "",
) -> None:
    """Put an act into the audit log."""
    connection.execute(
        sa.insert(audit).values(
            merchant=merchant,
            id=identifier("aud", now_us),
            at=now_us,
            actor="operator",
            action=action,
            subject=subject,
            detail=detail,
        )
    )


_COUNT = (
    sa.update(meta)
    .where(meta.c.name == _NAME)
    .values(value=sa.cast(sa.cast(meta.c.value, sa.BigInteger) + 1, sa.Text))
)
