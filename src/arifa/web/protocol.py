"""The limits at the door: uvicorn's HTTP/1.1 protocol, bounded in bytes, in seconds and in number.

uvicorn with httptools accepts a header of 40 MB, a header that never ends, a body of any size and
a client that takes hours to send either. `limited_protocol` gives a protocol class that does not:

    uvicorn.Config(app, http=limited_protocol(Limits()), ws="none")

A refused request gets one short plain answer and the connection is closed. A handler behind this
class never receives more than `Limits.body_bytes`, and waits for a body no longer than
`Limits.body_seconds`: after that its `receive()` says `http.disconnect`.

Time is kept by one periodic sweep over all connections, not by timers per request: a request that
arrives whole in one read sets no deadline at all. So a deadline is kept up to one sweep late
(`Watch.period`, a fifth of a second with the default limits) and never early. Keep-alive is kept
the same way, which pays for the rest: uvicorn arms and cancels a timer for every request.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import math
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from arifa.clock import monotonic

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import (
        ASGI3Application,
        ASGIReceiveCallable,
        ASGISendCallable,
        Scope,
    )
    from uvicorn.config import Config
    from uvicorn.server import ServerState

logger = logging.getLogger(__name__)

# Where a connection stands with the request that it is sending. Plain integers, compared on
# every read: an enumeration's members cost a look-up each.
_IDLE: Final = 0  # between requests
_HEAD: Final = 1  # the first byte has come, the blank line has not
_BODY: Final = 2  # the blank line has come, the end has not; `cycle` is this request's
_DONE: Final = 3  # nothing more is read from this connection

_UNCOUNTED: Final = math.inf  # bytes on the wire of a body with a Content-Length

_CHUNK_OVERHEAD: Final = 4
"""A chunked body may take four times its limit on the wire, in chunk headers, extensions and
trailers: well above what any client needs, and an end to a trailer that never ends."""

_DRAIN_BYTES: Final = 64 * 1024
"""What a reader must take of a finished answer in `Limits.write_seconds`: so that a large export
over a slow line is not cut, and an answer to a bank, always smaller, must be read whole."""

RELIED_ON: Final = {
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol": (
        # Attributes of a connection.
        *("client", "cycle", "flow", "headers", "loop", "parser", "pipeline", "scope"),
        *("limit_concurrency", "root_path", "server_state", "timeout_keep_alive"),
        *("transport", "url"),
        # Methods overridden, or called.
        *("connection_lost", "connection_made", "data_received", "on_body"),
        *("on_headers_complete", "on_message_complete", "on_response_complete"),
        "_start_asgi_task",  # by `web.direct`, as are the cycle's further attributes
    ),
    "uvicorn.protocols.http.httptools_impl.RequestResponseCycle": (
        *("disconnected", "keep_alive", "message_event", "response_complete", "response_started"),
        *("body", "default_headers", "more_body", "on_response", "scope"),
        "waiting_for_100_continue",
    ),
    "uvicorn.protocols.http.flow_control.FlowControl": ("read_paused", "resume_reading"),
    "uvicorn.server.ServerState": ("default_headers", "total_requests"),
}
"""What this module uses of uvicorn beyond its documented interface; a test looks for each."""


@dataclass(frozen=True)
class Limits:
    """What a caller may take of us. Sizes in bytes, times in seconds; all times are absolute:
    dripping a byte now and then does not prolong them."""

    head_bytes: int = 16 * 1024
    """Request line and headers together. A bank's signed request has under 2 KiB of them; 16 KiB
    is what most proxies let through. A head that begins in the same read as the end of the
    request before it is counted from the next read on."""
    head_seconds: float = 10.0
    """From the first byte of a request, or from the connection, to the blank line."""
    body_bytes: int = 256 * 1024
    """The largest notification seen has 6 KiB."""
    body_seconds: float = 20.0
    """From the blank line to the last byte: 256 KiB at 13 KiB/s. Does not run while it is we who
    do not read."""
    write_seconds: float = 20.0
    """For a client to take an answer that waits for it (or 64 KiB more of it)."""
    linger_seconds: float = 2.0
    """After a refusal, for the client to read it. What it still sends is thrown away: to close
    over unread bytes resets the connection and takes the refusal with it."""
    pipelined: int = 16
    """Requests that may wait behind one being answered; the last one served then closes."""
    connections_per_peer: int = 50
    """Connections at one time from one IPv4 address or one IPv6 /64."""
    exempt: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks without a bound on connections: this machine, and the trusted proxies, which
    speak for many peers."""


class Refusal(Enum):
    """Why a request or a connection is refused: the status, and the sentence for the caller.

    Status 0 is a connection closed without an answer. `kind` is the name under which
    `Watch.refusals` counts it.
    """

    MALFORMED = 400, "This is not a well-formed HTTP/1.1 request"
    HEAD_TIMEOUT = 408, "The request line and headers did not come within {head_seconds:g} seconds"
    BODY_TIMEOUT = 408, "The body did not come within {body_seconds:g} seconds"
    BODY_TOO_LARGE = 413, "The body may have at most {body_bytes} bytes"
    TARGET_TOO_LONG = 414, "The request line and headers may have at most {head_bytes} bytes"
    HEAD_TOO_LARGE = 431, "The request line and headers may have at most {head_bytes} bytes"
    UNKNOWN_CODING = 501, "The only transfer coding understood here is chunked"
    TOO_MANY_CONNECTIONS = 503, "Your address may have at most {connections_per_peer} connections"
    PIPELINE_TOO_DEEP = 0, "More than {pipelined} requests wait for their answers"
    SLOW_READER = 0, "The answer was not read within {write_seconds:g} seconds"

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        self.sentence = sentence

    @property
    def kind(self) -> str:
        """The label of the counter, such as `body_too_large`."""
        return self.name.lower()


class Watch:
    """What the connections of one protocol class share: limits, counters and the periodic sweep.

    A protocol class belongs to one server, and so to one event loop at a time.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.refusals: Counter[str] = Counter({refusal.kind: 0 for refusal in Refusal})
        """How often each `Refusal.kind` happened since the start. Every kind is present."""
        self.connections: set[LimitedProtocol] = set()
        self.per_peer: Counter[str] = Counter()
        shortest = min(
            limits.head_seconds, limits.body_seconds, limits.write_seconds, limits.linger_seconds
        )
        self.period = min(0.5, max(0.01, shortest / 10))
        """Seconds between two sweeps."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._exempt = [ipaddress.ip_network(network) for network in limits.exempt]
        # Spelling an address takes microseconds; the same few peers come again and again.
        self.peer_name = functools.lru_cache(maxsize=4096)(self._peer_name)

    def deadline(self, seconds: float) -> float:
        """When `seconds` from now have passed. The loop's own time is that of its turn's start."""
        return monotonic() + seconds

    def enter(self, connection: LimitedProtocol) -> None:
        """Count a connection, and see that the sweep runs on its loop."""
        if self._loop is not connection.loop:
            if self._loop is not None and not self._loop.is_closed() and self.connections:
                raise RuntimeError("this protocol class serves another event loop: make one each")
            self._loop, self._timer = connection.loop, None
            self.connections.clear()
            self.per_peer.clear()
        self.connections.add(connection)
        if connection.peer is not None:
            self.per_peer[connection.peer] += 1
        if self._timer is None:
            self._timer = connection.loop.call_later(self.period, self._sweep, connection.loop)

    def leave(self, connection: LimitedProtocol) -> None:
        """Forget a connection."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        if connection.peer is not None:
            self.per_peer[connection.peer] -= 1
            if self.per_peer[connection.peer] <= 0:
                del self.per_peer[connection.peer]

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        # Both event loops read what has arrived before they run a timer that is due: whose bytes
        # came in time is not late when the process was held up.
        now = monotonic()
        # A server without connections sleeps.
        self._timer = loop.call_later(self.period, self._sweep, loop) if self.connections else None
        for connection in tuple(self.connections):
            try:
                connection.check(now)
            except Exception:
                # One broken connection must not end the deadlines of all others.
                logger.exception("a connection failed its check and was dropped")
                connection.transport.abort()

    def _peer_name(self, host: str) -> str | None:
        """What connections are counted by; None for a peer that may have any number."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:  # a UNIX socket's peer has a path: it is on this machine
            return None
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        if any(address in network for network in self._exempt):
            return None
        if address.version == 6:
            # A host is commonly given a whole /64.
            return str(ipaddress.ip_network((address.packed, 64), strict=False))
        return str(address)


# Called on every request; found once, because `super()` looks them up each time.
_base_headers_complete = HttpToolsProtocol.on_headers_complete
_base_body = HttpToolsProtocol.on_body
_base_message_complete = HttpToolsProtocol.on_message_complete


class _Stop(Exception):
    """Raised in a callback after a refusal: no error, but the only way to halt the parser."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection. Made by `limited_protocol`, never directly."""

    watch: ClassVar[Watch]
    _max_head: ClassVar[int]
    _max_body: ClassVar[int]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.peer: str | None = None
        """Under which name `Watch.per_peer` counts this connection."""
        self.url = b""  # uvicorn sets it only when a request begins
        self._phase = _HEAD  # a fresh connection owes us a request
        self._deadline = math.inf  # of this phase
        self._room = self._max_head  # bytes that the parser may still get of this head
        self._body_room = 0  # bytes that this body may still have
        self._wire_room = _UNCOUNTED  # bytes that a chunked body may still take on the wire
        self._timed: object = None  # the cycle that `_deadline` is for, in _BODY
        self._idle_after: object = None  # the answered cycle that it is for, in _IDLE
        self._farewell = b""  # a refusal that waits for the answers before it
        self._unread = 0  # bytes that the client had not taken at the last sweep
        self._unread_since = math.inf

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.peer = self.watch.peer_name(self.client[0]) if self.client else None
        self.watch.enter(self)
        self._deadline = self.watch.deadline(self.watch.limits.head_seconds)
        if self.peer is not None:
            self._bound_connections(self.watch.per_peer[self.peer])

    def _bound_connections(self, number: int) -> None:
        most = self.watch.limits.connections_per_peer
        if number > 2 * most:
            # So many that even the refusals, which linger a little, would be a burden.
            self.watch.refusals[Refusal.TOO_MANY_CONNECTIONS.kind] += 1
            self._phase = _DONE
            self.transport.abort()
        elif number > most:
            self._refuse(Refusal.TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = _DONE
        self.watch.leave(self)
        super().connection_lost(exc)

    # Reading

    def data_received(self, data: bytes) -> None:
        # uvicorn's own method is replaced, not called: it writes its 400 at once, ahead of the
        # answers that pipelined requests still wait for, and loses the body behind an Upgrade.
        if len(data) <= self._room:
            self._feed(data)
            return
        # The parser never gets more of a head than its limit, so that neither it nor the list
        # of headers can grow, and a head is refused at its 16 KiB, however large the read.
        view = memoryview(data)
        while view and self._phase != _DONE:
            piece, view = view[: self._room], view[self._room :]
            self._feed(piece)

    def _feed(self, data: bytes | memoryview) -> None:
        is_first = self._phase == _IDLE
        if is_first:
            self._phase = _HEAD
        elif self._phase == _DONE:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data, upgrade)
        except httptools.HttpParserError as error:
            self._malformed(error)
            return
        # `url` is emptied at the end of each request: it holds something again if the next
        # request has begun in the same read.
        if self._phase != _IDLE or self.url:
            self._unfinished(is_first, len(data))

    def _unfinished(self, is_first: bool, size: int) -> None:
        """After a read that left a request incomplete: set its deadline, count its bytes."""
        if self._phase == _HEAD:
            if is_first:
                self._deadline = self.watch.deadline(self.watch.limits.head_seconds)
            self._room -= size
            if self._room <= 0:
                is_target = len(self.url) > self._max_head // 2
                self._refuse(Refusal.TARGET_TOO_LONG if is_target else Refusal.HEAD_TOO_LARGE)
        elif self._phase == _BODY:
            if self._timed is not self.cycle:
                self._timed = self.cycle
                self._deadline = self.watch.deadline(self.watch.limits.body_seconds)
            self._wire_room -= size
            if self._wire_room < 0:
                self._refuse(Refusal.BODY_TOO_LARGE)
        elif self._phase == _IDLE:
            self._phase = _HEAD
            self._deadline = self.watch.deadline(self.watch.limits.head_seconds)

    def _malformed(self, error: httptools.HttpParserError) -> None:
        if self._phase == _DONE:  # refused within a callback, which then raised _Stop
            return
        # The parser's reasons are fixed phrases such as "Duplicate Content-Length": they help
        # whoever writes the client. Of a callback's failure it knows nothing fit to be told.
        is_callback = isinstance(error, httptools.HttpParserCallbackError)
        self._refuse(Refusal.MALFORMED, "" if is_callback else str(error))

    def _ignore_upgrade(
        self, data: bytes | memoryview, upgrade: httptools.HttpParserUpgrade
    ) -> None:
        """Parse the request again as if it had not asked for another protocol (RFC 9110 §7.8).

        Java's HttpClient asks for h2c with every first request over plain HTTP. The parser stops
        behind such a head and would take the body for the next request, so a new one gets the
        head without its Upgrade and then the rest.
        """
        try:
            while True:
                rest = bytes(data[upgrade.args[0] :])
                data = self._head_without_upgrade() + rest
                self.parser = _parser(self)
                try:
                    self.parser.feed_data(data)
                    return
                except httptools.HttpParserUpgrade as another:  # pipelined behind the first
                    upgrade = another
        except httptools.HttpParserError as error:
            self._malformed(error)

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode("ascii")
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _is_free(self) -> bool:
        """Whether nothing is under way: the next byte that comes begins a request, and nobody
        waits for an answer."""
        # uvicorn declares both never None. They are before the first request, and `scope` is made
        # by the first byte of each.
        scope: Any = self.scope
        cycle: Any = self.cycle
        if scope is not None or self._phase == _DONE:
            return False
        return cycle is None or cycle.response_complete is True

    def _has_read(self, cycle: Any) -> None:
        """Note a whole request that was read past the parser, by a connection that `_is_free`.

        `cycle` stands for it until it is answered, as uvicorn's own would.
        """
        self.cycle, self._phase, self._room = cycle, _IDLE, self._max_head

    # The parser's callbacks

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._stop(Refusal.MALFORMED, "CONNECT is for proxies")
            return  # `_ignore_upgrade` comes back with another parser
        if self.pipeline and len(self.pipeline) >= self.watch.limits.pipelined:
            self._end_pipeline()
        self._wire_room = _UNCOUNTED
        for name, value in self.headers:
            if name == b"content-length":
                # The parser has made sure that it is a number, the only one, and that there is
                # no Transfer-Encoding beside it.
                if int(value) > self._max_body:
                    self._stop(Refusal.BODY_TOO_LARGE)
                break
        else:
            self._look_for_chunks()
        _base_headers_complete(self)
        self._phase = _BODY
        self._room = self._max_head
        self._body_room = self._max_body
        if self._wire_room != _UNCOUNTED:
            # Trailers of a chunked body would be added to the headers of a request that is
            # already being answered, unproven: they go to a list that nobody reads.
            self.headers = []

    def _look_for_chunks(self) -> None:
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if not codings:
            return
        # The parser would pass `gzip, chunked` on as it is, and notices other codings only after
        # the handler has begun.
        if len(codings) > 1 or codings[0].strip().lower() != b"chunked":
            self._stop(Refusal.UNKNOWN_CODING)
        if self.parser.get_http_version() != "1.1":
            self._stop(Refusal.MALFORMED, "HTTP/1.0 has no Transfer-Encoding")  # RFC 9112 §6.1
        self._wire_room = _CHUNK_OVERHEAD * self._max_body + self._max_head

    def on_body(self, body: bytes) -> None:
        self._body_room -= len(body)
        if self._body_room < 0:
            self._stop(Refusal.BODY_TOO_LARGE)
        _base_body(self, body)

    def on_message_complete(self) -> None:
        if self._phase != _BODY:  # behind the head of an Upgrade, which is parsed again
            return
        _base_message_complete(self)
        self._phase = _IDLE
        self.url = b""
        self.scope = None  # type: ignore[assignment]  # until the next request's first byte

    def on_response_complete(self) -> None:
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        # The rest of uvicorn's own method, without its keep-alive timer. That is armed also when
        # part of the next request is here already, and cuts it short; and it is cancelled for
        # good by what comes of a body after an early answer. `_bound_idleness` does neither.
        self.server_state.total_requests += 1
        self.flow.resume_reading()

    # Refusing

    def _stop(self, refusal: Refusal, detail: str = "") -> NoReturn:
        self._refuse(refusal, detail)
        raise _Stop

    def _refuse(self, refusal: Refusal, detail: str = "") -> None:
        """Count it, answer it as soon as the requests before it are answered, read no more."""
        self.watch.refusals[refusal.kind] += 1
        has_cycle = self._phase == _BODY
        self._phase, self._deadline = _DONE, math.inf
        if has_cycle:
            self._refuse_cycle(refusal, detail)
        elif self._is_answering():
            self._farewell = self._answer(refusal, detail)  # `check` sends it
        else:
            self._part(self._answer(refusal, detail))

    def _is_answering(self) -> bool:
        cycle = self.cycle  # declared never None, but it is before the first request
        return cycle is not None and not cycle.response_complete  # type: ignore[redundant-expr]

    def _refuse_cycle(self, refusal: Refusal, detail: str) -> None:
        """Refuse a request whose handler has been given to uvicorn already."""
        cycle = self.cycle
        if self.pipeline:
            # It waits behind another, and so has not begun: give it another handler.
            cycle.keep_alive = False
            self.pipeline[0] = (cycle, _refusing(refusal, self._sentence(refusal, detail)))
        elif cycle.response_started:
            # Its answer is on the way, or was given before the body ended: nothing to add.
            self.transport.close()
        else:
            # As uvicorn does when the client is gone: `receive()` says so, `send()` does nothing.
            cycle.disconnected = True
            cycle.message_event.set()
            self._part(self._answer(refusal, detail))

    def _end_pipeline(self) -> NoReturn:
        """Serve what waits, then close: one who pipelines must expect that (RFC 9112 §9.3.2)."""
        self.watch.refusals[Refusal.PIPELINE_TOO_DEEP.kind] += 1
        self._phase, self._deadline = _DONE, math.inf
        self.pipeline[0][0].keep_alive = False
        raise _Stop

    def _part(self, answer: bytes) -> None:
        """Send the last answer; close when the client has had time to read it."""
        self._farewell = b""
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        if not self.transport.can_write_eof():  # TLS has no half-closed connections
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._deadline = self.watch.deadline(self.watch.limits.linger_seconds)

    def _answer(self, refusal: Refusal, detail: str) -> bytes:
        body = self._sentence(refusal, detail)
        lines = [b"HTTP/1.1 %d %b" % (refusal.status, HTTPStatus(refusal.status).phrase.encode())]
        lines += [name + b": " + value for name, value in self.server_state.default_headers]
        lines += [
            b"content-type: text/plain; charset=utf-8",
            b"content-length: %d" % len(body),
            b"connection: close",
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def _sentence(self, refusal: Refusal, detail: str) -> bytes:
        text = refusal.sentence.format(**vars(self.watch.limits))
        return (f"{text}: {detail}.\n" if detail else f"{text}.\n").encode()

    # The sweep

    def check(self, now: float) -> None:
        """See to this connection's deadlines; `Watch` calls it once a period."""
        if self._is_unread(now):
            self.watch.refusals[Refusal.SLOW_READER.kind] += 1
            self.transport.abort()
        elif self._phase == _IDLE:
            self._bound_idleness(now)
        elif self._phase == _DONE:
            self._leave(now)
        else:
            self._bound_request(now)

    def _bound_request(self, now: float) -> None:
        if self.flow.read_paused:
            self._deadline += self.watch.period  # it is we who do not read
        elif now >= self._deadline:
            is_head = self._phase == _HEAD
            self._refuse(Refusal.HEAD_TIMEOUT if is_head else Refusal.BODY_TIMEOUT)

    def _leave(self, now: float) -> None:
        if self._farewell:
            if self.cycle.response_complete:
                self._part(self._farewell)
        elif now >= self._deadline:
            self.transport.abort()

    def _bound_idleness(self, now: float) -> None:
        """Close a connection on which nothing came for `timeout_keep_alive` after an answer."""
        if self._idle_after is not self.cycle:
            if self.cycle.response_complete:
                self._idle_after = self.cycle
                self._deadline = now + self.timeout_keep_alive
        elif now >= self._deadline:
            self.transport.close()

    def _is_unread(self, now: float) -> bool:
        """Whether the client has taken nothing of what waits for it for too long."""
        size = self.transport.get_write_buffer_size()
        if self._is_answering():
            is_moving = size != self._unread  # the handler adds while the client takes
        else:
            is_moving = size + _DRAIN_BYTES <= self._unread
        if size == 0 or self._unread == 0 or is_moving:
            self._unread, self._unread_since = size, now
        return now - self._unread_since >= self.watch.limits.write_seconds


def limited_protocol(limits: Limits) -> type[LimitedProtocol]:
    """A protocol class with these limits, for `uvicorn.Config(http=...)`; one for each server.

    Its `watch.refusals` counts what was refused, by kind; `watch.connections` are the open ones.
    """

    class Limited(LimitedProtocol):
        watch = Watch(limits)
        _max_head = limits.head_bytes
        _max_body = limits.body_bytes

    return Limited


def _parser(protocol: LimitedProtocol) -> httptools.HttpRequestParser:
    """A parser as uvicorn sets one up."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def _refusing(refusal: Refusal, body: bytes) -> ASGI3Application:
    """A handler that answers with a refusal, for a request that waits in the pipeline."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
    ]

    async def app(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
