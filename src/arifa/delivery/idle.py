"""Connections that are kept for the next delivery to the same place, for a while."""

from __future__ import annotations

import asyncio
from typing import Final

from arifa.delivery.connection import Connection
from arifa.delivery.message import Origin

IDLE_SECONDS: Final = 20.0
"""How long an idle connection is kept for the next delivery to the same host."""


class Idle:
    """Idle connections by place. Made inside a running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._kept: dict[Origin, list[Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def taken(self, origin: Origin) -> Connection | None:
        """The one that was used last, and is open; None where there is none."""
        kept = self._kept.get(origin)
        oldest = self._loop.time() - IDLE_SECONDS
        while kept:
            connection = kept.pop()
            if connection.is_open and connection.kept_at > oldest:
                return connection
            connection.close()
        return None

    def keep(self, origin: Origin, connection: Connection) -> None:
        """Keep this for the next."""
        connection.kept_at = self._loop.time()
        self._kept.setdefault(origin, []).append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(IDLE_SECONDS, self._swept)

    def close(self) -> None:
        """Close all that are idle."""
        if self._sweep is not None:
            self._sweep.cancel()
        for kept in self._kept.values():
            for connection in kept:
                connection.close()
        self._kept.clear()

    def _swept(self) -> None:
        self._sweep = None
        oldest = self._loop.time() - IDLE_SECONDS
        before, self._kept = self._kept, {}
        for origin, connections in before.items():
            for connection in connections:
                if not connection.is_open or connection.kept_at <= oldest:
                    connection.close()
                else:
                    self._kept.setdefault(origin, []).append(connection)
        if self._kept:
            self._sweep = self._loop.call_later(IDLE_SECONDS / 4, self._swept)
