"""The only HTTP client of the delivering side, and its guard of addresses.

    url ──► place ──► a kept connection, or a new one: dial, TLS ──► ask ──► answer

What decides is the address that is connected to (`dial`). Redirects, proxies of the environment,
cookies and decompression do not exist here. One deadline covers the whole of an attempt.

Through an egress proxy (`Reach.proxy`) an https endpoint is reached by CONNECT with its name, so
that the proxy's own lists know it.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from types import TracebackType
from typing import Final, Self

from arifa.delivery.bounds import BODY_MAX
from arifa.delivery.cause import Cause, NoAnswer
from arifa.delivery.connection import Connection, Ended, NotHttp, TooMuch
from arifa.delivery.diagnosis import Phase, Way, broken, late
from arifa.delivery.dial import Dialer, Lookup
from arifa.delivery.idle import Idle
from arifa.delivery.message import Place, place, written
from arifa.delivery.names import HeldNames, Names
from arifa.delivery.target import NotPublic, check
from arifa.delivery.transport import DEADLINE_SECONDS, DEFAULT_REACH, NO_CREDENTIALS, Reach
from arifa.errors import Refused
from arifa.signing import Credentials
from arifa.wire import WireRequest, WireResponse

STALE_MAX: Final = 8
"""How many kept connections of one host may turn out to be closed before a new one is made."""


class Outbound:
    """Sends requests and reads answers, within limits. A `Transport`, made inside a running loop.

    Connections are kept and used again by host. Not more than the caller has open at once are
    made: there is no limit here.
    """

    check = staticmethod(check)

    @staticmethod
    def probe(url: str, credentials: Credentials) -> list[str]:  # noqa: ARG004  the family's
        """Nobody is called: a POST is a delivery. `arifa endpoint test` sends one that says so."""
        return []

    def __init__(self, reach: Reach = DEFAULT_REACH, *, names: Lookup | None = None) -> None:
        self._reach = reach
        self._loop = asyncio.get_running_loop()
        self._names = names or HeldNames(Names(allow_private=reach.allow_private))
        self._dialer = Dialer(reach, self._names)
        self._idle = Idle()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection that is kept. One in use is closed by whoever uses it."""
        self._idle.close()
        self._dialer.close()

    async def send(
        self,
        url: str,
        request: WireRequest,
        *,
        identity: str,
        deadline: float = DEADLINE_SECONDS,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> WireResponse:
        """Send the request's method, headers and body to `url`, and give the answer.

        Of a body no more than `BODY_MAX` bytes are read; then the connection is closed.

        Raises:
            NoAnswer: there was none within the deadline, or it may not be asked for.
        """
        reach = self._reach
        try:
            there = place(url, allow_private=reach.allow_private, ports=reach.ports)
            message = written(request, there.head)
        except NotPublic as error:
            raise NoAnswer(Cause.ADDRESS) from error
        except (Refused, UnicodeError) as error:
            raise NoAnswer(Cause.URL, str(error)) from error
        until = self._loop.time() + deadline
        way = Way(Phase.WAITING, is_tls=there.is_tls)
        try:
            for _ in range(STALE_MAX):
                kept = self._idle.taken(there.origin)
                if kept is None:
                    break
                try:
                    return await self._asked(kept, there, message, until, way)
                except Ended:
                    # The other side had closed it in the meantime, which tells nothing about the
                    # endpoint. Nothing else is tried twice.
                    if kept.received:
                        raise
            async with asyncio.timeout_at(until):
                made = await self._made(there, way)
            return await self._asked(made, there, message, until, way)
        except TimeoutError as error:
            raise late(way, deadline) from error
        except (OSError, ValueError, Ended, NotHttp, TooMuch) as error:
            raise broken(error, way) from error

    async def _asked(
        self, connection: Connection, there: Place, message: bytes, until: float, way: Way
    ) -> WireResponse:
        try:
            answer = await connection.ask(message, until)
        except BaseException:
            way.phase = Phase.ANSWERING if connection.received else Phase.WAITING
            connection.close()
            raise
        if connection.is_open:
            self._idle.keep(there.origin, connection)
        return answer

    async def _made(self, there: Place, way: Way) -> Connection:
        """A new connection, that is seen to end at a public address."""
        made = await self._dialer.dialled(there.host, there.port, is_secure=there.is_tls, way=way)
        way.phase = Phase.HANDSHAKE if there.is_tls else Phase.WAITING
        trust = self._reach.trust or _default_trust()
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._loop),
                sock=made,
                ssl=trust if there.is_tls else None,
                # The point at a name's end is the root of names, and no part of certificates.
                server_hostname=there.host.rstrip(".") if there.is_tls else None,
            )
        except BaseException:
            # Python's own loop has closed the socket. uvloop has closed its number, and may not
            # have told the socket, which would close it again, whosever it is by then.
            if not isinstance(self._loop, asyncio.BaseEventLoop):
                made.detach()
            raise
        return connection


@lru_cache(maxsize=1)
def _default_trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


__all__ = ["BODY_MAX", "Outbound"]
