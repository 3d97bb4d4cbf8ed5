"""A hub that serves, as a process of its own, and a client that reads its answers strictly."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from arifa.store.opened import open_store
from arifa.wire import WireRequest, WireResponse
from tests.engines import KEY
from tests.hub.bank import Hub
from tests.web import hostile

START_SECONDS = 60
ANSWER_SECONDS = 60
LIMIT_AND_RUN = """
import resource, sys
name, limit = sys.argv.pop(1), int(sys.argv.pop(1))
resource.setrlimit(getattr(resource, name), (limit, limit))
from arifa.cli.main import main
sys.exit(main())
"""


class NotServing(Exception):
    """The process ended before it served: its exit code, and what it said."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"exit {code}: {said}")
        self.code = code
        self.said = said


@dataclass
class Served:
    """One `arifa serve`."""

    process: subprocess.Popen[str]
    port: int
    admin_port: int
    folder: Path
    lines: list[str]
    log: Path

    @property
    def stderr(self) -> str:
        """What it has said on standard error so far."""
        return self.log.read_text(errors="replace")

    def terminate(self) -> None:
        """Ask it to stop."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self, seconds: float = 60) -> int:
        """Stop it, and give its exit code."""
        if self.process.poll() is None:
            self.terminate()
        return self.process.wait(seconds)

    def connect(self, seconds: float = ANSWER_SECONDS) -> socket.socket:
        """A connection to the public port."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)

    def post(self, token: str, request: WireRequest, seconds: float = ANSWER_SECONDS) -> Answer:
        """Send one request as its bank would, and give the only answer to it."""
        return self.exchange(message(token, request), seconds)

    def exchange(self, raw: bytes, seconds: float = ANSWER_SECONDS) -> Answer:
        """Send these bytes on a connection of their own: exactly one answer, then the end."""
        (answer,) = self.exchange_all(raw, seconds)
        return answer

    @contextmanager
    def line(self) -> Iterator[Line]:
        """A connection that is kept for many requests."""
        with self.connect() as client:
            yield Line(client)

    def exchange_all(self, raw: bytes, seconds: float = ANSWER_SECONDS) -> list[Answer]:
        """Send these bytes, say that nothing more comes, and read answers to the end."""
        with self.connect(seconds) as client:
            sender = threading.Thread(target=_send, args=(client, raw))
            sender.start()
            received = b""
            while data := client.recv(65536):
                received += data
            sender.join()
        found = []
        while received:
            answer, received = read_answer(received)
            found.append(answer)
        return found

    def admin(self, path: str) -> tuple[int, str]:
        """(status, text) of a page of the admin port."""
        return _get(f"http://127.0.0.1:{self.admin_port}{path}")

    def public(self, path: str) -> tuple[int, str]:
        """(status, text) of a page of the public port."""
        return _get(f"http://127.0.0.1:{self.port}{path}")


class Line:
    """A connection that is kept: one request, one answer, and so on."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client

    def ask(self, raw: bytes) -> Answer:
        """Send these bytes and read the answer to them, after which nothing is left."""
        self.client.sendall(raw)
        received = b""
        while True:
            data = self.client.recv(65536)
            assert data, f"closed within an answer: {received!r}"
            received += data
            head, blank, rest = received.partition(b"\r\n\r\n")
            length = re.search(rb"(?im)^content-length: ([0-9]+)", head)
            if blank and length is not None and len(rest) >= int(length[1]):
                answer, left = read_answer(received)
                assert left == b"", "more than one answer"
                return answer


@dataclass(frozen=True)
class Answer:
    """One answer, read strictly."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def wire(self) -> WireResponse:
        """As a dialect reads it."""
        headers = tuple((n.encode(), v.encode("latin-1")) for n, v in self.headers.items())
        return WireResponse(self.status, self.body, headers)


def read_answer(received: bytes) -> tuple[Answer, bytes]:
    """The first answer in what was received, and the rest."""
    head, blank, rest = received.partition(b"\r\n\r\n")
    assert blank, f"no whole answer: {received[:200]!r}"
    first, *lines = head.decode("latin-1").split("\r\n")
    found = re.fullmatch(r"HTTP/1\.1 ([1-5][0-9][0-9]) [A-Za-z ]+", first)
    assert found is not None, first
    pairs = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs), f"a header twice: {head!r}"
    length = int(headers["content-length"])
    assert len(rest) >= length, "the body is shorter than its length says"
    return Answer(int(found[1]), headers, rest[:length]), rest[length:]


def message(token: str, request: WireRequest, *headers: bytes, close: bool = True) -> bytes:
    """The raw message to a source's path; the connection ends after it."""
    lines = [b"POST /ipn/%b HTTP/1.1" % token.encode(), b"Host: hub", *headers]
    lines += [name + b": " + value for name, value in request.headers]
    lines.append(b"Content-Length: %d" % len(request.body))
    if close:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + request.body


def _send(client: socket.socket, raw: bytes) -> None:
    try:
        client.sendall(raw)
    except OSError:
        return  # the other side has had enough, and has answered


def _get(url: str) -> tuple[int, str]:
    from urllib.error import HTTPError

    try:
        with urlopen(url, timeout=ANSWER_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def prepared(folder: Path, url: str | None = None, **changes: Any) -> None:
    """Make a store with a source of every dialect of the corpus: `token-of-<dialect>`."""
    store = open_store(folder, url, KEY)
    try:
        hub = Hub(store)
        hub.endpoint()
        for dialect, credentials in hostile.HUB.items():
            hub.source(dialect, credentials=credentials, **changes)
    finally:
        store.close()


def arifa(folder: Path, *words: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command of the command line on this store."""
    return subprocess.run(
        [sys.executable, "-m", "arifa.cli.main", *words],
        env=environment(folder, url),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def environment(folder: Path, url: str | None) -> dict[str, str]:
    """The environment of a command on this store."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ARIFA_")}
    kept.update(ARIFA_DATA=str(folder), ARIFA_KEY=KEY, PYTHONFAULTHANDLER="1")
    if url is not None:
        kept["ARIFA_DATABASE_URL"] = url
    return kept


@contextmanager
def serving(
    folder: Path,
    *words: str,
    url: str | None = None,
    limit: tuple[str, int] | None = None,
    ports: int = 1,
) -> Iterator[Served]:
    """`arifa serve` on free ports, until the block ends. `ports` is the number of admin ports.

    Raises:
        NotServing: it ended by itself before it served.
    """
    command = [sys.executable, "-m", "arifa.cli.main"]
    if limit is not None:
        command = [sys.executable, "-c", LIMIT_AND_RUN, limit[0], str(limit[1])]
    command += ["serve", "--port", "0", "--admin-port", "0", *words]
    log = folder.parent / f"{folder.name}-{time.monotonic_ns()}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            env=environment(folder, url),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield _started(process, folder, log, ports)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGABRT)  # so that its log says where it hangs
                    process.wait()
                    raise


def _started(process: subprocess.Popen[str], folder: Path, log: Path, ports: int) -> Served:
    assert process.stdout is not None
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    try:
        lines = [process.stdout.readline().rstrip("\n") for _ in range(1 + ports)]
    finally:
        watchdog.cancel()
    if not all(lines):
        raise NotServing(process.wait(60), log.read_text())
    numbers = [int(line.rpartition(":")[2]) for line in lines]
    return Served(process, numbers[0], numbers[1], folder, lines, log)


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Ask again and again until the condition holds; gives what it gave."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found
