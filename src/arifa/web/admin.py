"""The admin port: `/livez`, `/readyz`, `/metrics`. Not for the public network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from arifa.errors import ArifaError
from arifa.observe import Figures
from arifa.store import deliveries
from arifa.store.opened import Store
from arifa.web.intake import NOT_FOUND, Receive, Scope, Send, respond
from arifa.wire import PLAIN, WireResponse


class Admin:
    """The application of the admin port."""

    def __init__(self, store: Store, figures: Figures, is_draining: Callable[[], bool]) -> None:
        self._store = store
        self._figures = figures
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        if path == "/livez":
            await respond(send, WireResponse(200, b"alive\n", (PLAIN,)))
        elif path == "/readyz":
            await respond(send, await asyncio.to_thread(self._ready))
        elif path == "/metrics":
            await respond(send, await asyncio.to_thread(self._metrics))
        else:
            await respond(send, NOT_FOUND)

    def _ready(self) -> WireResponse:
        """200 where a bank may be sent here: the database answers, and we are not stopping."""
        if self._is_draining():
            return WireResponse(503, b"stopping\n", (PLAIN,))
        try:
            if self._store.database.broken is not None:
                raise self._store.database.broken
            with self._store.database.read() as connection:
                connection.exec_driver_sql("SELECT 1")
        except ArifaError as error:
            return WireResponse(503, f"{error}\n".encode(), (PLAIN,))
        return WireResponse(200, b"ready\n", (PLAIN,))

    def _metrics(self) -> WireResponse:
        try:
            with self._store.database.read() as connection:
                counted = deliveries.counted(connection)
                due = deliveries.next_due(connection)
        except ArifaError:
            counted, due = {}, deliveries.Due(None, None)
        content_type, text = self._figures.rendered(counted, due.active, due.held)
        return WireResponse(200, text, ((b"content-type", content_type),))
