"""Choosing deliveries to make again: those that are dead, or those of a span of time.

Identifiers sort by time, so a span is a range of the primary key: nothing is scanned but the span.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.identifiers import lower_bound
from arifa.notification import State
from arifa.store import merchants, ordering
from arifa.store.deliveries import DeliveryState
from arifa.store.notifications import IMPORTED, ISSUED
from arifa.store.ordering import Key
from arifa.store.schema import deliveries, endpoints, notifications

_REMOVED: Final = "removed"


class Selection(NamedTuple):
    """Which deliveries are meant. None lets all pass; ids, not names.

    Attributes:
        since, until: microseconds: when they were queued, the second not included.
        cause: the word of their last attempt.
        source: of their notification.
    """

    since: int
    until: int
    merchant: str | None = None
    endpoint: str | None = None
    source: str | None = None
    cause: str | None = None


class Counted(NamedTuple):
    """How many there are of an endpoint, and when the first and the last of them were queued."""

    endpoint: str
    number: int
    first_at: int
    last_at: int


def count(
    connection: Connection, selection: Selection, states: Sequence[DeliveryState]
) -> list[Counted]:
    """How many deliveries are selected, by endpoint."""
    query = (
        sa.select(
            deliveries.c.endpoint,
            sa.func.count(),
            sa.func.min(deliveries.c.created_at),
            sa.func.max(deliveries.c.created_at),
        )
        .where(_selected(connection, selection, states))
        .group_by(deliveries.c.endpoint)
        .order_by(deliveries.c.endpoint)
    )
    return [Counted(*row) for row in connection.execute(query)]


def page(
    connection: Connection,
    selection: Selection,
    states: Sequence[DeliveryState],
    *,
    after: tuple[str, str],
    limit: int,
) -> list[Row[Any]]:
    """The next deliveries behind `after`, which is (merchant, id), in the order of their keys."""
    query = (
        sa.select(deliveries)
        .where(
            _selected(connection, selection, states),
            sa.tuple_(deliveries.c.merchant, deliveries.c.id) > sa.tuple_(*map(sa.literal, after)),
        )
        .order_by(deliveries.c.merchant, deliveries.c.id)
        .limit(limit)
    )
    return list(connection.execute(query))


def _selected(
    connection: Connection, selection: Selection, states: Sequence[DeliveryState]
) -> sa.ColumnElement[bool]:
    owners = [selection.merchant] if selection.merchant else merchants.names(connection)
    wanted = [
        deliveries.c.merchant.in_(owners),
        deliveries.c.id >= lower_bound("dlv", selection.since),
        deliveries.c.created_at >= selection.since,
        deliveries.c.created_at < selection.until,
        deliveries.c.state.in_([state.value for state in states]),
        # Nobody can be told any more.
        deliveries.c.endpoint.in_(sa.select(endpoints.c.id).where(endpoints.c.state != _REMOVED)),
    ]
    if DeliveryState.DELIVERED in states:
        # Not the replays of before: what was sent twice is not sent four times now.
        replay_of = deliveries.c.replay_of
        wanted.append(sa.or_(replay_of.is_(None), replay_of == deliveries.c.id))
    if selection.endpoint is not None:
        wanted.append(deliveries.c.endpoint == selection.endpoint)
    if selection.cause is not None:
        wanted.append(deliveries.c.last_cause == selection.cause)
    if selection.source is not None:
        of_source = sa.select(notifications.c.id).where(
            notifications.c.merchant == deliveries.c.merchant,
            notifications.c.id == deliveries.c.notification,
            notifications.c.source == selection.source,
        )
        wanted.append(of_source.exists())
    return sa.and_(*wanted)


def reopen(connection: Connection, row: Row[Any], now_us: int, url: str | None) -> bool:
    """Let a delivery that is over begin again, with its whole schedule; false if it is not over.

    Its attempts stay, with their numbers; `attempt_count` counts those of this run. In an order it
    takes its old place again: of several that are reopened the first is due, and the rest wait.
    """
    is_ordered = row.order_key is not None
    found = connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.merchant == row.merchant,
            deliveries.c.id == row.id,
            deliveries.c.state.in_((DeliveryState.DEAD.value, DeliveryState.CANCELLED.value)),
        )
        .values(
            state=DeliveryState.PENDING.value,
            attempt_count=0,
            next_attempt_at=None if is_ordered else now_us,
            finished_at=None,
            replay_of=row.id,
            url=url,
        )
    )
    if found.rowcount and is_ordered:
        key = Key(row.merchant, row.endpoint, row.order_key)
        ordering.hold_back(connection, [key])
        ordering.release(connection, [key], now_us)
    return found.rowcount == 1


def hasten(connection: Connection, row: Row[Any], now_us: int, url: str | None) -> bool:
    """Let a delivery that waits be tried at once, at this URL; false if it does not wait.

    Where that is a URL that it did not have, it is marked as reopened: one of its own stays its own.
    """
    is_sent_elsewhere = url is not None and row.url is None
    found = connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.merchant == row.merchant,
            deliveries.c.id == row.id,
            deliveries.c.state == DeliveryState.PENDING.value,
            # One without a time waits for another one's end, not for a time.
            deliveries.c.next_attempt_at.is_not(None),
        )
        .values(
            next_attempt_at=now_us,
            url=url,
            replay_of=row.id if is_sent_elsewhere else row.replay_of,
        )
    )
    return found.rowcount == 1


def open_replays(connection: Connection, rows: Sequence[Row[Any]]) -> set[tuple[str, str]]:
    """(merchant, id) of those deliveries that are being replayed already."""
    query = sa.select(deliveries.c.merchant, deliveries.c.replay_of).where(
        # As text, so that the partial index is used.
        sa.text("replay_of IS NOT NULL"),
        deliveries.c.merchant.in_(sorted({row.merchant for row in rows})),
        deliveries.c.replay_of.in_([row.id for row in rows]),
        deliveries.c.state.in_((DeliveryState.PENDING.value, DeliveryState.SENDING.value)),
    )
    return {(row.merchant, row.replay_of) for row in connection.execute(query)}


def told(connection: Connection, selection: Selection) -> set[tuple[str, str]]:
    """(notification, endpoint) of every delivery queued since the span began, whatever its state.

    To the end of time and not of the span: a case that was decided later queued its deliveries then.
    """
    owners = [selection.merchant] if selection.merchant else merchants.names(connection)
    query = sa.select(deliveries.c.notification, deliveries.c.endpoint).where(
        deliveries.c.merchant.in_(owners), deliveries.c.id >= lower_bound("dlv", selection.since)
    )
    if selection.endpoint is not None:
        query = query.where(deliveries.c.endpoint == selection.endpoint)
    return {(row[0], row[1]) for row in connection.execute(query)}


def accepted(
    connection: Connection, selection: Selection, *, chunk: int
) -> Iterator[Sequence[Row[Any]]]:
    """The notifications of the span that banks sent here and that count, the oldest first.

    Neither those that the merchant had handled before, nor what was issued here, which is told to
    whom it was issued for. In chunks.
    """
    owners = [selection.merchant] if selection.merchant else merchants.names(connection)
    for owner in owners:
        after = ""
        while True:
            query = sa.select(notifications).where(
                notifications.c.merchant == owner,
                notifications.c.id > max(after, lower_bound("ntf", selection.since)),
                notifications.c.received_at >= selection.since,
                notifications.c.received_at < selection.until,
                notifications.c.state == State.ACCEPTED.value,
                notifications.c.inbox != IMPORTED,
                notifications.c.source != ISSUED,
            )
            if selection.source is not None:
                query = query.where(notifications.c.source == selection.source)
            rows = connection.execute(query.order_by(notifications.c.id).limit(chunk)).all()
            if rows:
                yield rows
            if len(rows) < chunk:
                break
            after = rows[-1].id
