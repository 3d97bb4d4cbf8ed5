"""Everything that the intake must know to judge a request, as one frozen picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from arifa.feed import Endpoint, Source
from arifa.store import changes, endpoints, sources
from arifa.store.vault import Vault


@dataclass(frozen=True, slots=True)
class Configuration:
    """All sources by path token, and all active endpoints by merchant, as of one change number."""

    number: int
    sources: Mapping[str, Source]
    endpoints: Mapping[str, Sequence[Endpoint]]


def load(connection: Connection, vault: Vault) -> Configuration:
    """Read the whole configuration in one transaction."""
    number = changes.number(connection)
    by_merchant: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints.listed(connection, vault):
        if endpoint.active:
            by_merchant.setdefault(endpoint.merchant, []).append(endpoint)
    by_token = {source.token: source for source in sources.all_active(connection, vault)}
    return Configuration(number, by_token, by_merchant)
