"""Finding notifications by reference: an index written behind the commit, never in it.

`follow` carries the index up to shortly before now; what is newer is read through, so that a search
always sees everything. The margin is there for PostgreSQL, where a transaction that began earlier
may commit later: an id behind the cursor would never be looked at again.
"""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from arifa.identifiers import lower_bound
from arifa.notification import Reading
from arifa.store import merchants
from arifa.store.schema import notifications, references, references_cursor

MARGIN_SECONDS: Final = 60
CHUNK: Final = 500
_READ: Final = msgspec.json.Decoder(Reading).decode


def terms(reading: Reading) -> set[str]:
    """What a notification can be found by."""
    found = {
        reading.bank_reference,
        reading.end_to_end_id,
        reading.related_reference,
        reading.payer.reference,
        *reading.other_references,
    }
    return {term.strip() for term in found if term and term.strip()}


def find(connection: Connection, merchant: str, reference: str) -> list[str]:
    """The ids of this merchant's notifications that carry the reference."""
    term = reference.strip()
    query = sa.select(references.c.notification).where(
        references.c.merchant == merchant, references.c.term == term
    )
    found = set(connection.execute(query).scalars())
    newer = (
        sa.select(notifications.c.id, notifications.c.reading)
        .where(
            notifications.c.merchant == merchant,
            notifications.c.id > _cursor(connection, merchant),
        )
        .order_by(notifications.c.id)
    )
    for row in connection.execution_options(yield_per=CHUNK).execute(newer):
        if term in terms(_READ(row.reading)):
            found.add(row.id)
    return sorted(found)


def _cursor(connection: Connection, merchant: str) -> str:
    query = sa.select(references_cursor.c.notification).where(
        references_cursor.c.merchant == merchant
    )
    return connection.execute(query).scalar() or ""


def follow(connection: Connection, now_us: int) -> int:
    """Index one chunk of every merchant: how many notifications were indexed."""
    until = lower_bound("ntf", now_us - MARGIN_SECONDS * 1_000_000)
    return sum(_follow_one(connection, merchant, until) for merchant in merchants.names(connection))


def _follow_one(connection: Connection, merchant: str, until: str) -> int:
    cursor = _cursor(connection, merchant)
    rows = connection.execute(
        sa.select(notifications.c.id, notifications.c.reading)
        .where(
            notifications.c.merchant == merchant,
            notifications.c.id > cursor,
            notifications.c.id < until,
        )
        .order_by(notifications.c.id)
        .limit(CHUNK)
    ).all()
    if not rows:
        return 0
    found = [
        {"merchant": merchant, "term": term, "notification": row.id}
        for row in rows
        for term in sorted(terms(_READ(row.reading)))
    ]
    if found:
        connection.execute(sa.insert(references), found)
    moved = connection.execute(
        sa.update(references_cursor)
        .where(references_cursor.c.merchant == merchant, references_cursor.c.notification == cursor)
        .values(notification=rows[-1].id)
    )
    if moved.rowcount == 0:
        # The first time; or another node has moved it, and this insert fails and rolls all back.
        connection.execute(
            sa.insert(references_cursor).values(merchant=merchant, notification=rows[-1].id)
        )
    return len(rows)
