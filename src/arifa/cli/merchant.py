"""`arifa merchant`: whose money it is."""

from __future__ import annotations

from typing import Any

from arifa.cli.arguments import Limit, when
from arifa.cli.context import Given, noun
from arifa.cli.output import Row

app = noun("merchant", "Whose money it is; each has a test twin, NAME:test.")


@app.command
def add(name: str, /, *, context: Given) -> None:
    """Add a merchant and its test twin.

    Args:
        name: small letters, digits, - and _.
    """
    from arifa.clock import now_us
    from arifa.hub.configure import add_merchant
    from arifa.store import merchants

    with context.store() as store:
        add_merchant(store, name, now_us())
        with store.database.read() as connection:
            found = merchants.get(connection, name)
    context.output.one(_row(found))


@app.command(name="list")
def list_(*, limit: Limit = 1000, context: Given) -> None:
    """List the merchants.

    Args:
        limit: how many at most.
    """
    from arifa.store import merchants

    with context.store() as store, store.database.read() as connection:
        found = merchants.listed(connection)
    context.output.rows((_row(item) for item in found[:limit]), ("merchant", "test", "created_at"))


@app.command
def show(name: str, /, *, context: Given) -> None:
    """Show a merchant, with its sources and endpoints.

    Args:
        name: the merchant, or its twin.
    """
    from arifa.store import endpoints, merchants, sources

    with context.store() as store, store.database.read() as connection:
        found = merchants.get(connection, name)
        owners = (found["merchant"], found["test"])
        row: dict[str, Any] = {
            **_row(found),
            "sources": [
                source.name
                for source in sources.all_active(connection, store.vault)
                if source.merchant in owners
            ],
            "endpoints": [
                endpoint.name
                for endpoint in endpoints.listed(connection, store.vault)
                if endpoint.merchant in owners
            ],
        }
    context.output.one(row)


def _row(found: Row) -> dict[str, Any]:
    return {
        "merchant": found["merchant"],
        "test": found["test"],
        "created_at": when(found["created_at"]),
    }
