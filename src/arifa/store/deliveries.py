"""Deliveries: one notification for one endpoint. The rows are the queue.

    pending ──claim──► sending ──record──► delivered
       ▲                  │                dead
       └──── retry ◄──────┘                cancelled

A claim is by state, never by a cursor. A lease belongs to a worker, by the database's clock, and
each claim raises the fence: a result with an old fence is kept as an attempt and changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.errors import NotFound
from arifa.store import merchants
from arifa.store.schema import attempts, deliveries, workers

LEASE_SECONDS: Final = 30


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Entry(NamedTuple):
    """One row, as it is inserted."""

    merchant: str
    id: str
    notification: str
    endpoint: str
    next_attempt_at: int
    created_at: int
    state: str = DeliveryState.PENDING.value
    attempt_count: int = 0
    fence: int = 0


class Claimed(NamedTuple):
    """A delivery that this worker may try now."""

    merchant: str
    id: str
    notification: str
    endpoint: str
    attempt_count: int
    fence: int
    created_at: int


class AttemptResult(NamedTuple):
    """What one try came to, and what becomes of the delivery."""

    claimed: Claimed
    started_at: int
    finished_at: int
    status: int | None
    cause: str
    detail: str | None
    state: DeliveryState
    next_attempt_at: int | None


def insert(connection: Connection, entries: list[Entry]) -> None:
    """Queue deliveries."""
    connection.execute(_INSERT, [entry._asdict() for entry in entries])


_INSERT: Final = sa.insert(deliveries)


# ---------------------------------------------------------------------------------- workers


def _database_now(connection: Connection) -> sa.ColumnElement[int]:
    """The database's clock, in microseconds: the one clock that all nodes share."""
    if connection.dialect.name == "sqlite":
        return sa.literal_column("CAST(unixepoch('subsec') * 1000000 AS INTEGER)", sa.BigInteger)
    return sa.literal_column(
        "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)", sa.BigInteger
    )


def beat(
    connection: Connection, worker: str, now_us: int, lease_seconds: int = LEASE_SECONDS
) -> None:
    """Register this worker, or prolong its lease."""
    until = _database_now(connection) + lease_seconds * 1_000_000
    found = connection.execute(
        sa.update(workers).where(workers.c.id == worker).values(lease_until=until)
    )
    if found.rowcount == 0:
        connection.execute(
            sa.insert(workers).values(id=worker, started_at=now_us, lease_until=until)
        )


def rescue(connection: Connection, *, all_others_than: str | None = None) -> int:
    """Put back what workers without a lease were sending; gives how many.

    `all_others_than`: on SQLite one process serves, so at its start every other worker is dead.
    """
    live = sa.select(workers.c.id).where(workers.c.lease_until > _database_now(connection))
    if all_others_than is not None:
        live = sa.select(sa.literal(all_others_than))
    put_back = connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.state == DeliveryState.SENDING.value, deliveries.c.worker.not_in(live))
        .values(
            state=DeliveryState.PENDING.value,
            worker=None,
            next_attempt_at=_database_now(connection),
            last_cause="abandoned",
        )
    )
    connection.execute(sa.delete(workers).where(workers.c.id.not_in(live)))
    return put_back.rowcount


def leave(connection: Connection, worker: str) -> None:
    """Take this worker off the list; nothing is sending in its name any more."""
    connection.execute(sa.delete(workers).where(workers.c.id == worker))


# ---------------------------------------------------------------------------------- claim, record


def claim(
    connection: Connection,
    worker: str,
    now_us: int,
    limit: int,
    exclude: frozenset[str] = frozenset(),
) -> list[Claimed]:
    """Take up to `limit` deliveries that are due, but for those to the endpoints `exclude`."""
    due = (
        sa.select(
            deliveries.c.merchant,
            deliveries.c.id,
            deliveries.c.notification,
            deliveries.c.endpoint,
            deliveries.c.attempt_count,
            deliveries.c.fence,
            deliveries.c.created_at,
        )
        .where(
            # As text, so that the partial index is used whatever the parameters are.
            sa.text("state = 'pending'"),
            deliveries.c.next_attempt_at <= now_us,
        )
        .order_by(deliveries.c.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if exclude:
        due = due.where(deliveries.c.endpoint.not_in(sorted(exclude)))
    rows = connection.execute(due).all()
    if not rows:
        return []
    connection.execute(_CLAIM, [{"m": row.merchant, "i": row.id, "w": worker} for row in rows])
    return [
        Claimed(
            row.merchant,
            row.id,
            row.notification,
            row.endpoint,
            row.attempt_count,
            row.fence + 1,
            row.created_at,
        )
        for row in rows
    ]


_CLAIM: Final = (
    sa.update(deliveries)
    .where(deliveries.c.merchant == sa.bindparam("m"), deliveries.c.id == sa.bindparam("i"))
    .values(
        state=DeliveryState.SENDING.value,
        worker=sa.bindparam("w"),
        fence=deliveries.c.fence + 1,
    )
)


def record(connection: Connection, worker: str, results: list[AttemptResult]) -> None:
    """Keep the attempts, and move each delivery whose fence is still ours."""
    for result in results:
        claimed = result.claimed
        is_over = result.state is not DeliveryState.PENDING
        moved = connection.execute(
            _RECORD,
            {
                "m": claimed.merchant,
                "i": claimed.id,
                "f": claimed.fence,
                "s": result.state.value,
                "n": result.next_attempt_at,
                "e": result.finished_at if is_over else None,
                "ls": result.status,
                "lc": result.cause,
            },
        )
        number = claimed.attempt_count + 1
        if moved.rowcount == 0:
            # A zombie's result: kept after the live ones, under a number of its own.
            number = -claimed.fence
        connection.execute(
            _INSERT_ATTEMPT,
            {
                "merchant": claimed.merchant,
                "delivery": claimed.id,
                "number": number,
                "worker": worker,
                "fence": claimed.fence,
                "started_at": result.started_at,
                "finished_at": result.finished_at,
                "status": result.status,
                "cause": result.cause,
                "detail": result.detail,
            },
        )


_RECORD: Final = (
    sa.update(deliveries)
    .where(
        deliveries.c.merchant == sa.bindparam("m"),
        deliveries.c.id == sa.bindparam("i"),
        deliveries.c.fence == sa.bindparam("f"),
        deliveries.c.state == DeliveryState.SENDING.value,
    )
    .values(
        state=sa.bindparam("s"),
        worker=None,
        attempt_count=deliveries.c.attempt_count + 1,
        next_attempt_at=sa.bindparam("n", type_=sa.BigInteger),
        finished_at=sa.bindparam("e", type_=sa.BigInteger),
        last_status=sa.bindparam("ls", type_=sa.BigInteger),
        last_cause=sa.bindparam("lc"),
    )
)
_INSERT_ATTEMPT: Final = sa.insert(attempts)


def next_due(connection: Connection) -> int | None:
    """When the next pending delivery is due."""
    query = sa.select(sa.func.min(deliveries.c.next_attempt_at)).where(sa.text("state = 'pending'"))
    found: int | None = connection.execute(query).scalar()
    return found


# ---------------------------------------------------------------------------------- reading


def listed(
    connection: Connection,
    *,
    state: str | None = None,
    endpoint: str | None = None,
    notification: str | None = None,
    limit: int = 50,
) -> list[Row[Any]]:
    """The newest first; `endpoint` is an id."""
    query = sa.select(deliveries).where(deliveries.c.merchant.in_(merchants.names(connection)))
    if state is not None:
        query = query.where(deliveries.c.state == state)
    if endpoint is not None:
        query = query.where(deliveries.c.endpoint == endpoint)
    if notification is not None:
        query = query.where(deliveries.c.notification == notification)
    return list(connection.execute(query.order_by(deliveries.c.id.desc()).limit(limit)))


def get(connection: Connection, identity: str) -> Row[Any]:
    """One delivery.

    Raises:
        NotFound: there is none.
    """
    query = sa.select(deliveries).where(
        deliveries.c.merchant.in_(merchants.names(connection)), deliveries.c.id == identity
    )
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"there is no delivery {identity!r}; see: arifa delivery list")
    return row


def attempts_of(connection: Connection, merchant: str, delivery: str) -> list[Row[Any]]:
    """The attempts of one delivery, in the order of their start."""
    query = (
        sa.select(attempts)
        .where(attempts.c.merchant == merchant, attempts.c.delivery == delivery)
        .order_by(attempts.c.started_at)
    )
    return list(connection.execute(query))


def counted(connection: Connection) -> dict[str, int]:
    """How many deliveries there are in each state."""
    query = sa.select(deliveries.c.state, sa.func.count()).group_by(deliveries.c.state)
    return {row[0]: int(row[1]) for row in connection.execute(query)}
