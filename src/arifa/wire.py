"""Raw HTTP as bytes: what arrived, and what is to be sent. Nothing here is ever re-serialised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from arifa.document import JsonObject, decode_object
from arifa.errors import Unreadable

Headers = tuple[tuple[bytes, bytes], ...]

JSON: Final = (b"content-type", b"application/json")
PLAIN: Final = (b"content-type", b"text/plain; charset=utf-8")

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def values(headers: Headers, name: bytes) -> list[bytes]:
    """Every value of the header `name` (lower case), in the order of arrival."""
    size = len(name)
    return [value for key, value in headers if len(key) == size and key.lower() == name]


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One HTTP request. `peer` is the caller's address, `received_at` microseconds UTC."""

    body: bytes
    headers: Headers = ()
    method: str = "POST"
    target: str = "/"
    peer: str | None = None
    received_at: int = 0
    _decoded: JsonObject | None = field(
        default=None, init=False, repr=False, compare=False, hash=False
    )

    def __repr__(self) -> str:
        # A body names people and amounts: it has no place in a log or a traceback.
        return f"<WireRequest {self.method} of {len(self.body)} bytes>"

    def document(self) -> JsonObject:
        """The body as one JSON object; decoded once, since a proof and a parser both need it.

        Raises:
            Unreadable: as `document.decode_object`.
        """
        decoded = self._decoded
        if decoded is None:
            decoded = decode_object(self.body)
            object.__setattr__(self, "_decoded", decoded)
        return decoded

    def values(self, name: bytes) -> list[bytes]:
        """Every value of the header `name` (lower case)."""
        return values(self.headers, name)

    def with_headers(self, *added: tuple[bytes, bytes]) -> WireRequest:
        """This request with these headers; one of the same name is replaced."""
        names = [name.lower() for name, _ in added]
        kept = [item for item in self.headers if item[0].lower() not in names]
        return WireRequest(
            self.body, (*kept, *added), self.method, self.target, self.peer, self.received_at
        )

    def to_bytes(self) -> bytes:
        """The raw HTTP/1.1 message, with a content length and a host if it has none."""
        lines = [f"{self.method} {self.target} HTTP/1.1".encode("latin-1", "replace")]
        lines += [
            name + b": " + value
            for name, value in self.headers
            if name.lower() not in (b"content-length", b"transfer-encoding")
        ]
        if not self.values(b"host"):
            lines.insert(1, b"host: localhost")
        lines.append(b"content-length: %d" % len(self.body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


class WireResponse(Struct, frozen=True):
    """One HTTP answer."""

    status: int
    body: bytes = b""
    headers: Headers = ()

    def to_bytes(self) -> bytes:
        """The raw HTTP/1.1 message."""
        reason = _REASONS.get(self.status, "Status")
        lines = [f"HTTP/1.1 {self.status} {reason}".encode("ascii")]
        lines += [name + b": " + value for name, value in self.headers]
        lines.append(b"content-length: %d" % len(self.body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


def read_request(message: bytes, *, peer: str | None = None, received_at: int = 0) -> WireRequest:
    """Read one raw HTTP/1.1 request, as `to_bytes` or a capture file holds it.

    The body is all that follows the blank line; a content length is not needed and not checked,
    so that a capture can be edited by hand.

    Raises:
        Unreadable: no request line or no blank line.
    """
    first, headers, body = _split(message)
    words = first.split()
    if len(words) != 3 or not words[2].startswith(b"HTTP/"):
        raise Unreadable("the first line is not an HTTP request line such as 'POST / HTTP/1.1'")
    return WireRequest(
        body=body,
        headers=headers,
        method=words[0].decode("latin-1"),
        target=words[1].decode("latin-1"),
        peer=peer,
        received_at=received_at,
    )


def read_response(message: bytes) -> WireResponse:
    """Read one raw HTTP/1.1 answer.

    Raises:
        Unreadable: no status line or no blank line.
    """
    first, headers, body = _split(message)
    words = first.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise Unreadable("the first line is not an HTTP status line such as 'HTTP/1.1 200 OK'")
    return WireResponse(status=int(words[1]), headers=headers, body=body)


def _split(message: bytes) -> tuple[bytes, Headers, bytes]:
    # Whichever comes first: a body may well hold the other.
    ends = [(message.find(blank), blank) for blank in (b"\r\n\r\n", b"\n\n")]
    found = [(place, blank) for place, blank in ends if place >= 0]
    if not found:
        raise Unreadable("there is no blank line between the headers and the body")
    place, blank = min(found)
    head, body = message[:place], message[place + len(blank) :]
    first, *lines = head.replace(b"\r\n", b"\n").split(b"\n")
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name.strip():
            raise Unreadable("a header line has no colon")
        headers.append((name.strip().lower(), value.strip()))
    return first, tuple(headers), body
