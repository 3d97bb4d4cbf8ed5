"""Step 1: `POST /ipn/{token}`. Nothing here but the path of one notification.

Sizes and deadlines of the socket are kept by `web.protocol`. Until the source is known there is no
bank to speak as, so the answers are plain: 404, 405; and 403 for an address that is not listed.

What has arrived in one turn of the event loop is worked on together, stage by stage: all of it is
proven and read, then all of it drafted. One by one each stage would find the processor's caches
full of the others, and of the system's own reading and writing; that cost a seventh more (measured).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from arifa.clock import now_us
from arifa.errors import place_of
from arifa.hub.prepare import Prepared
from arifa.hub.receive import TRY_AGAIN, Receiver
from arifa.observe import Figures, log
from arifa.web.committer import Asked, Committer
from arifa.web.direct import Exchange
from arifa.web.proxies import Proxies
from arifa.wire import PLAIN, WireRequest, WireResponse

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PREFIX: Final = "/ipn/"
NOT_FOUND: Final = WireResponse(404, b"There is nothing here.\n", (PLAIN,))
NOT_ALLOWED: Final = WireResponse(
    405, b"Only POST is understood here.\n", (PLAIN, (b"allow", b"POST"))
)


class Intake:
    """The handler. `caller` finds the peer behind configured proxies."""

    def __init__(
        self, receiver: Receiver, committer: Committer, proxies: Proxies, figures: Figures
    ) -> None:
        self._receiver = receiver
        self._committer = committer
        self._proxies = proxies
        self._figures = figures
        self._arrived: list[Exchange] = []

    def receive(self, exchange: Exchange) -> None:
        """Take one POST. It is answered when its group is committed, or before."""
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._take)
        self._arrived.append(exchange)

    def _take(self) -> None:
        """Take what has arrived in this turn of the loop."""
        arrived, self._arrived = self._arrived, []
        asked, failed = [], []
        for exchange in arrived:
            try:
                asked.append(self._asked(exchange))
            except Exception as error:  # noqa: BLE001 - one request must not cost the others theirs
                log.error("prepare.failed", error=type(error).__name__, at=place_of(error))
                failed.append(exchange)
        self._committer.submit(asked)
        for exchange in failed:
            exchange.respond(TRY_AGAIN)

    def _asked(self, exchange: Exchange) -> Asked:
        """One request, proven and read, and who is to be told the answer."""
        headers = exchange.headers
        request = WireRequest(
            body=exchange.body,
            headers=headers,
            method="POST",
            target=_target(exchange.query),
            peer=self._proxies.caller(exchange.peer, headers),
            received_at=now_us(),
        )
        prepared = self._receiver.prepare(exchange.path[len(PREFIX) :], request)

        def done(answer: WireResponse | None) -> None:
            self._count(prepared, answer)
            exchange.respond(answer or NOT_FOUND)

        return prepared, done

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer whatever is not a POST."""
        await respond(send, NOT_ALLOWED)

    def _count(self, prepared: Prepared, answer: WireResponse | None) -> None:
        dialect = "none" if prepared.dialect is None else prepared.dialect.name
        self._figures.answered(dialect, 404 if answer is None else answer.status)


def _target(query: bytes) -> str:
    """The path without its token, which is a secret, and the query, which may be the message."""
    return PREFIX if not query else f"{PREFIX}?{query.decode('latin-1')}"


async def respond(send: Send, answer: WireResponse) -> None:
    """Send one whole answer."""
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
