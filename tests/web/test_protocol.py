"""The limits at the door, with real sockets against a real server, whose time the test lets pass."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from arifa.web.protocol import RELIED_ON, LimitedProtocol, Limits, Refusal, limited_protocol

SMALL = Limits(
    head_bytes=2048,
    head_seconds=0.2,
    body_bytes=4096,
    body_seconds=0.25,
    write_seconds=0.2,
    linger_seconds=0.2,
    pipelined=4,
)
KEEP_ALIVE = 0.2
PAUSE = 0.02
SLIGHT = 1e-6  # times are floats
PATIENCE = 30  # seconds for what is sure to happen, however busy the machine
BIG = 32 * 1024 * 1024  # more than the kernel buffers of both ends hold
GOOD = b"POST / HTTP/1.1\r\nhost: hub\r\ncontent-length: 2\r\n\r\nhi"


@dataclass
class App:
    """A handler whose behaviour the path chooses; `bodies` is what reached it."""

    bodies: list[bytes] = field(default_factory=list)
    disconnected: list[str] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/early":
            await answer(send, b"early")
            return
        if path == "/block":
            self.begun.set()
            self.go_on.wait(PATIENCE)  # nothing else goes on: that is what it is for
        if path == "/late":
            await asyncio.to_thread(self.go_on.wait, PATIENCE)
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected.append(path)
                if path == "/stubborn":
                    await answer(send, b"and yet")
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        if path == "/slow":
            await asyncio.sleep(0.05)
        if path == "/big":
            await answer(send, b"x" * BIG)
        elif path == "/headers":
            names = [name.decode() for name, _ in scope["headers"]]
            await answer(send, json.dumps(names).encode())
        else:
            await answer(send, path.encode() + b" %d" % len(body))


async def answer(send: Any, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Clock:
    """The servers' clock: it stands still, unless a test lets time pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


@pytest.fixture(scope="module", autouse=True)
def _clock() -> Iterator[None]:
    """However slow the machine, no limit of time is reached but where a test says so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("arifa.web.protocol.monotonic", CLOCK)
        yield


@dataclass
class Served:
    """A running server."""

    port: int
    app: App
    protocol: type[Any]
    entered: int = 0
    sweeps: int = 0

    def __post_init__(self) -> None:
        watch = getattr(self.protocol, "watch", None)
        if watch is None:  # uvicorn's own protocol
            return
        enter, sweep = watch.enter, watch._sweep

        def counted_enter(connection: LimitedProtocol) -> None:
            enter(connection)
            self.entered += 1

        def counted_sweep(loop: asyncio.AbstractEventLoop) -> None:
            sweep(loop)
            self.sweeps += 1

        watch.enter, watch._sweep = counted_enter, counted_sweep

    def settle(self) -> None:
        """Wait until what was sent has been read, and the deadlines have been looked at."""
        # The one that runs now may have begun before; in the next one's turn all has been read.
        goal, watch = self.sweeps + 2, self.protocol.watch
        wait_until(lambda: self.sweeps >= goal or not watch.connections)

    def let_pass(self, seconds: float) -> None:
        """Let time pass from a moment when all that was sent has been read."""
        self.settle()
        CLOCK.now += seconds
        self.settle()

    def connect(
        self, receive_buffer: int | None = None, trust: ssl.SSLContext | None = None
    ) -> socket.socket:
        """A connection that the server knows of."""
        entered = self.entered
        client = self._dialled(receive_buffer)
        if trust is not None:
            client = trust.wrap_socket(client, server_hostname="127.0.0.1")
        wait_until(lambda: self.entered > entered)
        return client

    def _dialled(self, receive_buffer: int | None) -> socket.socket:
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", self.port))
        return client

    def count(self, refusal: Refusal) -> int:
        refusals: dict[str, int] = self.protocol.watch.refusals
        return refusals[refusal.kind]


@contextlib.contextmanager
def serving(protocol: type[Any], **flags: Any) -> Iterator[Served]:
    app = App()
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    usual: dict[str, Any] = {
        "http": protocol,
        "loop": "uvloop",
        "ws": "none",
        "lifespan": "off",
        "interface": "asgi3",
        "log_config": None,
        "timeout_keep_alive": KEEP_ALIVE,
        "timeout_graceful_shutdown": 1,
    }
    config = uvicorn.Config(app, **(usual | flags))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield Served(listener.getsockname()[1], app, protocol)
    finally:
        server.should_exit = True
        stopping.append(thread)


stopping: list[threading.Thread] = []


@pytest.fixture(scope="module", autouse=True)
def _all_stop() -> Iterator[None]:
    """Servers take tenths of a second to stop: they do it side by side."""
    yield
    for thread in stopping:
        thread.join()


@pytest.fixture(autouse=True)
def _no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a client does is no error of ours: nothing is logged as one."""
    yield
    errors = [r for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert not errors, errors[0].getMessage()


@pytest.fixture(scope="module")
def small() -> Iterator[Served]:
    with serving(limited_protocol(SMALL)) as served:
        yield served


@pytest.fixture
def served(small: Served) -> Served:
    """A server with `SMALL` limits, its records emptied."""
    small.app.bodies.clear()
    small.app.disconnected.clear()
    small.app.begun.clear()
    small.app.go_on.clear()
    for refusal in Refusal:
        small.protocol.watch.refusals[refusal.kind] = 0
    return small


def wait_until(condition: Any, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Reader:
    """Reads answers from a socket, strictly."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.buffer = b""

    def _more(self) -> None:
        data = self.client.recv(65536)
        assert data, f"closed within an answer: {self.buffer!r}"
        self.buffer += data

    def answer(self) -> Answer:
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        version, status, _reason = first.split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [line.split(": ", 1) for line in lines]
        headers = dict(pairs)
        assert len(headers) == len(pairs), "a header twice"
        length = int(headers.get("content-length", 0))
        while len(self.buffer) < length:
            self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Answer(int(status), headers, body)

    def end(self) -> None:
        """Nothing more comes, and the connection is closed from the other side."""
        assert self.buffer + self.client.recv(65536) == b""


def assert_refused(client: socket.socket, status: int) -> Answer:
    """One well-formed answer of our own, then the end."""
    reader = Reader(client)
    answer = reader.answer()
    reader.end()
    assert_is_refusal(answer, status)
    return answer


def assert_is_refusal(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "date" in answer.headers
    text = answer.body.decode("ascii")
    assert text.endswith(".\n")
    assert text.count("\n") == 1
    assert len(text) < 150
    assert "Traceback" not in text


def drip(served: Served, client: socket.socket, data: bytes, pause: float) -> float:
    """A byte now and then, until the other side has had enough; gives how long that took."""
    client.setblocking(False)
    began = CLOCK.now
    with contextlib.suppress(OSError):
        for byte in data:
            client.send(bytes([byte]))
            served.let_pass(pause)
            try:
                if client.recv(1, socket.MSG_PEEK) is not None:
                    break
            except BlockingIOError:
                continue
    client.settimeout(PATIENCE)
    return CLOCK.now - began


# What is served


def test_a_good_request_is_served_and_its_connection_is_kept(served: Served) -> None:
    """Requests within the limits follow each other on one connection, and none is refused."""
    with served.connect() as client:
        reader = Reader(client)
        for _ in range(50):
            client.sendall(GOOD)
            assert reader.answer().body == b"/ 2"
    assert not any(served.protocol.watch.refusals.values())


def test_a_request_at_exactly_the_limits_is_served(served: Served) -> None:
    """The limits are inclusive: a head of `head_bytes` and a body of `body_bytes` pass."""
    start = b"POST / HTTP/1.1\r\ncontent-length: %d\r\nx: " % SMALL.body_bytes
    head = start + b"y" * (SMALL.head_bytes - len(start) - 4) + b"\r\n\r\n"
    with served.connect() as client:
        client.sendall(head + b"b" * SMALL.body_bytes)
        assert Reader(client).answer().body == b"/ %d" % SMALL.body_bytes


def test_each_request_has_limits_of_its_own(served: Served) -> None:
    """What one request took of a connection is not taken from the next."""
    head = b"POST / HTTP/1.1\r\ncontent-length: 3000\r\nx: " + b"y" * 1400 + b"\r\n\r\n"
    chunked = head.replace(b"content-length: 3000", b"transfer-encoding: chunked")
    with served.connect() as client:
        reader = Reader(client)
        for number in range(6):
            body = b"b" * 3000 if number % 2 else b"bb8\r\n" + b"b" * 3000 + b"\r\n0\r\n\r\n"
            request = (head if number % 2 else chunked) + body
            for part in (request[:700], request[700:2000], request[2000:]):
                client.sendall(part)
                time.sleep(0.005)
            assert reader.answer().body == b"/ 3000"


@pytest.mark.parametrize("split", [1, 7, 40, 60, 90])
def test_a_request_in_pieces_is_served(served: Served, split: int) -> None:
    """How a request is cut into packets makes no difference."""
    with served.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = Reader(client)
        request = GOOD + GOOD.replace(b"/", b"/second", 1)
        for at in range(0, len(request), split):
            client.sendall(request[at : at + split])
            time.sleep(0.001)
        assert [reader.answer().body, reader.answer().body] == [b"/ 2", b"/second 2"]


def test_a_chunked_body_is_read(served: Served) -> None:
    """A body without a content length arrives whole."""
    with served.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(4):
            client.sendall(b"400\r\n" + b"c" * 1024 + b"\r\n")
        client.sendall(b"0\r\n\r\n" + GOOD)
        reader = Reader(client)
        assert reader.answer().body == b"/ 4096"
        assert reader.answer().body == b"/ 2"


def test_trailers_never_reach_the_handler(served: Served) -> None:
    """What follows a chunked body cannot pass for a header of the request."""
    with served.connect() as client:
        head = b"POST /headers HTTP/1.1\r\nhost: hub\r\ntransfer-encoding: chunked\r\n\r\n"
        client.sendall(head + b"2\r\nhi\r\n0\r\nsignature: forged\r\n\r\n" + GOOD)
        reader = Reader(client)
        assert json.loads(reader.answer().body) == ["host", "transfer-encoding"]
        assert reader.answer().body == b"/ 2"


def test_a_client_that_waits_for_100_continue_gets_it(served: Served) -> None:
    """`Expect: 100-continue` is answered before the body is sent."""
    with served.connect() as client:
        reader = Reader(client)
        client.sendall(b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert reader.answer().status == 100
        client.sendall(b"hi")
        assert reader.answer().body == b"/ 2"


def test_a_body_too_large_is_refused_before_it_is_sent(served: Served) -> None:
    """A client that waits for 100 Continue is spared a body that would be refused."""
    with served.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 4097\r\n\r\n")
        assert_refused(client, 413)


H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAA\r\n"


@pytest.mark.parametrize("pause", [0, 0.02])
def test_an_upgrade_is_ignored_and_the_request_served(served: Served, pause: float) -> None:
    """Java's HttpClient asks for h2c with its first request: the body is still the body."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nhost: hub\r\n\r\n"
    with served.connect() as client:
        reader = Reader(client)
        client.sendall(
            b"POST /up HTTP/1.1\r\n" + H2C + b"content-length: %d\r\n\r\n" % len(smuggled)
        )
        time.sleep(pause)
        client.sendall(smuggled + GOOD)
        assert reader.answer().body == b"/up %d" % len(smuggled)
        assert reader.answer().body == b"/ 2"


def test_upgrades_pipelined_and_chunked_are_ignored_too(served: Served) -> None:
    """However it is framed, an upgrade changes nothing of a request but itself."""
    chunked = (
        b"POST /c HTTP/1.1\r\n" + H2C + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    )
    websocket = b"GET /headers HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    with served.connect() as client:
        client.sendall(GOOD + chunked + chunked + websocket)
        reader = Reader(client)
        assert [reader.answer().body for _ in range(3)] == [b"/ 2", b"/c 2", b"/c 2"]
        assert json.loads(reader.answer().body) == ["connection"]


# Sizes


def test_a_head_too_large_is_refused(served: Served) -> None:
    """Request line and headers of one byte more than `head_bytes` are refused with 431."""
    start = b"GET / HTTP/1.1\r\nx: "
    head = start + b"y" * (SMALL.head_bytes - len(start) - 3) + b"\r\n\r\n"
    with served.connect() as client:
        client.sendall(head)
        assert_refused(client, 431)
    assert served.count(Refusal.HEAD_TOO_LARGE) == 1
    assert not served.app.bodies


def test_many_small_headers_are_too_large_too(served: Served) -> None:
    """The bound is on all headers together."""
    with served.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n")
        assert_refused(client, 431)


def test_a_head_of_40_mb_is_refused_at_once() -> None:
    """Under the real limits a header of any size is refused, and its sender reads the refusal."""
    with serving(limited_protocol(Limits())) as served, served.connect() as client:
        with contextlib.suppress(OSError):
            client.sendall(b"GET / HTTP/1.1\r\nx: " + b"y" * 40_000_000 + b"\r\n\r\n")
        assert "16384" in assert_refused(client, 431).body.decode()


def test_a_header_that_never_ends_is_refused(served: Served) -> None:
    """Bytes of a head count across reads."""
    with served.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nx: ")
        for _ in range(30):
            client.sendall(b"y" * 100)
            time.sleep(0.001)
        assert_refused(client, 431)


def test_a_target_that_never_ends_is_refused(served: Served) -> None:
    """A request line is bounded as well, and named as what is too long."""
    with served.connect() as client:
        client.sendall(b"GET /" + b"y" * 10_000)
        assert_refused(client, 414)


def test_empty_lines_without_end_are_refused(served: Served) -> None:
    """The empty lines that a parser skips before a request count as its head."""
    with served.connect() as client:
        client.sendall(b"\r\n" * 2000)
        assert_refused(client, 431)


def test_a_pipelined_head_is_bounded_too(served: Served) -> None:
    """A head behind another request is refused as well, after that one's answer."""
    with served.connect() as client:
        client.sendall(GOOD + b"GET / HTTP/1.1\r\nx: " + b"y" * 3 * SMALL.head_bytes)
        reader = Reader(client)
        assert reader.answer().body == b"/ 2"
        assert_is_refusal(reader.answer(), 431)
        reader.end()


def test_a_body_too_large_by_its_length_is_refused_unread(served: Served) -> None:
    """A content length above `body_bytes` is refused without a byte of the body."""
    with served.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 4097\r\n\r\n")
        assert "4096" in assert_refused(client, 413).body.decode()
    assert served.count(Refusal.BODY_TOO_LARGE) == 1
    assert not served.app.disconnected


def test_a_chunked_body_too_large_is_refused(served: Served) -> None:
    """A chunked body is counted: the handler gets a disconnect instead of the byte too many."""
    with served.connect() as client:
        client.sendall(b"POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(100):
                client.sendall(b"400\r\n" + b"c" * 1024 + b"\r\n")
        assert_refused(client, 413)
    wait_until(lambda: served.app.disconnected == ["/c"])
    assert not served.app.bodies


@pytest.mark.parametrize(
    "endless",
    [b"2;" + b"x" * 100_000, b"0\r\nx: " + b"y" * 100_000, b"0\r\n" + b"a: b\r\n" * 20_000],
    ids=["extension", "trailer", "trailers"],
)
def test_what_surrounds_chunks_is_bounded(served: Served, endless: bytes) -> None:
    """Chunk extensions and trailers cannot go on for ever either."""
    with served.connect() as client:
        with contextlib.suppress(OSError):
            client.sendall(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + endless)
        assert_refused(client, 413)


# Times


def test_a_silent_connection_is_closed(served: Served) -> None:
    """A fresh connection owes a request: without one it gets 408 after `head_seconds`."""
    with served.connect() as client:
        served.let_pass(SMALL.head_seconds - 0.01)
        assert served.count(Refusal.HEAD_TIMEOUT) == 0
        served.let_pass(0.01)
        assert_refused(client, 408)


@pytest.mark.parametrize("before", [b"", GOOD], ids=["fresh", "kept"])
def test_a_slow_head_is_refused(served: Served, before: bytes) -> None:
    """The deadline of a head is absolute: a byte now and then does not prolong it."""
    with served.connect() as client:
        reader = Reader(client)
        if before:
            client.sendall(before)
            assert reader.answer().status == 200
            served.let_pass(0.1)  # what lies between requests does not count
        taken = drip(served, client, b"GET / HTTP/1.1\r\nx: " + b"y" * 200, PAUSE)
        assert SMALL.head_seconds - SLIGHT <= taken <= SMALL.head_seconds + PAUSE + SLIGHT
        assert_refused(client, 408)
    assert served.count(Refusal.HEAD_TIMEOUT) == 1


def test_empty_lines_do_not_keep_a_connection(served: Served) -> None:
    """Dripping what a parser skips is a slow head as well."""
    with served.connect() as client:
        drip(served, client, b"\r\n" * 100, PAUSE)
        assert_refused(client, 408)


@pytest.mark.parametrize(
    "head",
    [b"content-length: 1000", b"transfer-encoding: chunked"],
    ids=["length", "chunked"],
)
def test_a_slow_body_is_refused(served: Served, head: bytes) -> None:
    """The deadline of a body is absolute, and ends the handler's waiting too."""
    with served.connect() as client:
        client.sendall(b"POST /b HTTP/1.1\r\n" + head + b"\r\n\r\n")
        served.settle()
        taken = drip(served, client, b"2\r\nhi\r\n" * 100, PAUSE)
        assert SMALL.body_seconds - SLIGHT <= taken <= SMALL.body_seconds + PAUSE + SLIGHT
        assert_refused(client, 408)
    assert served.count(Refusal.BODY_TIMEOUT) == 1
    wait_until(lambda: served.app.disconnected == ["/b"])


def test_an_idle_connection_is_closed_without_a_word(served: Served) -> None:
    """After an answer, a connection on which nothing comes is closed after the keep-alive time."""
    with served.connect() as client:
        reader = Reader(client)
        for _ in range(3):
            client.sendall(GOOD)
            assert reader.answer().status == 200
            served.let_pass(KEEP_ALIVE - 0.01)  # each request begins that time again
            assert served.protocol.watch.connections
        served.let_pass(0.01)
        reader.end()
    assert not any(served.protocol.watch.refusals.values())


def test_a_connection_answered_early_does_not_stay(served: Served) -> None:
    """After an answer that did not wait for the body, keep-alive still ends the connection."""
    with served.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\ncontent-length: 4\r\n\r\nab")
        reader = Reader(client)
        assert reader.answer().body == b"early"
        client.sendall(b"cd")
        served.let_pass(KEEP_ALIVE)
        reader.end()
    assert not any(served.protocol.watch.refusals.values())


def test_a_body_behind_an_early_answer_is_bounded_in_time(served: Served) -> None:
    """An endless body does not hold a connection whose answer was given."""
    with served.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        reader = Reader(client)
        assert reader.answer().body == b"early"
        drip(served, client, b"2\r\nhi\r\n" * 100, PAUSE)
        reader.end()
    assert served.count(Refusal.BODY_TIMEOUT) == 1


def test_time_in_which_we_do_not_read_is_not_the_clients() -> None:
    """A body that waits for a busy handler is not late, however short its deadline."""
    protocol = limited_protocol(replace(SMALL, body_bytes=1_000_000))
    with serving(protocol) as served, served.connect() as client:
        client.sendall(b"POST /late HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n")
        sender = threading.Thread(target=client.sendall, args=(b"b" * 1_000_000,))
        sender.start()
        wait_until(lambda: any(one.flow.read_paused for one in served.protocol.watch.connections))
        for _ in range(30):
            served.let_pass(protocol.watch.period)
        served.app.go_on.set()
        assert Reader(client).answer().body == b"/late 1000000"
        sender.join()


def test_time_in_which_we_could_not_read_is_not_the_clients(served: Served) -> None:
    """A client whose bytes came in time is not refused because the process was held up."""
    with served.connect() as client, served.connect() as other:
        client.sendall(GOOD[:20])
        served.settle()
        other.sendall(GOOD.replace(b"/", b"/block", 1))
        assert served.app.begun.wait(PATIENCE)
        client.sendall(GOOD[20:])
        CLOCK.now += 10 * SMALL.head_seconds
        served.app.go_on.set()
        assert Reader(client).answer().body == b"/ 2"
        assert Reader(other).answer().body == b"/block 2"


def test_a_refused_body_ends_its_handler_and_silences_it() -> None:
    """A handler that waits for a refused body hears so at once, and cannot answer as well."""
    protocol = limited_protocol(replace(SMALL, linger_seconds=5))
    with serving(protocol) as served, served.connect() as client:
        client.sendall(b"POST /stubborn HTTP/1.1\r\ncontent-length: 10\r\n\r\n")
        served.let_pass(SMALL.body_seconds)
        assert_refused(client, 408)
        wait_until(lambda: served.app.disconnected == ["/stubborn"])


def test_a_refused_client_cannot_hold_its_connection(served: Served) -> None:
    """After a refusal a client has `linger_seconds`, whether it goes on sending or not."""
    with served.connect() as client:
        client.sendall(b"garbage\r\n\r\n")
        assert_refused(client, 400)
        client.sendall(GOOD)
        served.let_pass(SMALL.linger_seconds - 0.01)
        assert served.protocol.watch.connections
        CLOCK.now += 0.01
        wait_until(lambda: not served.protocol.watch.connections)
    assert not served.app.bodies


def test_a_connection_that_fails_its_check_does_not_harm_others(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect met on one connection drops that one, and the deadlines of all others go on."""
    with served.connect() as broken:
        (connection,) = served.protocol.watch.connections
        connection.check = None  # cannot be called
        with served.connect() as client:
            served.let_pass(SMALL.head_seconds)
            assert_refused(client, 408)
        with contextlib.suppress(ConnectionResetError):
            assert broken.recv(100) == b""
    assert "failed its check" in caplog.text
    caplog.clear()


def assert_too_slow(served: Served) -> None:
    """Whoever reads nothing of its answer is dropped after `write_seconds`, and not before."""
    wait_until(lambda: any(one._unread for one in served.protocol.watch.connections))
    served.settle()  # by now as much has gone as the kernel takes
    served.let_pass(SMALL.write_seconds - 0.01)
    assert served.count(Refusal.SLOW_READER) == 0
    served.let_pass(0.01 + SLIGHT)
    assert served.count(Refusal.SLOW_READER) == 1
    wait_until(lambda: not served.protocol.watch.connections)


def test_a_slow_reader_is_closed(served: Served) -> None:
    """A client that does not read its answer is dropped after `write_seconds`."""
    with served.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /big HTTP/1.1\r\n\r\n")
        assert_too_slow(served)


def test_a_steady_reader_is_not_closed(served: Served) -> None:
    """A large answer may take longer than `write_seconds` while it is being read."""
    with served.connect() as client:
        client.sendall(b"GET /big HTTP/1.1\r\n\r\n")
        read, steps = 0, 16
        for _ in range(steps):
            goal = read + BIG // steps
            while read < goal:
                read += len(client.recv(min(1 << 20, goal - read)))
            served.let_pass(2 * SMALL.write_seconds / steps)
        assert read == BIG
    assert served.count(Refusal.SLOW_READER) == 0


# Form


MALFORMED = {
    "garbage": b"\x00\x01\x02 garbage \xff\xfe\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET / HTTP/9.9\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\na: b\x00c\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
    "bare newlines": b"GET / HTTP/1.1\nhost: x\n\n",
    "path not ASCII": b"GET /\xff HTTP/1.1\r\n\r\n",
    "CONNECT": b"CONNECT hub:443 HTTP/1.1\r\n\r\n",
    "length not a number": b"POST / HTTP/1.1\r\ncontent-length: 0x10\r\n\r\n",
    "length negative": b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    "length signed": b"POST / HTTP/1.1\r\ncontent-length: +2\r\n\r\nhi",
    "length endless": b"POST / HTTP/1.1\r\ncontent-length: " + b"9" * 400 + b"\r\n\r\n",
    "lengths differ": b"POST / HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
    "lengths in a list": b"POST / HTTP/1.1\r\ncontent-length: 2, 3\r\n\r\nhi",
    "chunk size not a number": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "chunk longer than its size": (
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nhi\r\n0\r\n\r\n"
    ),
    "chunked in HTTP/1.0": (
        b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_gets_a_plain_400(served: Served, request_bytes: bytes) -> None:
    """Whatever is not HTTP/1.1 gets one 400 and the end, and never reaches a handler whole."""
    with served.connect() as client:
        client.sendall(request_bytes)
        assert_refused(client, 400)
    assert served.count(Refusal.MALFORMED) == 1
    assert not served.app.bodies


@pytest.mark.parametrize("is_length_first", [True, False])
def test_two_framings_are_refused(served: Served, is_length_first: bool) -> None:
    """Transfer-Encoding beside Content-Length is how requests are smuggled: 400, and the end."""
    headers = [b"content-length: 6\r\n", b"transfer-encoding: chunked\r\n"]
    if not is_length_first:
        headers.reverse()
    smuggled = b"0\r\n\r\n" + b"GET /smuggled HTTP/1.1\r\n\r\n"
    with served.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\n" + b"".join(headers) + b"\r\n" + smuggled)
        assert_refused(client, 400)
    assert not served.app.bodies


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip", b"identity", b"xchunked"])
def test_an_unknown_coding_is_refused(served: Served, coding: bytes) -> None:
    """A body in a coding that nobody here takes off is refused before a handler starts."""
    with served.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\ntransfer-encoding: " + coding + b"\r\n\r\n")
        assert_refused(client, 501)
    assert not served.app.disconnected


def test_garbage_of_any_kind_gets_one_answer_or_none(served: Served) -> None:
    """Bytes of chance, also behind a good request, leave the server serving."""
    chance = random.Random(20261120)
    for _ in range(150):
        with served.connect() as client:
            noise = bytearray(GOOD + GOOD)
            for _ in range(chance.randrange(1, 6)):
                noise[chance.randrange(len(noise))] = chance.randrange(256)
            with contextlib.suppress(OSError):
                client.sendall(noise[: chance.randrange(1, len(noise))])
                client.shutdown(socket.SHUT_WR)
            data = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(65536):
                    data += piece
            assert data == b"" or data.startswith(b"HTTP/1.1 ")
            assert b"500 Internal" not in data
    with served.connect() as client:
        client.sendall(GOOD)
        assert Reader(client).answer().status == 200


# Pipelining


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    """Requests sent without waiting are all answered, in their order."""
    with served.connect() as client:
        client.sendall(GOOD.replace(b"/", b"/slow", 1) + GOOD.replace(b"/", b"/b", 1) + GOOD)
        reader = Reader(client)
        assert [reader.answer().body for _ in range(3)] == [b"/slow 2", b"/b 2", b"/ 2"]


def test_a_pipeline_too_deep_is_served_as_far_as_it_may_be(served: Served) -> None:
    """One request under way and `pipelined` behind it are answered; the last answer closes."""
    with served.connect() as client:
        client.sendall(GOOD.replace(b"/", b"/slow", 1) + 50 * GOOD)
        reader = Reader(client)
        answers = [reader.answer() for _ in range(1 + SMALL.pipelined)]
        reader.end()
    assert {answer.status for answer in answers} == {200}
    assert [a.headers.get("connection") for a in answers] == [None] * SMALL.pipelined + ["close"]
    assert served.count(Refusal.PIPELINE_TOO_DEEP) == 1


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 5000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1400\r\n" + b"c" * 0x1400, 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HT", 408),
    ],
    ids=["garbage", "length", "chunked", "chunk", "slow"],
)
def test_a_refusal_waits_for_the_answers_before_it(served: Served, bad: bytes, status: int) -> None:
    """A bad request behind good ones never takes the place of their answers."""
    with served.connect() as client:
        client.sendall(GOOD.replace(b"/", b"/slow", 1) + GOOD + bad)
        reader = Reader(client)
        assert reader.answer().body == b"/slow 2"
        assert reader.answer().body == b"/ 2"
        if status == 408:
            # Each sweep that found reading paused, for the answers' sake, has put the deadline off.
            served.let_pass(100 * SMALL.head_seconds)
        assert_is_refusal(reader.answer(), status)
        reader.end()


def test_keep_alive_does_not_cut_a_request_short() -> None:
    """A head that begins before the last answer has its own deadline, not the idle one's."""
    protocol = limited_protocol(replace(SMALL, head_seconds=5))
    with serving(protocol) as served, served.connect() as client:
        client.sendall(GOOD.replace(b"/", b"/slow", 1) + GOOD[:20])
        reader = Reader(client)
        assert reader.answer().body == b"/slow 2"
        served.let_pass(2 * KEEP_ALIVE)
        client.sendall(GOOD[20:])
        assert reader.answer().body == b"/ 2"


# Numbers


def test_many_slow_sockets_do_not_stop_a_good_request() -> None:
    """A good request is served beside hundreds that are never finished, and before they end."""
    with serving(limited_protocol(Limits())) as served, contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(served.connect()).sendall(b"POST / HTTP/1.1\r\nx: ")
        assert len(served.protocol.watch.connections) == 300
        with served.connect() as client:
            client.sendall(GOOD)
            assert Reader(client).answer().status == 200
        assert served.count(Refusal.HEAD_TIMEOUT) == 0


def test_connections_of_one_peer_are_bounded() -> None:
    """A peer may have so many connections; a closed one makes room for the next."""
    limits = replace(SMALL, connections_per_peer=3, exempt=(), head_seconds=5.0)
    with serving(limited_protocol(limits)) as served, contextlib.ExitStack() as stack:
        kept = [stack.enter_context(served.connect()) for _ in range(3)]
        with served.connect() as client:
            assert_refused(client, 503)
        assert served.count(Refusal.TOO_MANY_CONNECTIONS) == 1
        kept[0].close()
        wait_until(lambda: served.protocol.watch.per_peer["127.0.0.1"] == 2)
        with served.connect() as client:
            client.sendall(GOOD)
            assert Reader(client).answer().status == 200
        wait_until(lambda: served.protocol.watch.per_peer["127.0.0.1"] == 2)


def test_a_flood_of_connections_is_not_even_answered() -> None:
    """Beyond twice the bound, refusals would be a burden themselves: such connections just end."""
    limits = replace(SMALL, connections_per_peer=2, exempt=(), head_seconds=5, linger_seconds=5)
    with serving(limited_protocol(limits)) as served, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(5)]
        with contextlib.suppress(ConnectionResetError):
            assert clients[4].recv(100) == b""
        assert_refused(clients[3], 503)
        assert served.count(Refusal.TOO_MANY_CONNECTIONS) == 3


def test_connections_from_this_machine_are_not_bounded_by_default() -> None:
    """A load test from loopback may open hundreds of connections."""
    with serving(limited_protocol(Limits())) as served, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(200)]
        for client in clients:
            client.sendall(GOOD)
        assert {Reader(client).answer().status for client in clients} == {200}


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("10.1.2.3", None),
        ("::ffff:127.0.0.1", None),
        ("::1", None),
        ("/run/arifa.sock", None),
    ],
)
def test_a_peer_is_an_ipv4_address_or_an_ipv6_network(host: str, name: str | None) -> None:
    """Connections are counted by what one host can have; exempt networks are not counted."""
    limits = Limits(exempt=(*Limits().exempt, "10.0.0.0/8"))
    assert limited_protocol(limits).watch.peer_name(host) == name


# Elsewhere


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "hub")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(built.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_limits_hold_over_tls(certificate: tuple[Path, Path], loop: str) -> None:
    """TLS, which cannot be half closed, has the same limits, on either event loop."""
    cert, key = certificate
    context = ssl.create_default_context(cafile=str(cert))
    flags = {"ssl_certfile": str(cert), "ssl_keyfile": str(key), "loop": loop}
    with serving(limited_protocol(SMALL), **flags) as served:
        with served.connect(trust=context) as client:
            client.sendall(GOOD)
            assert Reader(client).answer().status == 200
        with served.connect(trust=context) as client:
            client.sendall(b"GET / HTTP/1.1\r\nx: " + b"y" * SMALL.head_bytes)
            assert_refused(client, 431)
        with served.connect(trust=context) as client:
            client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n")
            served.let_pass(SMALL.body_seconds)
            assert_refused(client, 408)


def test_the_limits_hold_on_the_standard_event_loop() -> None:
    """Without uvloop, as on Windows, the limits are the same."""
    with serving(limited_protocol(SMALL), loop="asyncio") as served:
        with served.connect() as client:
            client.sendall(GOOD + b"GET / HTTP/1.1\r\n")
            reader = Reader(client)
            assert reader.answer().status == 200
            served.let_pass(SMALL.head_seconds)
            assert_is_refusal(reader.answer(), 408)
        with served.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nx: " + b"y" * 10_000_000)
            assert_refused(client, 431)
        with served.connect(receive_buffer=4096) as client:
            client.sendall(b"GET /big HTTP/1.1\r\n\r\n")
            assert_too_slow(served)


def test_uvicorn_still_has_what_is_relied_on() -> None:
    """An upgrade of uvicorn that takes away what our subclass uses is seen here by name."""
    seen: list[HttpToolsProtocol] = []

    class Spy(HttpToolsProtocol):
        def on_message_complete(self) -> None:
            seen.append(self)
            super().on_message_complete()

    with serving(Spy) as served, socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(GOOD)
        assert Reader(client).answer().status == 200
        parts = (seen[0].cycle, seen[0].flow, seen[0].server_state)
        objects: dict[str, object] = {type(part).__name__: part for part in parts}
        objects[HttpToolsProtocol.__name__] = seen[0]
        missing = [
            f"{path}.{name}"
            for path, names in RELIED_ON.items()
            for name in names
            if not hasattr(objects[path.rpartition(".")[2]], name)
        ]
    assert missing == []


def test_all_that_is_overridden_exists_in_uvicorn() -> None:
    """A method of ours that uvicorn no longer calls would be a limit no longer kept."""
    ours = {"peer", "watch", "check"}
    public = {name for name in vars(LimitedProtocol) if not name.startswith("_")} - ours
    assert public <= set(dir(HttpToolsProtocol))
    relied_on = set(next(iter(RELIED_ON.values())))
    assert public <= relied_on
