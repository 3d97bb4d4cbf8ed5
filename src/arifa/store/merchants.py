"""Merchants: whose money it is. Each has a test twin, `m:test`, that nothing of its can reach."""

from __future__ import annotations

import re
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from arifa.errors import AlreadyExists, NotFound, Refused
from arifa.store import changes
from arifa.store.schema import merchants

DEFAULT: Final = "default"
TWIN: Final = ":test"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)


def with_mode(merchant: str, mode: str) -> str:
    """The merchant itself for `live`, its twin for `test`.

    Raises:
        Refused: another mode.
    """
    if mode not in ("live", "test"):
        raise Refused(f"the mode is live or test, not {mode!r}")
    if mode == "live" or merchant.endswith(TWIN):
        return merchant
    return merchant + TWIN


def add(connection: Connection, merchant: str, now_us: int) -> None:
    """Make a merchant and its twin.

    Raises:
        Refused: the name cannot be used.
        AlreadyExists: it is taken.
    """
    if not _NAME.fullmatch(merchant):
        raise Refused(
            f"{merchant!r} cannot name a merchant: use small letters, digits, - and _, "
            f"63 at most, beginning with a letter or a digit"
        )
    if exists(connection, merchant):
        raise AlreadyExists(f"there is a merchant {merchant!r} already")
    _insert(connection, merchant, now_us)
    changes.count(
        connection, merchant=merchant, action="merchant.add", subject=merchant, now_us=now_us
    )


def _insert(connection: Connection, merchant: str, now_us: int) -> None:
    rows = [{"merchant": name, "created_at": now_us} for name in (merchant, merchant + TWIN)]
    connection.execute(sa.insert(merchants), rows)


def exists(connection: Connection, merchant: str) -> bool:
    """Whether there is such a merchant."""
    query = sa.select(merchants.c.merchant).where(merchants.c.merchant == merchant)
    return connection.execute(query).first() is not None


def check(connection: Connection, merchant: str, now_us: int) -> None:
    """See that the merchant is there; the default one is made when it is first used.

    Raises:
        NotFound: there is no such merchant.
    """
    if exists(connection, merchant):
        return
    if merchant in (DEFAULT, DEFAULT + TWIN):
        _insert(connection, DEFAULT, now_us)
        return
    known = ", ".join(str(row["merchant"]) for row in listed(connection)) or "none yet"
    raise NotFound(
        f"there is no merchant {merchant!r}; add it with: arifa merchant add "
        f"{merchant.removesuffix(TWIN)} (there are: {known})"
    )


def listed(connection: Connection) -> list[dict[str, object]]:
    """Every merchant, with its twin's name and when it was made."""
    query = sa.select(merchants).order_by(merchants.c.merchant)
    return [
        {"merchant": row.merchant, "created_at": row.created_at, "test": row.merchant + TWIN}
        for row in connection.execute(query)
        if not row.merchant.endswith(TWIN)
    ]


def get(connection: Connection, merchant: str) -> dict[str, object]:
    """One merchant as `listed` gives it, by its own name or its twin's.

    Raises:
        NotFound: there is none.
    """
    for row in listed(connection):
        if merchant in (row["merchant"], row["test"]):
            return row
    raise NotFound(f"there is no merchant {merchant!r}; see: arifa merchant list")


def names(connection: Connection) -> list[str]:
    """Every merchant and every twin."""
    return list(connection.execute(sa.select(merchants.c.merchant)).scalars())
