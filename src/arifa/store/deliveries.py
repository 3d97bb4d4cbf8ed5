"""Deliveries: one notification for one endpoint. The rows are the queue.

    pending ──claim──► sending ──record──► delivered
       ▲                  │                dead
       └──── retry ◄──────┘                cancelled

A claim is by state, never by a cursor, and by endpoint: the index of what is due begins with it, so
that a million rows that wait for one endpoint are not met by a claim for another. A lease belongs
to a worker, by the database's clock, and each claim raises the fence: a result with an old fence is
kept as an attempt and changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.errors import NotFound
from arifa.store import bulk, merchants, notifications, ordering
from arifa.store.ordering import Key
from arifa.store.schema import attempts, deliveries, endpoints, workers
from arifa.store.schema import notifications as notifications_table

LEASE_SECONDS: Final = 30
ABANDONED: Final = "abandoned"
"""The last cause of a delivery whose worker went away with it."""
SKIPPED: Final = "skipped"
"""The last cause of a delivery that a person has passed over."""


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
    next_attempt_at: int | None
    created_at: int
    state: str = DeliveryState.PENDING.value
    attempt_count: int = 0
    fence: int = 0
    order_key: str | None = None
    sequence: int | None = None
    url: str | None = None
    replay_of: str | None = None


class Claimed(NamedTuple):
    """A delivery that this worker may try now.

    `url` is where it goes, if not to the endpoint's own; `replay_of` the delivery that it repeats.
    """

    merchant: str
    id: str
    notification: str
    endpoint: str
    attempt_count: int
    fence: int
    created_at: int
    url: str | None = None
    replay_of: str | None = None
    order_key: str | None = None


class AttemptResult(NamedTuple):
    """What one try came to, and what becomes of the delivery.

    Attributes:
        reference: what the receiver calls the notification.
        retry_after: seconds that it asks to be left alone; not kept.
        gone: the endpoint's URL, where that has said that it is gone for good; not kept.
    """

    claimed: Claimed
    started_at: int
    finished_at: int
    status: int | None
    cause: str
    detail: str | None
    state: DeliveryState
    next_attempt_at: int | None
    reference: str | None = None
    retry_after: float | None = None
    gone: str | None = None


def insert(connection: Connection, entries: list[Entry]) -> None:
    """Queue deliveries; those with an `order_key` get their places in its order."""
    plain = [entry[:_PLAIN] for entry in entries if entry[_PLAIN:] == _NO_MORE]
    if plain:
        bulk.insert(connection, deliveries, Entry._fields[:_PLAIN], plain)
    if len(plain) < len(entries):
        whole = [entry for entry in entries if entry[_PLAIN:] != _NO_MORE]
        ordered = [entry for entry in whole if entry.order_key is not None]
        rows = [entry for entry in whole if entry.order_key is None]
        rows += ordering.placed(connection, ordered)
        bulk.insert(connection, deliveries, Entry._fields, rows)


_PLAIN: Final = Entry._fields.index("order_key")
"""How many of an entry's columns the usual one has: the rest are for ordered endpoints, replays and
URLs of a delivery's own."""
_NO_MORE: Final = (None,) * (len(Entry._fields) - _PLAIN)


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
    is_dead = workers.c.lease_until <= _database_now(connection)
    live = sa.select(workers.c.id).where(~is_dead)
    if all_others_than is not None:
        is_dead = workers.c.id != all_others_than
        live = sa.select(sa.literal(all_others_than))
    put_back = connection.execute(
        sa.update(deliveries)
        .where(sa.text("state = 'sending'"), deliveries.c.worker.not_in(live))
        .values(state=DeliveryState.PENDING.value, worker=None, last_cause=ABANDONED)
    )
    # By its own columns, so that a worker which has just prolonged its lease keeps it.
    connection.execute(sa.delete(workers).where(is_dead))
    return put_back.rowcount


def put_back(connection: Connection, worker: str, keep: Collection[str] = ()) -> int:
    """Put back what stands as being sent by this worker, but for what it has in hand (`keep`).

    After a claim whose commit may or may not have come through, and when a worker stops. They are
    due at once: a claim leaves the time of the next attempt as it was.
    """
    statement = sa.update(deliveries).where(
        sa.text("state = 'sending'"), deliveries.c.worker == worker
    )
    if keep:
        statement = statement.where(deliveries.c.id.not_in(sorted(keep)))
    found = connection.execute(statement.values(state=DeliveryState.PENDING.value, worker=None))
    return found.rowcount


def leave(connection: Connection, worker: str) -> None:
    """Take this worker off the list; nothing is sending in its name any more."""
    connection.execute(sa.delete(workers).where(workers.c.id == worker))


# ---------------------------------------------------------------------------------- claim, record


def claim(
    connection: Connection, worker: str, now_us: int, wanted: Sequence[tuple[str, int]]
) -> list[Claimed]:
    """Take what is due, of each endpoint that is named up to so many, what is due longest first.

    Args:
        wanted: (endpoint, how many at most).
    """
    driver = bulk.driver(connection)
    if bulk.is_sqlite(connection):
        rows = []
        for endpoint, room in wanted:
            values = (worker, endpoint, now_us, room)
            rows += driver.execute(_CLAIM_SQLITE, values).fetchall()
    else:
        names, rooms = [list(column) for column in zip(*wanted, strict=True)] or ([], [])
        rows = driver.execute(_CLAIM_POSTGRES, (names, rooms, now_us, worker)).fetchall()
    rows.sort(key=_due_first)
    return [Claimed(*row[:-1]) for row in rows]


def _due_first(row: Sequence[Any]) -> tuple[int, str]:
    return row[-1], row[1]


_CLAIMED: Final = ", ".join(f"d.{name}" for name in (*Claimed._fields, "next_attempt_at"))
# By hand, like the intake's: through SQLAlchemy, a row at a time, they cost several times as much.
_CLAIM_SQLITE: Final = (
    "UPDATE deliveries SET state = 'sending', worker = ?, fence = fence + 1 "  # noqa: S608
    "WHERE rowid IN (SELECT rowid FROM deliveries WHERE state = 'pending' "
    "AND next_attempt_at IS NOT NULL AND endpoint = ? AND next_attempt_at <= ? "
    f"ORDER BY next_attempt_at LIMIT ?) RETURNING {_CLAIMED.replace('d.', '')}"
)
_CLAIM_POSTGRES: Final = (
    b"WITH due AS (SELECT e.merchant, e.id FROM unnest(%b::text[], %b::bigint[]) AS w (name, room) "
    b"CROSS JOIN LATERAL (SELECT merchant, id FROM deliveries WHERE state = 'pending' "
    b"AND next_attempt_at IS NOT NULL AND endpoint = w.name AND next_attempt_at <= %b "
    b"ORDER BY next_attempt_at LIMIT w.room FOR UPDATE SKIP LOCKED) AS e) "
    b"UPDATE deliveries AS d SET state = 'sending', worker = %b, fence = d.fence + 1 FROM due "
    b"WHERE d.merchant = due.merchant AND d.id = due.id RETURNING " + _CLAIMED.encode()
)


def record(
    connection: Connection, worker: str, results: Sequence[AttemptResult]
) -> list[AttemptResult]:
    """Keep the attempts, and move each delivery whose fence is still ours; gives those that moved.

    An attempt's number is its claim's fence, which no two claims of a delivery share: a zombie's
    has a place of its own, and a group may be recorded again where its commit's fate is not known.
    """
    if not results:
        return []
    # Always in this order, so that two nodes cannot wait for each other.
    ordered = sorted(results, key=lambda result: (result.claimed.merchant, result.claimed.id))
    if _moved(connection, ordered) == len(ordered):
        moved = fresh = ordered
    else:
        fresh = [result for result in ordered if not _is_kept(connection, result.claimed)]
        moved = [result for result in fresh if _has_moved(connection, result)]
    if fresh:
        rows = [_attempt(worker, result) for result in fresh]
        bulk.insert(connection, attempts, _ATTEMPT, rows)
    return moved


def _moved(connection: Connection, results: Sequence[AttemptResult]) -> int:
    rows = [_moves(result) for result in results]
    driver = bulk.driver(connection)
    if bulk.is_sqlite(connection):
        return int(driver.executemany(_RECORD_SQLITE, rows).rowcount)
    columns = [list(column) for column in zip(*rows, strict=True)]
    return int(driver.execute(_RECORD_POSTGRES, columns).rowcount)


def _has_moved(connection: Connection, result: AttemptResult) -> bool:
    """Whether it was this result that brought its delivery to where it stands."""
    claimed = result.claimed
    query = sa.select(deliveries.c.fence, deliveries.c.state, deliveries.c.next_attempt_at).where(
        deliveries.c.merchant == claimed.merchant, deliveries.c.id == claimed.id
    )
    row = connection.execute(query).first()
    wanted = (claimed.fence, result.state.value, result.next_attempt_at)
    return row is not None and tuple(row) == wanted


def give_up(connection: Connection, claimed: Claimed, cause: str, now_us: int) -> bool:
    """End a delivery whose attempts cannot be recorded at all, so that it is not sent for ever.

    False where it is no longer this claim's to end.
    """
    ended = connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.merchant == claimed.merchant,
            deliveries.c.id == claimed.id,
            deliveries.c.fence == claimed.fence,
            deliveries.c.state == DeliveryState.SENDING.value,
        )
        .values(
            state=DeliveryState.DEAD.value,
            worker=None,
            next_attempt_at=None,
            finished_at=now_us,
            last_status=None,
            last_cause=cause,
        )
    )
    return ended.rowcount == 1


def skip(connection: Connection, row: Row[Any], now_us: int) -> bool:
    """Cancel a delivery that waits or is dead; what waits behind it in its order goes on.

    False where it is being sent, or has ended otherwise.
    """
    found = connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.merchant == row.merchant,
            deliveries.c.id == row.id,
            deliveries.c.state.in_((DeliveryState.PENDING.value, DeliveryState.DEAD.value)),
        )
        .values(
            state=DeliveryState.CANCELLED.value,
            next_attempt_at=None,
            finished_at=now_us,
            last_cause=SKIPPED,
        )
    )
    if found.rowcount and row.order_key is not None:
        ordering.release(connection, [Key(row.merchant, row.endpoint, row.order_key)], now_us)
    return found.rowcount == 1


def _moves(result: AttemptResult) -> tuple[object, ...]:
    """The values of `_RECORD_SQLITE`."""
    claimed = result.claimed
    is_over = result.state is not DeliveryState.PENDING
    return (
        result.state.value,
        result.next_attempt_at,
        result.finished_at if is_over else None,
        result.status,
        result.cause,
        claimed.merchant,
        claimed.id,
        claimed.fence,
    )


def _attempt(worker: str, result: AttemptResult) -> tuple[object, ...]:
    """The values of `_ATTEMPT`."""
    claimed = result.claimed
    return (
        claimed.merchant,
        claimed.id,
        claimed.fence,
        worker,
        claimed.fence,
        result.started_at,
        result.finished_at,
        result.status,
        result.cause,
        result.detail,
        result.reference,
    )


def _is_kept(connection: Connection, claimed: Claimed) -> bool:
    query = sa.select(attempts.c.number).where(
        attempts.c.merchant == claimed.merchant,
        attempts.c.delivery == claimed.id,
        attempts.c.number == claimed.fence,
    )
    return connection.execute(query).first() is not None


_RECORD_SQLITE: Final = (
    "UPDATE deliveries SET state = ?, worker = NULL, attempt_count = attempt_count + 1, "
    "next_attempt_at = ?, finished_at = ?, last_status = ?, last_cause = ? "
    "WHERE merchant = ? AND id = ? AND fence = ? AND state = 'sending'"
)
_RECORD_POSTGRES: Final = (
    b"UPDATE deliveries AS d SET state = r.s, worker = NULL, attempt_count = d.attempt_count + 1, "
    b"next_attempt_at = r.n, finished_at = r.e, last_status = r.ls, last_cause = r.lc "
    b"FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::text[], "
    b"%b::text[], %b::text[], %b::bigint[]) AS r (s, n, e, ls, lc, m, i, f) "
    b"WHERE d.merchant = r.m AND d.id = r.i AND d.fence = r.f AND d.state = 'sending'"
)
_ATTEMPT: Final = tuple(attempts.c.keys())


def notifications_of(
    connection: Connection, claims: Iterable[Claimed]
) -> list[notifications.Entry]:
    """The notifications of what was claimed together."""
    wanted: dict[str, set[str]] = {}
    for claimed in claims:
        wanted.setdefault(claimed.merchant, set()).add(claimed.notification)
    return [
        notifications.Entry(*row)
        for merchant, ids in wanted.items()
        for row in bulk.select_by_keys(
            connection,
            notifications_table,
            notifications.Entry._fields,
            merchant=merchant,
            key="id",
            keys=ids,
        )
    ]


def heads(connection: Connection) -> dict[str, int]:
    """Endpoint → when its first pending delivery is due: a step of the index for each endpoint."""
    rows = bulk.execute(connection, _HEADS, ()).fetchall()
    return {row[0]: int(row[1]) for row in rows}


class Due(NamedTuple):
    """When the first of the pending deliveries is due, in microseconds UTC; None without any.

    Attributes:
        active: of those that are to be sent.
        held: of those whose endpoint is paused or disabled: they wait until it is resumed.
    """

    active: int | None
    held: int | None


def next_due(connection: Connection) -> Due:
    """When the next pending delivery is due, and apart from it the next of those that are held."""
    query = sa.select(endpoints.c.id).where(endpoints.c.state != "active")
    held = set(connection.execute(query).scalars())
    found = heads(connection).items()
    return Due(
        min((at for endpoint, at in found if endpoint not in held), default=None),
        min((at for endpoint, at in found if endpoint in held), default=None),
    )


_IS_DUE: Final = "state = 'pending' AND next_attempt_at IS NOT NULL"
# Neither engine skips through an index by itself.
_HEADS: Final = (
    "WITH RECURSIVE found (endpoint) AS ("  # noqa: S608
    f"SELECT min(endpoint) FROM deliveries WHERE {_IS_DUE} "
    f"UNION ALL SELECT (SELECT min(d.endpoint) FROM deliveries AS d WHERE {_IS_DUE} "
    "AND d.endpoint > found.endpoint) FROM found WHERE found.endpoint IS NOT NULL) "
    "SELECT endpoint, (SELECT min(d.next_attempt_at) FROM deliveries AS d "
    f"WHERE {_IS_DUE} AND d.endpoint = found.endpoint) FROM found WHERE endpoint IS NOT NULL"
)


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
