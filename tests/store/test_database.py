"""Opening a database, writing to it, and refusing what is not ours or not safe."""

from __future__ import annotations

import sqlite3
import threading
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from arifa.errors import (
    DataRefused,
    Refused,
    StoreBroken,
    StoreUnfit,
    Unavailable,
    UnknownCommit,
)
from arifa.store import bulk, changes, database, migrate
from arifa.store.database import OVERTAKEN_MAX, ServingLock, Urgency, database_url
from arifa.store.opened import Store, open_store
from arifa.store.schema import APPEND_ONLY, audit, identities, inbox, metadata, seals
from tests.engines import KEY, Opener

ROWS = {
    inbox: {
        "merchant": "m", "id": "inb_1", "source": "s", "received_at": 1, "peer": None,
        "outcome": "ACCEPTED", "reason": None, "body_hash": b"h", "answer_status": 200,
        "answer": b"a", "notifications": 1, "writer": "w", "seal": 1,
    },
    seals: {
        "writer": "w", "number": 1, "previous": b"p", "head": b"h", "requests": 1,
        "first_request": "a", "last_request": "a", "sealed_at": 1,
    },
    audit: {
        "merchant": "m", "id": "aud_1", "at": 1, "actor": "a", "action": "x", "subject": "s",
        "detail": "",
    },
}  # fmt: skip


def test_migrations_lead_to_the_schema(store: Store) -> None:
    """A database made by the migrations is what `schema.py` says, on both engines."""
    with store.database.write() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "target_metadata": metadata}
        )
        assert compare_metadata(context, metadata) == []


def test_head_is_the_newest_migration() -> None:
    """The version that is compared at every start is that of the newest file."""
    script = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    assert script.get_heads() == [migrate.HEAD]


@pytest.mark.parametrize("table", ROWS, ids=lambda table: table.name)
@pytest.mark.parametrize(
    "act",
    [
        "UPDATE {0} SET {1} = {1}",
        "DELETE FROM {0}",
        "INSERT OR REPLACE INTO {0} SELECT * FROM {0}",
        "TRUNCATE {0}",
    ],
    ids=["update", "delete", "replace", "truncate"],
)
def test_append_only_tables_refuse_every_change(store: Store, table: sa.Table, act: str) -> None:
    """What was received, sealed or audited is never changed, whatever statement tries."""
    is_sqlite = store.database.is_sqlite
    if ("REPLACE" in act and not is_sqlite) or ("TRUNCATE" in act and is_sqlite):
        act = "DELETE FROM {0}"
    with store.database.write() as connection:
        connection.execute(sa.insert(table), [ROWS[table]])

    with pytest.raises((DataRefused, Unavailable)), store.database.write() as connection:
        connection.exec_driver_sql(act.format(table.name, next(iter(table.columns)).name))

    with store.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 1


def test_a_missing_trigger_is_noticed_at_start(opener: Opener) -> None:
    """A database whose append-only triggers were taken away is not served."""
    store = opener()
    table = APPEND_ONLY[0]
    name = migrate.trigger_names(table, sqlite=store.database.is_sqlite)[0]
    on = "" if store.database.is_sqlite else f" ON {table}"
    with store.database.write() as connection:
        connection.exec_driver_sql(f"DROP TRIGGER {name}{on}")

    with pytest.raises(StoreUnfit, match=name):
        opener()


def test_a_write_that_fails_leaves_nothing(store: Store) -> None:
    """A block that ends with an error takes back all that it wrote."""
    with pytest.raises(RuntimeError), store.database.write() as connection:
        connection.execute(sa.insert(audit), [ROWS[audit]])
        raise RuntimeError("planted")

    with store.database.read() as connection:
        assert connection.execute(sa.select(audit)).all() == []


def test_the_hot_statements_do_what_their_portable_twins_do(store: Store) -> None:
    """Rows inserted and found by hand are those that SQLAlchemy inserts and finds."""
    columns = tuple(column.name for column in identities.columns)
    rows = [("m", bytes([number]) * 16, f"n{number}", "m", b"\x00\xff") for number in range(70)]
    with store.database.write() as connection:
        bulk.insert(connection, identities, columns, rows[:35])
        connection.execute(
            sa.insert(identities), [dict(zip(columns, row, strict=True)) for row in rows[35:]]
        )

    wanted = [row[1] for row in rows[::3]] + [b"absent"]
    with store.database.read() as connection:
        found = bulk.select_by_keys(
            connection, identities, columns, merchant="m", key="key", keys=wanted
        )
        twin = connection.execute(sa.select(identities).where(identities.c.key.in_(wanted))).all()

    assert sorted(found) == sorted(map(tuple, twin)) == rows[::3]


def test_what_goes_together_fails_together(store: Store) -> None:
    """A row that is refused among statements that go in one round trip leaves nothing of any."""
    columns = tuple(column.name for column in identities.columns)
    rows = [("m", bytes([number]) * 16, "n", "m", b"") for number in range(3)]
    with (
        pytest.raises(DataRefused),
        store.database.write() as connection,
        bulk.together(connection),
    ):
        bulk.start_insert(connection, audit, ("merchant",), [("only a part of its key",)])
        bulk.start_insert(connection, identities, columns, rows)

    with store.database.write() as connection:
        with bulk.together(connection):
            started = bulk.start_insert(connection, identities, columns, rows)
            bulk.start_insert(connection, audit, tuple(ROWS[audit]), [tuple(ROWS[audit].values())])
        assert bulk.inserted(started) == 3


def test_what_an_ended_transaction_asked_disturbs_no_later_one(store: Store) -> None:
    """A question that its traceback keeps, and that is forgotten while the next one asks the same.

    pysqlite3 compiles a statement once: forgetting it resets the statement, whoever uses it by now.
    """
    kept: list[object] = []
    with pytest.raises(RuntimeError), store.database.write() as connection:
        kept.append(changes.asked(connection))
        raise RuntimeError("planted")

    with store.database.write() as connection:
        asked = changes.asked(connection)
        kept.clear()
        found = [changes.told(asked), *(changes.number(connection) for _ in range(3))]
    assert found == [0] * 4


def test_text_is_ordered_by_bytes(store: Store) -> None:
    """Both engines sort text by its bytes, whatever the locale: ids must sort by time."""
    words = ["a", "B", "_", "é", "Z", "1"]
    with store.database.write() as connection:
        for word in words:
            connection.execute(sa.insert(audit), [{**ROWS[audit], "id": word}])

    with store.database.read() as connection:
        found = list(connection.execute(sa.select(audit.c.id).order_by(audit.c.id)).scalars())
    assert found == sorted(words, key=str.encode)


def test_sqlite_is_set_to_sync_every_commit(sqlite_store: Store) -> None:
    """The settings that a yes rests on are read back from both kinds of connection."""
    for scope in (sqlite_store.database.read, sqlite_store.database.write):
        with scope() as connection:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "recursive_triggers")
            }
        assert found == {"journal_mode": "wal", "synchronous": 2, "recursive_triggers": 1}


def test_reading_cannot_write(store: Store) -> None:
    """A connection for reading changes nothing, even by mistake."""
    refused = pytest.raises((Unavailable, DataRefused, StoreUnfit))
    with refused, store.database.read() as connection:
        connection.execute(sa.insert(audit), [ROWS[audit]])


@pytest.mark.parametrize("asking", [(), ("intake",), ("delivery",), ("background", "intake")])
def test_the_urgent_go_first(sqlite_store: Store, asking: tuple[str, ...]) -> None:
    """At the one writing connection the intake overtakes what waits behind a long write.

    Also where some of them wait without a thread: those that ask to be told.
    """
    order: list[str] = []
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        with sqlite_store.database.write(Urgency.BACKGROUND):
            holding.set()
            release.wait(60)

    def write(name: str, urgency: Urgency) -> None:
        if name in asking:
            sqlite_store.database.take_turn(urgency, lambda: told(name))
            return
        with sqlite_store.database.write(urgency):
            order.append(name)

    def told(name: str) -> None:
        order.append(name)
        sqlite_store.database.give_turn()

    threads = [threading.Thread(target=hold)]
    threads[0].start()
    assert holding.wait(60)
    turnstile = sqlite_store.database._turnstile
    assert turnstile is not None
    for count, (name, urgency) in enumerate(
        [
            ("background", Urgency.BACKGROUND),
            ("delivery", Urgency.DELIVERY),
            ("intake", Urgency.INTAKE),
        ]
    ):
        threads.append(threading.Thread(target=write, args=(name, urgency)))
        threads[-1].start()
        while sum(map(len, turnstile._waiting.values())) <= count:
            threading.Event().wait(0.005)
    release.set()
    for thread in threads:
        thread.join(60)

    assert order == ["intake", "delivery", "background"]
    sqlite_store.database.take_turn(Urgency.BACKGROUND, lambda: told("at once"))
    assert order[-1] == "at once"


def test_nobody_waits_for_ever(sqlite_store: Store) -> None:
    """However much intake there is, who is less urgent gets in between."""
    database, order = sqlite_store.database, []
    intakes = iter(range(100))

    def intake() -> None:
        order.append("intake")
        # The next one waits before this one has ended.
        if next(intakes, None) is not None:
            database.take_turn(Urgency.INTAKE, intake)
        database.give_turn()

    def told(name: str) -> None:
        order.append(name)
        database.give_turn()

    database.take_turn(Urgency.INTAKE, lambda: None)
    database.take_turn(Urgency.INTAKE, intake)
    for name, urgency in (("background", Urgency.BACKGROUND), ("delivery", Urgency.DELIVERY)):
        database.take_turn(urgency, partial(told, name))
    database.give_turn()

    assert len(order) == 103
    assert order.index("delivery") <= OVERTAKEN_MAX
    assert order.index("background") <= 2 * OVERTAKEN_MAX + 1


def test_who_is_interrupted_while_it_waits_leaves_the_line(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its turn has come by then or has not."""
    database = sqlite_store.database
    for has_come in (False, True):
        database.take_turn(Urgency.INTAKE, lambda: None)

        def interrupted(_: threading.Event, *, has_come: bool = has_come) -> None:
            if has_come:
                database.give_turn()
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(threading.Event, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt), database.write():
                pass
        if not has_come:
            database.give_turn()
        with database.write():
            pass


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    """An SQLite file with tables that are not ours is left alone, with a sentence."""
    foreign = sqlite3.connect(tmp_path / "theirs.db")
    foreign.execute("CREATE TABLE customers (id INTEGER)")
    foreign.commit()
    foreign.close()

    with pytest.raises(StoreUnfit, match="another program"):
        open_store(tmp_path / "data", f"sqlite:///{tmp_path / 'theirs.db'}", KEY)

    with sqlite3.connect(tmp_path / "theirs.db") as again:
        assert again.execute("SELECT name FROM sqlite_schema").fetchall() == [("customers",)]
    again.close()


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file of something else is refused, and not overwritten."""
    (tmp_path / "notes.txt").write_text(
        "not a database, but quite long enough to be read as one" * 9
    )

    with pytest.raises((StoreUnfit, StoreBroken)):
        open_store(tmp_path / "data", f"sqlite:///{tmp_path / 'notes.txt'}", KEY)

    assert (tmp_path / "notes.txt").read_text().startswith("not a database")


def test_a_newer_database_is_refused(opener: Opener) -> None:
    """A database that a newer program has migrated is not touched by this one."""
    store = opener()
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StoreUnfit, match="newer"):
        opener()


def test_opening_twice_at_once_migrates_once(tmp_path: Path) -> None:
    """Two commands that make the same store at the same moment both work."""
    failures: list[BaseException] = []

    def make() -> None:
        try:
            open_store(tmp_path / "data").close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert failures == []


@pytest.mark.parametrize("name", ["a.db", "link/a.db", "b.db"])
def test_one_process_serves_a_file(tmp_path: Path, name: str) -> None:
    """A second one on an SQLite file is refused until the first has gone, by whatever name."""
    (tmp_path / "a.db").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "b.db").symlink_to(tmp_path / "a.db")
    first, second = ServingLock(tmp_path / "a.db"), ServingLock(tmp_path / name)
    first.acquire()

    with pytest.raises(Unavailable, match="another arifa serve"):
        second.acquire()

    first.release()
    second.acquire()
    second.release()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite:///:memory:", ""])
def test_an_unfit_url_is_refused(tmp_path: Path, url: str) -> None:
    """Another kind of database, or one in memory, is refused with a sentence."""
    with pytest.raises(Refused):
        open_store(tmp_path / "data", url, KEY)


def test_an_unsafe_postgres_is_refused(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that does not wait for its disk is not trusted with a yes."""
    store = opener()
    if store.database.is_sqlite:
        return
    with store.database.write() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar()
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET synchronous_commit = off')

    with pytest.raises(StoreUnfit, match="synchronous_commit=off"):
        opener()


def test_the_password_of_a_database_is_in_no_error(tmp_path: Path) -> None:
    """A database that cannot be reached is named without its password."""
    with pytest.raises(Unavailable) as caught:
        open_store(tmp_path / "data", "postgresql://arifa:hunter2@127.0.0.1:1/none", KEY)

    assert "hunter2" not in str(caught.value)


def test_a_locked_file_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program holds locked for too long is a sentence, not a hang."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    store = open_store(tmp_path / "data", None, KEY)
    # The same library: locks of two SQLites in one process do not see each other.
    other = database._sqlite_module().connect(tmp_path / "data" / "arifa.db")
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(Unavailable, match="locked"), store.database.write():
        pass

    other.rollback()
    other.close()
    store.close()


def test_a_full_disk_is_a_broken_store(sqlite_store: Store) -> None:
    """When the disk is full nothing more is taken, and the sentence says what to do."""
    rows = [{**ROWS[audit], "id": str(number), "detail": "x" * 4000} for number in range(2000)]

    with pytest.raises(StoreBroken, match="Free some space"), sqlite_store.database.write() as one:
        one.exec_driver_sql("PRAGMA max_page_count = 1")
        one.execute(sa.insert(audit), rows)

    with pytest.raises(StoreBroken), sqlite_store.database.write():
        pass


def test_database_urls_are_told_apart() -> None:
    """Both engines are known by their URLs."""
    assert database_url("sqlite:////tmp/x.db").get_backend_name() == "sqlite"
    assert database_url("postgresql://a@b/c").get_backend_name() == "postgresql"


def test_a_spoilt_transaction_is_no_commit(store: Store) -> None:
    """PostgreSQL answers COMMIT with ROLLBACK after an error: nothing may be said to be written."""
    if store.database.is_sqlite:
        pytest.skip("SQLite goes on after a statement that failed")
    with pytest.raises(Unavailable, match="nothing was written"), store.database.write() as given:
        _put(given, "kept", "no")
        with pytest.raises(sa.exc.DBAPIError):
            given.exec_driver_sql("SELECT 1 / 0")
    with store.database.write() as connection:
        assert connection.execute(sa.text("SELECT 1 FROM meta WHERE name = 'kept'")).all() == []


def test_a_commit_with_a_warning_is_not_a_yes(store: Store) -> None:
    """A cancelled wait for a standby is a warning and no error: the commit's fate is not known."""
    if store.database.is_sqlite:
        pytest.skip("SQLite has no warnings")
    with store.database.write() as connection:
        # What a commit warns of, without a standby: a trigger that runs during the commit.
        connection.exec_driver_sql(
            "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE WARNING 'canceling wait'; RETURN NULL; END $$"
        )
        connection.exec_driver_sql(
            "CREATE CONSTRAINT TRIGGER warns AFTER UPDATE ON meta DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION warn()"
        )
        _put(connection, "kept", "before")
    with pytest.raises(UnknownCommit, match="canceling wait"), store.database.write() as connection:
        connection.execute(sa.text("UPDATE meta SET value = 'after' WHERE name = 'kept'"))
    with store.database.write() as connection:
        # The next user of the connection does not hear of it.
        connection.execute(sa.text("SELECT 1"))


def _put(connection: sa.Connection, name: str, value: str) -> None:
    connection.execute(
        sa.text("INSERT INTO meta (name, value) VALUES (:name, :value)"),
        {"name": name, "value": value},
    )
