"""The endpoints as one worker knows them: read again where the configuration has changed."""

from __future__ import annotations

from collections.abc import Mapping

from arifa.feed import Endpoint
from arifa.store import changes, endpoints
from arifa.store.database import Connection
from arifa.store.vault import Vault


class KnownEndpoints:
    """All endpoints but the removed ones. Used by one thread at a time.

    Attributes:
        by_id: another mapping after each reading.
    """

    def __init__(self, vault: Vault) -> None:
        self.by_id: Mapping[str, Endpoint] = {}
        self._vault = vault
        self._number: int | None = None
        self._is_told = False

    def keep_current(self, connection: Connection) -> None:
        """Read them if anything about the configuration has changed."""
        number = changes.number(connection)
        if number != self._number:
            self.read(connection)
            self._number = number

    def read(self, connection: Connection) -> None:
        """Read them, whatever is known."""
        found = endpoints.listed(connection, self._vault)
        self.by_id = {endpoint.id: endpoint for endpoint in found}
        self._is_told = False

    def news(self) -> Mapping[str, Endpoint] | None:
        """All of them, once after each reading; else None."""
        if self._is_told:
            return None
        self._is_told = True
        return self.by_id
