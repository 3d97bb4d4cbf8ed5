"""What makes one payment one: a key of merchant, scope and the dialect's identity.

A key is the beginning of the identity as the dialect wrote it, and 16 bytes of digest over the scope
and the whole of it. The digest is what tells payments apart: a chance collision needs 2^64
notifications, and then makes a case, not a loss. The beginning is there for its order: a bank's
references mostly count up, so that their rows lie side by side. By the digest alone every row lay
on a page of its own, half of all that a commit wrote (measured), and more the larger the books.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from arifa.errors import AlreadyClaimed
from arifa.store import bulk
from arifa.store.schema import identities, plain_identities

DIGEST_BYTES: Final = 16
BEGINNING_BYTES: Final = 32
Key = tuple[str, bytes]


class Known(NamedTuple):
    """What a key stands for already."""

    notification: str
    notification_merchant: str
    money_hash: bytes


class Entry(NamedTuple):
    """One row, as it is inserted."""

    merchant: str
    key: bytes
    notification: str
    notification_merchant: str
    money_hash: bytes


Values = tuple[str, bytes, str, str, bytes]
"""What is in an `Entry`: the intake makes it without the names."""


def key_of(scope: str, identity: str) -> bytes:
    """The key of this identity within its scope: at most 48 bytes."""
    said = identity.encode("utf-8", "surrogatepass")
    digest = _begun(scope).copy()
    digest.update(said)
    return said[:BEGINNING_BYTES] + digest.digest()


@lru_cache(1024)
def _begun(scope: str) -> blake2b:
    """The digest of a scope, to go on from copies of it."""
    return blake2b(scope.encode("utf-8", "surrogatepass") + b"\x1f", digest_size=DIGEST_BYTES)


def digest_of(key: bytes) -> bytes:
    """The digest of a key, which was the whole of it once, and is in the keys of cases."""
    return key[-DIGEST_BYTES:]


def are_plain(connection: Connection) -> bool:
    """Whether some are known by their digest alone, from before keys had a beginning."""
    return connection.execute(sa.select(sa.exists(sa.select(plain_identities)))).scalar() is True


def find(
    connection: Connection, keys: Iterable[Key], *, also_plain: bool = True
) -> dict[Key, Known]:
    """Which of these keys stand for a notification already.

    `also_plain`: look among the plain ones too; False only where `are_plain` has said no.
    """
    found: dict[Key, Known] = {}
    for merchant, wanted in _by_merchant(keys):
        for key, *known in bulk.select_by_keys(
            connection,
            identities,
            ("key", *Known._fields),
            merchant=merchant,
            key="key",
            keys=wanted,
        ):
            found[merchant, key] = Known(*known)
        if also_plain:
            for key, plain in _plain(connection, merchant, wanted):
                found.setdefault((merchant, key), plain)
    return found


def _plain(
    connection: Connection, merchant: str, keys: Iterable[bytes]
) -> Iterable[tuple[bytes, Known]]:
    """Those of the keys that are known by their digest alone."""
    by_digest = {digest_of(key): key for key in keys}
    rows = bulk.select_by_keys(
        connection,
        plain_identities,
        ("digest", *Known._fields),
        merchant=merchant,
        key="digest",
        keys=by_digest,
    )
    return [(by_digest[digest], Known(*known)) for digest, *known in rows]


def _by_merchant(keys: Iterable[Key]) -> list[tuple[str, set[bytes]]]:
    sorted_out: dict[str, set[bytes]] = {}
    for merchant, key in keys:
        sorted_out.setdefault(merchant, set()).add(key)
    return sorted(sorted_out.items())


def claim(connection: Connection, entries: Sequence[Values], *, also_plain: bool = True) -> None:
    """Claim keys, in sorted order, so that two nodes that claim the same never deadlock.

    `also_plain` is as in `find`.

    Raises:
        AlreadyClaimed: at least one of them is taken; what was claimed here must be rolled back.
    """
    check_claimed(connection, start_claim(connection, entries), entries, also_plain=also_plain)


def start_claim(connection: Connection, entries: Sequence[Values]) -> list[Any]:
    """The first half of `claim`, within `bulk.together`."""
    return bulk.start_insert(
        connection, identities, Entry._fields, sorted(entries), end=" ON CONFLICT DO NOTHING"
    )


def check_claimed(
    connection: Connection, started: list[Any], entries: Sequence[Values], *, also_plain: bool
) -> None:
    """The second half of `claim`, when what was started has come to its end.

    Raises:
        AlreadyClaimed: as `claim`.
    """
    is_taken = bulk.inserted(started) != len(entries)
    if also_plain and not is_taken:
        claimed = _by_merchant(entry[:2] for entry in entries)
        is_taken = any(_plain(connection, merchant, keys) for merchant, keys in claimed)
    if is_taken:
        raise AlreadyClaimed("another notification has the same identity already")
