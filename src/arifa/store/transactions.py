"""Transactions: what this hub issues, from its order or event to the merchant's OK.

    submitted ──► approved ──► processing ──► settled ──┐
        │                                     failed  ──┴► unacknowledged ──► complete
        └───────► declined

An event enters as settled or failed: it has happened. The machine is the table `MOVES`, and every
move is a conditional update, so that of two who move one transaction at once only one does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.errors import AlreadyClaimed, NotFound, Refused
from arifa.identifiers import Identifiers, lower_bound
from arifa.notification import Reading
from arifa.store import bulk, merchants
from arifa.store.schema import (
    audit,
    deliveries,
    transaction_keys,
    transaction_rules,
    transactions,
)

IDS_MAX: Final = 500
SUBMITTED: Final = "submit"
"""The origin of orders; events have the name of the system that they came from."""
CORE: Final = "core"
"""The origin of events unless told otherwise: alike on every way in, so that none enters twice."""


class TransactionState(StrEnum):
    """Where a transaction stands."""

    SUBMITTED = "submitted"
    APPROVED = "approved"
    DECLINED = "declined"
    PROCESSING = "processing"
    SETTLED = "settled"
    FAILED = "failed"
    UNACKNOWLEDGED = "unacknowledged"
    COMPLETE = "complete"


_S = TransactionState
MOVES: Final[Mapping[TransactionState, frozenset[TransactionState]]] = {
    _S.SUBMITTED: frozenset({_S.APPROVED, _S.DECLINED}),
    _S.APPROVED: frozenset({_S.PROCESSING}),
    _S.DECLINED: frozenset(),
    _S.PROCESSING: frozenset({_S.SETTLED, _S.FAILED}),
    _S.SETTLED: frozenset({_S.UNACKNOWLEDGED}),
    _S.FAILED: frozenset({_S.UNACKNOWLEDGED}),
    _S.UNACKNOWLEDGED: frozenset({_S.COMPLETE}),
    _S.COMPLETE: frozenset(),
}
"""State → where it may go from there; nowhere else."""
BEGINNINGS: Final = frozenset({_S.SUBMITTED, _S.SETTLED, _S.FAILED})
"""Where a transaction may begin: an order, or an event that has happened."""


class Entry(NamedTuple):
    """One row, as it is inserted."""

    merchant: str
    id: str
    origin: str
    reference: str
    state: str
    batch: str | None
    source_account: str | None
    content_hash: bytes
    reading: str
    reason: str | None
    notification: str | None
    deliveries: str
    untold: str
    created_at: int
    changed_at: int


class Move(NamedTuple):
    """One line of the audit log: who moved which transaction where, and why."""

    merchant: str
    transaction: str
    to: TransactionState
    actor: str
    detail: str = ""


class Claim(NamedTuple):
    """A transaction that this worker may process now, for as long as its lease lasts."""

    merchant: str
    id: str
    reference: str
    source_account: str | None
    reading: str
    fence: int


# ---------------------------------------------------------------------------------- entering


def insert(connection: Connection, entries: Sequence[Entry]) -> None:
    """Enter transactions.

    Raises:
        AlreadyClaimed: one of the references is taken, perhaps since `by_reference` looked.
    """
    rows = sorted(entries, key=lambda entry: (entry.merchant, entry.origin, entry.reference))
    done = bulk.insert(connection, transactions, Entry._fields, rows, end=" ON CONFLICT DO NOTHING")
    if done != len(rows):
        raise AlreadyClaimed("another transaction has the same reference already")


def by_reference(
    connection: Connection, merchant: str, origin: str, references: Collection[str]
) -> dict[str, Row[Any]]:
    """reference → the transaction that has it, of this merchant and origin."""
    wanted, found = sorted(references), {}
    for begin in range(0, len(wanted), IDS_MAX):
        values = {"owner": merchant, "from": origin, "some": wanted[begin : begin + IDS_MAX]}
        found.update({row.reference: row for row in connection.execute(_BY_REFERENCE, values)})
    return found


_BY_REFERENCE: Final = sa.select(transactions).where(
    transactions.c.merchant == sa.bindparam("owner"),
    transactions.c.origin == sa.bindparam("from"),
    transactions.c.reference.in_(sa.bindparam("some", expanding=True)),
)


def record_moves(
    connection: Connection, ids: Identifiers, moves: Sequence[Move], now_us: int
) -> None:
    """Put moves into the audit log, in this order."""
    rows = [
        (
            move.merchant,
            ids.new("aud"),
            now_us,
            move.actor,
            f"transaction.{move.to}",
            move.transaction,
            move.detail,
        )
        for move in moves
    ]
    if rows:
        bulk.insert(connection, audit, _AUDIT, rows)


_AUDIT: Final = ("merchant", "id", "at", "actor", "action", "subject", "detail")


def moves_of(connection: Connection, merchant: str, identity: str) -> list[Row[Any]]:
    """The audit log of one transaction, the oldest first."""
    query = sa.select(audit).where(audit.c.merchant == merchant, audit.c.subject == identity)
    return list(connection.execute(query.order_by(audit.c.at, audit.c.id)))


# ---------------------------------------------------------------------------------- keys


def key_of(connection: Connection, merchant: str, key: str) -> Row[Any] | None:
    """What was submitted under this idempotency key."""
    query = sa.select(transaction_keys).where(
        transaction_keys.c.merchant == merchant, transaction_keys.c.key == key
    )
    return connection.execute(query).first()


def keep_key(
    connection: Connection,
    merchant: str,
    key: str,
    *,
    content_hash: bytes,
    answer: Sequence[str],
    now_us: int,
) -> None:
    """Remember what was submitted under this key, and the ids that it was answered with.

    Raises:
        AlreadyClaimed: somebody has used the key since `key_of` looked.
    """
    row = (merchant, key, content_hash, pack(answer), now_us)
    done = bulk.insert(connection, transaction_keys, _KEY, [row], end=" ON CONFLICT DO NOTHING")
    if not done:
        raise AlreadyClaimed("the idempotency key is taken already")


_KEY: Final = ("merchant", "key", "content_hash", "answer", "created_at")


def answered(row: Row[Any]) -> list[str]:
    """The ids that were answered under a key."""
    return msgspec.json.decode(row.answer, type=list[str])


# ---------------------------------------------------------------------------------- moving


def check_move(identity: str, state: str, to: TransactionState) -> None:
    """See that a transaction in this state may go there.

    Raises:
        Refused: the machine has no such move.
    """
    if to not in MOVES[TransactionState(state)]:
        where = ", ".join(sorted(MOVES[TransactionState(state)])) or "nowhere: that is its end"
        raise Refused(f"{identity} is {state}, so it cannot become {to}; it can go to: {where}")


def check_processable(row: Any) -> None:
    """See that this one may be processed, now or when the lease of whoever does it is over.

    Raises:
        Refused: the machine has no such move.
    """
    if row.state != _S.PROCESSING:
        check_move(row.id, row.state, _S.PROCESSING)


def move(
    connection: Connection,
    row: Any,
    to: TransactionState,
    now_us: int,
    *,
    came_from: TransactionState | None = None,
    **values: object,
) -> None:
    """Move one transaction, with whatever else changes about it.

    Raises:
        Refused: the machine has no such move, or somebody else has moved it meanwhile.
    """
    before = came_from or TransactionState(row.state)
    check_move(row.id, before, to)
    moved = connection.execute(
        sa.update(transactions)
        .where(
            transactions.c.merchant == row.merchant,
            transactions.c.id == row.id,
            transactions.c.state == before.value,
        )
        .values(state=to.value, changed_at=now_us, **values)
    )
    if moved.rowcount != 1:
        raise Refused(f"{row.id} has been moved by somebody else just now; look at it again")


def announced(
    connection: Connection,
    row: Any,
    notification: str,
    queued: Sequence[str],
    untold: Sequence[Mapping[str, str]],
) -> None:
    """Keep what a settled or failed one was announced as, to whom, and to whom not."""
    connection.execute(
        sa.update(transactions)
        .where(transactions.c.merchant == row.merchant, transactions.c.id == row.id)
        .values(
            notification=notification,
            deliveries=pack(queued),
            untold=pack(untold),
        )
    )


def pack(items: Sequence[object]) -> str:
    """A list as the columns `deliveries` and `untold` keep it."""
    return msgspec.json.encode(list(items)).decode()


# ---------------------------------------------------------------------------------- processing


def _database_now(connection: Connection) -> sa.ColumnElement[int]:
    """The database's clock, in microseconds: the one clock that all nodes share."""
    if connection.dialect.name == "sqlite":
        return sa.literal_column("CAST(unixepoch('subsec') * 1000000 AS INTEGER)", sa.BigInteger)
    return sa.literal_column(
        "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)", sa.BigInteger
    )


def waiting(connection: Connection) -> bool:
    """Whether there is anything to process now."""
    is_left = sa.and_(
        transactions.c.state == _S.PROCESSING.value,
        transactions.c.lease_until <= _database_now(connection),
    )
    for condition in (transactions.c.state == _S.APPROVED.value, is_left):
        query = sa.select(transactions.c.id).where(_IS_OPEN, condition).limit(1)
        if connection.execute(query).first() is not None:
            return True
    return False


def approved(connection: Connection, limit: int, only: str | None = None) -> list[Row[Any]]:
    """Approved ones, the oldest first, for whoever claims them now; `only` is an id."""
    return _for_claim(connection, transactions.c.state == _S.APPROVED.value, limit, only)


def abandoned(connection: Connection, limit: int, only: str | None = None) -> list[Row[Any]]:
    """Those that were being processed by somebody whose lease has ended."""
    is_over = sa.and_(
        transactions.c.state == _S.PROCESSING.value,
        transactions.c.lease_until <= _database_now(connection),
    )
    return _for_claim(connection, is_over, limit, only)


def _for_claim(
    connection: Connection, condition: sa.ColumnElement[bool], limit: int, only: str | None
) -> list[Row[Any]]:
    query = sa.select(transactions).where(_IS_OPEN, condition)
    if only is not None:
        query = query.where(transactions.c.id == only)
    query = query.order_by(transactions.c.id).limit(limit).with_for_update(skip_locked=True)
    return list(connection.execute(query))


def claim(
    connection: Connection, row: Row[Any], worker: str, lease_seconds: float, now_us: int
) -> Claim | None:
    """Take one for this worker, by the database's clock; None where somebody else has it now."""
    taken = connection.execute(
        sa.update(transactions)
        .where(
            transactions.c.merchant == row.merchant,
            transactions.c.id == row.id,
            transactions.c.state == row.state,
            transactions.c.fence == row.fence,
        )
        .values(
            state=_S.PROCESSING.value,
            worker=worker,
            lease_until=_database_now(connection) + int(lease_seconds * 1_000_000),
            fence=row.fence + 1,
            changed_at=now_us,
        )
    )
    if taken.rowcount != 1:
        return None
    return Claim(
        row.merchant, row.id, row.reference, row.source_account, row.reading, row.fence + 1
    )


def void_leases(connection: Connection) -> int:
    """End the lease of whatever is being processed; gives how many there were."""
    found = connection.execute(
        sa.update(transactions)
        .where(_IS_OPEN, transactions.c.state == _S.PROCESSING.value)
        .values(lease_until=0)
    )
    return found.rowcount


def finish(
    connection: Connection,
    claimed: Claim,
    to: TransactionState,
    *,
    reading: str,
    reason: str | None,
    now_us: int,
) -> bool:
    """Record what became of it; false where the claim is somebody else's by now."""
    check_move(claimed.id, _S.PROCESSING, to)
    return _of_claim(
        connection,
        claimed,
        state=to.value,
        reading=reading,
        reason=reason,
        worker=None,
        lease_until=None,
        changed_at=now_us,
    )


def put_off(connection: Connection, claimed: Claim, reason: str) -> bool:
    """Say why nothing is known of it yet; it stays claimed, and is asked about after the lease."""
    return _of_claim(connection, claimed, reason=reason)


def _of_claim(connection: Connection, claimed: Claim, **values: object) -> bool:
    found = connection.execute(
        sa.update(transactions)
        .where(
            transactions.c.merchant == claimed.merchant,
            transactions.c.id == claimed.id,
            transactions.c.state == _S.PROCESSING.value,
            transactions.c.fence == claimed.fence,
        )
        .values(**values)
    )
    return found.rowcount == 1


# As text, so that the partial index is used whatever the parameters are.
_IS_OPEN: Final = sa.text("transactions.state <> 'complete'")


# ---------------------------------------------------------------------------------- acknowledged


class Told(NamedTuple):
    """One delivery of a transaction's notification: to whom, and where it stands."""

    id: str
    endpoint: str
    state: str
    finished_at: int | None
    last_cause: str | None = None


def told(connection: Connection, rows: Sequence[Any]) -> dict[str, list[Told]]:
    """Transaction id → its deliveries, with those that were sent again to who did not hear."""
    found: dict[str, list[Told]] = {row.id: [] for row in rows}
    by_merchant: dict[str, list[Any]] = {}
    for row in rows:
        if row.notification is not None:
            by_merchant.setdefault(row.merchant, []).append(row)
    for merchant, some in by_merchant.items():
        for begin in range(0, len(some), IDS_MAX):
            part = some[begin : begin + IDS_MAX]
            owners = {row.notification: row.id for row in part}
            first = [name for row in part for name in delivery_ids(row)]
            for query in _told_queries(merchant, first, sorted(owners)):
                for row in connection.execute(query):
                    found[owners[row.notification]].append(
                        Told(row.id, row.endpoint, row.state, row.finished_at, row.last_cause)
                    )
    return found


def _told_queries(merchant: str, first: list[str], notified: list[str]) -> list[sa.Select[Any]]:
    table = deliveries.c
    query = sa.select(
        table.id,
        table.notification,
        table.endpoint,
        table.state,
        table.finished_at,
        table.last_cause,
    ).where(table.merchant == merchant)
    parts = [first[begin : begin + IDS_MAX] for begin in range(0, len(first), IDS_MAX)]
    return [
        *(query.where(table.id.in_(part)) for part in parts),
        query.where(sa.text("replay_of IS NOT NULL"), table.notification.in_(notified)),
    ]


def delivery_ids(row: Any) -> list[str]:
    """The ids of the deliveries that were queued when it was announced."""
    return msgspec.json.decode(row.deliveries, type=list[str])


def untold(row: Any) -> list[dict[str, str]]:
    """Who wanted to hear of it and is not told, and why: `endpoint`, `name`, `reason`."""
    return msgspec.json.decode(row.untold, type=list[dict[str, str]])


def unacknowledged(connection: Connection, *, after: str, limit: int) -> list[Row[Any]]:
    """Those whose acknowledgement is not recorded, by id, behind `after`."""
    query = sa.select(transactions).where(
        _IS_OPEN,
        transactions.c.state == _S.UNACKNOWLEDGED.value,
        transactions.c.id > after,
    )
    return list(connection.execute(query.order_by(transactions.c.id).limit(limit)))


def complete(connection: Connection, row: Any, at_us: int) -> bool:
    """Record that it was acknowledged; false where that is recorded already."""
    check_move(row.id, _S.UNACKNOWLEDGED, _S.COMPLETE)
    found = connection.execute(
        sa.update(transactions)
        .where(
            transactions.c.merchant == row.merchant,
            transactions.c.id == row.id,
            transactions.c.state == _S.UNACKNOWLEDGED.value,
        )
        .values(state=_S.COMPLETE.value, changed_at=at_us)
    )
    return found.rowcount == 1


# ---------------------------------------------------------------------------------- rules


class Rule(NamedTuple):
    """What is approved or declined without a person: every condition that it has must hold."""

    merchant: str
    name: str
    decision: str
    currency: str | None
    up_to: int | None
    source_account: str | None
    created_at: int


def add_rule(connection: Connection, rule: Rule) -> bool:
    """Store a rule; false where the merchant has one of this name."""
    done = bulk.insert(
        connection, transaction_rules, Rule._fields, [rule], end=" ON CONFLICT DO NOTHING"
    )
    return bool(done)


def remove_rule(connection: Connection, merchant: str, name: str) -> bool:
    """Remove a rule; false where there is none."""
    found = connection.execute(
        sa.delete(transaction_rules).where(
            transaction_rules.c.merchant == merchant, transaction_rules.c.name == name
        )
    )
    return found.rowcount == 1


def rules(connection: Connection, merchant: str | None = None) -> list[Rule]:
    """The rules of this merchant, or of all, in the order of their names."""
    query = sa.select(transaction_rules).order_by(
        transaction_rules.c.merchant, transaction_rules.c.name
    )
    if merchant is not None:
        query = query.where(transaction_rules.c.merchant == merchant)
    return [Rule(*row) for row in connection.execute(query)]


# ---------------------------------------------------------------------------------- reading


def get(connection: Connection, name: str) -> Row[Any]:
    """One transaction, by its id, or by its reference where no other has that.

    Raises:
        NotFound: there is none.
        Refused: several have this reference.
    """
    owners = merchants.names(connection)
    for is_meant in (transactions.c.id == name, transactions.c.reference == name):
        query = sa.select(transactions).where(transactions.c.merchant.in_(owners), is_meant)
        rows = connection.execute(query.limit(10)).all()
        if len(rows) > 1:
            found = ", ".join(f"{row.id} ({row.merchant}, {row.origin})" for row in rows)
            raise Refused(f"several transactions have the reference {name!r}: {found}; say the id")
        if rows:
            return rows[0]
    raise NotFound(f"there is no transaction {name!r}; see: arifa transaction list")


def listed(
    connection: Connection,
    *,
    states: Collection[str] = (),
    merchant: str | None = None,
    origin: str | None = None,
    reference: str | None = None,
    batch: str | None = None,
    since: int | None = None,
    ids: Collection[str] | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[Row[Any]]:
    """The newest first; `ids` are the only ones wanted, `before` an id, for the next page."""
    owners = merchants.names(connection) if merchant is None else [merchant]
    query = sa.select(transactions).where(transactions.c.merchant.in_(owners))
    for column, wanted in (
        (transactions.c.origin, origin),
        (transactions.c.reference, reference),
        (transactions.c.batch, batch),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if states:
        query = query.where(transactions.c.state.in_(sorted(states)))
        if _S.COMPLETE.value not in states:
            query = query.where(_IS_OPEN)
    if since is not None:
        query = query.where(transactions.c.id >= lower_bound("trx", since))
    if ids is not None:
        query = query.where(transactions.c.id.in_(sorted(ids)))
    if before is not None:
        query = query.where(transactions.c.id < before)
    return list(connection.execute(query.order_by(transactions.c.id.desc()).limit(limit)))


def counted(connection: Connection) -> dict[str, int]:
    """How many transactions there are in each state, as they were last moved."""
    query = sa.select(transactions.c.state, sa.func.count()).group_by(transactions.c.state)
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def reading_of(row: Any) -> Reading:
    """What it says, or will say when it is announced."""
    return _READ(row.reading)


_READ: Final = msgspec.json.Decoder(Reading).decode
