"""Alerts: what operators are told of. Written with what they are about, in its transaction.

The row of an alert is what its deliveries render, as a notification's is. What goes into a mail is
taken by time, so that a mail that failed, or whose sender died, is sent by whoever comes next.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.store import bulk
from arifa.store.schema import alerts, meta

PREFIX: Final = "alr"
MAIL_LEASE_SECONDS: Final = 300
MAIL_AGE_SECONDS: Final = 86_400
"""What is older is not mailed any more: it was written when there was nobody to mail to."""
_MAILED: Final = "alerts_mailed"


class Entry(NamedTuple):
    """One row, as it is inserted."""

    merchant: str
    id: str
    about: str
    kind: str
    at: int
    endpoint: str | None
    data: str
    mail_at: int | None


def is_alert(identity: str) -> bool:
    """Whether this id, where a notification's stands, is an alert's."""
    return identity.startswith(PREFIX)


def insert(connection: Connection, entries: Collection[Entry]) -> None:
    """Store alerts."""
    bulk.insert(connection, alerts, Entry._fields, list(entries))


def find(connection: Connection, merchant: str, ids: Collection[str]) -> list[Row[Any]]:
    """These alerts of this merchant."""
    query = sa.select(alerts).where(alerts.c.merchant == merchant, alerts.c.id.in_(sorted(ids)))
    return list(connection.execute(query))


def listed(connection: Connection, *, kind: str | None = None, limit: int = 50) -> list[Row[Any]]:
    """The newest first, each once."""
    query = sa.select(alerts).where(alerts.c.merchant == alerts.c.about)
    if kind is not None:
        query = query.where(alerts.c.kind == kind)
    return list(connection.execute(query.order_by(alerts.c.id.desc()).limit(limit)))


def take_to_mail(
    connection: Connection, now_us: int, interval_seconds: float, limit: int
) -> list[Row[Any]]:
    """What the next mail is to say, if one may go out now: of all nodes one gets it.

    What is not `mailed` within five minutes is taken again.
    """
    earliest = now_us - round(interval_seconds * 1_000_000)
    if not _is_my_turn(connection, now_us, earliest):
        return []
    due = (
        sa.select(alerts)
        .where(sa.text("mail_at IS NOT NULL"), alerts.c.mail_at <= now_us)
        .order_by(alerts.c.mail_at)
        .limit(limit)
    )
    rows = list(connection.execute(due))
    mail_later(connection, rows, now_us + MAIL_LEASE_SECONDS * 1_000_000)
    return rows


def _is_my_turn(connection: Connection, now_us: int, earliest: int) -> bool:
    number = sa.cast(meta.c.value, sa.BigInteger)
    found = connection.execute(
        sa.update(meta).where(meta.c.name == _MAILED, number <= earliest).values(value=str(now_us))
    )
    if found.rowcount:
        return True
    columns, row = ("name", "value"), (_MAILED, str(now_us))
    return bulk.insert(connection, meta, columns, [row], end=" ON CONFLICT DO NOTHING") == 1


def mailed(connection: Connection, rows: Collection[Row[Any]]) -> None:
    """Note that these have gone out."""
    mail_later(connection, rows, None)


def mail_later(connection: Connection, rows: Collection[Row[Any]], at_us: int | None) -> None:
    """Let these be taken again at that time; None: never."""
    if rows:
        connection.execute(
            sa.update(alerts)
            .where(alerts.c.id.in_(sorted({row.id for row in rows})))
            .where(alerts.c.merchant.in_(sorted({row.merchant for row in rows})))
            .values(mail_at=at_us)
        )


def is_any_to_mail(connection: Connection, now_us: int) -> bool:
    """Whether anything waits for a mail."""
    query = sa.select(alerts.c.id).where(sa.text("mail_at IS NOT NULL"), alerts.c.mail_at <= now_us)
    return connection.execute(query.limit(1)).first() is not None
