"""The bytes of a request: where it goes, and what of it is the sender's to say.

A request says what it is and what is in it; how it is carried (`host`, lengths, the connection) is
said here, once for a place. Values go out as they are; none with a line break, NUL or another
control character goes out at all, so that no value becomes a header.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from arifa import __version__
from arifa.delivery.target import target
from arifa.errors import Refused
from arifa.wire import WireRequest

USER_AGENT: Final = f"arifa/{__version__}"

Origin = tuple[str, str, int]
"""What a connection is kept by: scheme, host and port."""

_NOT_OURS_TO_SET: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te"}
    | {"trailer", "expect", "proxy-connection", "proxy-authorization", "user-agent", "cookie"}
)
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# All but the tab (RFC 9110, 5.5).
_CONTROLS: Final = bytes(byte for byte in (*range(32), 127) if byte != 9)


class Place(NamedTuple):
    """Where a request goes.

    Attributes:
        origin: what its connections are kept by.
        host: a name, or an address without brackets.
        head: the head of every request there, from behind the method.
    """

    origin: Origin
    host: str
    port: int
    is_tls: bool
    head: bytes


@lru_cache(maxsize=4096)
def place(text: str, *, allow_private: bool, ports: frozenset[int]) -> Place:
    """Where the URL of an endpoint leads.

    Raises:
        Refused: as `target`.
    """
    url = target(text, allow_private=allow_private, ports=ports)
    host, port = url.raw_host or "", url.port or 0
    lines = (
        f" {url.raw_path_qs} HTTP/1.1",
        f"host: {url.host_port_subcomponent}",
        f"user-agent: {USER_AGENT}",
        "accept-encoding: identity",
    )
    head = "\r\n".join(lines).encode("ascii")
    return Place((url.scheme, host, port), host, port, url.scheme == "https", head)


def written(request: WireRequest, head: bytes) -> bytes:
    """The whole message; `head` is its place's.

    Raises:
        Refused: a header or the method cannot be sent.
    """
    parts = [_method(request.method), head]
    values = []
    for name, value in request.headers:
        line = _line(name)
        if line is not None:
            parts += (line, value)
            values.append(value)
    together = b"".join(values)
    # In one pass over all of them: nothing is missing when the controls are taken out.
    if len(together.translate(None, _CONTROLS)) != len(together):
        raise Refused("a header of the request has a line break or another control character")
    parts += (b"\r\ncontent-length: %d\r\n\r\n" % len(request.body), request.body)
    return b"".join(parts)


@lru_cache(maxsize=512)
def _line(name: bytes) -> bytes | None:
    """The line of a header up to its value; None where it is not the sender's to set."""
    text = name.decode("latin-1")
    if not _TOKEN.fullmatch(text):
        raise Refused("a header of the request has a name that no header can have")
    return None if text.lower() in _NOT_OURS_TO_SET else b"\r\n" + name + b": "


@lru_cache(maxsize=16)
def _method(method: str) -> bytes:
    if not _TOKEN.fullmatch(method):
        raise Refused("the request's method is none of HTTP's")
    return method.encode("ascii")
