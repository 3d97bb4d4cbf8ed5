"""A count of changes to the configuration, so that whoever serves sees them at the next request.

Everything that changes a source, an endpoint or a merchant calls `count`; the intake reads `number`
in each group's own transaction, and loads anew where it has moved.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from arifa.identifiers import identifier
from arifa.store import bulk
from arifa.store.schema import audit, meta

_NAME = "configuration"


def number(connection: Connection) -> int:
    """How often the configuration has changed."""
    return told(asked(connection))


def asked(connection: Connection) -> Any:
    """As `number`, within `bulk.together`: gives what `told` reads when that has ended."""
    return bulk.execute(connection, "SELECT value FROM meta WHERE name = ?", (_NAME,))


def told(asked: Any) -> int:
    """The number that was asked for."""
    row = asked.fetchone()
    return 0 if row is None else int(row[0])


def count(
    connection: Connection,
    *,
    merchant: str,
    action: str,
    subject: str,
    now_us: int,
    detail: str = "",
    actor: str = "operator",
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
        actor=actor,
    )


def record(
    connection: Connection,
    *,
    merchant: str,
    action: str,
    subject: str,
    now_us: int,
    detail: str = "",
    actor: str = "operator",
) -> None:
    """Put an act into the audit log; `actor` is a person's name, or the part that acted."""
    connection.execute(
        sa.insert(audit).values(
            merchant=merchant,
            id=identifier("aud", now_us),
            at=now_us,
            actor=actor,
            action=action,
            subject=subject,
            detail=detail,
        )
    )


class Act(NamedTuple):
    """One line of the audit log."""

    at: int
    actor: str
    action: str
    detail: str


def acts_on(connection: Connection, merchant: str, subject: str) -> list[Act]:
    """What was done to one thing, the oldest first."""
    query = (
        sa.select(audit.c.at, audit.c.actor, audit.c.action, audit.c.detail)
        .where(audit.c.merchant == merchant, audit.c.subject == subject)
        .order_by(audit.c.at, audit.c.id)
    )
    return [Act(*row) for row in connection.execute(query)]


_COUNT = (
    sa.update(meta)
    .where(meta.c.name == _NAME)
    .values(value=sa.cast(sa.cast(meta.c.value, sa.BigInteger) + 1, sa.Text))
)
