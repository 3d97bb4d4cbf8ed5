"""The form of the billing system: `POST /api/v1/invoice/create`, answered when it is committed.

Sizes and deadlines of the socket are kept by `web.protocol`. One thread proves, reads and writes, so
that whatever comes here takes no more of the hub than that; who finds too many waiting, or waits too
long, is told to try again, in the form. An invoice that is being written is written all the same, and
the same request again gets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from arifa import billing
from arifa.clock import now_us
from arifa.errors import Refused
from arifa.hub.generate import Generator, is_public
from arifa.observe import Figures
from arifa.web.intake import NOT_ALLOWED, NOT_FOUND, Receive, Scope, Send, respond
from arifa.wire import WireRequest, WireResponse

ANSWER_SECONDS: Final = 5.0
WAITING_MAX: Final = 256
_LABEL: Final = "invoice"


def called_from(*, allow_private: bool, ports: frozenset[int]) -> Callable[[str], bool]:
    """Tells of a callback URL whether deliveries go there, as far as its text can tell."""
    # The rule is delivery's own, so that no URL is taken that is never called.
    from arifa.delivery.target import target

    def is_called(url: str) -> bool:
        try:
            target(url, allow_private=allow_private, ports=ports)
            return allow_private or is_public(url)
        except Refused:
            return False

    return is_called


class Invoices:
    """The handler. `on_broken` is called when the disk or the database failed: stop serving."""

    def __init__(
        self,
        generator: Generator,
        figures: Figures,
        on_broken: Callable[[str], None],
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._generator = generator
        self._figures = figures
        self._on_broken = on_broken
        self._answer_seconds = answer_seconds
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="arifa-invoice")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await respond(send, NOT_ALLOWED)
            return
        body = await _body(receive)
        if body is None:
            return
        request = WireRequest(
            body=body,
            headers=tuple(scope["headers"]),
            target=billing.PATH,
            received_at=now_us(),
        )
        answer = await self._answered(request) or NOT_FOUND
        self._figures.answered(_LABEL, answer.status)
        await respond(send, answer)

    def close(self) -> None:
        """Take no more; what is being written is written."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _answered(self, request: WireRequest) -> WireResponse | None:
        if self._waiting >= WAITING_MAX:
            return billing.refuse(billing.TRY_AGAIN)
        self._waiting += 1
        try:
            work = asyncio.get_running_loop().run_in_executor(
                self._thread, self._generator.generate, request
            )
        except RuntimeError:  # it is closed
            self._waiting -= 1
            return billing.refuse(billing.TRY_AGAIN)
        work.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.shield(work), self._answer_seconds)
        except TimeoutError:
            return billing.refuse(billing.TRY_AGAIN)

    def _done(self, _work: asyncio.Future[WireResponse | None]) -> None:
        self._waiting -= 1
        broken = self._generator.store.database.broken
        if broken is not None:
            self._on_broken(str(broken))


async def _body(receive: Receive) -> bytes | None:
    """The whole body, no larger than the limits allow; None where the client has gone."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
