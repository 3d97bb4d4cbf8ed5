"""Deliveries: one notification for one endpoint. The rows are the queue.

    pending ──claim──► sending ──record──► delivered
       ▲                  │                dead
       └──── retry ◄──────┘                cancelled

A claim is by state, never by a cursor. A lease belongs to a worker, by the database's clock, and
each claim raises the fence: a result with an old fence is kept as an attempt and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.errors import NotFound
from arifa.store import bulk, merchants
from arifa.store.schema import attempts, deliveries, notifications, workers

LEASE_SECONDS: Final = 30
ABANDONED: Final = "abandoned"
"""The last cause of a delivery whose worker went away with it."""
NONE_BUSY: Final[Mapping[str, int]] = {}


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
    bulk.insert(connection, deliveries, Entry._fields, entries)


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
    connection: Connection,
    worker: str,
    now_us: int,
    limit: int,
    exclude: Collection[str] = (),
    *,
    busy: Mapping[str, int] = NONE_BUSY,
    per_endpoint: int | None = None,
) -> list[Claimed]:
    """Take up to `limit` deliveries that are due, those that are due longest first.

    Args:
        exclude: endpoints that get nothing now.
        busy: how many attempts are open to an endpoint already.
        per_endpoint: how many may be; what is due beyond stays for another time, or for another
            worker.
    """
    taken: list[Claimed] = []
    closed, open_to = set(exclude), Counter(busy)
    if per_endpoint is not None:
        closed.update(name for name, count in open_to.items() if count >= per_endpoint)
    while len(taken) < limit:
        rows = _due(connection, now_us, limit - len(taken), closed)
        before = len(closed)
        chosen = []
        for row in rows:
            if per_endpoint is not None and open_to[row.endpoint] >= per_endpoint:
                closed.add(row.endpoint)
                continue
            open_to[row.endpoint] += 1
            chosen.append(row)
        if chosen:
            keys = [(worker, row.merchant, row.id) for row in chosen]
            _update_all(connection, _CLAIM_SQLITE, _CLAIM_POSTGRES, keys)
            taken += [_claimed(row) for row in chosen]
        if len(closed) == before:
            # Nobody was passed over, so there is no more.
            break
    return taken


def _due(
    connection: Connection, now_us: int, limit: int, closed: Collection[str]
) -> Sequence[Row[Any]]:
    if not closed:
        return connection.execute(_DUE, {"now": now_us, "most": limit}).all()
    values = {"now": now_us, "most": limit, "closed": sorted(closed)}
    return connection.execute(_DUE_ELSEWHERE, values).all()


def _claimed(row: Row[Any]) -> Claimed:
    return Claimed(
        row.merchant,
        row.id,
        row.notification,
        row.endpoint,
        row.attempt_count,
        row.fence + 1,
        row.created_at,
    )


_DUE: Final[sa.Select[Any]] = (
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
        deliveries.c.next_attempt_at <= sa.bindparam("now"),
    )
    .order_by(deliveries.c.next_attempt_at)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
)
_DUE_ELSEWHERE: Final[sa.Select[Any]] = _DUE.where(
    deliveries.c.endpoint.not_in(sa.bindparam("closed", expanding=True))
)
# By hand, like the intake's: through SQLAlchemy, a row at a time, they cost several times as much.
_CLAIM_SQLITE: Final = (
    "UPDATE deliveries SET state = 'sending', worker = ?, fence = fence + 1 "
    "WHERE merchant = ? AND id = ?"
)
_CLAIM_POSTGRES: Final = (
    b"UPDATE deliveries AS d SET state = 'sending', worker = c.w, fence = d.fence + 1 "
    b"FROM unnest(%b::text[], %b::text[], %b::text[]) AS c (w, m, i) "
    b"WHERE d.merchant = c.m AND d.id = c.i"
)


def _update_all(
    connection: Connection, sqlite: str, postgres: bytes, rows: Sequence[tuple[Any, ...]]
) -> int:
    """Run an update for each row of values; gives how many rows it changed."""
    driver = bulk.driver(connection)
    if bulk.is_sqlite(connection):
        cursor = driver.executemany(sqlite, rows)
    else:
        cursor = driver.execute(postgres, [list(column) for column in zip(*rows, strict=True)])
    return int(cursor.rowcount)


def record(connection: Connection, worker: str, results: list[AttemptResult]) -> int:
    """Keep the attempts, and move each delivery whose fence is still ours; gives how many moved.

    An attempt's number is its claim's fence, which no two claims of a delivery share: a zombie's
    has a place of its own, and a group may be recorded again where its commit's fate is not known.
    """
    if not results:
        return 0
    # Always in this order, so that two nodes cannot wait for each other.
    ordered = sorted(results, key=lambda result: (result.claimed.merchant, result.claimed.id))
    moves = [_moves(result) for result in ordered]
    moved = _update_all(connection, _RECORD_SQLITE, _RECORD_POSTGRES, moves)
    if moved != len(ordered):
        ordered = [result for result in ordered if not _is_kept(connection, result.claimed)]
    if ordered:
        rows = [_attempt(worker, result) for result in ordered]
        bulk.insert(connection, attempts, _ATTEMPT, rows)
    return moved


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
) -> dict[tuple[str, str], Row[Any]]:
    """(merchant, notification) → its row, of what was claimed together."""
    wanted: dict[str, set[str]] = {}
    for claimed in claims:
        wanted.setdefault(claimed.merchant, set()).add(claimed.notification)
    found = {}
    for merchant, identities in wanted.items():
        rows = connection.execute(_NOTIFICATIONS, {"owner": merchant, "ids": sorted(identities)})
        found.update({(merchant, row.id): row for row in rows})
    return found


_NOTIFICATIONS: Final = sa.select(notifications).where(
    notifications.c.merchant == sa.bindparam("owner"),
    notifications.c.id.in_(sa.bindparam("ids", expanding=True)),
)


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
