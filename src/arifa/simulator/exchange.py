"""One HTTP/1.1 exchange as a bank makes it: the given bytes and headers, and nothing clever.

A connection is used once, no redirection is followed, no proxy asked and nothing is sent again: how
often a message goes out is for the simulated bank to say, since it counts.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import SplitResult, urlsplit

from arifa.errors import Refused
from arifa.wire import WireRequest, WireResponse

TIMEOUT_SECONDS: Final = 15.0
ANSWER_BYTES_MAX: Final = 1 << 20
_OWN_HEADERS: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection"})


@dataclass(frozen=True, slots=True)
class Pace:
    """How a body goes out: in so many pieces, spread over so many seconds."""

    pieces: int = 1
    seconds: float = 0.0


AT_ONCE: Final = Pace()


def exchange(
    url: str, request: WireRequest, *, pace: Pace = AT_ONCE, timeout: float = TIMEOUT_SECONDS
) -> WireResponse:
    """Send the request to `url` and give the answer, whatever its status.

    Raises:
        Refused: the URL is none of HTTP, or nobody answers there with HTTP in time. The sentence
            names host and port only, since the path of an intake is a secret.
    """
    parts = _address(url)
    connection = _connection(parts, timeout)
    try:
        connection.connect()
        _send(connection, parts, request, pace)
        answer = connection.getresponse()
        return WireResponse(
            status=answer.status,
            body=answer.read(ANSWER_BYTES_MAX),
            headers=tuple(
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in answer.getheaders()
            ),
        )
    except (OSError, HTTPException) as error:
        raise Refused(
            f"{parts.scheme}://{_host(parts)} does not answer ({_why(error)}); "
            f"see that the hub runs there: arifa serve"
        ) from error
    finally:
        connection.close()


def _address(url: str) -> SplitResult:
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    raise Refused("the address is not one to post to; write it as http://HOST:PORT/PATH")


def _host(parts: SplitResult) -> str:
    """Host and port, without a user and a password."""
    return parts.netloc.rpartition("@")[2]


def _connection(parts: SplitResult, timeout: float) -> HTTPConnection:
    assert parts.hostname is not None
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(parts.hostname, parts.port, timeout=timeout)


def _send(connection: HTTPConnection, parts: SplitResult, request: WireRequest, pace: Pace) -> None:
    target = parts.path or "/"
    query = parts.query or urlsplit(request.target).query
    connection.putrequest(
        request.method, f"{target}?{query}" if query else target, skip_accept_encoding=True
    )
    for name, value in request.headers:
        if name.lower() not in _OWN_HEADERS:
            connection.putheader(name.decode("latin-1"), value)
    connection.putheader("content-length", str(len(request.body)))
    connection.putheader("connection", "close")
    connection.endheaders()
    # Who is refused early may find the way shut before all is said: the answer is there already.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for number, piece in enumerate(_pieces(request.body, pace.pieces)):
            if number and pace.seconds:
                time.sleep(pace.seconds / pace.pieces)
            connection.send(piece)


def _pieces(body: bytes, count: int) -> list[bytes]:
    size = max(1, -(-len(body) // max(1, count)))
    return [body[start : start + size] for start in range(0, len(body), size)]


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "it hung up without an answer" if isinstance(error, HTTPException) else str(error)
