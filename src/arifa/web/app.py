"""Where each path goes: the intake first and barest; everything else behind it."""

from __future__ import annotations

from arifa.web.intake import NOT_FOUND, PREFIX, Intake, Receive, Scope, Send, respond


class App:
    """The public application. The REST API and the portal will stand behind the intake here."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route one request."""
        if scope["path"].startswith(PREFIX):
            await self._intake(scope, receive, send)
        else:
            await respond(send, NOT_FOUND)
