"""Cases: what a person, or a second proof, must decide."""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.errors import NotFound
from arifa.store import merchants
from arifa.store.schema import cases

OPEN, DECIDED = "open", "decided"


class CaseKind(StrEnum):
    """Why somebody must look."""

    CONFLICT = "conflict"
    UNPROVEN = "unproven"
    LIKELY_DUPLICATE = "likely_duplicate"
    DOUBTFUL = "doubtful"


class Entry(NamedTuple):
    """One row, as it is inserted. `notification` is the held one, `against` the earlier one."""

    merchant: str
    id: str
    case_key: bytes
    kind: str
    reason: str
    notification: str
    notification_merchant: str
    against: str | None
    against_merchant: str | None
    source: str
    inbox: str
    opened_at: int
    state: str = OPEN


def key(digest: bytes, money_hash: bytes) -> bytes:
    """What makes one case one: the same identity with the same other money."""
    return sha256(digest + money_hash).digest()


def insert(connection: Connection, entries: list[Entry]) -> None:
    """Open cases.

    Raises:
        IntegrityError: another node has opened one of them since `find`.
    """
    rows = sorted(entries, key=lambda entry: (entry.merchant, entry.case_key))
    connection.execute(_INSERT, [row._asdict() for row in rows])


_INSERT: Final = sa.insert(cases)


def find(
    connection: Connection, keys: list[tuple[str, bytes]]
) -> dict[tuple[str, bytes], Row[Any]]:
    """Which of these (merchant, case key) have a case already."""
    found = {}
    for merchant in sorted({merchant for merchant, _ in keys}):
        wanted = [case_key for owner, case_key in keys if owner == merchant]
        query = sa.select(cases).where(cases.c.merchant == merchant, cases.c.case_key.in_(wanted))
        for row in connection.execute(query):
            found[merchant, row.case_key] = row
    return found


def get(connection: Connection, identity: str) -> Row[Any]:
    """One case.

    Raises:
        NotFound: there is none.
    """
    query = sa.select(cases).where(
        cases.c.merchant.in_(merchants.names(connection)), cases.c.id == identity
    )
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"there is no case {identity!r}; see: arifa case list")
    return row


def listed(connection: Connection, *, state: str | None = OPEN, limit: int = 50) -> list[Row[Any]]:
    """The oldest first, since it has waited longest."""
    query = sa.select(cases).where(cases.c.merchant.in_(merchants.names(connection)))
    if state is not None:
        query = query.where(cases.c.state == state)
    return list(connection.execute(query.order_by(cases.c.id).limit(limit)))


def decide(
    connection: Connection, case: Row[Any], *, decision: str, reason: str, now_us: int
) -> bool:
    """Record the decision; false where somebody else has decided meanwhile."""
    changed = connection.execute(
        sa.update(cases)
        .where(cases.c.merchant == case.merchant, cases.c.id == case.id, cases.c.state == OPEN)
        .values(
            state=DECIDED,
            decision=decision,
            decision_reason=reason,
            decided_at=now_us,
            owner="operator",
        )
    )
    return changed.rowcount == 1
