"""The endpoints whose breaker is open: written when it opens, deleted when it closes.

A worker decides by what it sees itself; this is for people, for alerts, and for the worker of the
next start.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.store import bulk
from arifa.store.schema import endpoint_troubles as table


def begin(connection: Connection, merchant: str, endpoint: str, cause: str, now_us: int) -> None:
    """Note that it is in trouble; the first to see it counts."""
    columns = ("merchant", "endpoint", "since", "cause")
    row = (merchant, endpoint, now_us, cause)
    bulk.insert(connection, table, columns, [row], end=" ON CONFLICT DO NOTHING")


def end(connection: Connection, merchant: str, endpoint: str) -> bool:
    """Note that it is well; true where people had been told of the trouble."""
    row = connection.execute(
        sa.delete(table)
        .where(table.c.merchant == merchant, table.c.endpoint == endpoint)
        .returning(table.c.announced_at)
    ).first()
    return row is not None and row.announced_at is not None


def all_of(connection: Connection) -> list[Row[Any]]:
    """Every endpoint in trouble: `merchant`, `endpoint`, `since`, `cause`, `announced_at`."""
    return list(connection.execute(sa.select(table).order_by(table.c.since)))


def announce(connection: Connection, before_us: int, now_us: int) -> list[Row[Any]]:
    """Those that have been in trouble since before this, and of which nobody was told: once."""
    return list(
        connection.execute(
            sa.update(table)
            .where(table.c.announced_at.is_(None), table.c.since <= before_us)
            .values(announced_at=now_us)
            .returning(table.c.merchant, table.c.endpoint, table.c.since, table.c.cause)
        )
    )
