"""What receivers do that they should not: each by name, with the cause that an attempt ends with.

The causes are those of `arifa.delivery.cause`, as words; they hold for a deadline that is shorter
than the receiver's patience. Where one depends on what is sent, `dialect` says with which.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from arifa.simulator.certificates import Authority

REQUEST_MAX: Final = 1 << 20
_PIECE: Final = 65_536


@dataclass(slots=True)
class Visit:
    """One connection that came to a receiver.

    Attributes:
        number: how many came before it.
        pace: seconds between two bytes that drip.
        tls: what an act that does TLS itself does it with.
        id: the `webhook-id` of the request, once it has been read.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    pace: float
    tls: ssl.SSLContext | None = None
    id: str | None = None

    async def request(self) -> None:
        """Read the request whole."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = min(int(value), REQUEST_MAX)
            elif name.lower() == b"webhook-id":
                self.id = value.strip().decode("latin-1")
        await self.reader.readexactly(length)

    async def say(self, data: bytes) -> None:
        """Send this, as fast as it is taken."""
        for start in range(0, len(data), _PIECE):
            self.writer.write(data[start : start + _PIECE])
            await self.writer.drain()

    async def drip(self, data: Iterable[bytes]) -> None:
        """Send these, one a pace."""
        for piece in data:
            await self.say(piece)
            await asyncio.sleep(self.pace)

    async def stay(self) -> None:
        """Say nothing more until the other side is gone."""
        while await self.reader.read(_PIECE):
            pass

    def reset(self) -> None:
        """Let the connection end with a reset."""
        peer: socket.socket = self.writer.get_extra_info("socket")
        # Without lingering a close is a reset.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Act = Callable[[Visit], Awaitable[None]]
Tls = Callable[[Authority, str], ssl.SSLContext]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One way to receive.

    Attributes:
        name: what it is called on the command line and in tests.
        what: what it does, for people.
        cause: what an attempt ends with; several, with a space between, where attempts take turns.
        act: what it does with a connection; None where none is accepted.
        tls: how it makes its side of TLS; None for plain TCP.
        is_https: its URL says https, and what is done about it is the act's.
        is_silent: where there is no `act`: what connects is dropped, and not refused.
        dialect: what the cause holds for.
    """

    name: str
    what: str
    cause: str
    act: Act | None
    tls: Tls | None = None
    is_https: bool = False
    is_silent: bool = False
    dialect: str = "standard_webhooks"

    def cause_of(self, attempt: int) -> str:
        """The cause that this attempt (from 0 on) ends with."""
        causes = self.cause.split()
        return causes[attempt % len(causes)]


# ---------------------------------------------------------------------------------- acts


async def _close(_: Visit) -> None:
    pass


async def _stay(visit: Visit) -> None:
    await visit.stay()


async def _reset(visit: Visit) -> None:
    visit.reset()


def _then(*parts: bytes, end: Act = _close) -> Act:
    """Read the request, say these, and end so."""

    async def act(visit: Visit) -> None:
        await visit.request()
        for part in parts:
            await visit.say(part)
        await end(visit)

    return act


def _drips(first: bytes, pieces: Callable[[], Iterator[bytes]]) -> Act:
    async def act(visit: Visit) -> None:
        await visit.request()
        await visit.say(first)
        await visit.drip(pieces())

    return act


def _endless(first: bytes, again: bytes) -> Act:
    async def act(visit: Visit) -> None:
        await visit.request()
        await visit.say(first)
        while True:
            await visit.say(again)
            await asyncio.sleep(0)  # the other visits have their turn

    return act


def _in_turn(*answers: bytes) -> Act:
    async def act(visit: Visit) -> None:
        await visit.request()
        await visit.say(answers[visit.number % len(answers)])

    return act


async def _speaks_first(visit: Visit) -> None:
    await visit.say(b"SSH-2.0-OpenSSH_9.2\r\n")
    await visit.stay()


async def _plain(visit: Visit) -> None:
    await visit.reader.read(1)
    await visit.say(_answer(400, b"this is the plain port"))
    await visit.stay()


async def _shakes(visit: Visit) -> None:
    """The handshake by hand, so that its last word, an alert, is sent before the end."""
    assert visit.tls is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    shaking = visit.tls.wrap_bio(incoming, outgoing, server_side=True)
    while heard := await visit.reader.read(_PIECE):
        incoming.write(heard)
        try:
            shaking.do_handshake()
        except ssl.SSLWantReadError:
            await visit.say(outgoing.read())
        except ssl.SSLError:
            await visit.say(outgoing.read())
            await visit.stay()


def _answer(status: int, body: bytes = b"", *headers: str, reason: str = "Said") -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", *headers]
    if status != 204:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(size >> 20)) + packer.flush()


STATUS: Final = b"HTTP/1.1 200 OK\r\n"
CHUNKED: Final = STATUS + b"transfer-encoding: chunked\r\n\r\n"
OK: Final = _answer(200, b"ok")
_MEGABYTES_OF_BOMB: Final = 64


# ---------------------------------------------------------------------------------- the list


_CONNECTING: Final = (
    Behaviour("refuses", "refuses connections", "unreachable", None),
    Behaviour(
        "silent",
        "drops what would connect, as a firewall does",
        "connect_timeout",
        None,
        is_silent=True,
    ),
    Behaviour("closes-at-once", "accepts and closes", "reset", _close),
    Behaviour("resets-at-once", "accepts and resets", "reset", _reset),
    Behaviour("hangs-at-once", "accepts and says nothing", "timeout", _stay),
    Behaviour(
        "hangs-after-reading", "reads the request and says nothing", "timeout", _then(end=_stay)
    ),
    Behaviour("empty-answer", "reads the request and closes", "reset", _then()),
    Behaviour("resets-after-reading", "reads the request and resets", "reset", _then(end=_reset)),
)

_STOPPING: Final = (
    Behaviour(
        "hangs-after-status",
        "sends the status line and stops",
        "slow_answer",
        _then(STATUS, end=_stay),
    ),
    Behaviour(
        "hangs-in-headers",
        "stops in the middle of a header",
        "slow_answer",
        _then(STATUS + b"x-a: b\r\nx-c", end=_stay),
    ),
    Behaviour(
        "hangs-in-body",
        "stops in the middle of the body",
        "slow_answer",
        _then(STATUS + b"content-length: 9\r\n\r\nhalf", end=_stay),
    ),
    Behaviour(
        "hangs-in-chunks",
        "never sends the last chunk",
        "slow_answer",
        _then(CHUNKED + b"2\r\nok\r\n", end=_stay),
    ),
    Behaviour(
        "closes-in-headers",
        "closes in the middle of a header",
        "cut_short",
        _then(STATUS + b"x-a: b\r\nx-c"),
    ),
    Behaviour(
        "resets-in-headers",
        "resets in the middle of a header",
        "cut_short",
        _then(STATUS + b"x-a: b\r\nx-c", end=_reset),
    ),
    Behaviour(
        "resets-in-body",
        "resets in the middle of the body",
        "cut_short",
        _then(STATUS + b"content-length: 9\r\n\r\nhalf", end=_reset),
    ),
    Behaviour(
        "closes-in-chunks", "closes before the last chunk", "cut_short", _then(CHUNKED + b"5\r\nhe")
    ),
    Behaviour(
        "drips-status",
        "sends its status line byte by byte, without an end",
        "slow_answer",
        _drips(b"HTTP/1.1 200 ", lambda: repeat(b"y")),
    ),
    Behaviour(
        "drips-headers",
        "sends a header byte by byte, without an end",
        "slow_answer",
        _drips(STATUS + b"x-a: ", lambda: repeat(b"y")),
    ),
    Behaviour(
        "drips-body",
        "sends a body byte by byte",
        "slow_answer",
        _drips(STATUS + b"content-length: 5000\r\n\r\n", lambda: repeat(b"y")),
    ),
    Behaviour(
        "drips-chunks",
        "sends chunks of one byte each, slowly",
        "slow_answer",
        _drips(CHUNKED, lambda: repeat(b"1\r\ny\r\n")),
    ),
)

_WITHOUT_MEASURE: Final = (
    Behaviour(
        "endless-status",
        "sends a reason phrase without an end",
        "too_much",
        _endless(b"HTTP/1.1 200 ", b"y" * 4096),
    ),
    Behaviour(
        "huge-reason",
        "sends a reason phrase of 1 MB",
        "too_much",
        _then(_answer(200, b"ok", reason="y" * 1_000_000)),
    ),
    Behaviour(
        "endless-headers",
        "sends headers without an end",
        "too_much",
        _endless(STATUS, b"x-a: b\r\n" * 500),
    ),
    Behaviour(
        "huge-header",
        "sends one header of 10 MB",
        "too_much",
        _then(STATUS + b"x-a: " + b"y" * 10_000_000 + b"\r\n\r\n"),
    ),
    Behaviour(
        "many-headers",
        "sends 1,000 short headers",
        "too_much",
        _then(_answer(200, b"ok", *(f"x-{number}: a" for number in range(1000)))),
    ),
    Behaviour(
        "wide-headers",
        "sends 32 KiB of headers, each of a fair length",
        "too_much",
        _then(_answer(200, b"ok", *(f"x-{number}: {'y' * 2000}" for number in range(16)))),
    ),
    Behaviour(
        "interim-flood",
        "sends 103 Early Hints without an end",
        "too_much",
        _endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100),
    ),
    Behaviour(
        "chunk-extensions",
        "sends a chunk's extension without an end",
        "too_much",
        _endless(CHUNKED + b"1;a=", b"y" * 4096),
    ),
    Behaviour(
        "endless-trailers",
        "sends trailers without an end",
        "too_much",
        _endless(CHUNKED + b"0\r\n", b"x-a: b\r\n" * 500),
    ),
    Behaviour(
        "endless-body",
        "says 200, and sends a body without an end",
        "delivered",
        _endless(STATUS + b"\r\n", b"y" * 4096),
    ),
    Behaviour(
        "endless-chunks",
        "says 200, and sends chunks of one byte without an end",
        "too_much",
        _endless(CHUNKED, b"1\r\ny\r\n" * 500),
    ),
    Behaviour(
        "gzip-bomb",
        "says 200, with 64 MB of zeros packed into 64 KB",
        "delivered",
        _then(_answer(200, _bomb(_MEGABYTES_OF_BOMB << 20), "content-encoding: gzip")),
    ),
    Behaviour(
        "false-deflate",
        "says 200, and that its plain body is packed",
        "delivered",
        _then(_answer(200, b"not packed at all", "content-encoding: deflate")),
    ),
    Behaviour(
        "some-interim",
        "sends 103 three times, then 200",
        "delivered",
        _then(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + OK),
    ),
)

_NOT_HTTP: Final = (
    Behaviour(
        "length-too-long",
        "promises more than it sends, and closes",
        "cut_short",
        _then(STATUS + b"content-length: 50\r\n\r\nhello"),
    ),
    Behaviour(
        "length-too-long-and-stays",
        "promises more than it sends, and stays",
        "slow_answer",
        _then(STATUS + b"content-length: 50\r\n\r\nhello", end=_stay),
    ),
    Behaviour(
        "length-too-short",
        "sends more than it promised",
        "not_http",
        _then(STATUS + b"content-length: 2\r\n\r\nok and more"),
    ),
    Behaviour(
        "length-negative",
        "has a negative content-length",
        "not_http",
        _then(STATUS + b"content-length: -5\r\n\r\nhello"),
    ),
    Behaviour(
        "length-twice",
        "has two content-lengths",
        "not_http",
        _then(STATUS + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
    ),
    Behaviour(
        "length-no-number",
        "has a content-length that is no number",
        "not_http",
        _then(STATUS + b"content-length: five\r\n\r\nhello"),
    ),
    Behaviour(
        "length-and-chunks",
        "has both a content-length and chunks",
        "not_http",
        _then(
            STATUS + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        ),
    ),
    Behaviour(
        "bad-chunks",
        "has chunks whose size is no number",
        "not_http",
        _then(CHUNKED + b"zz\r\nhello\r\n", end=_stay),
    ),
    Behaviour(
        "huge-chunk",
        "has a chunk whose size has 40 digits",
        "not_http",
        _then(CHUNKED + b"f" * 40 + b"\r\nhello\r\n", end=_stay),
    ),
    Behaviour("speaks-first", "is an SSH server", "not_http", _speaks_first),
    Behaviour(
        "http-0.9",
        "answers with a bare page",
        "not_http",
        _then(b"<html><body>It works!</body></html>\n"),
    ),
    Behaviour(
        "http-2",
        "answers in HTTP/2 at once",
        "not_http",
        _then(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64", end=_stay),
    ),
    Behaviour(
        "status-of-two-digits",
        "has a status of two digits",
        "not_http",
        _then(b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok"),
    ),
    Behaviour(
        "switches-protocols",
        "answers 101",
        "not_http",
        _then(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", end=_stay),
    ),
    Behaviour(
        "nul-in-header",
        "has a NUL in a header",
        "not_http",
        _then(_answer(200, b"ok", "x-a: b\x00c")),
    ),
    Behaviour(
        "nul-in-body",
        "says 200, and its body has NULs",
        "delivered",
        _then(_answer(200, b"o\x00k\x00")),
    ),
    Behaviour(
        "false-charset",
        "says 200, in UTF-16 by its header and in Latin-1 by its bytes",
        "delivered",
        _then(_answer(200, b"\xe9\xff\xfe", "content-type: text/plain; charset=utf-16")),
    ),
)

_REDIRECTING: Final = (
    *(
        Behaviour(
            f"redirects-{status}",
            f"answers {status} to an inner address",
            "redirected",
            _then(_answer(status, b"", "location: http://127.0.0.1:1/admin")),
        )
        for status in (301, 302, 303, 307, 308)
    ),
    Behaviour(
        "redirects-to-itself",
        "answers 302 to where it was called",
        "redirected",
        _then(_answer(302, b"", "location: /")),
    ),
)

_ANSWERING: Final = (
    Behaviour("gone", "answers 410", "gone", _then(_answer(410))),
    Behaviour("forbids", "answers 403", "client_error", _then(_answer(403, b"no"))),
    Behaviour("no-content", "answers 204", "delivered", _then(_answer(204))),
    Behaviour(
        "no-content-where-words-are-due",
        "answers 204 where a bank's form is due",
        "refused",
        _then(_answer(204)),
        dialect="kcb",
    ),
    Behaviour(
        "error-in-200",
        "says 200, and in the body that it failed",
        "refused",
        _then(_answer(200, b'{"transactionID":"1","statusCode":1,"statusMessage":"Failed"}')),
        dialect="kcb",
    ),
    Behaviour(
        "login-page-in-200",
        "says 200, with a page to sign in",
        "refused",
        _then(_answer(200, b"<html>Please sign in</html>")),
        dialect="kcb",
    ),
    Behaviour("nonsense-status", "answers 999", "server_error", _then(_answer(999))),
    Behaviour(
        "fails-though-it-has-it",
        "keeps the message and answers 500",
        "server_error",
        _then(_answer(500, b"later")),
    ),
    Behaviour(
        "alternates",
        "answers 500 and 200 in turn",
        "server_error delivered",
        _in_turn(_answer(500), OK),
    ),
    Behaviour(
        "denies-afterwards",
        "answers 200, and then that it does not know the message",
        "delivered client_error",
        _in_turn(OK, _answer(404, b"never seen")),
    ),
    Behaviour(
        "wait-a-minute",
        "answers 429, and to wait for a minute",
        "throttled",
        _then(_answer(429, b"", "retry-after: 60")),
    ),
    Behaviour(
        "wait-for-ever",
        "answers 503, and to wait for 31,000 years",
        "server_error",
        _then(_answer(503, b"", "retry-after: 999999999999")),
    ),
    Behaviour(
        "wait-less-than-nothing",
        "answers 503, and to wait for -5 s",
        "server_error",
        _then(_answer(503, b"", "retry-after: -5")),
    ),
    Behaviour(
        "wait-until-1999",
        "answers 503, and to wait until a day in 1999",
        "server_error",
        _then(_answer(503, b"", "retry-after: Fri, 31 Dec 1999 23:59:59 GMT")),
    ),
    Behaviour(
        "wait-for-nonsense",
        "answers 429, and to wait for something",
        "throttled",
        _then(_answer(429, b"", "retry-after: soon\xff")),
    ),
)

_TLS: Final = (
    Behaviour(
        "self-signed",
        "has a certificate that nobody vouches for",
        "tls",
        _then(OK),
        tls=lambda _, host: Authority().server(host),
    ),
    Behaviour(
        "wrong-host",
        "has a certificate for another name",
        "tls",
        _then(OK),
        tls=lambda authority, _: authority.server("other.example"),
    ),
    Behaviour(
        "expired",
        "has a certificate that has expired",
        "tls",
        _then(OK),
        tls=lambda authority, host: authority.expired(host),
    ),
    Behaviour(
        "not-yet-valid",
        "has a certificate for later",
        "tls",
        _then(OK),
        tls=lambda authority, host: authority.not_yet(host),
    ),
    Behaviour(
        "old-tls",
        "speaks TLS 1.0 and 1.1 only",
        "tls_version",
        _shakes,
        tls=lambda authority, host: authority.old(host),
        is_https=True,
    ),
    Behaviour(
        "asks-for-a-certificate",
        "wants a certificate of the client's",
        "tls_handshake",
        _shakes,
        tls=lambda authority, host: authority.asking(host),
        is_https=True,
    ),
    Behaviour(
        "plain-on-https",
        "speaks plain HTTP where TLS is due",
        "tls_handshake",
        _plain,
        is_https=True,
    ),
    Behaviour(
        "handshake-hangs", "accepts and leaves the handshake", "tls_handshake", _stay, is_https=True
    ),
    Behaviour(
        "handshake-closes", "closes in the handshake", "tls_handshake", _close, is_https=True
    ),
    Behaviour(
        "handshake-resets", "resets in the handshake", "tls_handshake", _reset, is_https=True
    ),
    Behaviour(
        "hangs-behind-tls",
        "says nothing once TLS stands",
        "timeout",
        _then(end=_stay),
        tls=lambda authority, host: authority.server(host),
    ),
    Behaviour(
        "resets-behind-tls",
        "resets in the body, behind TLS",
        "cut_short",
        _then(STATUS + b"content-length: 9\r\n\r\nhalf", end=_reset),
        tls=lambda authority, host: authority.server(host),
    ),
    Behaviour(
        "well-behaved",
        "answers 200 over TLS",
        "delivered",
        _then(OK),
        tls=lambda authority, host: authority.server(host),
    ),
)

BEHAVIOURS: Final = {
    behaviour.name: behaviour
    for behaviour in (
        *_CONNECTING,
        *_STOPPING,
        *_WITHOUT_MEASURE,
        *_NOT_HTTP,
        *_REDIRECTING,
        *_ANSWERING,
        *_TLS,
    )
}
