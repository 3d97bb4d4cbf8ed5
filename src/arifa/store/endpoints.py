"""Endpoints: where merchants want to be told."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import structs
from sqlalchemy.engine import Connection, Row

from arifa.errors import AlreadyExists, NotFound, Refused
from arifa.feed import Endpoint, Manner, Profile
from arifa.store import changes, credentials
from arifa.store.schema import endpoint_names, endpoint_urls, endpoints
from arifa.store.vault import Vault

ACTIVE, PAUSED, DISABLED, REMOVED = "active", "paused", "disabled", "removed"


class _Filter(msgspec.Struct, frozen=True, omit_defaults=True):
    statuses: list[str] = []
    kinds: list[str] = []
    directions: list[str] = []
    sources: list[str] = []
    currencies: list[str] = []
    accounts: list[str] = []
    alerts: bool = False
    show_phone: bool = False


class _Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    timeout: float | None = None
    concurrency: int | None = None
    rate: float | None = None
    delays: tuple[int, ...] | None = None
    headers: bytes = b""
    """Sealed: a header's value is often a key of the receiver's."""
    ordered: str | None = None
    halts: bool = False


def _place(merchant: str, identity: str) -> str:
    return f"{merchant}|endpoints|credentials|{identity}"


def _retiring_place(place: str) -> str:
    return place + "|retiring"


def _headers_place(merchant: str, identity: str) -> str:
    return f"{merchant}|endpoints|headers|{identity}"


def check_name_is_free(connection: Connection, merchant: str, name: str) -> None:
    """See that the merchant has no endpoint of this name.

    Raises:
        AlreadyExists: it has one.
    """
    taken = connection.execute(
        sa.select(endpoint_names.c.endpoint).where(
            endpoint_names.c.merchant == merchant, endpoint_names.c.name == name
        )
    ).first()
    if taken is not None:
        raise AlreadyExists(f"{merchant} has an endpoint {name!r} already; choose another name")


def add(
    connection: Connection,
    vault: Vault,
    endpoint: Endpoint,
    now_us: int,
    *,
    proof: str | None = None,
    detail: str = "",
) -> None:
    """Store an endpoint; `proof` is JSON, `detail` for the audit log.

    Raises:
        AlreadyExists: the merchant has an endpoint of this name.
    """
    check_name_is_free(connection, endpoint.merchant, endpoint.name)
    connection.execute(
        sa.insert(endpoints).values(
            merchant=endpoint.merchant,
            id=endpoint.id,
            name=endpoint.name,
            state=endpoint.state,
            created_at=now_us,
            proof=proof,
            **_values(vault, endpoint),
        )
    )
    connection.execute(
        sa.insert(endpoint_names).values(
            merchant=endpoint.merchant, name=endpoint.name, endpoint=endpoint.id
        )
    )
    _keep_url(connection, endpoint, now_us)
    _count(connection, endpoint, "add", now_us, detail=detail)


def update(
    connection: Connection,
    vault: Vault,
    endpoint: Endpoint,
    now_us: int,
    *,
    action: str = "edit",
    detail: str = "",
) -> None:
    """Store what has changed of an endpoint, but for its name and its state.

    Args:
        action, detail: for the audit log: the word for it, and what was changed or why.

    Raises:
        NotFound: it was removed meanwhile.
    """
    before = connection.execute(
        sa.select(endpoints.c.url).where(_is(endpoint), endpoints.c.state != REMOVED)
    ).first()
    if before is None:
        raise _missing(endpoint.name, endpoint.merchant)
    connection.execute(sa.update(endpoints).where(_is(endpoint)).values(**_values(vault, endpoint)))
    if before.url != endpoint.url:
        _keep_url(connection, endpoint, now_us)
    _count(connection, endpoint, action, now_us, detail=detail)


def set_state(
    connection: Connection,
    endpoint: Endpoint,
    state: str,
    now_us: int,
    *,
    reason: str | None = None,
    actor: str = "operator",
) -> bool:
    """Make it active, paused or disabled; False where it is so already, or was removed."""
    found = connection.execute(
        sa.update(endpoints)
        .where(_is(endpoint), endpoints.c.state.not_in((state, REMOVED)))
        .values(state=state, state_reason=reason, state_at=now_us)
    )
    if found.rowcount == 0:
        return False
    _count(connection, endpoint, state, now_us, detail=reason or "", actor=actor)
    return True


def remove(connection: Connection, endpoint: Endpoint, now_us: int, *, detail: str = "") -> None:
    """Free its name and forget its credentials; its row stays, for its history."""
    connection.execute(
        sa.update(endpoints)
        .where(_is(endpoint))
        .values(
            state=REMOVED,
            removed_at=now_us,
            credentials=b"",
            retiring=None,
            retires_at=None,
            settings="{}",
        )
    )
    connection.execute(sa.delete(endpoint_names).where(endpoint_names.c.endpoint == endpoint.id))
    _count(connection, endpoint, "remove", now_us, detail=detail)


def proof_of(connection: Connection, endpoint: Endpoint) -> str | None:
    """JSON: how it was shown to work before it went live, or who said that it may anyway."""
    found: str | None = connection.execute(
        sa.select(endpoints.c.proof).where(_is(endpoint))
    ).scalar()
    return found


def urls(connection: Connection, endpoint: Endpoint) -> list[tuple[int, str]]:
    """The URLs that it has had, each with the moment since when, the first one first."""
    query = sa.select(endpoint_urls.c.since, endpoint_urls.c.url).where(
        endpoint_urls.c.merchant == endpoint.merchant, endpoint_urls.c.endpoint == endpoint.id
    )
    return [(row[0], row[1]) for row in connection.execute(query.order_by(endpoint_urls.c.since))]


def set_proof(connection: Connection, endpoint: Endpoint, proof: str, now_us: int) -> None:
    """Keep, as JSON, that a test message made the full round."""
    connection.execute(sa.update(endpoints).where(_is(endpoint)).values(proof=proof))
    changes.record(
        connection,
        merchant=endpoint.merchant,
        action="endpoint.tested",
        subject=endpoint.id,
        now_us=now_us,
        detail=proof,
    )


def proofs(connection: Connection) -> dict[str, str]:
    """id → proof of every endpoint that has one."""
    query = sa.select(endpoints.c.id, endpoints.c.proof).where(
        endpoints.c.state != REMOVED, endpoints.c.proof.is_not(None)
    )
    return {row.id: row.proof for row in connection.execute(query)}


def _is(endpoint: Endpoint) -> sa.ColumnElement[bool]:
    return sa.and_(endpoints.c.merchant == endpoint.merchant, endpoints.c.id == endpoint.id)


def _values(vault: Vault, endpoint: Endpoint) -> dict[str, Any]:
    """The columns of what may change."""
    place = _place(endpoint.merchant, endpoint.id)
    retiring = endpoint.retiring
    return {
        "url": endpoint.url,
        "dialect": endpoint.dialect,
        "currency": endpoint.profile.currency,
        "timezone": endpoint.profile.timezone,
        "options": msgspec.json.encode(dict(endpoint.profile.options)).decode(),
        "filter": msgspec.json.encode(_filter(endpoint)).decode(),
        "settings": msgspec.json.encode(_settings(vault, endpoint)).decode(),
        "credentials": credentials.sealed(vault, endpoint.credentials, place),
        "retiring": None
        if retiring is None
        else credentials.sealed(vault, retiring, _retiring_place(place)),
        "retires_at": endpoint.retires_at,
    }


def _filter(endpoint: Endpoint) -> _Filter:
    return _Filter(
        statuses=sorted(endpoint.statuses),
        kinds=sorted(endpoint.kinds),
        directions=sorted(endpoint.directions),
        sources=sorted(endpoint.sources),
        currencies=sorted(endpoint.currencies),
        accounts=sorted(endpoint.accounts),
        alerts=endpoint.alerts,
        show_phone=endpoint.show_phone,
    )


def _settings(vault: Vault, endpoint: Endpoint) -> _Settings:
    manner = endpoint.manner
    headers = b""
    if manner.headers:
        place = _headers_place(endpoint.merchant, endpoint.id)
        headers = vault.seal(msgspec.msgpack.encode(manner.headers), place)
    return _Settings(
        timeout=manner.timeout,
        concurrency=manner.concurrency,
        rate=manner.rate,
        delays=manner.delays,
        headers=headers,
        ordered=manner.ordered,
        halts=manner.halts,
    )


def _manner(vault: Vault, row: Row[Any]) -> Manner:
    settings = msgspec.json.decode(row.settings, type=_Settings)
    headers: tuple[tuple[str, str], ...] = ()
    if settings.headers:
        opened = vault.open(settings.headers, _headers_place(row.merchant, row.id))
        headers = msgspec.msgpack.decode(opened, type=tuple[tuple[str, str], ...])
    return Manner(**{**structs.asdict(settings), "headers": headers})


def _keep_url(connection: Connection, endpoint: Endpoint, now_us: int) -> None:
    connection.execute(
        sa.insert(endpoint_urls).values(
            merchant=endpoint.merchant, endpoint=endpoint.id, since=now_us, url=endpoint.url
        )
    )


def _count(
    connection: Connection,
    endpoint: Endpoint,
    action: str,
    now_us: int,
    *,
    detail: str = "",
    actor: str = "operator",
) -> None:
    changes.count(
        connection,
        merchant=endpoint.merchant,
        action=f"endpoint.{action}",
        subject=endpoint.id,
        now_us=now_us,
        detail=detail,
        actor=actor,
    )


def get(
    connection: Connection,
    vault: Vault,
    name: str,
    merchant: str | None = None,
    *,
    for_update: bool = False,
) -> Endpoint:
    """The endpoint of this name or id; `merchant` is needed only where two have the name.

    Args:
        for_update: nobody else may change it until this transaction ends.

    Raises:
        NotFound: there is none.
        Refused: several merchants have one of this name.
    """
    query = sa.select(endpoints).where(
        endpoints.c.state != REMOVED, (endpoints.c.name == name) | (endpoints.c.id == name)
    )
    if merchant is not None:
        query = query.where(endpoints.c.merchant == merchant)
    if for_update:
        query = query.with_for_update()
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
    place = _place(row.merchant, row.id)
    return Endpoint(
        id=row.id,
        name=row.name,
        merchant=row.merchant,
        url=row.url,
        dialect=row.dialect,
        profile=Profile(
            currency=row.currency, timezone=row.timezone, options=msgspec.json.decode(row.options)
        ),
        credentials=credentials.opened(vault, row.credentials, place),
        statuses=frozenset(wanted.statuses),
        kinds=frozenset(wanted.kinds),
        directions=frozenset(wanted.directions),
        sources=frozenset(wanted.sources),
        currencies=frozenset(wanted.currencies),
        accounts=frozenset(wanted.accounts),
        alerts=wanted.alerts,
        state=row.state,
        reason=row.state_reason,
        show_phone=wanted.show_phone,
        manner=_manner(vault, row),
        retiring=None
        if row.retiring is None
        else credentials.opened(vault, row.retiring, _retiring_place(place)),
        retires_at=row.retires_at,
    )
