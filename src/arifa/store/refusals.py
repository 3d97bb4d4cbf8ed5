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
SAMPLE_BYTES_MAX: Final = 800
_TOKEN: Final = re.compile(
    r"""
    (?P<name>"[A-Za-z_][A-Za-z_.-]{0,39}[0-9]?")(?=\s*:)  # of a member, if it looks like one
    |(?P<mark>[{}\[\]:,])
    |(?P<space>\s+)
    |(?P<text>"(?:[^"\\]|\\.)*(?:"|\Z))                  # also one that was cut
    |[^\s{}\[\]:,"]+|"                                   # any other word
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


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
    """The beginning of a body with every value hidden: its shape, and nobody's name or number.

    Only punctuation and the names of members are shown, so that what is hidden does not depend on
    whether the body is JSON, or on where it was cut.
    """
    text = body[:SAMPLE_BYTES_MAX].decode("utf-8", "replace").lstrip()
    if not text.startswith("{"):
        return f"{len(body)} bytes, not a JSON object"
    return "".join(map(_masked, _TOKEN.finditer(text)))[:SAMPLE_CHARACTERS_MAX]


def _masked(token: re.Match[str]) -> str:
    shown = token["name"] or token["mark"]
    if shown is not None:
        return shown
    if token["space"] is not None:
        return " "
    stars = "*" * min(len(token.group()), 8)
    return stars if token["text"] is None else f'"{stars}"'


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
