"""The few hot statements, by hand: what the intake does for every group.

One row into the inbox takes SQLAlchemy's Core 64 microseconds and these 16; 32 rows take it 360 and
these 142 (measured on SQLite, the best of 150). They go to the driver with tuples as they are.
The portable twin of `insert` is `connection.execute(sqlalchemy.insert(table), rows)`, which the
suite holds it against. Errors of the driver are translated where the transaction ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from arifa.store.arrays import PACKERS

_POSTGRES_TYPES: Final = {"Text": "text", "BigInteger": "bigint", "LargeBinary": "bytea"}
_INSERT_MAX: Final = 64
"""Rows in one statement on SQLite. The driver keeps that many sizes of each statement compiled."""

_IN_STEPS: Final = (1, 4, 16, 64, 256)


def driver(connection: Connection) -> Any:
    """The driver's own connection under this one, in the same transaction."""
    return connection.connection.dbapi_connection


def is_sqlite(connection: Connection) -> bool:
    """Whether this is SQLite."""
    return connection.dialect.name == "sqlite"


def insert(
    connection: Connection,
    table: sa.Table,
    columns: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    *,
    end: str = "",
) -> int:
    """Insert rows, whose values are in the order of `columns`; gives how many were inserted.

    `end` is the end of the statement: `ON CONFLICT DO NOTHING` passes over rows that are there.
    """
    return inserted(start_insert(connection, table, columns, rows, end=end))


def start_insert(
    connection: Connection,
    table: sa.Table,
    columns: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    *,
    end: str = "",
) -> list[Any]:
    """As `insert`, within `together`: gives what `inserted` counts when that has ended."""
    if is_sqlite(connection):
        # One step of many rows, not a step a row: the interpreter is let go once, instead of being
        # fought over with the event loop for every row; and a statement more costs as much as a row.
        execute_one = driver(connection).execute
        return [
            execute_one(
                _sqlite_insert(table, columns, len(part), end), list(chain.from_iterable(part))
            )
            for begin in range(0, len(rows), _INSERT_MAX)
            if (part := rows[begin : begin + _INSERT_MAX])
        ]
    # One statement for the whole group, whatever its size.
    packers = _packers(table, columns)
    columns_of = zip(packers, zip(*rows, strict=True), strict=True)
    arrays = [packed(column) for packed, column in columns_of]
    return [driver(connection).execute(_postgres_insert(table, columns, end), arrays)]


def inserted(started: Iterable[Any]) -> int:
    """How many rows these statements inserted."""
    return sum(cursor.rowcount for cursor in started)


@contextmanager
def together(connection: Connection) -> Iterator[None]:
    """Statements within go to PostgreSQL in one round trip, and their results come at the end.

    Nine of a group took nine, each of which lets the interpreter go and has to get it back. Only
    what asks for nothing may be within; an error is raised by the end at the latest.
    """
    if is_sqlite(connection):
        yield
        return
    with driver(connection).pipeline():
        yield


@cache
def _sqlite_insert(table: sa.Table, columns: tuple[str, ...], size: int, end: str) -> str:
    row = f"({', '.join('?' * len(columns))})"
    rows = ", ".join([row] * size)
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES {rows}{end}"  # noqa: S608


@cache
def _postgres_insert(table: sa.Table, columns: tuple[str, ...], end: str) -> bytes:
    arrays = ", ".join(
        f"%b::{_POSTGRES_TYPES[type(table.c[name].type).__name__]}[]" for name in columns
    )
    names = ", ".join(columns)
    text = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}){end}"  # noqa: S608
    return text.encode()


@cache
def _packers(
    table: sa.Table, columns: tuple[str, ...]
) -> tuple[Callable[[Sequence[Any]], bytes], ...]:
    return tuple(PACKERS[type(table.c[name].type).__name__] for name in columns)


def select_by_keys(
    connection: Connection,
    table: sa.Table,
    columns: tuple[str, ...],
    *,
    merchant: str,
    key: str,
    keys: Iterable[Any],
) -> list[tuple[Any, ...]]:
    """The rows of this merchant whose `key` is one of `keys`."""
    wanted = list(keys)
    found: list[tuple[Any, ...]] = []
    if not is_sqlite(connection):
        kind = _POSTGRES_TYPES[type(table.c[key].type).__name__]
        query = _select(table, columns, key, f"= ANY(%b::{kind}[])", "%b").encode()
        found += driver(connection).execute(query, [merchant, wanted]).fetchall()
        return found
    for start in range(0, len(wanted), _IN_STEPS[-1]):
        part = wanted[start : start + _IN_STEPS[-1]]
        # Few different texts, so that SQLite finds each statement compiled.
        size = next(step for step in _IN_STEPS if step >= len(part))
        part += part[:1] * (size - len(part))
        query_text = _select(table, columns, key, f"IN ({', '.join('?' * size)})", "?")
        found += driver(connection).execute(query_text, [merchant, *part]).fetchall()
    return found


@cache
def _select(table: sa.Table, columns: tuple[str, ...], key: str, condition: str, mark: str) -> str:
    names = ", ".join(columns)
    return f"SELECT {names} FROM {table.name} WHERE merchant = {mark} AND {key} {condition}"  # noqa: S608


class _Rows:
    """What a statement has found, to be fetched as from a cursor."""

    __slots__ = ("_left",)

    def __init__(self, found: list[Any]) -> None:
        self._left = iter(found)

    def fetchone(self) -> Any:
        return next(self._left, None)

    def fetchall(self) -> list[Any]:
        return list(self._left)


def execute(connection: Connection, sqlite_text: str, values: Sequence[Any]) -> Any:
    """Run one statement written with `?`; gives what its rows are fetched from.

    On SQLite it has been read to its end, and its cursor is gone. A cursor that an error's
    traceback keeps beyond its transaction shares the driver's compiled statement with the next
    one, and resets it when it is forgotten: another thread, in the middle of that statement by now,
    would read its rows a second time, and the one after it could not bind its values (measured).
    """
    if not is_sqlite(connection):
        return driver(connection).execute(_with_percent(sqlite_text), values)
    cursor = driver(connection).execute(sqlite_text, values)
    try:
        return _Rows(cursor.fetchall())
    finally:
        cursor.close()


@cache
def _with_percent(text: str) -> bytes:
    return text.replace("?", "%s").encode()
