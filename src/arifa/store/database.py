"""Opening the database, and the only two ways into it: `read()` and `write()`.

SQLite: one writing connection in a process, taken in order of urgency; WAL with full sync, set and
then read back. PostgreSQL: a pool; the settings that durability rests on are checked, not assumed.
Every error of a driver becomes one of `errors.StoreError`.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from arifa.clock import monotonic
from arifa.errors import (
    DataRefused,
    Refused,
    StoreBroken,
    StoreError,
    StoreUnfit,
    Unavailable,
    UnknownCommit,
)
from arifa.store import arrays

APPLICATION_ID: Final = 0x41524946  # "ARIF", in the header of the SQLite file
__all__ = ["Connection", "Database", "ServingLock", "Urgency", "database_url", "sqlite_path"]

BUSY_SECONDS: Final = 5.0
OVERTAKEN_MAX: Final = 4
"""How often in a row who is less urgent is left waiting."""
_SERVING_SECONDS: Final = 1.0
CACHE_KIB: Final = 65_536
POOL_SIZE: Final = 8
COMPILED_STATEMENTS: Final = 1024
"""Inserts of the intake come in up to 64 sizes for each of six tables (`bulk.insert`)."""

WAL_RESET_FIXED: Final = (3, 51, 3)
"""SQLite before this may corrupt a WAL that two connections reset at once: sqlite.org/wal.html, "The WAL-reset bug"."""

_BROKEN: Final = ("disk I/O error", "malformed", "disk is full", "not a database", "corrupt")
_BROKEN_STATES: Final = ("53100", "58030", "XX001", "XX002")
_BUSY: Final = ("locked", "busy")
_SEAL_TAKEN: Final = re.compile(r'UNIQUE constraint failed: seals\.|unique constraint "seals_pkey"')
"""In the words of both engines: a seal of this writer and number is there already."""
_WARNINGS: Final = "arifa_warnings"


class Urgency(IntEnum):
    """Who goes first at the one writing connection: a bank waits for the intake."""

    INTAKE = 0
    DELIVERY = 1
    BACKGROUND = 2


Granted = Callable[[], None]


class _Turnstile:
    """A lock that lets the most urgent waiter in first, and nobody wait for ever.

    It is handed on, not let go: who has just had it does not get it again before who waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Urgency, deque[Granted]] = {urgency: deque() for urgency in Urgency}
        self._is_taken = False
        self._overtaken = 0

    def acquire(self, urgency: Urgency) -> None:
        """Wait for it, and take it."""
        granted = threading.Event()
        self.acquire_later(urgency, granted.set)
        try:
            granted.wait()
        except BaseException:  # a signal's, say
            self._give_up(urgency, granted.set)
            raise

    def acquire_later(self, urgency: Urgency, granted: Granted) -> None:
        """As `acquire`, but without waiting: `granted` is called, in any thread, when it is taken."""
        with self._lock:
            if self._is_taken:
                self._waiting[urgency].append(granted)
                return
            self._is_taken = True
        granted()

    def release(self) -> None:
        """Hand it on to the next, or let it go."""
        with self._lock:
            granted = self._next()
            self._is_taken = granted is not None
        if granted is not None:
            granted()

    def _next(self) -> Granted | None:
        """The most urgent of those that wait; now and then the one behind them."""
        lines = [waiting for waiting in self._waiting.values() if waiting]
        if not lines:
            return None
        first, *others = lines
        if others and self._overtaken >= OVERTAKEN_MAX:
            first, self._overtaken = others[0], 0
        elif others:
            self._overtaken += 1
        return first.popleft()

    def _give_up(self, urgency: Urgency, granted: Granted) -> None:
        with self._lock:
            if granted in self._waiting[urgency]:
                self._waiting[urgency].remove(granted)
                return
        self.release()


class Database:
    """An open database. Threads may share it; a connection belongs to one thread at a time."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._turnstile = _Turnstile() if self.is_sqlite else None
        self.broken: StoreBroken | None = None
        self._reach = threading.Lock()
        self._writing: dict[int, Urgency] = {}
        self._driver_errors = _driver_errors(sqlite=self.is_sqlite)
        if self.is_sqlite:
            self._writer = _sqlite_engine(url, reading=False)
            self._reader = _sqlite_engine(url, reading=True)
        else:
            self._writer = self._reader = _postgres_engine(url)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection in a transaction that sees one state and changes nothing.

        Raises:
            StoreError: the database cannot be read.
        """
        with (
            self._translated(),
            self._reader.connect() as connection,
            connection.begin() as transaction,
        ):
            if not self.is_sqlite:
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            yield connection
            transaction.rollback()

    @contextmanager
    def write(self, urgency: Urgency = Urgency.BACKGROUND) -> Iterator[Connection]:
        """A connection in a transaction that is committed, and on disk, when the block ends well.

        Raises:
            DataRefused: this data is at fault.
            Unavailable: locked, or not to be reached; nothing was written.
            UnknownCommit: the connection went away during the commit.
            StoreBroken: disk or corruption; the process should stop taking requests.
        """
        if self.broken is not None:
            raise self.broken
        if self._turnstile is not None:
            self._turnstile.acquire(urgency)
        try:
            with (
                self._translated(),
                self._writer.connect() as connection,
                self._within_reach(connection, urgency),
            ):
                transaction = connection.begin()
                try:
                    yield connection
                except BaseException:
                    _roll_back(transaction)
                    raise
                self._commit(transaction)
        finally:
            if self._turnstile is not None:
                self._turnstile.release()

    def take_turn(self, urgency: Urgency, taken: Granted) -> None:
        """Take this process's turn at writing for another process that writes for it.

        `taken` is called when it is ours, here or in another thread; `give_turn` gives it back.
        Without this the two would find the file locked, and sleep for as long as SQLite guesses.
        """
        if self._turnstile is None:
            taken()
        else:
            self._turnstile.acquire_later(urgency, taken)

    def give_turn(self) -> None:
        """Give back what `take_turn` took."""
        if self._turnstile is not None:
            self._turnstile.release()

    def _commit(self, transaction: sa.RootTransaction) -> None:
        warnings = self._warnings_before(transaction)
        try:
            transaction.commit()
        except DBAPIError as error:
            translated = _translate(error.orig or error)
            if isinstance(translated, Unavailable) and not self.is_sqlite:
                raise UnknownCommit(
                    "the connection to PostgreSQL went away during a commit, whose fate is not known"
                ) from error
            _roll_back(transaction)
            raise
        if warnings:
            raise UnknownCommit(
                f"PostgreSQL committed, but with a warning, so it may not be safe: {warnings[0]}"
            )

    def _warnings_before(self, transaction: sa.RootTransaction) -> list[str]:
        """The list that PostgreSQL's warnings are added to from now on.

        Two failed commits look like good ones to the driver: in a transaction that an error has
        spoilt, COMMIT rolls back; and a cancel during the wait for a standby is only a warning.
        """
        if self.is_sqlite:
            return []
        pooled = transaction.connection.connection
        driver: Any = pooled.driver_connection
        if driver.info.transaction_status.name == "INERROR":
            _roll_back(transaction)
            raise Unavailable("an earlier error has spoilt the transaction; nothing was written")
        warnings: list[str] = pooled.info[_WARNINGS]
        warnings.clear()
        return warnings

    @contextmanager
    def _within_reach(self, connection: Connection, urgency: Urgency) -> Iterator[None]:
        """Let `abandon` find the socket of a writing connection to PostgreSQL."""
        if self.is_sqlite:
            yield
            return
        driver: Any = connection.connection.driver_connection
        descriptor = os.dup(driver.fileno())
        with self._reach:
            self._writing[descriptor] = urgency
        try:
            yield
        finally:
            with self._reach:
                del self._writing[descriptor]
                os.close(descriptor)

    def abandon(self, *urgencies: Urgency) -> None:
        """Drop the connections on which PostgreSQL leaves a write of this urgency waiting.

        A commit is never cancelled: a cancel during the wait for a standby makes PostgreSQL report
        success for what is not replicated (measured). Without its connection the commit's
        fate is unknown, which is what the waiting thread then says.
        """
        # Under the lock, for a number that is closed may be another connection's a moment later.
        with self._reach:
            for descriptor, urgency in self._writing.items():
                if urgency in urgencies:
                    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
                        connection.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._noted(_translate(error.orig or error)) from error
        except self._driver_errors as error:
            raise self._noted(_translate(error)) from error
        except SQLAlchemyError as error:
            raise Unavailable(
                f"the database cannot be used now ({type(error).__name__})"
            ) from error

    def _noted(self, error: StoreError) -> StoreError:
        """The error, remembered where it means that nothing more may be taken."""
        if isinstance(error, StoreBroken):
            self.broken = error
        return error

    def close(self) -> None:
        """Close every connection."""
        self._writer.dispose()
        self._reader.dispose()


def _driver_errors(*, sqlite: bool) -> tuple[type[Exception], ...]:
    """The root of the driver's own errors: hot statements go past SQLAlchemy."""
    if sqlite:
        return (_sqlite_module().Error, UnicodeEncodeError, OverflowError)
    import psycopg

    return (psycopg.Error, UnicodeEncodeError, OverflowError)


def _roll_back(transaction: sa.RootTransaction) -> None:
    # The first error is the one to tell; a broken connection cannot be rolled back anyway.
    try:
        transaction.rollback()
    except SQLAlchemyError:
        transaction.connection.invalidate()


def _translate(error: BaseException) -> StoreError:
    """What an error of a driver means for us."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    kinds = {kind.__name__ for kind in type(error).__mro__}
    state = str(getattr(error, "sqlstate", "") or "")
    if any(word in said for word in _BROKEN) or state in _BROKEN_STATES:
        return StoreBroken(f"the disk or the database file failed: {said}. {_remedy(said)}")
    if "IntegrityError" in kinds:
        if _SEAL_TAKEN.search(said):
            # Not this data's fault, and nobody else's request is refused for it.
            return Unavailable(
                "another process seals under this node's name: give each serve a --data folder of "
                "its own, and never a copy of another's"
            )
        return DataRefused("the database refused a row that breaks one of its rules")
    if "OperationalError" in kinds or "InterfaceError" in kinds:
        if any(word in said for word in _BUSY):
            return Unavailable("the database is locked by another program for too long")
        if "unable to open" in said or "readonly" in said:
            return StoreUnfit(f"the database file cannot be opened for writing: {said}")
        if state in ("40001", "40P01"):
            return Unavailable("the database asked to try again")
        if state.startswith("28") or "authentication failed" in said:
            return Unavailable("PostgreSQL does not accept this user and password")
        if "sqlite" in type(error).__module__:
            return Unavailable(f"the database file cannot be used now: {said}")
        return Unavailable(
            "the database cannot be reached: look whether it runs, and at the address in --database"
        )
    return DataRefused(f"the database refused a value ({type(error).__name__})")


def _remedy(said: str) -> str:
    if "full" in said:
        return "Free some space on the disk and start again; nothing acknowledged is lost."
    return "Stop, look at the disk, and start again: run arifa doctor, or restore a backup."


# ---------------------------------------------------------------------------------- SQLite


def _sqlite_engine(url: URL, *, reading: bool) -> Engine:
    module = _sqlite_module()
    engine = sa.create_engine(
        url,
        module=module,
        connect_args={
            "timeout": BUSY_SECONDS,
            "check_same_thread": False,
            "cached_statements": COMPILED_STATEMENTS,
        },
        poolclass=sa.QueuePool,
        pool_size=POOL_SIZE if reading else 1,
        max_overflow=0,
        pool_reset_on_return=None,
        hide_parameters=True,  # they are a payer's data, and an error is shown
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        # SQLAlchemy's begin() sends no BEGIN on this driver (measured); the event below does.
        connection.isolation_level = None
        _configure_sqlite(connection, reading=reading)

    begin = "BEGIN" if reading else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # By the driver itself: SQLAlchemy takes twice as long as SQLite (measured).
        connection.connection.dbapi_connection.execute(begin)  # type: ignore[union-attr]

    return engine


def _sqlite_module() -> Any:
    """pysqlite3, which carries a current SQLite; the system's only if its WAL is safe."""
    try:
        import pysqlite3.dbapi2 as module
    except ImportError:
        import sqlite3 as module
    if module.sqlite_version_info < WAL_RESET_FIXED:
        version = ".".join(str(part) for part in WAL_RESET_FIXED)
        raise StoreUnfit(
            f"SQLite {module.sqlite_version} may corrupt its log; {version} or later is needed: "
            f"install pysqlite3, or use PostgreSQL"
        )
    # For any other value than a number, a str or a bytearray the driver looks for ways to adapt it,
    # and fails to find one, for a microsecond each: ten of them a payment. These are found at once.
    module.register_adapter(bytes, bytearray)
    module.register_adapter(type(None), _as_it_is)
    return module


def _as_it_is(value: None) -> None:
    return value


def _configure_sqlite(connection: Any, *, reading: bool) -> None:
    def pragma(name: str, value: object) -> Any:
        row = connection.execute(f"PRAGMA {name}={value}").fetchone()
        return row[0] if row else connection.execute(f"PRAGMA {name}").fetchone()[0]

    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    except Exception as error:
        if any(word in str(error) for word in _BUSY):
            raise
        raise StoreUnfit(
            "the database file is not an SQLite database, or it is damaged; give another --data "
            "folder, or restore a backup"
        ) from error
    if tables and application != APPLICATION_ID:
        raise StoreUnfit(
            "the database file belongs to another program; give another --data or --database"
        )
    # An error while switching to WAL is only raised if the row is fetched (measured).
    if _patiently(lambda: pragma("journal_mode", "wal")) != "wal":
        raise StoreUnfit(
            "this file system does not allow SQLite's write-ahead log; use a local disk"
        )
    wanted = {
        "synchronous": 2,
        "recursive_triggers": 1,
        "foreign_keys": 1,
        "cache_size": -CACHE_KIB,
        "temp_store": 2,
        "wal_autocheckpoint": 4000,
        "query_only": int(reading),
    }
    for name, value in wanted.items():
        if pragma(name, value) != value:
            raise StoreUnfit(f"SQLite does not keep the setting {name}={value}")


def _patiently(act: Callable[[], Any]) -> Any:
    """Do it again while the file is locked: a switch to WAL does not wait by itself."""
    deadline = monotonic() + BUSY_SECONDS
    while True:
        try:
            return act()
        except Exception as error:
            if not any(word in str(error) for word in _BUSY) or monotonic() > deadline:
                raise
            time.sleep(0.01)


def mark_as_ours(connection: Connection) -> None:
    """Write the application id into the SQLite file's header."""
    connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")


# ---------------------------------------------------------------------------------- PostgreSQL


def _postgres_engine(url: URL) -> Engine:
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        pool_pre_ping=False,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 5,
            "keepalives_idle": 30,
            "application_name": "arifa",
            "options": "-c timezone=UTC -c client_min_messages=warning",
        },
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        _check_postgres(connection)
        arrays.register(connection)
        warnings = record.info[_WARNINGS] = []

        def note(said: Any) -> None:
            if said.severity_nonlocalized == "WARNING":
                warnings.append(said.message_primary)

        connection.add_notice_handler(note)

    return engine


def _check_postgres(connection: Any) -> None:
    wanted = {
        "fsync": ("on",),
        "full_page_writes": ("on",),
        "synchronous_commit": ("on", "remote_apply"),
        "server_encoding": ("UTF8",),
    }
    for name, allowed in wanted.items():
        value = connection.execute(f"SHOW {name}").fetchone()[0]
        if value not in allowed:
            raise StoreUnfit(
                f"PostgreSQL has {name}={value}, so a yes could be lost; set it to {allowed[0]}"
            )
    connection.rollback()


# ---------------------------------------------------------------------------------- addresses


def database_url(text: str) -> URL:
    """The URL of a database: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        Refused: neither.
    """
    try:
        url = make_url(text)
    except SQLAlchemyError:
        url = None
    if url is None or url.get_backend_name() not in ("sqlite", "postgresql"):
        raise Refused(
            "the database is neither sqlite:///FILE nor postgresql://USER:PASSWORD@HOST/NAME"
        )
    return url


def sqlite_path(url: URL) -> Path:
    """The file of an SQLite URL."""
    return Path(url.database or "")


class ServingLock:
    """Held by the one hub that serves an SQLite file, or with a data folder; gone with its last process."""

    def __init__(self, path: Path) -> None:
        # Beside the file itself, by whatever name it was found.
        path = path.resolve()
        self._path = path.with_name(path.name + ".serving")
        self._descriptor: int | None = None

    def acquire(self) -> int:
        """Take it, and give the file descriptor that holds it: for as long as one copy is open.

        Raises:
            Unavailable: another process serves this file.
        """
        import fcntl

        descriptor = self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        # Of a hub that was killed, the process that writes its books is gone a moment later.
        deadline = monotonic() + _SERVING_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except OSError:
                if monotonic() < deadline:
                    time.sleep(0.01)
                    continue
            os.close(descriptor)
            self._descriptor = None
            raise Unavailable(
                f"another arifa serve, or what is left of one that was killed, is using "
                f"{self._path.with_suffix('')}; stop it, or give another --data folder (several "
                f"nodes need PostgreSQL)"
            )

    def release(self) -> None:
        """Give it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
