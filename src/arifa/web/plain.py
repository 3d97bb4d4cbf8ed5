"""Requests that are plain and whole in one read, recognised without a parser.

Nearly every notification is one small POST that arrives in one piece, on a connection where nothing
else is under way. A parser that calls back for each header, and a server that makes a scope, a
cycle and an event of each request, cost more than such a one needs. Here it is one search, and a
look-up of its head; or, where a head is new, a look-up of each of its lines.

The rule stays httptools'. This knows one spelling of everything, and says None to whatever else
there is, well-formed or not: that goes to the parser, which alone refuses. What is taken here is
read as it would be there, which `tests/web/test_plain.py` holds against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from arifa.wire import Headers, WireResponse

if TYPE_CHECKING:
    from arifa.web.direct import DirectProtocol

Plain = tuple[str, bytes, Headers, bytes]
"""Path, query, headers with their names in small letters, and body."""
_Head = tuple[str, bytes, Headers, int]
"""The same, but for the body: its size."""

_Words = TypeVar("_Words")

_BLANK: Final = b"\r\n\r\n"

# No percent signs in the path, and no dots: nothing that has to be decoded, or could be resolved.
_TARGET: Final = rb"POST (%b[0-9A-Za-z_-]+)(?:\?([0-9A-Za-z._~!$&'()*+,;=:@/?%%-]*))? HTTP/1\.1"

# One space before the value or none, no tab, nothing beyond ASCII, no empty value, no folding.
_HEADER: Final = re.compile(rb"([0-9A-Za-z_-]+): ?([!-~][ -~]*)").fullmatch

_NOTHING: Final = re.compile(rb"(?!)").fullmatch
_PLAIN_VALUE: Final = {
    b"content-length": re.compile(rb"0|[1-9][0-9]{0,8}").fullmatch,
    b"connection": re.compile(rb"(?i:keep-alive)").fullmatch,  # which it is anyway in HTTP/1.1
    b"expect": _NOTHING,
    b"http2-settings": _NOTHING,
    b"proxy-connection": _NOTHING,
    b"te": _NOTHING,
    b"trailer": _NOTHING,
    b"transfer-encoding": _NOTHING,
    b"upgrade": _NOTHING,
}
"""What headers may say that frame the message, or decide about its connection."""

_REMEMBERED: Final = 1024
_LINE_BYTES: Final = 128
_HEAD_BYTES: Final = 512
"""How many lines and heads are remembered, and how long one may be: so that no caller can have much
kept for it. A signature is longer than that, and never comes again."""


_NO_HEADER: Final = (b"", b"")
"""What a line says that is not plain."""
_NO_TARGET: Final = ("", b"")
_NEW: Final = ("", b"", (), -1)
"""What is remembered of a head that has not been read yet."""


class _Remembered(dict[bytes, _Words]):
    """Lines, and what they say: clients send the same ones again and again."""

    def __init__(self, read: Callable[[bytes], _Words]) -> None:
        self._read = read
        self.unknown = 0
        """How many lines were asked for that were not there."""

    def __missing__(self, line: bytes) -> _Words:
        self.unknown += 1
        words = self._read(line)
        if len(line) <= _LINE_BYTES:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[line] = words
        return words


class PlainReader:
    """Reads plain POST requests whose path is `prefix` and one more word."""

    def __init__(self, prefix: str) -> None:
        self._target = re.compile(_TARGET % re.escape(prefix.encode("ascii"))).fullmatch
        self._targets = _Remembered(self._read_target)
        self._headers = _Remembered(_read_header)
        self._heads: dict[bytes, _Head | None] = {}

    def read(self, data: bytes, head_bytes: int, body_bytes: int) -> Plain | None:
        """The one request that `data` is; None where it is more, less, or not plain.

        Args:
            head_bytes, body_bytes: how many either may have.
        """
        end = data.find(_BLANK, 0, head_bytes)
        if end < 0:
            return None
        raw = data[:end]
        head = self._heads.get(raw, _NEW) if end <= _HEAD_BYTES else _NEW
        if head is _NEW:
            head = self._read_new(raw)
        if head is None:
            return None
        path, query, headers, size = head
        if size > body_bytes or end + 4 + size != len(data):
            return None
        return path, query, headers, data[end + 4 :]

    def _read_new(self, raw: bytes) -> _Head | None:
        unknown = self._headers.unknown
        head = self._read_head(raw)
        if unknown == self._headers.unknown and len(raw) <= _HEAD_BYTES:
            # None of its headers is new: so it may well come again as a whole.
            if len(self._heads) >= _REMEMBERED:
                self._heads.clear()
            self._heads[raw] = head
        return head

    def _read_head(self, raw: bytes) -> _Head | None:
        lines = raw.split(b"\r\n")
        target = self._targets[lines.pop(0)]
        if target is _NO_TARGET:
            return None
        headers = tuple(map(self._headers.__getitem__, lines))
        by_name = dict(headers)
        size = by_name.get(b"content-length")
        if size is None or b"host" not in by_name or b"" in by_name:
            return None
        if len(by_name) != len(headers):  # what comes twice is for the parser to judge
            return None
        return *target, headers, int(size)

    def _read_target(self, line: bytes) -> tuple[str, bytes]:
        match = self._target(line)
        return _NO_TARGET if match is None else (match[1].decode("ascii"), match[2] or b"")


def _read_header(line: bytes) -> tuple[bytes, bytes]:
    match = _HEADER(line)
    if match is None:
        return _NO_HEADER
    name, value = match[1].lower(), match[2]
    allowed = _PLAIN_VALUE.get(name)
    if allowed is not None and allowed(value) is None:
        return _NO_HEADER
    return name, value


class _Nobody:
    """In the place of the event that a request's task waits for: here none does."""

    def set(self) -> None:
        """Wake nobody."""


class PlainExchange:
    """One plain request, and the way to answer it.

    To the handler it is an `Exchange`. To uvicorn it stands in the place of a request's cycle, so
    that shutting down, pipelining and the loss of a connection are as ever.
    """

    __slots__ = (
        *("_protocol", "body", "headers", "path", "peer", "query"),
        *("default_headers", "disconnected", "keep_alive"),
        *("response_complete", "response_started"),
    )
    message_event: Final = _Nobody()

    def __init__(self, protocol: DirectProtocol, plain: Plain) -> None:
        self._protocol = protocol
        self.path, self.query, self.headers, self.body = plain
        self.peer = protocol.address
        self.default_headers = protocol.server_state.default_headers
        self.keep_alive = True
        self.disconnected = self.response_started = self.response_complete = False

    def respond(self, answer: WireResponse) -> None:
        """Send the whole answer. Nothing happens where the client has gone, or has been refused."""
        self._protocol.respond(self, answer)
