"""A short way through uvicorn for the one path that is hot: no task, no coroutine, no messages.

For each request uvicorn starts an asyncio task, and the handler awaits the body and sends the
answer in two messages. The intake needs none of that: its body is bounded and small, its answer is
one piece, and between them it only waits for a group's commit. A request under `prefix` is handed
over as an `Exchange` when its body is complete, and answered by calling `Exchange.respond`, from
the event loop, at any later time. Everything else is uvicorn's: parsing, pipelining, keep-alive,
shutdown; and all limits of `web.protocol` hold.

A request that is plain and whole in one read is not even parsed (`web.plain`), where nothing else
is under way on its connection. Whatever comes behind it meanwhile is parsed, and waits its turn.

A request that is answered at once costs 17 microseconds of CPU this way and 25 the other (measured
against `bench/bare.py`, in turns, before there was `web.plain`); of the 17, protocol and parser took
7.6, and take 2 to 5.5 for a plain request (`bench/reading.py`). Requests with other methods than POST
take the ordinary way, so that HEAD and the like are answered as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from arifa.errors import place_of
from arifa.observe import log
from arifa.web.plain import PlainExchange, PlainReader
from arifa.web.protocol import LimitedProtocol, Limits, Watch
from arifa.wire import PLAIN, Headers, WireResponse

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_FAILED: Final = WireResponse(500, b"This hub failed; send it again.\n", (PLAIN,))
_base_received = LimitedProtocol.data_received
_base_start = HttpToolsProtocol._start_asgi_task  # noqa: SLF001 - listed in `protocol.RELIED_ON`


class Exchange(Protocol):
    """One request that is complete, and the way to answer it."""

    @property
    def path(self) -> str:
        """The path, percent-decoded."""

    @property
    def query(self) -> bytes:
        """What stands behind the question mark."""

    @property
    def headers(self) -> Headers:
        """The headers, their names in small letters."""

    @property
    def body(self) -> bytes:
        """The whole body, no larger than the limits allow."""

    @property
    def peer(self) -> str | None:
        """The address at the other end of the socket."""

    def respond(self, answer: WireResponse) -> None:
        """Send the whole answer. Nothing happens where the client has gone, or has been refused."""


class _CycleExchange:
    """An `Exchange` that came through the parser."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: DirectProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    @property
    def path(self) -> str:
        return self._cycle.scope["path"]

    @property
    def query(self) -> bytes:
        return self._cycle.scope["query_string"]

    @property
    def headers(self) -> Headers:
        return tuple(self._cycle.scope["headers"])

    @property
    def body(self) -> bytes:
        return bytes(self._cycle.body)

    @property
    def peer(self) -> str | None:
        return self._protocol.address

    def respond(self, answer: WireResponse) -> None:
        self._protocol.respond(self._cycle, answer)


class Handler(Protocol):
    """Who takes the requests under the prefix."""

    def receive(self, exchange: Exchange) -> None:
        """Take one request; it is answered by `exchange.respond`, now or later."""


class _Beginnings:
    """Status lines with the server's own headers behind them, which change once a second."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._by_status: dict[int, bytes] = {}

    def of(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """How an answer with this status begins. `headers` is a list that nobody changes: uvicorn
        makes another."""
        if headers is not self._headers:
            self._headers, self._by_status = headers, {}
        found = self._by_status.get(status)
        if found is None:
            lines = [b"%b: %b\r\n" % header for header in headers]
            found = self._by_status[status] = STATUS_LINE[status] + b"".join(lines)
        return found


class DirectProtocol(LimitedProtocol):
    """One connection. Made by `direct_protocol`, never directly."""

    prefix: ClassVar[str]
    handler: ClassVar[Handler | None]
    plain: ClassVar[PlainReader]
    beginnings: ClassVar[_Beginnings]
    address: str | None = None
    """The address at the other end of the socket."""
    _direct: RequestResponseCycle | None = None  # the request that takes the short way now
    _plain: PlainReader | None = None  # what reads it without the parser, where that may be

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else None
        if self.limit_concurrency is None and not self.root_path:
            # Both are uvicorn's to see to.
            self._plain = self.plain

    def data_received(self, data: bytes) -> None:
        if self._plain is not None and self._is_free():
            plain = self._plain.read(data, self._room, self._max_body)
            if plain is not None:
                exchange = PlainExchange(self, plain)
                self._has_read(exchange)
                self._give(exchange)
                return
        _base_received(self, data)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # `app` is another than ours where a limit has put a refusal in its place.
        scope = cycle.scope
        if (
            self.handler is None
            or app is not self.app
            or scope["method"] != "POST"
            or not scope["path"].startswith(self.prefix)
        ):
            _base_start(self, cycle, app)
            return
        self._direct = cycle
        if not cycle.more_body:
            self._hand_over(cycle)
        elif cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self._direct is self.cycle:
            # uvicorn stops reading at 64 KiB until the handler asks for more. Nobody will ask here,
            # and the body is bounded.
            self.flow.resume_reading()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._direct is not None and self._direct is self.cycle and not self.cycle.more_body:
            self._hand_over(self.cycle)

    def _hand_over(self, cycle: RequestResponseCycle) -> None:
        self._direct = None
        if not cycle.disconnected:
            self._give(_CycleExchange(self, cycle))

    def _give(self, exchange: Exchange) -> None:
        assert self.handler is not None
        try:
            self.handler.receive(exchange)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            # Else the parser would take it for a malformed request and swallow it, and the client
            # would wait for ever.
            log.error("request.failed", error=type(error).__name__, at=place_of(error))
            exchange.respond(_FAILED)

    def respond(self, cycle: RequestResponseCycle | PlainExchange, answer: WireResponse) -> None:
        """Write the answer of a request in one piece, as uvicorn would in two."""
        if cycle.disconnected or cycle.response_complete:
            return
        head, body = self.beginnings.of(answer.status, cycle.default_headers), answer.body
        for header in answer.headers:
            head += b"%b: %b\r\n" % header
        if not cycle.keep_alive:
            head += b"connection: close\r\n"
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


def direct_protocol(limits: Limits, prefix: str, handler: Handler | None) -> type[DirectProtocol]:
    """A protocol class with these limits, whose POST requests under `prefix` go to `handler`.

    Without a handler every request takes uvicorn's ordinary way.
    """

    class Direct(DirectProtocol):
        watch = Watch(limits)
        _max_head = limits.head_bytes
        _max_body = limits.body_bytes

    Direct.prefix = prefix
    Direct.handler = handler
    Direct.plain = PlainReader(prefix)
    Direct.beginnings = _Beginnings()
    if handler is None:
        Direct.data_received = LimitedProtocol.data_received  # type: ignore[method-assign]
    return Direct
