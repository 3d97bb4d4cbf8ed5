"""Deliveries by endpoint: what waits for it, what the last came to, and which was acknowledged."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.feed import Endpoint
from arifa.store.deliveries import DeliveryState
from arifa.store.schema import attempts, deliveries

REMOVED_CAUSE: Final = "endpoint_removed"
_IS_PENDING: Final = sa.text("state = 'pending'")
_DELIVERED: Final = DeliveryState.DELIVERED.value


def pending(connection: Connection) -> dict[str, int]:
    """Endpoint (id) → how many deliveries wait for it."""
    query = sa.select(deliveries.c.endpoint, sa.func.count()).where(_IS_PENDING)
    rows = connection.execute(query.group_by(deliveries.c.endpoint))
    return {row[0]: int(row[1]) for row in rows}


def counted(connection: Connection, endpoint: Endpoint) -> dict[str, int]:
    """How many of its deliveries there are in each state."""
    query = (
        sa.select(deliveries.c.state, sa.func.count())
        .where(_to(endpoint))
        .group_by(deliveries.c.state)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def last_tried(connection: Connection, endpoint: Endpoint) -> Row[Any] | None:
    """Its newest delivery that was tried: `id`, `state`, `last_status`, `last_cause`."""
    return connection.execute(
        sa.select(deliveries)
        .where(_to(endpoint), deliveries.c.attempt_count > 0)
        .order_by(deliveries.c.id.desc())
        .limit(1)
    ).first()


def count_open(connection: Connection, endpoint: Endpoint) -> int:
    """How many of its deliveries wait, or are out at this moment."""
    is_open = sa.text("state IN ('pending', 'sending')")
    query = sa.select(sa.func.count()).select_from(deliveries).where(_to(endpoint), is_open)
    return int(connection.execute(query).scalar() or 0)


def cancel(connection: Connection, endpoint: Endpoint, now_us: int) -> int:
    """Cancel what waits for it, because it is removed; gives how many.

    What is being sent at this moment is cancelled by its worker, unless it arrives.
    """
    found = connection.execute(
        sa.update(deliveries)
        .where(_to(endpoint), _IS_PENDING)
        .values(
            state=DeliveryState.CANCELLED.value,
            next_attempt_at=None,
            finished_at=now_us,
            last_cause=REMOVED_CAUSE,
        )
    )
    return found.rowcount


def acknowledged(connection: Connection, endpoint: Endpoint, since_us: int) -> Row[Any] | None:
    """The newest delivery to its own URL that was begun after `since_us` and acknowledged.

    `id`, `notification`, `finished_at`, `status`.
    """
    query: sa.Select[Any] = (
        sa.select(
            deliveries.c.id,
            deliveries.c.notification,
            attempts.c.finished_at,
            attempts.c.status,
        )
        .join(
            attempts,
            (attempts.c.merchant == deliveries.c.merchant)
            & (attempts.c.delivery == deliveries.c.id),
        )
        .where(
            _to(endpoint),
            deliveries.c.state == _DELIVERED,
            deliveries.c.url.is_(None) | (deliveries.c.url == endpoint.url),
            attempts.c.cause == _DELIVERED,
            attempts.c.started_at > since_us,
        )
    )
    return connection.execute(query.order_by(deliveries.c.id.desc()).limit(1)).first()


def _to(endpoint: Endpoint) -> sa.ColumnElement[bool]:
    return sa.and_(deliveries.c.merchant == endpoint.merchant, deliveries.c.endpoint == endpoint.id)
