"""The seam between a delivery and the ways out: an endpoint's scheme says which transport it takes.

    https://…, http://…   outbound.Outbound       nats://…, tls+nats://…   nats.Nats

A transport sends one signed request, and says what came back in one of three forms: the answer of
an HTTP server (the dialect judges it), the `Receipt` of a broker (it has the message: delivered),
or `NoAnswer` with a cause (the schedule goes on). No transport is loaded before an endpoint asks
for it. A further broker is a file and a line of `_TRANSPORTS`.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from arifa.delivery.cause import Cause, NoAnswer
from arifa.errors import Refused
from arifa.signing import Credentials
from arifa.wire import WireRequest, WireResponse

DEADLINE_SECONDS: Final = 15.0
DEADLINE_MAX: Final = 30.0
NO_CREDENTIALS: Final = Credentials()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far deliveries may go; the operator's to say, and the same for every transport.

    Attributes:
        allow_private: for development: addresses that are not public, http, and any port.
        ports: the ports that may be called. A broker's own default port is always among them.
        proxy: `http://HOST:PORT` of an egress proxy; None to call directly.
        trust: the certificates that are believed; None for the system's.
    """

    allow_private: bool = False
    ports: frozenset[int] = frozenset({443})
    proxy: str | None = None
    trust: ssl.SSLContext | None = None


DEFAULT_REACH: Final = Reach()


@dataclass(frozen=True, slots=True)
class Receipt:
    """A broker's word that it keeps the message.

    Attributes:
        text: what it calls it, for people: "stream PAYMENTS, sequence 7".
    """

    text: str


class Transport(Protocol):
    """One way out. Made inside the running event loop, used by its tasks at the same time."""

    async def send(
        self,
        url: str,
        request: WireRequest,
        *,
        identity: str,
        deadline: float = DEADLINE_SECONDS,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> WireResponse | Receipt:
        """Send one signed request, and wait for the word that it arrived.

        Args:
            url: the endpoint's, of one of the transport's schemes.
            identity: the notification's id, the same in every attempt and replay; what a broker
                drops duplicates by.
            deadline: seconds for all of it: look-up, connection, sending, and the last byte back.
            credentials: the endpoint's, for a broker that wants to know who connects. An HTTP
                request is already signed with them.

        Raises:
            NoAnswer: nothing says that it arrived. No other error is let out.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class _Maker(Protocol):
    """What a line of the registry names: a class whose instances are transports."""

    def __call__(self, reach: Reach) -> Transport: ...

    def check(self, url: str) -> list[str]:
        """See, without calling anybody, that an endpoint may have this URL; gives notes.

        A static method: it is asked when the endpoint is entered, where nothing runs yet.

        Raises:
            Refused: it may not; the sentence says what to write instead.
        """
        ...

    def probe(self, url: str, credentials: Credentials) -> list[str]:
        """See, by calling once and within seconds, that messages would be kept there; gives notes.

        A static or class method, called outside of any event loop. Nothing is delivered: where a
        call would be a delivery, as with HTTP, there is none.

        Raises:
            NoAnswer: they would not, or nobody could be asked.
        """
        ...


class _Line(NamedTuple):
    place: str
    extra: str | None = None


_HTTP: Final = _Line("arifa.delivery.outbound:Outbound")
_NATS: Final = _Line("arifa.delivery.nats:Nats", extra="nats")
_TRANSPORTS: Final = {"https": _HTTP, "http": _HTTP, "nats": _NATS, "tls+nats": _NATS}


def check(url: str) -> list[str]:
    """See that an endpoint may have this URL; gives notes on what may surprise.

    Raises:
        Refused: no transport has the scheme, its extra is not installed, or the URL is not one
            that it takes.
    """
    return _maker(_line(url)).check(url)


def probe(url: str, credentials: Credentials) -> list[str]:
    """Call a broker once, as an endpoint is entered, and see that it would keep its messages.

    Blocks for seconds at most; not to be called where an event loop runs.

    Raises:
        Refused: it would not; the sentence says why, and what to do.
    """
    try:
        return _maker(_line(url)).probe(url, credentials)
    except NoAnswer as error:
        raise Refused(
            f"{error}; or enter it as it is with --unchecked, if it is to be there later"
        ) from error


def _line(url: str) -> _Line:
    scheme = url.partition("://")[0].lower()
    line = _TRANSPORTS.get(scheme) if "://" in url else None
    if line is None:
        schemes = ", ".join(f"{name}://" for name in _TRANSPORTS)
        raise Refused(f"the URL begins with none of {schemes}; write https://HOST/PATH")
    return line


@cache
def _maker(line: _Line) -> _Maker:
    module, _, name = line.place.partition(":")
    try:
        maker: _Maker = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if line.extra is None:
            raise
        raise Refused(
            f"a part that such an endpoint needs is not installed: install arifa[{line.extra}]"
        ) from error
    return maker


class Transports:
    """All ways out of one process, each made when it is first used. A `Transport` itself."""

    def __init__(self, reach: Reach = DEFAULT_REACH) -> None:
        self._reach = reach
        self._made: dict[_Line, Transport] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def send(
        self,
        url: str,
        request: WireRequest,
        *,
        identity: str,
        deadline: float = DEADLINE_SECONDS,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> WireResponse | Receipt:
        """Send by the transport of the URL's scheme; as `Transport.send`."""
        try:
            transport = self._transport(url)
        except Refused as error:
            raise NoAnswer(Cause.URL, str(error)) from error
        return await transport.send(
            url, request, identity=identity, deadline=deadline, credentials=credentials
        )

    def _transport(self, url: str) -> Transport:
        line = _line(url)
        transport = self._made.get(line)
        if transport is None:
            transport = self._made[line] = _maker(line)(self._reach)
        return transport

    async def close(self) -> None:
        """Close every connection of every transport, also where one of them fails to."""
        made, self._made = self._made, {}
        failures: list[Exception] = []
        for transport in made.values():
            try:
                await transport.close()
            except Exception as error:  # noqa: BLE001  the others must be closed all the same
                failures.append(error)
        if failures:
            raise failures[0]
