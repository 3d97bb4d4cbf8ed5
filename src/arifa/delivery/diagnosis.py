"""From an error to a cause: what went wrong depends on how far the request had come.

The text of an error is not shown: it may hold the URL, and speaks to programmers. Of a certificate
that is not accepted it is, because it says which of many faults it is.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from arifa.delivery.addresses import AddressRefused
from arifa.delivery.cause import Cause, NoAnswer
from arifa.delivery.connection import NotHttp, TooMuch
from arifa.delivery.names import NameUnanswered


class Phase(Enum):
    """How far a request has come."""

    LOOKING_UP = auto()
    CONNECTING = auto()
    TUNNELLING = auto()
    HANDSHAKE = auto()
    WAITING = auto()
    ANSWERING = auto()


_LATE: Final = {
    Phase.LOOKING_UP: Cause.DNS_UNANSWERED,
    Phase.CONNECTING: Cause.CONNECT_TIMEOUT,
    # The proxy may still be connecting.
    Phase.TUNNELLING: Cause.CONNECT_TIMEOUT,
    Phase.HANDSHAKE: Cause.TLS_HANDSHAKE,
    Phase.WAITING: Cause.TIMEOUT,
    Phase.ANSWERING: Cause.SLOW_ANSWER,
}
# Up to here an egress proxy is between: what is slow or broken is between us and the endpoint.
_BEFORE_THE_PROXY: Final = frozenset({Phase.LOOKING_UP, Phase.CONNECTING})
_BEFORE_THE_ENDPOINT: Final = _BEFORE_THE_PROXY | {Phase.TUNNELLING}
_OLD_TLS: Final = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE")
_RESET: Final = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


@dataclass(slots=True)
class Way:
    """How far a request has come, and by which way; whoever takes it on writes it down here."""

    phase: Phase
    is_proxied: bool = False
    is_tls: bool = False


def late(way: Way, deadline: float) -> NoAnswer:
    """The cause of an attempt that its deadline ended."""
    if way.is_proxied and way.phase in _BEFORE_THE_PROXY:
        return NoAnswer(Cause.PROXY)
    return NoAnswer(_LATE[way.phase], f"{deadline:g} s")


def broken(error: Exception, way: Way) -> NoAnswer:
    """The cause of an attempt that an error ended."""
    if isinstance(error, AddressRefused):
        return NoAnswer(Cause.ADDRESS)
    if way.is_proxied and way.phase in _BEFORE_THE_ENDPOINT:
        return NoAnswer(Cause.PROXY)
    if isinstance(error, NameUnanswered):
        return NoAnswer(Cause.DNS_UNANSWERED)
    if isinstance(error, socket.gaierror):
        is_passing = error.errno == socket.EAI_AGAIN
        return NoAnswer(Cause.DNS_UNANSWERED if is_passing else Cause.DNS)
    if isinstance(error, TooMuch):
        return NoAnswer(Cause.TOO_MUCH)
    if isinstance(error, NotHttp):
        return NoAnswer(Cause.NOT_HTTP)
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        # A name that no name can be.
        return NoAnswer(Cause.URL)
    return _of_the_connection(error, way)


def _of_the_connection(error: Exception, way: Way) -> NoAnswer:
    # What ended it, where the connection says only that it ended.
    reason = error.__cause__ or error
    if way.phase is Phase.ANSWERING:
        return NoAnswer(Cause.CUT_SHORT)
    if isinstance(reason, ssl.SSLError):
        # Also behind the handshake: a server may refuse us after we think that it stands.
        return _of_tls(reason)
    is_reset = isinstance(reason, _RESET)
    # Who accepts and resets at once may be seen to do so while we still connect.
    if way.phase is Phase.HANDSHAKE or (way.is_tls and way.phase is Phase.CONNECTING and is_reset):
        return NoAnswer(Cause.TLS_HANDSHAKE)
    if way.phase is Phase.WAITING or is_reset:
        return NoAnswer(Cause.RESET)
    return NoAnswer(Cause.UNREACHABLE)


def _of_tls(error: ssl.SSLError) -> NoAnswer:
    if isinstance(error, ssl.SSLCertVerificationError):
        return NoAnswer(Cause.TLS, error.verify_message)
    if any(word in (error.reason or "") for word in _OLD_TLS):
        return NoAnswer(Cause.TLS_VERSION)
    return NoAnswer(Cause.TLS_HANDSHAKE)
