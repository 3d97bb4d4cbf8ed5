"""A load generator: raw HTTP/1.1 over keep-alive connections, in a process of its own.

    python bench/load.py --port 8080 --seconds 5 --connections 64 --requests prepared.bin
    python bench/load.py --port 8080 --seconds 5 --rate 2000 --requests prepared.bin

Requests are whole messages, rendered (and signed) beforehand: `write_requests` puts them into a
file, each behind its length; without a file one small POST is sent again and again. Nothing is
parsed of an answer but its status, its content length and whether the connection closes.

- Closed loop (the default): each connection sends its next request when its answer has come.
- Open loop (`--rate`): requests are due at even distances whatever the server does, and latency
  counts from when a request was due, so that a stalled server cannot hide the requests it kept
  from being sent. The loop's timer has steps of a millisecond: up to that much is our own.

A request whose connection breaks is unanswered: the server may have acted on it or not. It is not
sent again. When a connection cannot be made again it is given up, and when all are, the run ends:
so a killed server ends a run, and `acknowledged` says what it had said yes to until then.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

_LENGTH_BYTES = 4  # of the big-endian length before each request in a file
_GRACE_SECONDS = 10.0  # for answers that are still due at the end
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True)
class Load:
    """What to send where. The run ends after `seconds`, after `count` requests, when the file is
    at its end (unless `repeat`), or when the server is gone: whatever comes first."""

    port: int
    host: str = "127.0.0.1"
    connections: int = 64
    seconds: float | None = None
    """Of sending; `warmup` comes before it."""
    count: int | None = None
    rate: float | None = None
    """Requests a second in an open loop; None is a closed loop."""
    warmup: float = 0.0
    """Seconds at the start whose requests are sent but not measured (`acknowledged` has them)."""
    requests: str | None = None
    """A file of `write_requests`."""
    repeat: bool = False
    """Begin the file again at its end."""
    acknowledged: bool = False
    """Whether to list the requests that were answered 2xx and those that were left unanswered."""


@dataclass
class Result:
    """What came of it. Latencies in milliseconds; the measured time only, except for the lists."""

    requests: int = 0
    """Answered in the measured time."""
    ok: int = 0
    """Of them, with a 2xx."""
    by_status: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    rate: float = 0.0
    """Answers a second."""
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    cpu_seconds: float = 0.0
    """This process's own, over the whole run: near its length, it was the bottleneck itself."""
    sent: int = 0
    """Over the whole run."""
    unsent: int = 0
    """Open loop: requests that were due but for which no connection became free."""
    lost: int = 0
    """Requests left without an answer, over the whole run."""
    open_at_loss: int = 0
    """Requests that waited for an answer when the first connection broke under one; else 0."""
    acknowledged: list[int] = field(default_factory=list)
    """Indexes of the requests answered 2xx, counted from 0 in the order in which they were taken
    from the file (past its end it goes on: index modulo its length is the request)."""
    unanswered: list[int] = field(default_factory=list)
    """Indexes of the lost ones: the server may or may not have acted on them."""


def write_requests(path: Path, requests: Iterable[bytes]) -> int:
    """Write whole HTTP requests, each behind its length. Returns how many."""
    number = 0
    with path.open("wb") as file:
        for number, request in enumerate(requests, 1):  # noqa: B007 - it is the result
            file.write(len(request).to_bytes(_LENGTH_BYTES, "big"))
            file.write(request)
    return number


def read_requests(path: Path) -> list[bytes]:
    """All requests of such a file.

    Raises:
        ValueError: the file is cut short.
    """
    data, at, requests = path.read_bytes(), 0, []
    while at < len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data):
            raise ValueError(f"{path} ends within a request: write it again")
        requests.append(data[start:at])
    return requests


def render(body: bytes, *, target: str = "/", headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """One POST as bytes, with a host and a content length."""
    lines = [f"POST {target} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def run(load: Load, requests: Iterable[bytes] | None = None) -> Result:
    """Run a load in this process. `requests` stands in for the file, and is taken from as needed."""
    return uvloop.run(_Run(load, _source(load, requests)).go())


def run_apart(load: Load) -> Result:
    """Run a load in a process of its own, and wait for it.

    Raises:
        RuntimeError: the process failed; the text is its last words.
    """
    return Apart(load).result()


class Apart:
    """A load running in a process of its own, while the caller does something to the server."""

    def __init__(self, load: Load) -> None:
        command = [sys.executable, __file__, "--load", json.dumps(asdict(load))]
        # Files, not pipes: a long list of acknowledgements would fill a pipe that nobody reads.
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(command, stdout=self._out, stderr=self._err)

    def result(self) -> Result:
        """Wait for its end.

        Raises:
            RuntimeError: as `run_apart`.
        """
        code = self.process.wait()
        with self._out as out, self._err as err:
            out.seek(0)
            err.seek(0)
            if code:
                raise RuntimeError(
                    f"the load generator failed: {err.read().decode().strip()[-500:]}"
                )
            return Result(**json.loads(out.read()))


def _source(load: Load, requests: Iterable[bytes] | None) -> Iterator[bytes]:
    if requests is None and load.requests is None:
        return itertools.repeat(render(b'{"amount": "100.00"}'))
    if requests is None:
        requests = read_requests(Path(str(load.requests)))
    return itertools.cycle(requests) if load.repeat else iter(requests)


class _Run:
    """One run: hands out requests and keeps the books."""

    def __init__(self, load: Load, source: Iterator[bytes]) -> None:
        self.load = load
        self._source = enumerate(itertools.islice(source, load.count))
        self._result = Result()
        self._latencies = array("d")
        self._statuses: Counter[bytes] = Counter()
        self._idle: dict[_Connection, None] = {}  # an ordered set
        self._open = 0
        self._alive = load.connections
        self._is_over = False
        self._due: deque[float] = deque()  # open loop: when each waiting request was due
        self._scheduled = 0
        self._started = self._measure_from = self._last_answer = 0.0
        self._window: tuple[int, float] | None = None  # answers and time when the time was up

    async def go(self) -> Result:
        loop, load = asyncio.get_running_loop(), self.load
        self._finished = asyncio.Event()
        connections = [_Connection(self, loop) for _ in range(load.connections)]
        await asyncio.gather(*(connection.connect() for connection in connections))
        if not self._alive:
            raise ConnectionError(f"nothing answers on {load.host}:{load.port}")
        cpu = time.process_time()
        self._started = time.perf_counter()
        self._measure_from = self._last_answer = self._started + load.warmup
        if load.seconds is not None:
            loop.call_later(load.warmup + load.seconds, self._time_is_up)
        if load.rate is None:
            for connection in self._take_idle():
                self.free(connection, self._started)
        else:
            self._tick(loop, load.rate)
        await self._finished.wait()
        self._result.cpu_seconds = time.process_time() - cpu
        for connection in connections:
            connection.close()
        return self._sum_up()

    def _take_idle(self) -> list[_Connection]:
        idle, self._idle = list(self._idle), {}
        return idle

    def free(self, connection: _Connection, now: float) -> None:
        """A connection is free: give it a request, if there is one for it."""
        if self._is_over:
            return
        if self.load.rate is None and self._started:
            self._send(connection, now)
        elif self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle[connection] = None

    def _send(self, connection: _Connection, due: float) -> None:
        item = next(self._source, None)
        if item is None:
            self._end()
            return
        self._open += 1
        self._result.sent += 1
        connection.send(item[0], item[1], due)

    def _tick(self, loop: asyncio.AbstractEventLoop, rate: float) -> None:
        """Open loop: send, or put in line, everything that has come due since the last tick."""
        if self._is_over:
            return
        until = int((time.perf_counter() - self._started) * rate)
        for number in range(self._scheduled, until):
            due = self._started + number / rate
            if self._idle:
                connection = next(iter(self._idle))
                del self._idle[connection]
                self._send(connection, due)
            else:
                self._due.append(due)
        self._scheduled = until
        loop.call_later(0.001, self._tick, loop, rate)

    def answered(self, index: int, status: bytes, due: float) -> float:
        """Note an answer. Returns the time."""
        now = time.perf_counter()
        if now >= self._measure_from:
            self._latencies.append(now - due)
            self._statuses[status] += 1
            self._last_answer = now
        if self.load.acknowledged and status[:1] == b"2":
            self._result.acknowledged.append(index)
        self._closed_one()
        return now

    def lost(self, index: int) -> None:
        """Note a request whose connection broke before its answer."""
        if not self._result.lost:
            self._result.open_at_loss = self._open
        self._result.lost += 1
        if self.load.acknowledged:
            self._result.unanswered.append(index)
        self._closed_one()

    def _closed_one(self) -> None:
        self._open -= 1
        if self._is_over and not self._open:
            self._finished.set()

    def broke(self, connection: _Connection) -> bool:
        """Note a connection's end. Returns whether to make it again."""
        self._idle.pop(connection, None)
        return not self._is_over

    def gave_up(self) -> None:
        """Note a connection that cannot be made again."""
        self._alive -= 1
        if not self._alive:
            self._is_over = True
            self._finished.set()

    def _time_is_up(self) -> None:
        self._window = len(self._latencies), time.perf_counter()
        self._end()

    def _end(self) -> None:
        """Send no more; wait for what is open."""
        if self._is_over:
            return
        self._is_over = True
        if self._open:
            asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._finished.set)
        else:
            self._finished.set()

    def _sum_up(self) -> Result:
        result, times = self._result, sorted(self._latencies)
        # Answers after the time was up count for latency, not for the rate.
        counted, until = self._window or (len(times), self._last_answer)
        result.requests = len(times)
        result.by_status = {status.decode(): n for status, n in sorted(self._statuses.items())}
        result.ok = sum(n for status, n in self._statuses.items() if status[:1] == b"2")
        result.unsent = len(self._due)
        result.seconds = until - self._measure_from
        result.rate = counted / result.seconds if result.seconds > 0 else 0.0
        if times:
            result.p50_ms = 1000 * times[len(times) // 2]
            result.p99_ms = 1000 * times[len(times) * 99 // 100]
            result.max_ms = 1000 * times[-1]
        return result


class _Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self, run: _Run, loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._loop = loop
        self._transport: Any = None
        self._buffer = b""
        self._index = -1  # of the request under way; -1 is none
        self._due = 0.0
        self._ends_with_connection = False  # the answer under way has no length
        self._is_finished = False
        self._making: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Make the connection; when that cannot be done, the run is told."""
        try:
            await self._loop.create_connection(
                lambda: self, self._run.load.host, self._run.load.port
            )
        except OSError:
            self._run.gave_up()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer, self._ends_with_connection = b"", False
        self._run.free(self, time.perf_counter())

    def send(self, index: int, request: bytes, due: float) -> None:
        """Send a request."""
        self._index, self._due = index, due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        head = data.find(b"\r\n\r\n") + 2  # its last line's end
        found = _CONTENT_LENGTH.search(data, 0, head) if head > 1 else None
        if found is None:
            self._buffer = data
            if head > 1:
                self._without_length(data, head)
            return
        end = head + 2 + int(found[1])
        if len(data) < end:
            self._buffer = data
            return
        self._buffer = data[end:]
        self._take(data[9:12], is_last=_CLOSES.search(data, 0, head) is not None)

    def _without_length(self, data: bytes, head: int) -> None:
        if not _CHUNKED.search(data, 0, head):
            self._ends_with_connection = True
        elif data.endswith(b"\r\n0\r\n\r\n"):
            self._buffer = b""
            self._take(data[9:12], is_last=_CLOSES.search(data, 0, head) is not None)

    def _take(self, status: bytes, *, is_last: bool) -> None:
        """The whole answer is here."""
        if self._index < 0:  # an answer to nothing, such as 408 to a silent connection
            return
        index, self._index = self._index, -1
        now = self._run.answered(index, status, self._due)
        if is_last:
            self._transport.close()  # `connection_lost` makes another
        else:
            self._run.free(self, now)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._ends_with_connection:
            self._take(self._buffer[9:12], is_last=True)
        if self._index >= 0:
            index, self._index = self._index, -1
            self._run.lost(index)
        if self._run.broke(self) and not self._is_finished:
            self._making = self._loop.create_task(self.connect())

    def close(self) -> None:
        """Close it for good."""
        self._is_finished = True
        if self._transport is not None:
            self._transport.close()


def _arguments() -> Load:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--count", type=int)
    parser.add_argument("--rate", type=float, help="requests a second; without it a closed loop")
    parser.add_argument("--warmup", type=float, default=0.0)
    parser.add_argument("--requests", help="a file of requests, each behind its length")
    parser.add_argument("--repeat", action="store_true", help="begin the file again at its end")
    parser.add_argument("--acknowledged", action="store_true", help="list what was answered 2xx")
    given = vars(parser.parse_args())
    if prepared := given.pop("load"):
        return Load(**json.loads(prepared))
    if given["port"] is None:
        parser.error("--port is needed")
    if given["seconds"] is None and given["count"] is None and given["requests"] is None:
        parser.error("say when to end: --seconds, --count or --requests")
    return Load(**given)


def main() -> int:
    """Run the load of the command line and print its result as one JSON object."""
    try:
        result = run(_arguments())
    except (ConnectionError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
