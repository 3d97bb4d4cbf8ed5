"""Step 1: `POST /ipn/{token}`. A bare ASGI handler: nothing here but the path of one notification.

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await respond(send, NOT_ALLOWED)
            return
        body = await _read(receive)
        if body is None:
            return
        headers = tuple(scope["headers"])
        client = scope["client"]
        request = WireRequest(
            body=body,
            headers=headers,
            method="POST",
            target=_target(scope),
            peer=self._proxies.caller(client[0] if client else None, headers),
            received_at=now_us(),
        )
        prepared = self._receiver.prepare(scope["path"][len(PREFIX) :], request)
        answer = await self._committer.submit(prepared)
        self._count(prepared, answer)
        await respond(send, answer or NOT_FOUND)

    def _count(self, prepared: Prepared, answer: WireResponse | None) -> None:
        dialect = "none" if prepared.dialect is None else prepared.dialect.name
        self._figures.answered(dialect, 404 if answer is None else answer.status)


async def _read(receive: Receive) -> bytes | None:
    """The whole body, which the protocol has bounded; None where the client went away."""
    message = await receive()
    if message["type"] != "http.request":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts = [body]
    while message.get("more_body"):
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
    return b"".join(parts)


def _target(scope: Scope) -> str:
    """The path without its token, which is a secret, and the query, which may be the message."""
    query = scope["query_string"]
    return PREFIX if not query else f"{PREFIX}?{query.decode('latin-1')}"


async def respond(send: Send, answer: WireResponse) -> None:
    """Send one whole answer."""
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
