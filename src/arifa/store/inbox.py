"""The inbox: every request that was proven, what became of it, and the answer computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.errors import NotFound
from arifa.feed import Source
from arifa.identifiers import lower_bound
from arifa.outcome import RECEIVED, Outcome
from arifa.store import bulk, merchants
from arifa.store.schema import inbox, inbox_bodies, notifications
from arifa.wire import Headers, WireRequest, WireResponse

HIDDEN: Final = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
"""Headers whose values are secrets: their names are kept, their values are not."""
RECEIVED_MAX: Final = 1000


class Entry(NamedTuple):
    """One row, as it is inserted."""

    merchant: str
    id: str
    source: str
    received_at: int
    peer: str | None
    outcome: str
    reason: str | None
    body_hash: bytes
    answer_status: int
    answer: bytes
    notifications: int
    writer: str
    seal: int


class Body(NamedTuple):
    """The raw bytes of one request, as they are inserted."""

    merchant: str
    inbox: str
    head: bytes
    body: bytes


Values = tuple[
    str, str, str, int, str | None, str, str | None, bytes, int, bytes, int, str, int
]  # fmt: skip
"""What is in an `Entry`: the intake makes it without the names."""
BodyValues = tuple[str, str, bytes, bytes]
"""What is in a `Body`."""


class _Head(msgspec.Struct, frozen=True, array_like=True):
    method: str
    target: str
    headers: list[tuple[bytes, bytes]]


class _Answer(msgspec.Struct, frozen=True, array_like=True):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


_PACK_HEAD: Final = msgspec.msgpack.Encoder().encode
_READ_HEAD: Final = msgspec.msgpack.Decoder(_Head).decode
_READ_ANSWER: Final = msgspec.msgpack.Decoder(_Answer).decode


def content_hash(request: WireRequest) -> bytes:
    """32 bytes that tell identical messages: of the body, and of the query where there is one."""
    _, mark, query = request.target.partition("?")
    if not mark:
        return sha256(request.body).digest()
    # A bank may write its message there, and leave the body empty (Xente's older form).
    return sha256(request.body + b"\x00?" + query.encode("utf-8", "surrogatepass")).digest()


def pack_head(request: WireRequest) -> bytes:
    """Method, target and headers as sent, but for the values of secret ones."""
    return _PACK_HEAD((request.method, request.target, _shown(request.headers)))


def _shown(headers: Headers) -> Headers | list[tuple[bytes, bytes]]:
    if HIDDEN.isdisjoint([name.lower() for name, _ in headers]):
        return headers
    return [(name, b"***" if name.lower() in HIDDEN else value) for name, value in headers]


def pack_answer(answer: WireResponse) -> bytes:
    """The whole answer."""
    return _PACK_HEAD((answer.status, answer.headers, answer.body))


def unpack_answer(packed: bytes) -> WireResponse:
    """The answer that was computed."""
    answer = _READ_ANSWER(packed)
    return WireResponse(
        answer.status, answer.body, tuple((name, value) for name, value in answer.headers)
    )


def insert(connection: Connection, entries: Sequence[Values], bodies: Sequence[BodyValues]) -> None:
    """Store requests, with the bodies that are not byte-equal repeats."""
    bulk.start_insert(connection, inbox, Entry._fields, entries)
    if bodies:
        bulk.start_insert(connection, inbox_bodies, Body._fields, bodies)


def find_answers(
    connection: Connection, keys: list[tuple[str, str]]
) -> dict[tuple[str, str], tuple[bytes, WireResponse]]:
    """(merchant, notification) → by notification and the source that it first came from: the hash
    of the content that it came in, and the answer computed then."""
    found = {}
    for merchant in sorted({merchant for merchant, _ in keys}):
        ids = sorted({identity for owner, identity in keys if owner == merchant})
        rows = connection.execute(_FIND_ANSWERS, {"owner": merchant, "ids": ids})
        for row in rows:
            found[row.id, row.source] = (row.body_hash, unpack_answer(row.answer))
    return found


_FIND_ANSWERS: Final = (
    sa.select(notifications.c.id, inbox.c.source, inbox.c.body_hash, inbox.c.answer)
    .join(
        inbox,
        (inbox.c.merchant == notifications.c.inbox_merchant)
        & (inbox.c.id == notifications.c.inbox),
    )
    .where(
        # What was read only later, by `inbox reprocess`, was answered with a failure when it came:
        # its repeat, now that it can be read, must not hear that again.
        inbox.c.outcome != Outcome.UNREADABLE.value,
        notifications.c.merchant == sa.bindparam("owner"),
        notifications.c.id.in_(sa.bindparam("ids", expanding=True)),
    )
)


def listed(
    connection: Connection,
    *,
    outcome: str | None = None,
    source: str | None = None,
    since: int | None = None,
    limit: int = 50,
) -> list[Row[Any]]:
    """The newest rows first; `source` is an id."""
    query = sa.select(inbox).where(_of_any_merchant(connection))
    if outcome is not None:
        query = query.where(inbox.c.outcome == outcome)
    if source is not None:
        query = query.where(inbox.c.source == source)
    if since is not None:
        query = query.where(inbox.c.id >= lower_bound("inb", since), inbox.c.received_at >= since)
    return list(connection.execute(query.order_by(inbox.c.id.desc()).limit(limit)))


def unreadable(
    connection: Connection, *, after: str, since: int | None, limit: int
) -> list[Row[Any]]:
    """The oldest first, behind the id `after`: proven requests that could not be read."""
    query = sa.select(inbox.c.merchant, inbox.c.id, inbox.c.source).where(
        _of_any_merchant(connection),
        inbox.c.id > max(after, lower_bound("inb", since or 0)),
        inbox.c.outcome == Outcome.UNREADABLE.value,
    )
    if since is not None:
        query = query.where(inbox.c.received_at >= since)
    return list(connection.execute(query.order_by(inbox.c.id).limit(limit)))


def received(connection: Connection, source: Source, since_us: int) -> Iterable[Row[Any]]:
    """The newest requests that this source received, proven, after `since_us`; 1000 at most.

    `id`, `received_at`, `outcome`, `body_hash`, `answer_status`.
    """
    query: sa.Select[Any] = sa.select(
        inbox.c.id,
        inbox.c.received_at,
        inbox.c.outcome,
        inbox.c.body_hash,
        inbox.c.answer_status,
    ).where(
        inbox.c.merchant == source.merchant,
        # The ids are sorted by time, so that what is older is not looked at.
        inbox.c.id >= lower_bound("inb", since_us),
        inbox.c.source == source.id,
        inbox.c.received_at > since_us,
        inbox.c.outcome.in_(sorted(outcome.value for outcome in RECEIVED)),
    )
    return connection.execute(query.order_by(inbox.c.id.desc()).limit(RECEIVED_MAX)).all()


def _of_any_merchant(connection: Connection) -> sa.ColumnElement[bool]:
    return inbox.c.merchant.in_(merchants.names(connection))


def get(connection: Connection, identity: str) -> Row[Any]:
    """One row.

    Raises:
        NotFound: there is none.
    """
    query = sa.select(inbox).where(_of_any_merchant(connection), inbox.c.id == identity)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"there is no inbox row {identity!r}; see: arifa inbox list")
    return row


def request_of(connection: Connection, merchant: str, identity: str) -> WireRequest | None:
    """The request as it came, or None where its bytes were purged or never kept apart."""
    query = sa.select(
        inbox_bodies.c.head, inbox_bodies.c.body, inbox.c.peer, inbox.c.received_at
    ).where(
        inbox_bodies.c.merchant == merchant,
        inbox_bodies.c.inbox == identity,
        inbox.c.merchant == inbox_bodies.c.merchant,
        inbox.c.id == inbox_bodies.c.inbox,
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    head = _READ_HEAD(row.head)
    return WireRequest(
        body=row.body,
        headers=tuple((name, value) for name, value in head.headers),
        method=head.method,
        target=head.target,
        peer=row.peer,
        received_at=row.received_at,
    )
