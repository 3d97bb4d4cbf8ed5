"""`arifa migrate`: bring the database to this program's schema."""

from __future__ import annotations

from arifa.cli.context import Given


def migrate(*, context: Given) -> None:
    """Bring the database to this program's schema; every other command does so too.

    Prints the version it had (null for an empty database) and the version it has.
    """
    from arifa.store.migrate import HEAD

    with context.store() as store:
        context.output.one({"from": store.migrated_from, "to": HEAD})
