"""Sources: configured feeds from banks. A removed one keeps its row and its identities."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.errors import AlreadyExists, NotFound, Refused
from arifa.feed import Profile, Source
from arifa.signing import Credentials
from arifa.store import bulk, changes, credentials
from arifa.store.schema import (
    source_counters,
    source_names,
    source_tokens,
    sources,
)
from arifa.store.vault import Vault

ACTIVE, PAUSED, REMOVED = "active", "paused", "removed"


def _place(merchant: str, identity: str) -> str:
    return f"{merchant}|sources|credentials|{identity}"


def add(
    connection: Connection,
    vault: Vault,
    source: Source,
    now_us: int,
    *,
    proof: str | None = None,
    detail: str = "",
) -> None:
    """Store a source; `proof` is JSON, `detail` for the audit log.

    Raises:
        AlreadyExists: the merchant has a source of this name.
    """
    if _by_name(connection, source.merchant, source.name) is not None:
        raise AlreadyExists(
            f"{source.merchant} has a source {source.name!r} already; choose another name"
        )
    connection.execute(
        sa.insert(sources).values(
            merchant=source.merchant,
            id=source.id,
            name=source.name,
            dialect=source.dialect,
            token=source.token,
            scope=source.scope,
            currency=source.profile.currency,
            timezone=source.profile.timezone,
            options=_json(dict(source.profile.options)),
            account=source.account,
            routes=_json(dict(source.routes)),
            credentials=credentials.sealed(
                vault, source.credentials, _place(source.merchant, source.id)
            ),
            state=ACTIVE,
            created_at=now_us,
            proof=proof,
        )
    )
    connection.execute(
        sa.insert(source_names).values(merchant=source.merchant, name=source.name, source=source.id)
    )
    connection.execute(
        sa.insert(source_tokens).values(
            token=source.token, merchant=source.merchant, source=source.id
        )
    )
    _changed(connection, source.merchant, "source.add", source.id, now_us, detail=detail)


def _changed(
    connection: Connection,
    merchant: str,
    action: str,
    subject: str,
    now_us: int,
    *,
    detail: str = "",
) -> None:
    changes.count(
        connection,
        merchant=merchant,
        action=action,
        subject=subject,
        now_us=now_us,
        detail=detail,
    )


def proof_of(connection: Connection, source: Source) -> str | None:
    """JSON: how it was shown to work before it went live, or who said that it may anyway."""
    found: str | None = connection.execute(
        sa.select(sources.c.proof).where(
            sources.c.merchant == source.merchant, sources.c.id == source.id
        )
    ).scalar()
    return found


def proofs(connection: Connection) -> dict[str, str]:
    """id → proof of every source that has one."""
    query = sa.select(sources.c.id, sources.c.proof).where(
        sources.c.state != REMOVED, sources.c.proof.is_not(None)
    )
    return {row.id: row.proof for row in connection.execute(query)}


def set_state(connection: Connection, source: Source, state: str, now_us: int) -> None:
    """Pause or resume a source."""
    connection.execute(_of(source).values(state=state))
    _changed(connection, source.merchant, f"source.{state}", source.id, now_us)


def set_credentials(
    connection: Connection,
    vault: Vault,
    source: Source,
    new: Credentials,
    now_us: int,
    *,
    detail: str = "",
) -> None:
    """Replace the credentials of a source: a rotation keeps the old ones among the new."""
    value = credentials.sealed(vault, new, _place(source.merchant, source.id))
    connection.execute(_of(source).values(credentials=value))
    _changed(connection, source.merchant, "source.rotate", source.id, now_us, detail=detail)


def remove(connection: Connection, source: Source, now_us: int) -> None:
    """Remove a source: its path answers 404, its name is free; what it received stays."""
    connection.execute(_of(source).values(state=REMOVED, removed_at=now_us))
    connection.execute(sa.delete(source_tokens).where(source_tokens.c.token == source.token))
    connection.execute(
        sa.delete(source_names).where(
            source_names.c.merchant == source.merchant, source_names.c.name == source.name
        )
    )
    _changed(connection, source.merchant, "source.remove", source.id, now_us)


def _of(source: Source) -> sa.Update:
    return sa.update(sources).where(
        sources.c.merchant == source.merchant, sources.c.id == source.id
    )


def _by_name(connection: Connection, merchant: str, name: str) -> str | None:
    found: str | None = connection.execute(
        sa.select(source_names.c.source).where(
            source_names.c.merchant == merchant, source_names.c.name == name
        )
    ).scalar()
    return found


def get(connection: Connection, vault: Vault, name: str, merchant: str | None = None) -> Source:
    """The source of this name or id; `merchant` is needed only where two have the name.

    Raises:
        NotFound: there is none.
        Refused: several merchants have one of this name.
    """
    query = sa.select(sources).where(
        sources.c.state != REMOVED, (sources.c.name == name) | (sources.c.id == name)
    )
    if merchant is not None:
        query = query.where(sources.c.merchant == merchant)
    rows = connection.execute(query).all()
    if not rows:
        raise missing(name, merchant)
    if len(rows) > 1:
        raise _ambiguous(name, [row.merchant for row in rows])
    return _built(vault, rows[0])


def missing(name: str, merchant: str | None = None) -> NotFound:
    """The error that says so."""
    owner = "" if merchant is None else f" of {merchant}"
    return NotFound(f"there is no source {name!r}{owner}; see: arifa source list")


def any_by_id(connection: Connection, vault: Vault) -> dict[str, Source]:
    """Every source by its id, also the removed: what they received is still there."""
    return {row.id: _built(vault, row) for row in connection.execute(sa.select(sources))}


def names(connection: Connection) -> dict[str, str]:
    """id → name of every source, also of the removed."""
    query = sa.select(sources.c.id, sources.c.name)
    return {row.id: row.name for row in connection.execute(query)}


def find_id(connection: Connection, name: str, merchant: str | None = None) -> str:
    """The id of the source of this name or id; by its id also where it was removed.

    Raises:
        NotFound: there is none.
        Refused: several merchants have one of this name.
    """
    is_meant = (sources.c.id == name) | ((sources.c.name == name) & (sources.c.state != REMOVED))
    query = sa.select(sources.c.id, sources.c.merchant).where(is_meant)
    if merchant is not None:
        query = query.where(sources.c.merchant == merchant)
    rows = connection.execute(query).all()
    if not rows:
        raise missing(name, merchant)
    if len(rows) > 1:
        raise _ambiguous(name, [row.merchant for row in rows])
    found: str = rows[0].id
    return found


def _ambiguous(name: str, owners: list[str]) -> Refused:
    return Refused(f"several merchants have a source {name!r}: {', '.join(owners)}; say --merchant")


def all_active(connection: Connection, vault: Vault) -> list[Source]:
    """Every source that is not removed."""
    query = (
        sa.select(sources)
        .where(sources.c.state != REMOVED)
        .order_by(sources.c.merchant, sources.c.id)
    )
    return [_built(vault, row) for row in connection.execute(query)]


def _built(vault: Vault, row: Row[Any]) -> Source:
    return Source(
        id=row.id,
        name=row.name,
        merchant=row.merchant,
        dialect=row.dialect,
        token=row.token,
        scope=row.scope,
        profile=Profile(
            currency=row.currency, timezone=row.timezone, options=msgspec.json.decode(row.options)
        ),
        credentials=credentials.opened(vault, row.credentials, _place(row.merchant, row.id)),
        account=row.account,
        routes=msgspec.json.decode(row.routes),
        paused=row.state == PAUSED,
    )


def _json(value: dict[str, str]) -> str:
    return msgspec.json.encode(value).decode()


# ---------------------------------------------------------------------------------- counters


class Counted(NamedTuple):
    """What came from one source, as it is added to this writer's counters."""

    merchant: str
    source: str
    writer: str
    received: int
    refused: int
    last_received_at: int | None


def count(connection: Connection, counted: list[Counted]) -> None:
    """Add to the counters; in sorted order, so that two groups never wait for each other crosswise."""
    rows = sorted(counted, key=_SOURCE)
    bulk.start_insert(connection, source_counters, Counted._fields, rows, end=_ADDED)


_SOURCE: Final = itemgetter(0, 1)
_ADDED: Final = (
    " ON CONFLICT (merchant, source, writer) DO UPDATE SET"
    " received = source_counters.received + excluded.received,"
    " refused = source_counters.refused + excluded.refused,"
    " last_received_at = coalesce(excluded.last_received_at, source_counters.last_received_at)"
)


def counters(connection: Connection, source: Source) -> dict[str, int | None]:
    """`received`, `refused` and `last_received_at` over all writers."""
    row = connection.execute(
        sa.select(
            sa.func.coalesce(sa.func.sum(source_counters.c.received), 0),
            sa.func.coalesce(sa.func.sum(source_counters.c.refused), 0),
            sa.func.max(source_counters.c.last_received_at),
        ).where(
            source_counters.c.merchant == source.merchant, source_counters.c.source == source.id
        )
    ).one()
    return {"received": int(row[0]), "refused": int(row[1]), "last_received_at": row[2]}
