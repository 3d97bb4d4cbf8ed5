"""Everything that the intake must know to judge a request, as one frozen picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from arifa.feed import Endpoint, Source
from arifa.store import changes, endpoints, identities, sources
from arifa.store.vault import Vault


@dataclass(frozen=True, slots=True)
class Configuration:
    """All sources by path token, and all endpoints by merchant, as of one change number.

    Also the endpoints that are paused or disabled: what comes meanwhile waits for them.
    """

    number: int
    sources: Mapping[str, Source]
    endpoints: Mapping[str, Sequence[Endpoint]]
    is_selective: bool
    """Whether any endpoint looks at the currency or the account."""
    has_plain_identities: bool
    """Whether this database has identities from before their keys were in order: they stay few or
    many as they are, so that this never changes while a program runs."""


def load(connection: Connection, vault: Vault) -> Configuration:
    """Read the whole configuration in one transaction."""
    number = changes.number(connection)
    by_merchant: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints.listed(connection, vault):
        by_merchant.setdefault(endpoint.merchant, []).append(endpoint)
    by_token = {source.token: source for source in sources.all_active(connection, vault)}
    is_selective = any(
        endpoint.currencies or endpoint.accounts
        for found in by_merchant.values()
        for endpoint in found
    )
    return Configuration(
        number, by_token, by_merchant, is_selective, identities.are_plain(connection)
    )
