"""Listening sockets, made before anything else is said, so that a busy port is one sentence."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

from arifa.errors import Refused

BACKLOG: Final = 2048


@contextlib.contextmanager
def listener(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket; port 0 takes a free one.

    Raises:
        Refused: the port is taken, may not be used, or the host is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        opened = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Refused(
            f"cannot listen on {host} port {port}: {why}; choose another with --port and "
            f"--admin-port (0 takes a free one)"
        ) from error
    with opened:
        yield opened


def url_of(opened: socket.socket) -> str:
    """The address that a listening socket has, as a URL."""
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
