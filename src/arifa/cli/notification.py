"""`arifa notification`: the payments that were announced.

A row has the fields of the event; `source` is the source's name, and `source_id` its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arifa.cli.arguments import Limit, Time, micros
from arifa.cli.context import Given, noun
from arifa.notification import Notification, notification_as_json

app = noun("notification", "The payments that were announced.")


@app.command(name="list")
def list_(
    *,
    source: str | None = None,
    reference: str | None = None,
    since: Time = None,
    merchant: str | None = None,
    limit: Limit = 50,
    context: Given,
) -> None:
    """List the newest notifications.

    Args:
        source: only those of this source, by name or id.
        reference: only those with this reference: the bank's, the payer's, or another.
        since: only those received since then, such as 2026-11-20T07:00:00Z.
        merchant: whose; all without.
        limit: how many at most.
    """
    from arifa.store import notifications, sources

    with context.store() as store, store.database.read() as connection:
        named = sources.names(connection)
        found = notifications.listed(
            connection,
            source=None if source is None else sources.find_id(connection, source),
            reference=reference,
            since=micros(since),
            merchant=merchant,
            limit=limit,
        )
    rows = (notification_row(item, named) for item in found)
    context.output.rows(
        rows,
        ("id", "source", "kind", "direction", "status", "amount", "bank_reference", "state"),
    )


@app.command
def show(identity: str, /, *, context: Given) -> None:
    """Show a notification.

    Args:
        identity: its id.
    """
    from arifa.store import notifications, sources

    with context.store() as store, store.database.read() as connection:
        named = sources.names(connection)
        found = notifications.get(connection, identity)
    row = notification_row(notifications.built(found), named)
    context.output.one({**row, "inbox": found.inbox})


def notification_row(found: Notification, named: Mapping[str, str]) -> dict[str, Any]:
    """The notification by its public names, with its source's name."""
    row = notification_as_json(found)
    row["source"] = named.get(found.source, found.source)
    row["source_id"] = found.source
    return row
