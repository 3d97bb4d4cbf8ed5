"""`arifa delivery`: what was passed on, and how that went.

`endpoint` is the endpoint's name, and `endpoint_id` its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from arifa.cli.arguments import Limit, when
from arifa.cli.context import Given, noun

app = noun("delivery", "What was passed on, and how that went.")

State = Literal["pending", "sending", "delivered", "dead", "cancelled"]


@app.command(name="list")
def list_(
    *,
    state: State | None = None,
    endpoint: str | None = None,
    notification: str | None = None,
    limit: Limit = 50,
    context: Given,
) -> None:
    """List the newest deliveries.

    Args:
        state: only those in this state.
        endpoint: only those to this endpoint, by name or id.
        notification: only those of this notification, by id.
        limit: how many at most.
    """
    from arifa.store import deliveries, endpoints

    with context.store() as store, store.database.read() as connection:
        named = endpoints.names(connection)
        found = deliveries.listed(
            connection,
            state=state,
            endpoint=None if endpoint is None else endpoints.find_id(connection, endpoint),
            notification=notification,
            limit=limit,
        )
    rows = (_row(item, named) for item in found)
    columns = ("id", "notification", "endpoint", "state", "attempt_count", "next_attempt_at")
    context.output.rows(rows, (*columns, "last_status", "last_cause"))


@app.command
def show(identity: str, /, *, context: Given) -> None:
    """Show a delivery with its attempts.

    Args:
        identity: its id.
    """
    from arifa.store import deliveries, endpoints

    with context.store() as store, store.database.read() as connection:
        named = endpoints.names(connection)
        found = deliveries.get(connection, identity)
        attempts = deliveries.attempts_of(connection, found.merchant, found.id)
    context.output.one(
        {
            **_row(found, named),
            "created_at": when(found.created_at),
            "finished_at": when(found.finished_at),
            "attempts": [
                {
                    "number": attempt.number,
                    "started_at": when(attempt.started_at),
                    "finished_at": when(attempt.finished_at),
                    "status": attempt.status,
                    "cause": attempt.cause,
                    "detail": attempt.detail,
                }
                for attempt in attempts
            ],
        }
    )


def _row(found: Any, named: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": found.id,
        "notification": found.notification,
        "endpoint": named.get(found.endpoint, found.endpoint),
        "endpoint_id": found.endpoint,
        "merchant": found.merchant,
        "state": found.state,
        "attempt_count": found.attempt_count,
        "next_attempt_at": when(found.next_attempt_at),
        "last_status": found.last_status,
        "last_cause": found.last_cause,
    }
