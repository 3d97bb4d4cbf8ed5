"""Endpoints: where merchants want to be told."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.errors import AlreadyExists, NotFound, Refused
from arifa.feed import Endpoint, Profile
from arifa.store import changes, credentials
from arifa.store.schema import endpoint_names, endpoints
from arifa.store.vault import Vault

ACTIVE, PAUSED, DISABLED, REMOVED = "active", "paused", "disabled", "removed"


class _Filter(msgspec.Struct, frozen=True, omit_defaults=True):
    statuses: list[str] = []
    kinds: list[str] = []
    directions: list[str] = []
    sources: list[str] = []
    show_phone: bool = False


def _place(merchant: str, identity: str) -> str:
    return f"{merchant}|endpoints|credentials|{identity}"


def add(connection: Connection, vault: Vault, endpoint: Endpoint, now_us: int) -> None:
    """Store an endpoint.

    Raises:
        AlreadyExists: the merchant has an endpoint of this name.
    """
    taken = connection.execute(
        sa.select(endpoint_names.c.endpoint).where(
            endpoint_names.c.merchant == endpoint.merchant, endpoint_names.c.name == endpoint.name
        )
    ).first()
    if taken is not None:
        raise AlreadyExists(
            f"{endpoint.merchant} has an endpoint {endpoint.name!r} already; choose another name"
        )
    wanted = _Filter(
        statuses=sorted(endpoint.statuses),
        kinds=sorted(endpoint.kinds),
        directions=sorted(endpoint.directions),
        sources=sorted(endpoint.sources),
        show_phone=endpoint.show_phone,
    )
    connection.execute(
        sa.insert(endpoints).values(
            merchant=endpoint.merchant,
            id=endpoint.id,
            name=endpoint.name,
            url=endpoint.url,
            dialect=endpoint.dialect,
            currency=endpoint.profile.currency,
            timezone=endpoint.profile.timezone,
            options=msgspec.json.encode(dict(endpoint.profile.options)).decode(),
            filter=msgspec.json.encode(wanted).decode(),
            credentials=credentials.sealed(
                vault, endpoint.credentials, _place(endpoint.merchant, endpoint.id)
            ),
            state=ACTIVE,
            created_at=now_us,
        )
    )
    connection.execute(
        sa.insert(endpoint_names).values(
            merchant=endpoint.merchant, name=endpoint.name, endpoint=endpoint.id
        )
    )
    changes.count(
        connection,
        merchant=endpoint.merchant,
        action="endpoint.add",
        subject=endpoint.id,
        now_us=now_us,
    )


def get(connection: Connection, vault: Vault, name: str, merchant: str | None = None) -> Endpoint:
    """The endpoint of this name or id; `merchant` is needed only where two have the name.

    Raises:
        NotFound: there is none.
        Refused: several merchants have one of this name.
    """
    query = sa.select(endpoints).where(
        endpoints.c.state != REMOVED, (endpoints.c.name == name) | (endpoints.c.id == name)
    )
    if merchant is not None:
        query = query.where(endpoints.c.merchant == merchant)
    rows = connection.execute(query).all()
    if not rows:
        raise _missing(name, merchant)
    if len(rows) > 1:
        raise _ambiguous(name, [row.merchant for row in rows])
    return _built(vault, rows[0])


def names(connection: Connection) -> dict[str, str]:
    """id → name of every endpoint, also of the removed."""
    query = sa.select(endpoints.c.id, endpoints.c.name)
    return {row.id: row.name for row in connection.execute(query)}


def find_id(connection: Connection, name: str, merchant: str | None = None) -> str:
    """The id of the endpoint of this name or id; by its id also where it was removed.

    Raises:
        NotFound: there is none.
        Refused: several merchants have one of this name.
    """
    is_meant = (endpoints.c.id == name) | (
        (endpoints.c.name == name) & (endpoints.c.state != REMOVED)
    )
    query = sa.select(endpoints.c.id, endpoints.c.merchant).where(is_meant)
    if merchant is not None:
        query = query.where(endpoints.c.merchant == merchant)
    rows = connection.execute(query).all()
    if not rows:
        raise _missing(name, merchant)
    if len(rows) > 1:
        raise _ambiguous(name, [row.merchant for row in rows])
    found: str = rows[0].id
    return found


def _missing(name: str, merchant: str | None) -> NotFound:
    owner = "" if merchant is None else f" of {merchant}"
    return NotFound(f"there is no endpoint {name!r}{owner}; see: arifa endpoint list")


def _ambiguous(name: str, owners: list[str]) -> Refused:
    return Refused(
        f"several merchants have an endpoint {name!r}: {', '.join(owners)}; say --merchant"
    )


def listed(connection: Connection, vault: Vault) -> list[Endpoint]:
    """Every endpoint that is not removed."""
    query = (
        sa.select(endpoints)
        .where(endpoints.c.state != REMOVED)
        .order_by(endpoints.c.merchant, endpoints.c.id)
    )
    return [_built(vault, row) for row in connection.execute(query)]


def _built(vault: Vault, row: Row[Any]) -> Endpoint:
    wanted = msgspec.json.decode(row.filter, type=_Filter)
    return Endpoint(
        id=row.id,
        name=row.name,
        merchant=row.merchant,
        url=row.url,
        dialect=row.dialect,
        profile=Profile(
            currency=row.currency, timezone=row.timezone, options=msgspec.json.decode(row.options)
        ),
        credentials=credentials.opened(vault, row.credentials, _place(row.merchant, row.id)),
        statuses=frozenset(wanted.statuses),
        kinds=frozenset(wanted.kinds),
        directions=frozenset(wanted.directions),
        sources=frozenset(wanted.sources),
        active=row.state == ACTIVE,
        show_phone=wanted.show_phone,
    )
