"""Bringing a database to this program's schema: Alembic, run only where it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from arifa.errors import StoreUnfit, Unavailable
from arifa.store.database import Database, ServingLock, mark_as_ours, sqlite_path
from arifa.store.schema import APPEND_ONLY

HEAD: Final = "0005"
"""The newest migration; a test compares it with the files."""

NOT_BESIDE_OLDER: Final = "0005"
"""An older program may not serve while this migration runs, nor after it."""

_LOCK: Final = 0x4152_4946_4D49_4752
_VERSIONS: Final = sa.table("alembic_version", sa.column("version_num"))


def version_of(connection: Connection) -> str | None:
    """The schema's version, or None for an empty database.

    Raises:
        StoreUnfit: there are tables, but not ours.
    """
    names = set(sa.inspect(connection).get_table_names())
    if "alembic_version" in names and "meta" in names:
        found: str | None = connection.execute(sa.select(_VERSIONS.c.version_num)).scalar()
        return found
    if names - {"alembic_version"}:
        raise StoreUnfit(
            "the database belongs to another program: it has tables, but not Arifa's; give an "
            "empty one"
        )
    return None


def migrate(database: Database) -> str | None:
    """Bring the database to `HEAD`; gives the version it had.

    Raises:
        StoreUnfit: it is another program's, or newer than this program.
        StoreError: it cannot be reached or written.
    """
    with database.read() as connection:
        found = version_of(connection)
    if found == HEAD:
        _check_triggers(database)
        return found
    if found is not None and found > HEAD:
        raise StoreUnfit(
            f"the database is of version {found}, newer than this program's {HEAD}; "
            f"use the newer program"
        )
    with _nobody_serves(database, found), database.write() as connection:
        if not database.is_sqlite:
            # Two nodes that start at once: the second waits here, and finds the work done.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        elif found is None:
            mark_as_ours(connection)
        _upgrade(connection)
    _check_triggers(database)
    return found


@contextmanager
def _nobody_serves(database: Database, found: str | None) -> Iterator[None]:
    """Refuse an upgrade that an older program, serving this file, would not live through."""
    if not database.is_sqlite or found is None or found >= NOT_BESIDE_OLDER:
        yield
        return
    lock = ServingLock(sqlite_path(database.url))
    try:
        lock.acquire()
    except Unavailable as error:
        raise StoreUnfit(
            f"the database is of version {found} and has to be upgraded to {HEAD}, but an older "
            f"arifa serve is using it: stop that one first, then start the new one"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _check_triggers(database: Database) -> None:
    query = (
        "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
        if database.is_sqlite
        else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'"
    )
    with database.read() as connection:
        found = set(connection.exec_driver_sql(query).scalars())
    for table in APPEND_ONLY:
        for name in trigger_names(table, sqlite=database.is_sqlite):
            if name not in found:
                raise StoreUnfit(
                    f"the trigger {name}, which keeps {table} from being changed, is missing; "
                    f"restore a backup, or ask who removed it"
                )


def trigger_names(table: str, *, sqlite: bool) -> tuple[str, ...]:
    """The triggers that make a table append-only."""
    acts = ("update", "delete") if sqlite else ("change", "truncate")
    return tuple(f"{table}_no_{act}" for act in acts)
