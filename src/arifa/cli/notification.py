"""`arifa notification`: the payments that were announced.

A row has the fields of the event; `source` is the source's name, and `source_id` its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from arifa.cli.arguments import Limit, Time, micros
from arifa.cli.context import Given, Misused, noun
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
        source: only those of this source, by name or id; `issue` for those that were issued here.
        reference: only those with this reference: the bank's, the payer's, or another.
        since: only those received since then, such as 2026-11-20T07:00:00Z.
        merchant: whose; all without.
        limit: how many at most.
    """
    from arifa.store import notifications, sources

    with context.store() as store, store.database.read() as connection:
        named = sources.names(connection)
        if source not in (None, notifications.ISSUED):
            source = sources.find_id(connection, source)
        found = notifications.listed(
            connection,
            source=source,
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


@app.command(name="import")
def import_(
    file: str,
    /,
    *,
    source: str,
    already_handled: bool = False,
    form: Literal["notification", "body"] = "notification",
    merchant: str | None = None,
    context: Given,
) -> int:
    """Make known what your own systems have handled before: it counts, and nobody is told of it.

    Each line of the file is one notification, as `arifa notification list --json` prints it, or
    with --form body the JSON that the bank had sent. What is known already is passed over, so that
    a file can be imported again. Exit code 1 where a line could not be taken; the others are.

    Args:
        file: the file, or - for standard input.
        source: the source that would have received them, by name or id.
        already_handled: say so: nothing else is imported.
        form: what a line is.
        merchant: whose source it is, where two have the name.
    """
    from arifa.cli.progress import lines_of
    from arifa.clock import now_us
    from arifa.hub.take_over import Form, take_over
    from arifa.store import sources

    if not already_handled:
        raise Misused(
            "an imported payment is never delivered, because your systems have handled it: say "
            "--already-handled"
        )
    with context.store() as store:
        with store.database.read() as connection:
            found = sources.get(connection, store.vault, source, merchant)
        with lines_of(file) as (lines, advance):
            total = take_over(store, found, lines, Form(form), now_us(), advance=advance)
    for line in total.refused:
        context.output.note(f"line {line.number}: {line.reason}")
    context.output.one(
        {
            "imported": total.imported,
            "known": total.known,
            "held": total.held,
            "refused": len(total.refused),
        }
    )
    return 1 if total.refused else 0


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
