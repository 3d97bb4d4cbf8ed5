"""Notifications: the canonical messages, each one stored once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import structs
from sqlalchemy.engine import Connection, Row

from arifa.errors import NotFound
from arifa.identifiers import lower_bound, moment_of
from arifa.notification import Notification, Reading, State
from arifa.store import bulk, merchants, references
from arifa.store.schema import notifications

ISSUED: Final = "issue"
"""The source and the dialect of a notification that was issued here; its inbox row is empty."""

IMPORTED: Final = "imported"
"""The inbox row of a notification that the merchant had handled before the hub knew of it."""

_IDS_MAX: Final = 500
_PACK: Final = msgspec.json.Encoder().encode
_READ: Final = msgspec.json.Decoder(Reading).decode


class Entry(NamedTuple):
    """One row, as it is inserted."""

    merchant: str
    id: str
    source: str
    dialect: str
    inbox: str
    inbox_merchant: str
    received_at: int
    state: str
    money_hash: bytes
    reading: str


Values = tuple[str, str, str, str, str, str, int, str, bytes, str]
"""What is in an `Entry`: the intake makes it without the names."""


def pack_reading(reading: Reading) -> str:
    """The reading as the store keeps it."""
    return _PACK(reading).decode()


def insert(connection: Connection, entries: Sequence[Values]) -> None:
    """Store notifications."""
    bulk.start_insert(connection, notifications, Entry._fields, entries)


def accept(connection: Connection, held: Notification) -> Notification:
    """Let a held notification count: why it was held stays with its case."""
    reading = structs.replace(held.reading, held=None)
    connection.execute(
        sa.update(notifications)
        .where(notifications.c.merchant == held.merchant, notifications.c.id == held.id)
        .values(state=State.ACCEPTED.value, reading=pack_reading(reading))
    )
    return structs.replace(held, state=State.ACCEPTED, reading=reading)


def built(row: Row[Any]) -> Notification:
    """The notification of a row."""
    return Notification(
        id=row.id,
        merchant=row.merchant,
        source=row.source,
        dialect=row.dialect,
        received_at=row.received_at,
        state=State(row.state),
        reading=_READ(row.reading),
    )


def find(connection: Connection, merchant: str, identity: str) -> Row[Any] | None:
    """The row of this merchant's notification."""
    query = sa.select(notifications).where(
        notifications.c.merchant == merchant, notifications.c.id == identity
    )
    return connection.execute(query).first()


def get(connection: Connection, identity: str) -> Row[Any]:
    """The row of a notification, whoever's it is.

    Raises:
        NotFound: there is none.
    """
    query = sa.select(notifications).where(
        notifications.c.merchant.in_(merchants.names(connection)), notifications.c.id == identity
    )
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"there is no notification {identity!r}; see: arifa notification list")
    return row


def listed(
    connection: Connection,
    *,
    source: str | None = None,
    reference: str | None = None,
    since: int | None = None,
    merchant: str | None = None,
    limit: int = 50,
) -> list[Notification]:
    """The newest first; `source` is an id, `reference` any reference of the notification."""
    owners = merchants.names(connection) if merchant is None else [merchant]
    found: list[Notification] = []
    for owner in owners:
        query = sa.select(notifications).where(notifications.c.merchant == owner)
        if source is not None:
            query = query.where(notifications.c.source == source)
        if since is not None:
            query = query.where(
                notifications.c.id >= lower_bound("ntf", since),
                notifications.c.received_at >= since,
            )
        query = query.order_by(notifications.c.id.desc()).limit(limit)
        if reference is None:
            found += [built(row) for row in connection.execute(query)]
            continue
        ids = references.find(connection, owner, reference)[::-1]
        # In parts: a quote that many share, such as DONATION, has more hits than a statement may
        # have parameters.
        for begin in range(0, len(ids), _IDS_MAX):
            part = query.where(notifications.c.id.in_(ids[begin : begin + _IDS_MAX]))
            found += [built(row) for row in connection.execute(part)]
            if len(found) >= limit:
                break
    return sorted(found, key=lambda item: item.id, reverse=True)[:limit]


def of_request(connection: Connection, inbox: str, *, is_reread: bool) -> list[str]:
    """The ids of the notifications that this request made.

    They have the moment of its own id in theirs. `is_reread`: it may have made them later.
    """
    query = sa.select(notifications.c.id).where(
        notifications.c.merchant.in_(merchants.names(connection)), notifications.c.inbox == inbox
    )
    if not is_reread:
        moment = moment_of(inbox)
        # Not BETWEEN: PostgreSQL's grammar takes no collation within it.
        query = query.where(
            notifications.c.id >= f"ntf_{moment}", notifications.c.id < f"ntf_{moment}g"
        )
    return list(connection.execute(query.order_by(notifications.c.id)).scalars())


def count(connection: Connection) -> int:
    """How many there are."""
    return int(
        connection.execute(sa.select(sa.func.count()).select_from(notifications)).scalar() or 0
    )
