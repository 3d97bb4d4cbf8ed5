"""Requests read past the parser are read as the parser would, and treated as they ever were.

Two connections, one of which reads plain requests by itself and one of which leaves all to
httptools, live through the same: the same bytes in the same reads, answers, silences, losses. What
the handlers were given, what was written, refused and counted must be the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote

import httptools
import pytest
import uvicorn
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from arifa.web import protocol as door
from arifa.web.direct import DirectProtocol, Exchange, direct_protocol
from arifa.web.plain import PlainExchange, PlainReader
from arifa.web.protocol import LimitedProtocol, Limits
from arifa.wire import PLAIN, WireResponse

SMALL = Limits(head_bytes=300, body_bytes=200, pipelined=2)
PEER = "203.0.113.7"
PREFIX = "/ipn/"
HEADERS = ((b"host", b"hub"), (b"user-agent", b"bank"))


def request(
    body: bytes = b"hi",
    *,
    method: str = "POST",
    path: str = "/ipn/abc",
    headers: Iterable[tuple[bytes, bytes]] = HEADERS,
) -> bytes:
    """A request that is plain, but for what it is told."""
    lines = [f"{method} {path} HTTP/1.1".encode()]
    lines += [name + b": " + value for name, value in headers]
    lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


# ------------------------------------------------------------------ one connection


class Socket(asyncio.Transport):
    """The other side of a connection: what was done to it, in order."""

    def __init__(self) -> None:
        super().__init__({"peername": (PEER, 5), "sockname": ("127.0.0.1", 80)})
        self.done: list[Any] = []
        self.is_stalled = False  # nobody takes what is written
        self.is_paused = False
        self._closing = False
        self._unread = 0

    def write(self, data: Any) -> None:
        if not self._closing:
            self.done.append(bytes(data))
            self._unread += len(data) if self.is_stalled else 0

    def get_write_buffer_size(self) -> int:
        return self._unread

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.done.append("eof")

    def close(self) -> None:
        if not self._closing:
            self.done.append("closed")
        self._closing = True

    def abort(self) -> None:
        self.done.append("aborted")
        self._closing = True

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def drain(self) -> None:
        self.is_stalled, self._unread = False, 0


class Bank:
    """Handler of the intake's path: notes what it is given, and answers when it is told to."""

    def __init__(self, *, is_prompt: bool = False) -> None:
        self.given: list[Any] = []
        self.plain = 0
        self.waiting: deque[Exchange] = deque()
        self.is_prompt = is_prompt

    def receive(self, exchange: Exchange) -> None:
        self.plain += isinstance(exchange, PlainExchange)
        seen = (exchange.path, exchange.query, exchange.headers, exchange.body, exchange.peer)
        assert [type(part) for part in seen] == [str, bytes, tuple, bytes, str]
        self.given.append(seen)
        if exchange.query == b"fail":
            raise ValueError("this is in no log line")
        self.waiting.append(exchange)
        if self.is_prompt:
            self.answer()

    def answer(self) -> None:
        """Answer who has waited longest, and then once more, which must do nothing."""
        if self.waiting:
            exchange = self.waiting.popleft()
            number = len(self.given) - len(self.waiting)
            status = 200 if number % 3 else 401
            answer = WireResponse(status, b"%d" % number, (PLAIN, (b"x-number", b"%d" % number)))
            exchange.respond(answer)
            exchange.respond(WireResponse(200, b"twice"))


@dataclass
class Clock:
    """Seconds, as the door reads them."""

    now: float = 1000.0


class Line:
    """A connection to a server, of which a test decides what happens, and when."""

    def __init__(self, clock: Clock, *, reads_plain: bool, is_prompt: bool, limits: Limits) -> None:
        self.clock = clock
        self.bank = Bank(is_prompt=is_prompt)
        self.others: list[Any] = []  # what the application was given
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]
        made = direct_protocol(limits, PREFIX, self.bank)
        if not reads_plain:
            made.data_received = LimitedProtocol.data_received  # type: ignore[method-assign]
        self.protocol: DirectProtocol = made(config(), self.state, {})
        self.protocol.app = self.app
        self.socket = Socket()
        self.arriving: deque[bytes] = deque()
        self.protocol.connection_made(self.socket)
        self.is_lost = False

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body, message = b"", await receive()
        while message["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
            message = await receive()
        kept = (scope["method"], scope["path"], scope["query_string"], scope["headers"], body)
        self.others.append((*kept, message["type"]))
        headers = [(b"content-length", b"%d" % len(scope["path"]))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    def read(self, data: bytes) -> None:
        """One read's worth of bytes, as soon as the connection is being read."""
        self.arriving.append(data)

    def answer(self) -> None:
        self.bank.answer()

    def later(self, seconds: float) -> None:
        """So many seconds later the connections are swept."""
        self.clock.now += seconds
        if self.protocol in self.protocol.watch.connections:
            self.protocol.check(self.clock.now)

    def tick(self) -> None:
        """The server makes its headers anew, as it does each second."""
        self.clock.now += 1
        self.state.default_headers = [(b"date", b"%d" % self.clock.now)]

    def stall(self) -> None:
        self.socket.is_stalled = True

    def drain(self) -> None:
        self.socket.drain()

    def shutdown(self) -> None:
        """What uvicorn asks of every connection when the server ends."""
        if not self.is_lost:
            self.protocol.shutdown()

    def lose(self) -> None:
        self._lost(ConnectionResetError())

    def _lost(self, error: Exception | None) -> None:
        if not self.is_lost:
            self.is_lost = True
            self.protocol.connection_lost(error)

    async def settle(self) -> None:
        """Let everything happen that can."""
        for _ in range(12):
            while self.arriving and not (self.socket.is_paused or self.socket.is_closing()):
                if self.is_lost:
                    break
                self.protocol.data_received(self.arriving.popleft())
            if self.socket.is_closing() and not self.socket.get_write_buffer_size():
                self._lost(None)
            await asyncio.sleep(0)

    def story(self) -> dict[str, Any]:
        """All that can be seen from outside."""
        return {
            "given": self.bank.given,
            "others": self.others,
            "done": self.socket.done,
            "refused": +self.protocol.watch.refusals,
            "answered": self.state.total_requests,
            "open": len(self.state.connections),
            "counted": dict(self.protocol.watch.per_peer),
            "unread": list(self.arriving),
            "paused": self.socket.is_paused,
        }


_config: list[uvicorn.Config] = []


async def nobody(_scope: Any, _receive: Any, _send: Any) -> None:
    """An application that is not asked: each line has its own."""


def config() -> uvicorn.Config:
    """The server's settings, as `arifa serve` has them."""
    if not _config:
        made = uvicorn.Config(
            nobody,
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            timeout_keep_alive=75,
        )
        made.load()
        _config.append(made)
    return _config[0]


Step = Callable[[Line], None]


def lived(
    steps: Iterable[Step],
    *,
    reads_plain: bool = True,
    is_prompt: bool = False,
    limits: Limits = SMALL,
) -> Line:
    """A connection after all this has happened to it."""

    async def live() -> Line:
        clock = Clock()
        with patch.object(door, "monotonic", lambda: clock.now):
            line = Line(clock, reads_plain=reads_plain, is_prompt=is_prompt, limits=limits)
            for step in steps:
                step(line)
                await line.settle()
        return line

    return asyncio.run(live())


def reads(*data: bytes) -> list[Step]:
    return [lambda line, piece=piece: line.read(piece) for piece in data]  # type: ignore[misc]


def assert_same(steps: list[Step], *, is_prompt: bool = False, limits: Limits = SMALL) -> Line:
    """Both ways come to the same; gives the connection that reads plain requests by itself."""
    ours = lived(steps, is_prompt=is_prompt, limits=limits)
    theirs = lived(steps, reads_plain=False, is_prompt=is_prompt, limits=limits)
    assert theirs.bank.plain == 0
    assert ours.story() == theirs.story()
    return ours


# ------------------------------------------------------------------ the law

TOKEN = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=1, max_size=8)
QUERY = st.text("ab=&%2+?/:", max_size=8)
CASES = st.sampled_from([bytes.lower, bytes.upper, bytes.title])
NAMES = st.sampled_from([b"accept", b"x-request-id", b"signature", b"authorization", b"date"])
VALUES = st.text([chr(code) for code in range(0x21, 0x7F)], min_size=1, max_size=12).map(str.encode)


@st.composite
def plain_requests(draw: Any) -> bytes:
    """Requests that take the short way."""
    query = draw(st.none() | QUERY)
    path = PREFIX + draw(TOKEN) + ("" if query is None else f"?{query}")
    headers = draw(st.lists(st.tuples(NAMES, VALUES), max_size=4, unique_by=lambda pair: pair[0]))
    body = draw(st.binary(max_size=60))
    headers += [(b"host", b"hub"), (b"content-length", b"%d" % len(body))]
    if draw(st.booleans()):
        headers.append((b"connection", draw(CASES)(b"keep-alive")))
    lines = [f"POST {path} HTTP/1.1".encode()]
    for name, value in draw(st.permutations(headers)):
        lines.append(draw(CASES)(name) + draw(st.sampled_from([b": ", b":"])) + value)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


ODD_HEADERS = [
    *(b"connection: close", b"connection: upgrade", b"Connection: keep-alive, te", b"te: trailers"),
    *(b"transfer-encoding: chunked", b"Transfer-Encoding: identity", b"trailer: x", b"te:"),
    *(b"content-length: 2", b"content-length: 02", b"content-length: +2", b"content-length: 2 "),
    *(b"content-length: 2, 2", b"content-length: 0x2", b"content-length:", b"content_length: 9"),
    *(b"content-length: 0_2", b"content-length: -0", b"content-length: ", b"Content-Length: 2\t"),
    *(b"expect: 100-continue", b"Expect: what", b"upgrade: h2c", b"proxy-connection: close"),
    *(b"host: other", b"Host:", b"x: a\tb", b"x:\tb", b"x:  b ", b"x: a\x00b", b"x: a\x7fb"),
    *(b"x: \xc3\xa9", b"x y: z", b"x : y", b": y", b"x", b" x: y", b"x: y\r\n z", b"x: y\n z"),
    *(b"x: y\nhost: z", b"x: y\rz: a", b"\xe9: y", b"x!#$%&'*+.^`|~: y", b"(x): y", b"x:", b"x: "),
    *(b"x: " + b"y" * 150, b"a: b\r\n" * 40 + b"c: d", b"x-forwarded-for: 10.0.0.1", b"\tx: y"),
]
ODD_LINES = [
    *(b"POST /ipn/a HTTP/1.0", b"POST /ipn/a HTTP/1.2", b"POST /ipn/a HTTP/2.0", b"POST /ipn/a"),
    *(b"POST  /ipn/a HTTP/1.1", b"POST /ipn/a  HTTP/1.1", b"POST /ipn/a HTTP/1.1 "),
    *(b"POST\t/ipn/a HTTP/1.1", b"post /ipn/a HTTP/1.1", b"POST /ipn/a http/1.1"),
    *(b"POST HTTP/1.1", b" POST /ipn/a HTTP/1.1", b"XPOST /ipn/a HTTP/1.1", b""),
    *(b"GET /ipn/a HTTP/1.1", b"HEAD /ipn/a HTTP/1.1", b"PUT /ipn/a HTTP/1.1"),
    *(b"OPTIONS /ipn/a HTTP/1.1", b"CONNECT /ipn/a HTTP/1.1", b"POST * HTTP/1.1"),
    *(b"POST /ipn/ HTTP/1.1", b"POST /ipn HTTP/1.1", b"POST /other HTTP/1.1"),
    *(b"POST /ipn/a%62 HTTP/1.1", b"POST /ipn/a/b HTTP/1.1", b"POST /ipn/../a HTTP/1.1"),
    *(b"POST //ipn/a HTTP/1.1", b"POST http://hub/ipn/a HTTP/1.1", b"POST /IPN/a HTTP/1.1"),
    *(b"POST /ipn/a#b HTTP/1.1", b"POST /ipn/a?b#c HTTP/1.1", b"POST /ipn/a;b HTTP/1.1"),
    *(b'POST /ipn/a?b"c<d> HTTP/1.1', b"POST /ipn/\xc3\xa9 HTTP/1.1", b"POST /ipn/a?\xe9 HTTP/1.1"),
    *(b"POST /ipn/a\x00 HTTP/1.1", b"POST /ipn/a\x0b HTTP/1.1", b"POST /ipn/a?b c HTTP/1.1"),
    *(b"POST /ipn/" + b"a" * 280 + b" HTTP/1.1", b"POST /ipn/A-b_9 HTTP/1.1"),
    *(b"POST /ipn/a HTTP/1.1\nhost: a", b"POST /ipn/a HTTP/1.1\rhost: a", b"POST /ipn/a? HTTP/1.1"),
]


@st.composite
def odd_requests(draw: Any) -> bytes:
    """Requests that are nearly plain, or nearly requests."""
    whole = draw(plain_requests())
    head, _, body = whole.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    for _ in range(draw(st.integers(1, 2))):
        what = draw(st.sampled_from(["line", "header", "drop", "body", "end", "byte", "empty"]))
        if what == "line":
            lines[0] = draw(st.sampled_from(ODD_LINES))
        elif what == "header":
            lines.insert(draw(st.integers(1, len(lines))), draw(st.sampled_from(ODD_HEADERS)))
        elif what == "drop":
            del lines[draw(st.integers(0, len(lines) - 1))]
            lines = lines or [b""]
        elif what == "body":
            body = draw(
                st.sampled_from([body[:-1], body + b"x", b"x" * 201, b"2\r\nhi\r\n0\r\n\r\n"])
            )
        elif what == "end":
            return draw(st.sampled_from([b"\n", b"\r", b"\r\n\n"])).join([*lines, b"", body])
        elif what == "byte":
            whole = bytearray(b"\r\n".join([*lines, b"", body]))
            whole[draw(st.integers(0, len(whole) - 1))] = draw(st.integers(0, 255))
            return bytes(whole)
        else:
            lines.insert(0, b"")
    return b"\r\n".join([*lines, b"", body])


CHUNKED = (
    b"POST /ipn/abc HTTP/1.1\r\nhost: hub\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\nhi\r\n0\r\nx: trailer\r\n\r\n"
)


@st.composite
def arriving(draw: Any) -> list[Step]:
    """Some requests, cut into reads: mostly one each."""
    made = plain_requests() | odd_requests() | st.sampled_from([CHUNKED, b"\r\n", b"P", b"\r"])
    pieces = draw(st.lists(plain_requests() | made, min_size=1, max_size=3))
    if draw(st.integers(0, 3)) == 0:
        pieces = [b"".join(pieces)]
    cut: list[bytes] = []
    for piece in pieces:
        at = sorted(draw(st.lists(st.integers(0, len(piece)), max_size=2)) if draw(RARELY) else [])
        cut += [piece[i:j] for i, j in zip([0, *at], [*at, len(piece)], strict=True) if i < j]
    return reads(*cut)


RARELY = st.integers(0, 4).map(lambda number: number == 0)
HAPPENING = st.sampled_from(
    [
        *[Line.answer] * 8,
        *(Line.shutdown, Line.lose, Line.stall, Line.drain, Line.tick),
        *(
            lambda line: line.later(0.5),
            lambda line: line.later(9.0),
            lambda line: line.later(80.0),
        ),
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=st.lists(arriving() | HAPPENING.map(lambda step: [step]), min_size=1, max_size=9),
    is_prompt=st.booleans(),
)
def test_both_ways_come_to_the_same(parts: list[list[Step]], is_prompt: bool) -> None:
    """Whatever arrives and whatever happens meanwhile, nobody can tell the two ways apart."""
    line = assert_same([step for part in parts for step in part], is_prompt=is_prompt)
    event(f"{min(line.bank.plain, 3)} read plain of {min(len(line.bank.given), 3)}")


@settings(max_examples=100, deadline=None)
@given(st.lists(plain_requests(), min_size=1, max_size=4))
def test_plain_requests_take_the_short_way(requests: list[bytes]) -> None:
    """Each by itself, answered before the next: the parser has nothing to do."""
    line = assert_same(reads(*requests), is_prompt=True)
    assert line.bank.plain == len(line.bank.given) == len(requests)


@settings(max_examples=100, deadline=None)
@given(st.lists(plain_requests() | odd_requests(), min_size=1, max_size=12))
def test_what_was_read_before_makes_no_difference(requests: list[bytes]) -> None:
    """Lines and heads are remembered: a reader that has seen much reads as a new one does."""
    old = PlainReader(PREFIX)
    for _ in range(3):
        for data in requests:
            assert old.read(data, 300, 200) == PlainReader(PREFIX).read(data, 300, 200)


# ------------------------------------------------------------------ what is read at all

ORDINARY = request(b"hi", path="/ipn/ab?c=d", headers=(*HEADERS, (b"connection", b"keep-alive")))


class Parsed:
    """What httptools finds in one read: whole requests, and whether there was more."""

    def __init__(self, data: bytes) -> None:
        self.found: list[Any] = []
        self.is_between = True
        parser = httptools.HttpRequestParser(self)
        self._parser = parser
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.is_between = False
        self._url, self._body = b"", b""
        self._headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        url = httptools.parse_url(self._url)
        assert self._parser.get_method() == b"POST"
        assert self._parser.get_http_version() == "1.1"
        assert self._parser.should_keep_alive()
        assert not self._parser.should_upgrade()
        path = unquote(url.path.decode("ascii"))
        self.found.append((path, url.query or b"", tuple(self._headers), self._body))
        self.is_between = True


def read_alike(data: bytes) -> bool:
    """Whether it is plain; it is then the one request that httptools finds in it."""
    plain = PlainReader(PREFIX).read(data, 300, 200)
    if plain is not None:
        parsed = Parsed(data)
        assert (parsed.found, parsed.is_between) == ([plain], True), data
    return plain is not None


def test_every_byte_in_every_place_is_read_alike() -> None:
    """Whatever one byte of a plain request is changed to, and whatever is put in or left out: what
    is still plain is what httptools says it is."""
    assert read_alike(ORDINARY)
    number = 0
    for place in range(len(ORDINARY)):
        before, after = ORDINARY[:place], ORDINARY[place:]
        for code in range(256):
            number += read_alike(before + bytes([code]) + after[1:])
            number += read_alike(before + bytes([code]) + after)
        number += read_alike(before + after[1:])
        for piece in (b"\r\n", b"\r\n ", b"\r\n\r\n", b"  ", b": ", b"0", b"\n\n", b"\n"):
            number += read_alike(before + piece + after)
    assert number > 1000  # most letters could be others


@pytest.mark.parametrize("line", ODD_LINES, ids=repr)
def test_odd_request_lines_are_read_alike(line: bytes) -> None:
    """Nothing else is odd about the request, and it is not alone on its connection."""
    odd = line + request().removeprefix(b"POST /ipn/abc HTTP/1.1")
    read_alike(odd)
    assert_same(reads(request(), odd, request()), is_prompt=True)


@pytest.mark.parametrize("header", ODD_HEADERS, ids=repr)
@pytest.mark.parametrize("has_length", [True, False])
def test_odd_headers_are_read_alike(header: bytes, has_length: bool) -> None:
    """Nothing else is odd about the request, wherever the header stands, however often it came."""
    head, _, body = request().partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    for place in range(len(lines) + 1):
        kept = lines if has_length else lines[:-1]
        odd = b"\r\n".join([first, *kept[:place], header, *kept[place:], b"", body])
        read_alike(odd)
        assert_same(reads(odd, odd, request()), is_prompt=True)


# ------------------------------------------------------------------ one thing at a time


def later(seconds: float) -> Step:
    return lambda line: line.later(seconds)


def written(line: Line) -> list[bytes]:
    """The bodies of what was written."""
    return [data.rpartition(b"\r\n\r\n")[2] for data in line.socket.done if isinstance(data, bytes)]


def test_the_answer_is_written_as_ever() -> None:
    """Status, the server's headers, the answer's, its length, its body: in one piece."""
    line = assert_same([*reads(request()), Line.answer])
    assert line.bank.plain == 1
    assert b"".join(line.socket.done) == (
        b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-type: text/plain; charset=utf-8\r\n"
        b"x-number: 1\r\ncontent-length: 1\r\n\r\n1"
    )
    assert len(line.socket.done) == 1


def test_the_date_is_that_of_the_request() -> None:
    """The server's headers are those of when it came, and of no request before."""
    steps = [*reads(request()), Line.tick, *reads(request()), Line.answer, Line.answer]
    line = assert_same([*steps, Line.tick, *reads(request()), Line.answer])
    dates = [data.split(b"\r\n")[1] for data in line.socket.done]
    assert dates == [b"date: today", b"date: 1001", b"date: 1002"]
    assert line.bank.plain == 2


def test_what_comes_behind_a_plain_request_waits() -> None:
    """It is read by the parser, handed over in its turn, and answered in order."""
    steps = reads(request(), request(b"a") + request(b"b")[:30], request(b"b")[30:])
    line = assert_same(steps)
    assert (len(line.bank.given), line.socket.is_paused) == (1, True)
    line = assert_same([*steps, Line.answer])
    assert [given[3] for given in line.bank.given] == [b"hi", b"a"]
    line = assert_same([*steps, *[Line.answer] * 3, *reads(request(b"c")), Line.answer])
    assert [given[3] for given in line.bank.given] == [b"hi", b"a", b"b", b"c"]
    assert written(line) == [b"1", b"2", b"3", b"4"]
    assert line.bank.plain == 2  # the first and the last: between them something was under way


def test_a_pipeline_behind_a_plain_request_is_bounded() -> None:
    """As many may wait as the limits say; the last one served closes."""
    steps = [*reads(request(), request() * 9), *[Line.answer] * 12]
    line = assert_same(steps)
    assert len(line.bank.given) == 1 + SMALL.pipelined
    assert b"connection: close" in line.socket.done[-2]
    assert line.socket.done[-1] == "closed"
    assert line.story()["refused"] == {"pipeline_too_deep": 1}


@pytest.mark.parametrize(
    "bad", [b"garbage\r\n\r\n", request(b"x" * 201), b"GET /" + b"y" * 400], ids=len
)
def test_a_refusal_waits_for_the_answer_to_a_plain_request(bad: bytes) -> None:
    """What is wrong behind it never takes the place of its answer."""
    line = assert_same([*reads(request(), bad), later(1), Line.answer, later(1)])
    assert written(line)[0] == b"1"
    assert [data[:10] for data in line.socket.done if data != "eof"][1].startswith(b"HTTP/1.1 4")


def test_who_was_refused_is_not_read_any_more() -> None:
    """A plain request behind a refusal, while that lingers, is thrown away."""
    for refused in ([later(11)], reads(b"\r\n" * 200), reads(b"garbage\r\n\r\n")):
        line = assert_same([*refused, *reads(request()), Line.answer])
        assert line.bank.given == []
        assert line.socket.done[-1] == "eof"


def test_who_goes_is_not_answered() -> None:
    """A connection that is lost while its request waits: the answer goes nowhere, in silence."""
    line = assert_same([*reads(request()), Line.lose, Line.answer, later(100)])
    assert (len(line.bank.given), line.socket.done) == (1, [])
    assert line.story()["open"] == 0


def test_a_server_that_ends_answers_what_is_under_way() -> None:
    """A plain request that waits is answered, and its connection closed."""
    line = assert_same([*reads(request()), Line.shutdown, later(1)])
    assert line.socket.done == []
    line = assert_same([*reads(request()), Line.shutdown, later(1), Line.answer])
    assert b"connection: close\r\n" in line.socket.done[0]
    assert line.socket.done[1:] == ["closed"]


def test_a_server_that_ends_closes_who_waits_for_nothing() -> None:
    """A connection whose plain request was answered is idle."""
    line = assert_same([*reads(request()), Line.answer, Line.shutdown])
    assert line.socket.done[1:] == ["closed"]


def test_a_slow_reader_of_plain_answers_is_dropped() -> None:
    """Who does not take the answer in time loses the connection."""
    steps = [Line.stall, *reads(request()), Line.answer, later(1), later(19), later(2)]
    line = assert_same(steps)
    assert line.socket.done[1:] == ["aborted"]
    assert line.story()["refused"] == {"slow_reader": 1}


def test_an_idle_connection_is_closed_after_a_plain_request() -> None:
    """Keep-alive counts from the answer, and never while the answer is awaited."""
    line = assert_same([*reads(request()), later(1), later(100), later(100)])
    assert line.socket.done == []
    answered = [*reads(request()), later(100), Line.answer]
    line = assert_same([*answered, later(1), later(74), *reads(request()), Line.answer, later(1)])
    assert len(line.socket.done) == line.bank.plain == 2
    line = assert_same([*answered, later(1), later(74), later(2)])
    assert line.socket.done[1:] == ["closed"]


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("what", ["head", "body"])
def test_plain_requests_are_bounded_as_ever(what: str, more: int) -> None:
    """The limits are inclusive, for what is read past the parser as well."""
    if what == "head":
        bare = request(headers=(*HEADERS, (b"x", b"")))
        rest = SMALL.head_bytes - len(bare) + len(b"hi") + more
        data = request(headers=(*HEADERS, (b"x", b"y" * rest)))
    else:
        data = request(b"b" * (SMALL.body_bytes + more))
    line = assert_same(reads(data), is_prompt=True)
    assert line.bank.plain == (more <= 0)
    assert bool(line.story()["refused"]) == (more > 0)


def test_empty_lines_before_it_count_for_its_head() -> None:
    """What the parser has skipped is not forgotten, and has a deadline."""
    head = len(request()) - len(b"hi")
    for skipped in (b"\r\n", b"\r" * (SMALL.head_bytes - head), b"\n" * (SMALL.head_bytes - 1)):
        assert_same([*reads(skipped, request()), Line.answer, later(1), later(10)])
        assert_same([*reads(request(), skipped), Line.answer, later(1), later(10)])
        # And of the next one nothing has been taken.
        full = request(headers=(*HEADERS, (b"x", b"y" * (SMALL.head_bytes - head - 5))))
        line = assert_same(reads(skipped, request(), full), is_prompt=True)
        assert (line.bank.plain == 2) == (len(skipped) <= SMALL.head_bytes - head)


@pytest.mark.parametrize("size", [64 * 1024 + 1, 256 * 1024])
def test_a_large_body_in_one_read_is_plain(size: int) -> None:
    """Also one for which uvicorn would stop reading; the connection is read on."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    steps = reads(request(body), request(b"next"))
    line = assert_same(steps, limits=Limits(), is_prompt=True)
    assert [given[3] for given in line.bank.given] == [body, b"next"]
    assert line.bank.plain == 2


def test_a_handler_that_fails_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """A defect of ours is told as one, by either way, and the connection goes on."""
    failing = request(path="/ipn/abc?fail")
    line = assert_same([*reads(failing, request()), Line.answer, *reads(failing)])
    assert [data.split()[1] for data in line.socket.done] == [b"500", b"200", b"500"]
    assert line.bank.plain == 3
    said = capsys.readouterr()
    assert "ValueError" in said.out + said.err
    assert "in no log" not in said.out + said.err


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_take_the_ordinary_way(method: str) -> None:
    """They go to the application, and leave the connection to whoever comes next."""
    line = assert_same([*reads(request(method=method), request()), Line.answer])
    assert [other[:2] for other in line.others] == [(method, "/ipn/abc")]
    assert line.bank.plain == 1


@pytest.mark.parametrize(
    "header",
    [
        *(b"connection: close", b"connection: upgrade", b"connection: te", b"te: trailers"),
        *(b"expect: 100-continue", b"expect: x", b"upgrade: h2c", b"trailer: x"),
        *(b"http2-settings: AAEAAEAA", b"proxy-connection: keep-alive", b"host: hub"),
        *(b"Transfer-Encoding: identity", b"Connection:keep-alive, close", b"user-agent: two"),
    ],
    ids=bytes.decode,
)
def test_what_could_change_the_framing_is_left_to_the_parser(header: bytes) -> None:
    """And so is whatever comes twice, or is not there: it is never judged here."""
    name, _, value = header.partition(b":")
    odd = request(headers=(*HEADERS, (name, value.strip())))
    line = assert_same(reads(odd, request(headers=())), is_prompt=True)
    assert line.bank.plain == 0


@pytest.mark.parametrize("cut", [1, 20, 60, 100])
@pytest.mark.parametrize("before", [[], [request(), Line.answer]], ids=["fresh", "kept"])
def test_what_has_begun_is_the_parsers(before: list[Any], cut: int) -> None:
    """A plain request behind part of another is no request of its own."""
    begun = [step for item in before for step in ([item] if callable(item) else reads(item))]
    inner = request(b"inner")
    outer = request(inner)
    line = assert_same([*begun, *reads(outer[:cut], outer[cut:]), Line.answer], limits=Limits())
    assert line.bank.given[-1][3] == inner
    split = [outer.removesuffix(inner), inner]
    line = assert_same([*begun, *reads(*split), Line.answer], limits=Limits())
    assert line.bank.given[-1][3] == inner
    assert line.bank.plain == len(before) // 2
    assert_same([*begun, *reads(b"P", request()), Line.answer, later(1)])


@pytest.mark.parametrize("flags", [{"limit_concurrency": 9}, {"root_path": "/ipn"}], ids=str)
def test_what_uvicorn_is_to_decide_is_left_to_it(flags: dict[str, Any]) -> None:
    """A bound on concurrency and a path in front are kept by uvicorn, and so not gone past."""
    with patch.multiple(config(), **flags):
        line = assert_same([*reads(request(), request(path="/abc")), *[Line.answer] * 2])
    assert line.bank.plain == 0


def test_without_a_handler_nothing_goes_past_the_parser() -> None:
    """The class of the baseline is as if there were no short way."""
    assert direct_protocol(SMALL, PREFIX, None).data_received is LimitedProtocol.data_received


def test_what_is_remembered_is_bounded() -> None:
    """Whoever sends another head each time makes the memory no larger than so much."""
    reader = PlainReader(PREFIX)
    many = [(b"x-%d" % number, b"y" * 60) for number in range(10)]
    for number in range(1500):
        unique = (b"x-id", b"%d" % number)
        for more in ((unique,), (unique, (b"long", b"%d" % number * 200)), many, ()):
            path = f"/ipn/a{number}" + "a" * (200 if more else 0)
            for _ in range(2):
                data = request(path=path, headers=(*HEADERS, *more))
                assert reader.read(data, 9999, 9999) is not None
    for lines in (reader._targets, reader._headers):
        assert 0 < len(lines) <= 1024
        assert max(map(len, lines)) <= 128
    assert 0 < len(reader._heads) <= 1024
    assert max(map(len, reader._heads)) <= 512
