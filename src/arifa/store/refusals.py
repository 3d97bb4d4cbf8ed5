"""What is kept of refused requests: a bounded ring of masked samples. The rest are counters."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.errors import NotFound
from arifa.store.schema import refusals

RING_MAX: Final = 1000
SAMPLE_CHARACTERS_MAX: Final = 400
_DIGITS: Final = re.compile(r"\d{2,}")
_VALUES: Final = re.compile(r'(:\s*)"((?:[^"\\]|\\.)*)"')


class Entry(NamedTuple):
    """One refused request."""

    id: str
    merchant: str
    source: str
    refused_at: int
    peer: str | None
    outcome: str
    answer_status: int
    reason: str
    body_hash: bytes
    body_bytes: int
    sample: str


def masked_sample(body: bytes) -> str:
    """The beginning of a body with every value hidden: its shape, and nobody's name or number."""
    text = body[: SAMPLE_CHARACTERS_MAX * 2].decode("utf-8", "replace").replace("\x00", "\ufffd")
    shaped = _VALUES.sub(lambda match: f'{match[1]}"{"*" * min(len(match[2]), 8)}"', text)
    if shaped == text:
        # Not JSON as we know it: only its length and its first mark say anything safely.
        return f"{len(body)} bytes, not a JSON object" if not text.startswith("{") else "{…"
    return _DIGITS.sub(lambda match: "#" * min(len(match[0]), 8), shaped)[:SAMPLE_CHARACTERS_MAX]


def insert(connection: Connection, entries: list[Entry]) -> None:
    """Put samples into the ring, and let the oldest go."""
    connection.execute(sa.insert(refusals), [entry._asdict() for entry in entries[-RING_MAX:]])
    oldest = (
        sa.select(refusals.c.id).order_by(refusals.c.id.desc()).offset(RING_MAX).limit(1)
    ).scalar_subquery()
    connection.execute(sa.delete(refusals).where(refusals.c.id <= oldest))


def listed(
    connection: Connection,
    *,
    source: str | None = None,
    since: int | None = None,
    limit: int = 50,
) -> list[Row[Any]]:
    """The newest first; `source` is an id."""
    query = sa.select(refusals)
    if source is not None:
        query = query.where(refusals.c.source == source)
    if since is not None:
        query = query.where(refusals.c.refused_at >= since)
    return list(connection.execute(query.order_by(refusals.c.id.desc()).limit(limit)))


def get(connection: Connection, identity: str) -> Row[Any]:
    """One sample.

    Raises:
        NotFound: there is none, or it has left the ring.
    """
    row = connection.execute(sa.select(refusals).where(refusals.c.id == identity)).first()
    if row is None:
        raise NotFound(
            f"there is no refused request {identity!r}, or no longer: see arifa inbox list "
            f"--outcome NOT_GENUINE"
        )
    return row
