"""Where each path goes: the intake first and barest; everything else behind it."""

from __future__ import annotations

from arifa import billing
from arifa.web.intake import NOT_FOUND, PREFIX, Intake, Receive, Scope, Send, respond
from arifa.web.invoices import Invoices


class App:
    """The public application. The REST API and the portal will stand behind the intake here."""

    def __init__(self, intake: Intake, invoices: Invoices) -> None:
        self._intake = intake
        self._invoices = invoices

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route one request."""
        if scope["path"].startswith(PREFIX):
            await self._intake(scope, receive, send)
        elif scope["path"] == billing.PATH:
            await self._invoices(scope, receive, send)
        else:
            await respond(send, NOT_FOUND)
