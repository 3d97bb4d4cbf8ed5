"""Step 1: `POST /ipn/{token}`. Nothing here but the path of one notification.

Sizes and deadlines of the socket are kept by `web.protocol`. Until the source is known there is no
bank to speak as, so the answers are plain: 404, 405; and 403 for an address that is not listed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from arifa.clock import now_us
from arifa.hub.prepare import Prepared
from arifa.hub.receive import Receiver
from arifa.observe import Figures
from arifa.web.committer import Committer
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

    def receive(self, exchange: Exchange) -> None:
        """Answer one POST: now, or when its group is committed."""
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

        self._committer.submit(prepared, done)

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
