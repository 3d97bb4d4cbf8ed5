"""Deliveries to NATS JetStream: delivered is what a stream has acknowledged, and nothing less.

The message is what an HTTP endpoint is sent: the same body, the same signature in the headers.
`Nats-Msg-Id` is the notification's id in every attempt and replay, so that the broker drops repeats
inside its window.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from functools import lru_cache
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

from arifa.delivery import nats_target
from arifa.delivery.cause import Cause, NoAnswer
from arifa.delivery.dial import Dialer
from arifa.delivery.names import Names
from arifa.delivery.nats_link import Ended, Link, LoginRefused, Wire, message_of
from arifa.delivery.nats_target import DEFAULT_PORTS, Place
from arifa.delivery.target import NotPublic
from arifa.delivery.transport import (
    DEADLINE_SECONDS,
    DEFAULT_REACH,
    NO_CREDENTIALS,
    Reach,
    Receipt,
)
from arifa.errors import Refused
from arifa.signing import Credentials
from arifa.wire import WireRequest

CONNECT_SECONDS: Final = 10.0
PROBE_SECONDS: Final = 5.0

T = TypeVar("T")


class _Key(NamedTuple):
    """What a connection may be shared by."""

    host: str
    port: int
    is_secure: bool
    username: str | None
    passwords: tuple[str, ...]


class Nats:
    """Publishes to JetStream brokers. Made inside a running event loop.

    One connection for all that goes to one broker as one user; it is closed when it has been idle
    for `IDLE_SECONDS`, when the broker hangs, and by `close`.
    """

    def __init__(self, reach: Reach = DEFAULT_REACH, *, names: Names | None = None) -> None:
        self._reach = reach
        self._dialer = Dialer(reach, names)
        self._links: dict[_Key, asyncio.Task[Link]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @staticmethod
    def check(url: str) -> list[str]:
        """See that an endpoint may have this URL; notes say what `serve` has to allow for it.

        Raises:
            Refused: it may not.
        """
        return nats_target.check(url)

    async def send(
        self,
        url: str,
        request: WireRequest,
        *,
        identity: str,
        deadline: float = DEADLINE_SECONDS,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> Receipt:
        """Publish the request's body and headers to the URL's subject.

        Raises:
            NoAnswer: no stream has acknowledged it within the deadline.
        """
        place = self._target(url)
        message = message_of(request, identity)

        async def publish(link: Link) -> Receipt:
            return await link.publish(place, message)

        return await self._within(deadline, place, credentials, publish)

    async def stream_of(
        self,
        url: str,
        *,
        deadline: float = DEADLINE_SECONDS,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> str | None:
        """The stream that keeps what is published to the URL's subject. Publishes nothing.

        Returns:
            None where the broker does not let this user ask.

        Raises:
            NoAnswer: there is none, it is another than the URL's, or the broker cannot be asked.
        """
        place = self._target(url)

        async def ask(link: Link) -> str | None:
            return await link.stream_of(place.subject)

        stream = await self._within(deadline, place, credentials, ask)
        if stream is not None and place.stream not in (None, stream):
            raise NoAnswer(Cause.NO_STREAM, f"the stream {stream} keeps the subject")
        return stream

    @classmethod
    def probe(cls, url: str, credentials: Credentials) -> list[str]:
        """Call the broker once and ask which stream keeps the subject; gives notes.

        Raises:
            NoAnswer: none does, or it could not be asked within `PROBE_SECONDS`.
        """

        async def asked() -> str | None:
            # Whoever enters an endpoint here could call the broker without us as well.
            async with cls(Reach(allow_private=True)) as here:
                return await here.stream_of(url, deadline=PROBE_SECONDS, credentials=credentials)

        stream = asyncio.run(asked())
        if stream is None:
            return ["the broker does not say which stream keeps the subject: send a test message"]
        return [f"the stream {stream} keeps the subject"]

    async def close(self) -> None:
        """Close every connection."""
        opening = list(self._links.values())
        for task in opening:
            task.cancel()
        for found in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(found, Link):
                self._drop(found)
        await asyncio.gather(*self._closing)
        self._dialer.close()

    # ------------------------------------------------------------------ connections

    def _target(self, url: str) -> Place:
        reach = self._reach
        try:
            return nats_target.target(
                url, allow_private=reach.allow_private, ports=reach.ports | DEFAULT_PORTS
            )
        except NotPublic as error:
            raise NoAnswer(Cause.ADDRESS) from error
        except Refused as error:
            raise NoAnswer(Cause.URL, str(error)) from error

    async def _within(
        self,
        deadline: float,
        place: Place,
        credentials: Credentials,
        act: Callable[[Link], Awaitable[T]],
    ) -> T:
        """Do this over a connection to the broker, all of it before the deadline."""
        link: Link | None = None
        try:
            async with asyncio.timeout(deadline):
                for is_last in (False, True):
                    link, is_kept = await self._linked(place, credentials)
                    try:
                        return await act(link)
                    except Ended:
                        # A kept connection that the broker had closed in the meantime tells
                        # nothing; what it may have taken already, it knows by its id.
                        if is_last or not is_kept:
                            raise NoAnswer(Cause.RESET) from None
                raise AssertionError("the last turn ends in one of the ways above")
        except TimeoutError as error:
            if link is None:
                raise NoAnswer(
                    Cause.BROKER_SILENT, f"{deadline:g} s, while we connected"
                ) from error
            # It hangs, or the way to it is cut: the next attempt begins anew.
            self._drop(link)
            more = f"{deadline:g} s, while we waited for the broker's word"
            raise NoAnswer(Cause.BROKER_SILENT, more) from error

    async def _linked(self, place: Place, credentials: Credentials) -> tuple[Link, bool]:
        """A connection, and whether it was there before; whoever comes meanwhile shares it."""
        key = _key(place, credentials)
        task = self._links.get(key)
        is_kept = task is not None and task.done()
        if task is None:
            task = asyncio.create_task(self.connected(place, credentials))
            self._links[key] = task
            task.add_done_callback(lambda done: self._settled(key, done))
        # Not awaited itself: one's own deadline must not end what others wait for.
        await asyncio.wait((task,))
        if task.cancelled():
            raise NoAnswer(Cause.RESET, "delivering is being stopped")
        return task.result(), is_kept

    def _settled(self, key: _Key, task: asyncio.Task[Link]) -> None:
        """Let go of what failed at once, and of what came about when it ends, however it does."""
        if task.cancelled() or task.exception() is not None:
            self._let_go(key, task)
            return
        link = task.result()

        def ended() -> None:
            self._let_go(key, task)
            self._drop(link)

        link.when_ended(ended)

    def _let_go(self, key: _Key, task: asyncio.Task[Link]) -> None:
        if self._links.get(key) is task:
            del self._links[key]

    def _drop(self, link: Link) -> None:
        closing = link.drop()
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def connected(self, place: Place, credentials: Credentials) -> Link:
        """A new connection, for the caller to close.

        While a password is rotated the older ones are tried after the newest: which of them the
        broker knows already is its operator's to say.

        Raises:
            NoAnswer: there is none.
        """
        for password in credentials.passwords[:-1]:
            with contextlib.suppress(LoginRefused):
                return await self._opened(place, credentials.username, password)
        last = credentials.passwords[-1] if credentials.passwords else None
        return await self._opened(place, credentials.username, last)

    async def _opened(self, place: Place, username: str | None, password: str | None) -> Link:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connected = await self._dialer.connected(
                    place.host, place.port, is_secure=place.is_secure
                )
                link = Link(Wire(connected, is_secure=place.is_secure))
                await link.open(place, username, password, self._reach.trust or _default_trust())
                return link
        except TimeoutError as error:
            raise NoAnswer(Cause.CONNECT_TIMEOUT) from error


def _key(place: Place, credentials: Credentials) -> _Key:
    return _Key(
        place.host, place.port, place.is_secure, credentials.username, credentials.passwords
    )


@lru_cache(maxsize=1)
def _default_trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
