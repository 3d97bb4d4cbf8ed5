"""One HTTP/1.1 connection to an endpoint: one request at a time, and its answer, within bounds.

    ask ──► bytes out ──► bytes in, by the piece ──► parser ──► answer, or why there is none

The parser (llhttp, by `httptools`) is strict about what it takes: lengths that differ, a length
beside chunks, sizes that are no numbers, and control characters in headers are errors of its own.
What it does not count is counted here (`bounds`), and what it takes beyond HTTP/1.x is refused.
Whatever comes that nobody asked for ends the connection: it would pass for the next answer.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

import httptools

from arifa.delivery.bounds import (
    AROUND_MAX,
    BODY_MAX,
    HEAD_MAX,
    HEADERS_MAX,
    INTERIM_MAX,
    PIECE,
)
from arifa.wire import WireResponse

_H: Final = ord("H")
_VERSIONS: Final = ("1.1", "1.0")


class TooMuch(Exception):
    """An answer without measure."""


class NotHttp(Exception):
    """What came is no answer of HTTP/1.x to what was asked."""


class Ended(Exception):
    """The connection ended before the answer did. Its cause is the error that ended it, if any."""


class Connection(asyncio.Protocol):
    """The client's end of a connection that stands, to the endpoint or through a tunnel.

    Attributes:
        received: bytes that came since the last request.
        is_open: whether another request can be sent.
        kept_at: when it became idle, in the loop's time; the pool's.
    """

    __slots__ = (
        "_around_max",
        "_body",
        "_body_size",
        "_failure",
        "_headers",
        "_interim",
        "_is_head_read",
        "_is_whole",
        "_loop",
        "_parser",
        "_status",
        "_timer",
        "_transport",
        "_waiter",
        "is_open",
        "kept_at",
        "received",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[WireResponse] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure: Exception | None = None
        self.is_open = True
        self.kept_at = 0.0
        self.received = 0
        self._parser = httptools.HttpResponseParser(self)
        # As some receivers end their lines. It says nothing else than what it would say without.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._begin()

    # ------------------------------------------------------------------ asking

    def ask(self, message: bytes, until: float) -> asyncio.Future[WireResponse]:
        """Send a request; the future has its answer, or the error that there is none.

        Of the errors: `TimeoutError` (by `until`, in the loop's time), `TooMuch`, `NotHttp`,
        `Ended`. But for the answer of a connection that is kept (`is_open`), it is closed then.
        """
        waiter = self._loop.create_future()
        if not self.is_open or self._transport is None:
            waiter.set_exception(self._failure or Ended())
            return waiter
        self._begin()
        self.received = 0
        self._waiter = waiter
        self._timer = self._loop.call_at(until, self._fail, TimeoutError())
        self._transport.write(message)
        return waiter

    def close(self) -> None:
        """Close it at once. Nothing waits in it that anybody needs."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _begin(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._status = 0
        self._interim = 0
        self._around_max = HEAD_MAX
        self._is_head_read = False
        self._is_whole = False

    # ------------------------------------------------------------------ from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came, piece by piece, until it is enough or too much."""
        if len(data) <= PIECE:
            self._read(data)
        else:
            for start in range(0, len(data), PIECE):
                self._read(data[start : start + PIECE])

    def connection_lost(self, error: Exception | None) -> None:
        """Take the end of the connection for the end of the answer, where it is one."""
        self.is_open = False
        self._transport = None
        ended = Ended()
        ended.__cause__ = error
        if self._waiter is None:
            # For a request that is about to be sent, such as behind a handshake that was refused.
            self._failure = self._failure or ended
        elif error is None and self._is_head_read and self._ends_with_the_connection():
            self._answer()
        else:
            self._fail(ended)
        # It names us, and we it.
        del self._parser

    # ------------------------------------------------------------------ reading

    def _read(self, piece: bytes) -> None:
        if self._waiter is None:
            self.received += len(piece)
            self._fail(NotHttp())
            return
        # The parser also takes RTSP and ICE.
        is_other = not self.received and piece[0] != _H
        self.received += len(piece)
        try:
            if not is_other:
                self._parser.feed_data(piece)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            is_other = True
        if is_other:
            self._fail(self._failure or NotHttp())
        elif self._is_whole:
            self._answer()
        elif self._body_size >= BODY_MAX:
            # Nobody reads on: what comes now is dropped, and the connection with it.
            self.is_open = False
            self._answer()
        elif self.received - self._body_size > self._around_max:
            self._fail(TooMuch())

    def _ends_with_the_connection(self) -> bool:
        names = {name.lower() for name, _ in self._headers}
        return not names & {b"content-length", b"transfer-encoding"}

    def _answer(self) -> None:
        waiter = self._settled()
        if waiter is not None:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            headers = tuple(self._headers)
            waiter.set_result(WireResponse(self._status, body[:BODY_MAX], headers))
        # A connection that is kept keeps no answer.
        self._headers, self._body = [], []
        if not self.is_open:
            self.close()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        waiter = self._settled()
        if waiter is not None:
            waiter.set_exception(error)
        self.close()

    def _settled(self) -> asyncio.Future[WireResponse] | None:
        """Whoever waits, if anybody does still, for the last word."""
        waiter, self._waiter = self._waiter, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return None if waiter is None or waiter.done() else waiter

    # ------------------------------------------------------------------ from the parser

    def on_message_begin(self) -> None:
        """Behind the answer there is to be nothing: a second one ends the connection."""
        if self._is_whole:
            self.is_open = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer is read and dropped."""
        if self._is_head_read:
            return
        if len(self._headers) >= HEADERS_MAX:
            self._failure = TooMuch()
            raise self._failure
        # The parser leaves what is behind a value.
        self._headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """See that it is an answer, of HTTP/1.x, or one of few that go before it."""
        if self._is_whole:
            return
        self._status = status = self._parser.get_status_code()
        if status == 101 or status < 100 or self._parser.get_http_version() not in _VERSIONS:
            raise NotHttp
        if status < 200:
            self._interim += 1
            if self._interim > INTERIM_MAX:
                self._failure = TooMuch()
                raise self._failure
            return
        self._is_head_read = True
        self._around_max = self.received + AROUND_MAX

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        if not self._is_whole:
            self._body.append(data)
            self._body_size += len(data)

    def on_message_complete(self) -> None:
        """The answer is whole, and the connection may be used again; or only 1xx was."""
        if self._is_whole:
            return
        if not self._is_head_read:
            self._headers = []
            return
        self._is_whole = True
        self.is_open = self._parser.should_keep_alive()
