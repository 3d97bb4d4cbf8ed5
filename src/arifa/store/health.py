"""Facts for `arifa doctor`: about the engine beneath, and what is live without ever being tried."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from arifa.store.database import Database, sqlite_path
from arifa.store.merchants import TWIN
from arifa.store.schema import endpoints, seals, sources

_SQLITE: tuple[str, ...] = ("journal_mode", "synchronous", "recursive_triggers")
_POSTGRES: tuple[str, ...] = ("fsync", "full_page_writes", "synchronous_commit")


def engine(connection: Connection) -> tuple[str, dict[str, str]]:
    """The engine with its version, and the settings that durability rests on."""
    if connection.dialect.name == "sqlite":
        version = connection.exec_driver_sql("SELECT sqlite_version()").scalar()
        settings = {
            name: str(connection.exec_driver_sql(f"PRAGMA {name}").scalar()) for name in _SQLITE
        }
        return f"SQLite {version}", settings
    version = connection.exec_driver_sql("SHOW server_version").scalar()
    settings = {
        name: str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in _POSTGRES
    }
    return f"PostgreSQL {version}", settings


def damage(connection: Connection) -> str | None:
    """The first thing that SQLite's own check finds wrong with its file; None on PostgreSQL."""
    if connection.dialect.name != "sqlite":
        return None
    said = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
    return None if said == "ok" else said


def clock_us(connection: Connection) -> int:
    """The database's clock, in microseconds."""
    if connection.dialect.name == "sqlite":
        query = "SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
    else:
        query = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
    return int(connection.exec_driver_sql(query).scalar() or 0)


def last_sealed_at(connection: Connection) -> int | None:
    """When the last group was stored, by the clock of the node that stored it."""
    found: int | None = connection.execute(sa.select(sa.func.max(seals.c.sealed_at))).scalar()
    return found


def untried(connection: Connection) -> list[str]:
    """What is live and has no proof of ever having worked: `endpoint shop`, `source kcb`."""
    found = []
    for table, what in ((sources, "source"), (endpoints, "endpoint")):
        query = sa.select(table.c.name, table.c.merchant).where(
            table.c.state != "removed", table.c.proof.is_(None)
        )
        rows = connection.execute(query.order_by(table.c.merchant, table.c.id))
        found += [f"{what} {row.name}" for row in rows if not row.merchant.endswith(TWIN)]
    return found


def files(database: Database) -> list[Path]:
    """The files of the database that are on this machine."""
    if not database.is_sqlite:
        return []
    path = sqlite_path(database.url)
    return [
        found for end in ("", "-wal", "-shm") if (found := path.with_name(path.name + end)).exists()
    ]
