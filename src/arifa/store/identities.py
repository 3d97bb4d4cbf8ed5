"""What makes one payment one: a digest of merchant, scope and the dialect's identity.

A digest has 16 bytes, so that the table stays small for ever: a chance collision needs 2^64
notifications, and then makes a case, not a loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, NamedTuple

from sqlalchemy.engine import Connection

from arifa.errors import AlreadyClaimed
from arifa.store import bulk
from arifa.store.schema import identities

DIGEST_BYTES: Final = 16
Key = tuple[str, bytes]


class Known(NamedTuple):
    """What a digest stands for already."""

    notification: str
    notification_merchant: str
    money_hash: bytes


class Entry(NamedTuple):
    """One row, as it is inserted."""

    merchant: str
    digest: bytes
    notification: str
    notification_merchant: str
    money_hash: bytes


def digest(scope: str, identity: str) -> bytes:
    """The key of this identity within its scope."""
    text = f"{scope}\x1f{identity}".encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=DIGEST_BYTES).digest()


def find(connection: Connection, keys: Iterable[Key]) -> dict[Key, Known]:
    """Which of these keys stand for a notification already."""
    by_merchant: dict[str, set[bytes]] = {}
    for merchant, key in keys:
        by_merchant.setdefault(merchant, set()).add(key)
    found: dict[Key, Known] = {}
    for merchant, digests in sorted(by_merchant.items()):
        rows = bulk.select_by_keys(
            connection,
            identities,
            ("digest", *Known._fields),
            merchant=merchant,
            key="digest",
            keys=digests,
        )
        for digest_found, *known in rows:
            found[merchant, digest_found] = Known(*known)
    return found


def claim(connection: Connection, entries: list[Entry]) -> None:
    """Claim keys, in sorted order, so that two nodes that claim the same never deadlock.

    Raises:
        AlreadyClaimed: at least one of them is taken; what was claimed here must be rolled back.
    """
    inserted = bulk.insert(
        connection, identities, Entry._fields, sorted(entries), end=" ON CONFLICT DO NOTHING"
    )
    if inserted != len(entries):
        raise AlreadyClaimed("another notification has the same identity already")
