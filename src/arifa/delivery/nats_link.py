"""One connection to a NATS broker: nats-py, with what it would do by itself taken from it.

It looks no name up, goes to no server that another one names, does not reconnect; and where TLS is
asked for, not a byte of it leaves before TLS stands: a server, or somebody on the way, may deny
having any, and nats-py would believe it and send the password in the clear.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import ParseResult

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.js.api import PubAck

from arifa import __version__
from arifa.delivery.cause import Cause, NoAnswer
from arifa.delivery.nats_target import OPEN, Place
from arifa.delivery.transport import DEADLINE_MAX, Receipt
from arifa.wire import WireRequest

T = TypeVar("T")

GREETING_SECONDS: Final = 10
PING_SECONDS: Final = 20
"""Twice as long after a broker has vanished, its connection ends."""
CLOSE_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 60.0
"""How long a connection that nothing is sent over is kept."""
UNASKED_MAX: Final = 1_048_576
"""Bytes that a broker may send between two of our messages; more is no broker."""
WORDS_MAX: Final = 160
EXPECTED_STREAM_DIFFERS: Final = 10060
"""JetStream's error where the subject is kept by another stream than the one expected."""

# Headers of HTTP's own hop. `authorization` too: who reads the stream is not to have a password.
_NOT_FOR_A_STREAM: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te"}
    | {"trailer", "expect", "user-agent", "cookie", "authorization", "accept", "accept-encoding"}
    | {"proxy-connection", "proxy-authorization"}
)
_NATS_OWN: Final = "nats-"
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# It logs what a server sent, with a traceback; whatever matters reaches an attempt's cause.
logging.getLogger("nats").setLevel(logging.CRITICAL)


class Message(NamedTuple):
    body: bytes
    headers: dict[str, str]
    size: int


def message_of(request: WireRequest, identity: str) -> Message:
    """What is published. Its size is as the broker counts: with the headers."""
    headers: dict[str, str] = {}
    for name, value in request.headers:
        key = name.decode("ascii", "replace")
        folded = key.lower()
        if folded in _NOT_FOR_A_STREAM or folded.startswith(_NATS_OWN) or not _TOKEN.fullmatch(key):
            continue
        text = value.decode("utf-8", "replace").strip()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    headers["Nats-Msg-Id"] = identity
    around = len("NATS/1.0\r\n\r\n") + sum(
        len(f"{key}: {text}\r\n".encode()) for key, text in headers.items()
    )
    return Message(request.body, headers, around + len(request.body))


class NotSecured(OSError):
    """TLS was to be, and is not: nothing more may leave."""


class Wire(TcpTransport):
    """The bytes under nats-py: over a socket that we connected, and under TLS where that was asked."""

    def __init__(self, connected: socket.socket, *, is_secure: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._connected = connected
        self._is_secure = is_secure
        self._unasked = 0
        self.ended = asyncio.get_running_loop().create_future()

    def __bool__(self) -> bool:
        # So that nats-py takes this one, and makes none of its own.
        return True

    @property
    def is_open(self) -> bool:
        return self._io_writer is not None

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        reader, writer = await asyncio.open_connection(sock=self._connected, limit=buffer_size)
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = writer

    def write(self, payload: bytes) -> None:
        self._see_secured()
        super().write(payload)  # type: ignore[no-untyped-call]

    def writelines(self, payload: list[bytes]) -> None:
        self._see_secured()
        super().writelines(payload)  # type: ignore[no-untyped-call]

    def _see_secured(self) -> None:
        assert self._io_writer is not None
        if self._is_secure and self._io_writer.get_extra_info("ssl_object") is None:
            raise NotSecured("the broker offers no TLS")

    async def read(self, buffer_size: int) -> bytes:
        try:
            data: bytes = await super().read(buffer_size)
        except OSError:
            self.end()
            raise
        self._unasked += len(data)
        if not data or self._unasked > UNASKED_MAX:
            self.end()
            return b""
        return data

    def asked(self, expected: int = 0) -> None:
        """We have said something: an answer is due, of so many bytes beside the usual."""
        self._unasked = -expected

    def end(self) -> None:
        """Nothing more will come."""
        if not self.ended.done():
            self.ended.set_result(None)

    def abort(self) -> None:
        """Close without a word."""
        self.end()
        if self._bare_io_writer is None:
            self._connected.close()
        else:
            self._bare_io_writer.transport.abort()


class _Client(Client):
    """nats-py over our wire."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._transport = wire


class LoginRefused(NoAnswer):
    """The broker does not know this user with this password."""


class Ended(Exception):
    """The connection ended before the broker had answered."""


class Denied(Exception):
    """The broker does not permit this user what was asked."""


class Link:
    """One connection to a broker. Many messages may be out at the same time."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._client = _Client(wire)
        self._waiting: dict[asyncio.Future[None], str] = {}
        self._idle: asyncio.TimerHandle | None = None
        self._idle_seconds: float | None = IDLE_SECONDS
        self._expected = 0
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_usable(self) -> bool:
        return self._client.is_connected and not self._wire.ended.done()

    @property
    def client(self) -> Client:
        """nats-py's own, for what is not publishing. Whoever waits for it waits for `ended` too."""
        return self._client

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when nothing more will come."""
        return self._wire.ended

    def keep(self) -> None:
        """Do not close the connection when it is idle: somebody listens."""
        self._idle_seconds = None
        self._be_busy()

    def expect(self, size: int) -> None:
        """From now on each question may have so many bytes for an answer."""
        self._expected = size

    def when_ended(self, act: Callable[[], None]) -> None:
        """Call this once the connection has ended, however it came."""
        self._wire.ended.add_done_callback(lambda _: act())

    async def open(
        self, place: Place, username: str | None, password: str | None, trust: ssl.SSLContext
    ) -> None:
        """Greet the broker.

        Raises:
            LoginRefused: it will not have this user. NoAnswer: it is no broker, or has no time.
        """
        host = f"[{place.host}]" if ":" in place.host else place.host
        try:
            await self._client.connect(
                f"{OPEN}://{host}:{place.port}",
                name=f"arifa/{__version__}",
                error_cb=self._heard,
                closed_cb=self._closed,
                allow_reconnect=False,
                max_reconnect_attempts=1,  # of 0 it makes "for ever"
                reconnect_time_wait=0,
                connect_timeout=GREETING_SECONDS,
                ping_interval=PING_SECONDS,
                tls=trust,
                tls_hostname=place.host,
                user=username if password is not None else None,
                password=password,
            )
        except BaseException as error:
            self._wire.abort()
            if isinstance(error, Exception):
                raise _not_connected(error) from error
            raise
        if not self.is_usable or not self._wire.is_open:
            await self.drop()
            raise NoAnswer(Cause.RESET)
        if type(self._client.max_payload) is not int:
            # As nats-py takes it over from the greeting.
            await self.drop()
            raise NoAnswer(Cause.NOT_NATS)

    async def publish(self, place: Place, message: Message) -> Receipt:
        """Publish, and wait for the broker's word that it keeps the message.

        Raises:
            NoAnswer: it does not, and says why.
            Ended: nobody knows.
        """
        if message.size > self._client.max_payload:
            more = f"{message.size} bytes with headers; it takes {self._client.max_payload}"
            raise NoAnswer(Cause.TOO_LARGE, more)
        stream = self._client.jetstream()
        asked = stream.publish(
            place.subject,
            message.body,
            timeout=DEADLINE_MAX,  # the attempt's own deadline is the caller's
            stream=place.stream,
            headers=dict(message.headers),
        )
        try:
            return _receipt(await self.answered(asked, place.subject), place)
        except Denied:
            more = "it does not let this user publish to the subject"
            raise NoAnswer(Cause.LOGIN, more) from None

    async def stream_of(self, subject: str) -> str | None:
        """The name of the stream that keeps what is published here; None where we may not ask.

        Raises:
            NoAnswer: there is none.
            Ended: the connection went away.
        """
        asked = self._client.jetstream().find_stream_name_by_subject(subject)
        try:
            return bounded_words(await self.answered(asked, "$JS.API.STREAM.NAMES"))
        except Denied:
            return None

    async def answered(self, asked: Awaitable[T], subject: str) -> T:
        """What nats-py was asked for; sooner than it would say so, that it cannot come.

        Args:
            subject: what the broker will name where it does not permit this.

        Raises:
            NoAnswer: the broker refuses it. Denied: it is not permitted. Ended: nobody knows.
        """
        denied = asyncio.get_running_loop().create_future()
        self._waiting[denied] = subject
        self._be_busy()
        self._wire.asked(self._expected)
        task = asyncio.ensure_future(asked)
        try:
            await asyncio.wait(
                (task, denied, self._wire.ended), return_when=asyncio.FIRST_COMPLETED
            )
            if task.done():
                return _answer_of(task)
            if denied.done():
                raise Denied
            raise Ended
        finally:
            task.cancel()
            task.add_done_callback(_forget)
            del self._waiting[denied]
            self._be_idle()

    async def _heard(self, error: Exception) -> None:
        """An error that the broker reports by the way, such as a permission that lacks."""
        text = str(error).lower()
        if "permissions violation" not in text:
            return
        for denied, subject in self._waiting.items():
            # Without a subscription to our inbox no answer can reach us at all.
            if (subject.lower() in text or "subscription" in text) and not denied.done():
                denied.set_result(None)

    async def _closed(self) -> None:
        self._wire.end()

    def _be_busy(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _be_idle(self) -> None:
        if not self._waiting and self._closing is None and self._idle_seconds is not None:
            self._be_busy()
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self._idle_seconds, self.drop)

    def drop(self) -> asyncio.Task[None]:
        """Close the connection; the task that does it is given, and need not be waited for."""
        self._be_busy()
        self._wire.end()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._client.close()
        finally:
            self._wire.abort()


def _forget(task: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more, nor for its error."""
    if not task.cancelled():
        task.exception()


def _answer_of(task: asyncio.Future[T]) -> T:
    try:
        return task.result()
    except nats.js.errors.NoStreamResponseError:
        raise NoAnswer(Cause.NO_STREAM) from None
    except nats.js.errors.APIError as error:
        raise _refused(error) from error
    except (nats.errors.ConnectionClosedError, nats.errors.OutboundBufferLimitError) as error:
        raise Ended from error
    except nats.errors.NoRespondersError:
        raise NoAnswer(Cause.NO_STREAM, "JetStream is not enabled for this user") from None
    except nats.errors.TimeoutError as error:
        raise NoAnswer(Cause.BROKER_SILENT) from error
    except (nats.errors.Error, OSError) as error:
        raise Ended from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # What nats-py makes of an answer that is none of JetStream's.
        raise NoAnswer(Cause.NOT_NATS) from error


def _receipt(ack: PubAck, place: Place) -> Receipt:
    stream: object = ack.stream
    sequence: object = ack.seq
    if not isinstance(stream, str) or type(sequence) is not int:
        # As nats-py takes them over from whoever answered.
        raise NoAnswer(Cause.NOT_NATS)
    if place.stream not in (None, stream):
        raise NoAnswer(Cause.NOT_NATS)
    again = ", which had it already" if ack.duplicate else ""
    return Receipt(f"stream {bounded_words(stream)}, sequence {sequence}{again}")


def _refused(error: nats.js.errors.APIError) -> NoAnswer:
    if error.err_code == EXPECTED_STREAM_DIFFERS:
        return NoAnswer(Cause.NO_STREAM, "another stream than the URL's keeps the subject")
    if isinstance(error, nats.js.errors.NotFoundError):
        return NoAnswer(Cause.NO_STREAM)
    return NoAnswer(
        Cause.SERVER_ERROR, f"JetStream {error.err_code}: {bounded_words(error.description)}"
    )


def _not_connected(error: Exception) -> NoAnswer:
    """The cause of a connection that did not come about."""
    if isinstance(error, NotSecured):
        return NoAnswer(Cause.TLS_HANDSHAKE, "it offers no TLS")
    if isinstance(error, ssl.SSLCertVerificationError):
        return NoAnswer(Cause.TLS, bounded_words(error.verify_message))
    if isinstance(error, ssl.SSLError):
        return NoAnswer(Cause.TLS_HANDSHAKE)
    if isinstance(error, TimeoutError):
        return NoAnswer(Cause.BROKER_SILENT, "it did not greet us")
    if isinstance(error, OSError):
        return NoAnswer(Cause.RESET)
    text = str(error).lower()
    if "authorization" in text or "authentication" in text:
        return LoginRefused(Cause.LOGIN)
    if isinstance(error, nats.errors.Error) and "nats: '" in text:
        return NoAnswer(Cause.SERVER_ERROR, bounded_words(text))
    return NoAnswer(Cause.NOT_NATS)


def bounded_words(text: object) -> str:
    """What a broker says, bounded and on one line."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)[:WORDS_MAX])
