"""`arifa serve` as a process: how it starts, stops, and lives through what goes wrong around it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from arifa import dialects
from arifa.outcome import STATUS, Outcome
from arifa.store import inbox, notifications
from arifa.store.database import _sqlite_module
from arifa.store.opened import KEY_FILE, open_store
from arifa.testing.postgres import PostgresServer, postgres_or_skip
from arifa.web.announced import serving_url
from arifa.wire import WireRequest
from tests.engines import KEY
from tests.web import hostile
from tests.web.serving import (
    Answer,
    NotServing,
    Served,
    arifa,
    message,
    prepared,
    serving,
    wait_until,
)

BANKS = sorted(hostile.HUB)
DEADLINE = 30  # seconds: the 5 of the answer, and what a busy machine may be late
_fresh = iter(range(100_000, 1_000_000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a source of each bank."""
    made = tmp_path / "data"
    prepared(made)
    return made


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server of these tests' own: they kill it."""
    with postgres_or_skip(private=True) as server:
        yield server


@pytest.fixture
def shared(tmp_path: Path, postgres: PostgresServer) -> tuple[Path, str]:
    """(data folder, database) with a source of each bank on PostgreSQL."""
    url = postgres.create_database()
    prepared(tmp_path / "data", url)
    return tmp_path / "data", url


def good(bank: str = "kcb") -> WireRequest:
    """A genuine payment that was never sent before."""
    case = next(iter(dialects.get(bank).cases.values()))
    return hostile.genuine(bank, hostile.fresh(case.body, next(_fresh)))


def post(served: Served, bank: str = "kcb", seconds: float = DEADLINE) -> Answer:
    return served.post(f"token-of-{bank}", good(bank), seconds)


def references(folder: Path, url: str | None = None) -> Counter[str | None]:
    """How often each bank reference is in the books."""
    store = open_store(folder, url, KEY)
    try:
        with store.database.read() as connection:
            rows = notifications.listed(connection, limit=1_000_000)
    finally:
        store.close()
    return Counter(row.reading.bank_reference for row in rows)


def outcomes(folder: Path) -> list[str]:
    """Of the inbox, the oldest first."""
    store = open_store(folder, None, KEY)
    try:
        with store.database.read() as connection:
            return [row.outcome for row in inbox.listed(connection, limit=10_000)][::-1]
    finally:
        store.close()


def assert_unavailable(answer: Answer, bank: str) -> None:
    """The bank's own failure answer."""
    assert answer.status == STATUS[Outcome.UNAVAILABLE]
    dialect = dialects.get(bank)
    read = dialect.read_acknowledgement(answer.wire, dialect.defaults)
    assert read.outcome is Outcome.UNAVAILABLE


def assert_one_sentence(said: str, *words: str) -> None:
    """What went wrong and what to do, and no trace of the program."""
    assert "Traceback" not in said
    assert 'File "' not in said
    for word in words:
        assert word in said
    assert len(said.strip().splitlines()) <= 6, said


# ------------------------------------------------------------------ starting and stopping


def test_it_says_where_it_listens(folder: Path) -> None:
    """Two lines, with the real ports where 0 was asked, when requests are already served."""
    with serving(folder) as served:
        assert re.fullmatch(r"listening on http://127\.0\.0\.1:[1-9][0-9]+", served.lines[0])
        assert re.fullmatch(r"admin on http://127\.0\.0\.1:[1-9][0-9]+", served.lines[1])
        assert served.port != served.admin_port
        assert post(served).status == 200
        assert served.stop() == 0
    assert served.stderr == ""


@pytest.mark.parametrize("flag", ["--port", "--admin-port"])
def test_a_busy_port_is_one_sentence(folder: Path, flag: str) -> None:
    """Exit 1, and which port it is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        other = "--admin-port" if flag == "--port" else "--port"
        done = arifa(folder, "serve", flag, port, other, "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_sentence(done.stderr, port)


def test_a_second_server_on_one_file_is_refused(folder: Path) -> None:
    """Exit 1 with a sentence; the first goes on."""
    with serving(folder) as served:
        done = arifa(folder, "serve", "--port", "0", "--admin-port", "0")
        assert (done.returncode, done.stdout) == (1, "")
        assert_one_sentence(done.stderr, "another arifa serve")
        assert post(served).status == 200


def test_a_second_server_with_one_folder_is_refused(shared: tuple[Path, str]) -> None:
    """On PostgreSQL too: the folder is a node's name, under which one hub seals."""
    folder, url = shared
    with serving(folder, url=url) as served:
        done = arifa(folder, "serve", "--port", "0", "--admin-port", "0", url=url)
        assert (done.returncode, done.stdout) == (1, "")
        assert_one_sentence(done.stderr, "another arifa serve")
        assert post(served).status == 200


def test_what_has_begun_is_answered_before_it_ends(folder: Path) -> None:
    """SIGTERM closes the door at once; a request whose body is still coming gets its answer."""
    raw = message("token-of-kcb", good(), close=False)
    with serving(folder) as served, served.line() as idle, served.line() as line:
        assert idle.ask(message("token-of-kcb", good(), close=False)).status == 200
        line.client.sendall(raw[:-20])
        assert post(served).status == 200  # so what came before it has been read
        served.terminate()
        wait_until(lambda: not is_open(served.port))
        assert idle.client.recv(1) == b""
        assert line.ask(raw[-20:]).status == 200
        assert served.process.wait(60) == 0
    assert sum(references(folder).values()) == 3


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_it_stops_at_once_where_nothing_happens(folder: Path) -> None:
    """SIGINT as SIGTERM; the file of where it serves goes with it, and the next one starts."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with serving(folder) as served:
            assert (folder / "serving.json").exists()
            served.process.send_signal(number)
            assert served.process.wait(60) == 0
        assert not (folder / "serving.json").exists()


def test_after_a_kill_the_next_one_serves(folder: Path) -> None:
    """kill -9 leaves nothing behind that keeps the next one from starting."""
    with serving(folder) as served:
        assert post(served).status == 200
        served.process.kill()
        served.process.wait()
    with serving(folder) as served:
        assert post(served).status == 200
    assert sum(references(folder).values()) == 2


def test_health_is_told_on_the_admin_port_only(folder: Path) -> None:
    """/livez, /readyz and /metrics are there; the public port knows none of them."""
    with serving(folder) as served:
        post(served)
        for path, said in (("/livez", "alive"), ("/readyz", "ready"), ("/metrics", "arifa_")):
            status, text = served.admin(path)
            assert (status, said in text) == (200, True)
            assert served.public(path)[0] == 404
        assert served.admin("/ipn/token-of-kcb")[0] == 404
        assert 'arifa_requests_total{dialect="kcb",status="200"} 1.0' in served.admin("/metrics")[1]


# ------------------------------------------------------------------ configuring while it serves


def test_a_source_may_come_pause_and_go_while_the_hub_serves(folder: Path, tmp_path: Path) -> None:
    """What the command line changes holds from the next request on."""
    password = tmp_path / "password"
    password.write_text("open:sesame\n")
    with serving(folder) as served:
        post(served)
        flags = ("--dialect", "jenga", "--username", "jenga", "--password-file", str(password))
        added = json.loads(arifa(folder, "--json", "source", "add", "new", *flags).stdout)
        token = added["path"].removeprefix("/ipn/")
        assert served.post(token, good("jenga")).status == 200
        for command, status in (("pause", 503), ("resume", 200), ("remove", 404)):
            assert arifa(folder, "source", command, "new").returncode == 0
            answer = served.post(token, good("jenga"))
            assert answer.status == status
            if status == 503:
                assert_unavailable(answer, "jenga")
        assert token not in served.stderr


# ------------------------------------------------------------------ what goes wrong with SQLite


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another program writes to the database, and takes its time."""
    connection = _sqlite_module().connect(folder / "arifa.db", isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def test_a_locked_database_is_unavailable_in_time(folder: Path) -> None:
    """Each bank is told to come again within its deadline, and is served when the lock is gone."""
    with serving(folder) as served:
        with locked(folder):
            answers: dict[str, Answer] = {}
            threads = [
                threading.Thread(
                    target=lambda b: answers.update({b: post(served, b)}), args=(bank,)
                )
                for bank in BANKS
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for bank in BANKS:
                assert_unavailable(answers[bank], bank)
            assert served.admin("/livez")[0] == 200
        for bank in BANKS:
            wait_until(partial(is_received, served, bank))
        assert served.stop() == 0


def is_received(served: Served, bank: str) -> bool:
    return post(served, bank).status == 200


def test_a_client_that_goes_ends_the_waiting_and_not_the_write(folder: Path) -> None:
    """It left before the answer: the payment is written all the same, and a resend is a duplicate."""
    request = good()
    with serving(folder) as served:
        with locked(folder), served.connect() as client:
            client.sendall(message("token-of-kcb", request))
            # An answer on the same loop, from after the request was read.
            assert served.public("/")[0] == 404
        wait_until(lambda: outcomes(folder) == ["ACCEPTED"])
        assert served.post("token-of-kcb", request).status == 200
    assert outcomes(folder) == ["ACCEPTED", "DUPLICATE"]
    assert list(references(folder).values()) == [1]


def test_a_stop_while_the_database_is_locked_is_a_stop(folder: Path) -> None:
    """SIGTERM while a request waits for the lock: it is answered, and the process ends."""
    with serving(folder) as served, locked(folder):
        with served.connect(DEADLINE) as client:
            client.sendall(message("token-of-kcb", good()))
            assert served.public("/")[0] == 404
            served.terminate()
            assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert served.process.wait(60) == 0


def test_a_full_disk_is_no_yes(folder: Path) -> None:
    """No file may grow: nobody hears a false yes, and the process ends with a sentence."""
    size = max(path.stat().st_size for path in folder.iterdir())
    acknowledged: list[str | None] = []
    with serving(folder, limit=("RLIMIT_FSIZE", size + 200_000)) as served:
        last = None
        for _ in range(3000):
            request = good()
            with contextlib.suppress(OSError, ValueError):
                last = served.post("token-of-kcb", request)
                if last.status == 200:
                    acknowledged.append(json.loads(request.body)["transactionReference"])
                    continue
            break
        assert last is not None
        assert_unavailable(last, "kcb")
        assert served.process.wait(60) == 1
    assert_one_sentence(served.stderr.splitlines()[-1], "arifa: ", "disk")
    assert acknowledged
    found = references(folder)
    assert all(found[reference] == 1 for reference in acknowledged)
    with serving(folder) as served:
        assert post(served).status == 200


def test_few_file_handles_serve_who_fits(folder: Path) -> None:
    """More connections than handles: who is connected is served, and afterwards everybody is."""
    with serving(folder, limit=("RLIMIT_NOFILE", 48)) as served:
        with contextlib.ExitStack() as stack:
            early = stack.enter_context(served.line())
            assert early.ask(message("token-of-kcb", good(), close=False)).status == 200
            for _ in range(80):
                with contextlib.suppress(OSError):
                    stack.enter_context(served.connect(1))
            assert early.ask(message("token-of-kcb", good(), close=False)).status == 200

        def again() -> bool:
            with contextlib.suppress(OSError, ValueError):
                return post(served, seconds=2).status == 200
            return False

        wait_until(again)
        assert served.stop() == 0


# ------------------------------------------------------------------ what cannot be served


def test_a_data_folder_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "data").write_text("x")
    done = arifa(tmp_path / "data", "serve", "--port", "0", "--admin-port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_sentence(done.stderr, "data")


@pytest.mark.parametrize(
    "content", [b"hello, this is no database at all" * 100, b"", b"\x00" * 5000]
)
def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    """Text, or zeros; an empty file is a new database."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "arifa.db").write_bytes(content)
    if not content:
        with serving(data) as served:
            assert served.stop() == 0
        return
    done = arifa(data, "serve", "--port", "0", "--admin-port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_sentence(done.stderr, "database")
    assert (data / "arifa.db").read_bytes() == content


def test_another_programs_database_is_one_sentence(tmp_path: Path) -> None:
    """Nothing of it is touched."""
    data = tmp_path / "data"
    data.mkdir()
    connection = _sqlite_module().connect(data / "arifa.db")
    connection.executescript("CREATE TABLE photographs (id INTEGER); PRAGMA user_version = 7;")
    connection.close()
    before = (data / "arifa.db").read_bytes()
    done = arifa(data, "serve", "--port", "0", "--admin-port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_sentence(done.stderr, "another program")
    assert (data / "arifa.db").read_bytes() == before


@pytest.mark.parametrize("key", ["not base64 at all!", "QUJD", "A" * 44, ""])
def test_a_key_that_does_not_fit_is_one_sentence(
    folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not base64, too short, or another than the database was written with."""
    (folder / KEY_FILE).write_text(key)
    monkeypatch.setattr("tests.web.serving.KEY", "")
    done = arifa(folder, "serve", "--port", "0", "--admin-port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_sentence(done.stderr, "key")
    if len(key) > 1:
        assert key not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_file_that_may_not_be_read_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there, but not for this user."""
    (folder / KEY_FILE).write_text(KEY)
    (folder / KEY_FILE).chmod(0)
    monkeypatch.setattr("tests.web.serving.KEY", "")
    done = arifa(folder, "serve", "--port", "0", "--admin-port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_sentence(done.stderr, KEY_FILE)


def test_a_key_file_that_is_a_folder_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be read, whoever asks."""
    (folder / KEY_FILE).mkdir()
    monkeypatch.setattr("tests.web.serving.KEY", "")
    done = arifa(folder, "serve", "--port", "0", "--admin-port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_sentence(done.stderr, KEY_FILE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workers", "0"), "--workers"),
        (("--workers", "2"), "SQLite"),
        (("--host", "203.0.113.1"), "203.0.113.1"),
        (("--host", "no.such.host.invalid"), "no.such.host.invalid"),
        (("--port", "70000"), "--port"),
        (("--trusted-proxy", "everybody"), "everybody"),
    ],
)
def test_a_wrong_flag_is_one_sentence(folder: Path, words: tuple[str, ...], said: str) -> None:
    """Non-zero exit, the flag or its value, and nothing on standard output."""
    rest = [] if "--port" in words else ["--port", "0"]
    done = arifa(folder, "serve", "--admin-port", "0", *rest, *words)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert_one_sentence(done.stderr, said)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody:planted-password@127.0.0.1:1/x",
        "mysql://nobody:planted-password@127.0.0.1/x",
        "sqlite://",
        "nonsense",
        "sqlite:////no/such/folder/arifa.db",
    ],
)
def test_a_database_that_cannot_be_had_is_one_sentence(tmp_path: Path, url: str) -> None:
    """Nobody listens there, or it is of no kind that we know; the password is not told."""
    done = arifa(tmp_path / "data", "serve", "--port", "0", "--admin-port", "0", url=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_sentence(done.stderr, "database")
    assert "planted-password" not in done.stderr


# ------------------------------------------------------------------ what goes wrong with PostgreSQL


def test_another_programs_postgres_is_one_sentence(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """A database with tables that are not ours is not made ours."""
    import psycopg

    url = postgres.create_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE photographs (id integer)")
    done = arifa(tmp_path / "data", "serve", "--port", "0", "--admin-port", "0", url=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_sentence(done.stderr, "another program")


def test_a_killed_postgres_is_unavailable_and_then_is_not(
    shared: tuple[Path, str], postgres: PostgresServer
) -> None:
    """kill -9 of the server under load, and its start: the hub goes on without one of its own."""
    folder, url = shared
    acknowledged: list[str] = []
    stopping = threading.Event()

    def load(served: Served) -> None:
        while not stopping.is_set():
            request = good()
            with contextlib.suppress(OSError):
                answer = served.post("token-of-kcb", request)
                assert answer.status in (200, 503)
                if answer.status == 200:
                    acknowledged.append(json.loads(request.body)["transactionReference"])

    with serving(folder, url=url) as served:
        threads = [threading.Thread(target=load, args=(served,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(acknowledged) > 20)
        postgres.kill()
        try:
            for bank in BANKS:
                assert_unavailable(post(served, bank), bank)
            assert served.admin("/livez")[0] == 200
            assert served.admin("/readyz")[0] == 503
        finally:
            postgres.restart()
        count = len(acknowledged)
        wait_until(lambda: len(acknowledged) > count + 20)
        stopping.set()
        for thread in threads:
            thread.join()
        assert served.admin("/readyz")[0] == 200
        assert served.stop() == 0
    found = references(folder, url)
    assert all(found[reference] == 1 for reference in acknowledged)
    assert set(found.values()) == {1}
    assert "Traceback" not in served.stderr


@contextlib.contextmanager
def waiting_for_a_standby(url: str) -> Iterator[None]:
    """No commit comes back: the server waits for a standby that does not exist."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = local")
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        connection.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")


def test_a_commit_that_does_not_come_back_is_no_yes(shared: tuple[Path, str]) -> None:
    """Every answer is the bank's UNAVAILABLE, in time; afterwards a resend is answered as received."""
    folder, url = shared
    request = good()
    with serving(folder, url=url) as served:
        assert post(served).status == 200
        with waiting_for_a_standby(url):
            for bank in ("kcb", "jenga"):
                assert_unavailable(post(served, bank), bank)
            assert_unavailable(served.post("token-of-kcb", request, DEADLINE), "kcb")
        assert wait_until(lambda: post(served).status == 200)
        assert served.post("token-of-kcb", request).status == 200
        assert served.stop() == 0
    assert set(references(folder, url).values()) == {1}


def test_a_stop_while_a_commit_does_not_come_back_is_a_stop(shared: tuple[Path, str]) -> None:
    """SIGTERM ends the process, whatever the database does."""
    folder, url = shared
    with serving(folder, url=url) as served:
        post(served)
        with waiting_for_a_standby(url):
            assert_unavailable(post(served), "kcb")
            served.terminate()
            served.process.wait(60)


def test_a_table_that_is_locked_is_unavailable_in_time(shared: tuple[Path, str]) -> None:
    """Another session holds what every request writes: each is answered, and later ones are served."""
    import psycopg

    folder, url = shared
    with serving(folder, url=url) as served:
        assert post(served).status == 200
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE inbox, identity_keys IN ACCESS EXCLUSIVE MODE")
            for bank in ("kcb", "cbs"):
                assert_unavailable(post(served, bank), bank)
            other.rollback()
        assert wait_until(lambda: post(served).status == 200)
        assert served.stop() == 0


def test_several_workers_survive_each_other(shared: tuple[Path, str]) -> None:
    """Two processes on one port; one is killed, another takes its place; SIGTERM ends them all."""
    folder, url = shared
    with serving(folder, "--workers", "2", url=url, ports=2) as served:
        for bank in BANKS:
            assert post(served, bank).status == 200
        assert serving_url(folder) == f"http://127.0.0.1:{served.port}"
        before = children(served.process.pid)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)

        def replaced() -> bool:
            with contextlib.suppress(OSError):
                assert post(served).status == 200
            now = children(served.process.pid)
            return len(now) == 2 and before[0] not in now

        wait_until(replaced)
        for _ in range(10):
            assert post(served).status == 200
        now = children(served.process.pid)
        assert serving_url(folder) == f"http://127.0.0.1:{served.port}"
        assert served.stop(60) == 0
    assert serving_url(folder) is None
    for pid in now:
        assert not Path(f"/proc/{pid}").exists()
    assert "Traceback" not in served.stderr
    assert set(references(folder, url).values()) == {1}


def test_workers_whose_parent_is_killed_end_too(shared: tuple[Path, str]) -> None:
    """Nobody would end them, and the port would stay taken."""
    folder, url = shared
    with serving(folder, "--workers", "2", url=url, ports=2) as served:
        assert post(served).status == 200
        workers = children(served.process.pid)
        served.process.kill()
        served.process.wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        assert not is_open(served.port)


def test_workers_that_cannot_start_are_one_sentence_each(shared: tuple[Path, str]) -> None:
    """What was acknowledged is gone: no worker serves, none is started again and again."""
    folder, url = shared
    (folder / "seal-head.node-gone").write_text("node-gone 7 " + "0" * 64 + "\n")
    with pytest.raises(NotServing) as found, serving(folder, "--workers", "2", url=url, ports=2):
        pass
    assert found.value.code == 1
    assert_one_sentence(found.value.said, "acknowledged")


def children(parent: int) -> list[int]:
    """The serving processes under this one; not the helper of `multiprocessing`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            status = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
            if int(status[1]) == parent and status[0] != "Z" and b"spawn_main" in command:
                found.append(int(entry.name))
    return sorted(found)
