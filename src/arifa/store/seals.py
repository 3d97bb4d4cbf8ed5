"""One hash chain a writer, over what it committed, with its head noted beside the database.

SQLite drops acknowledged rows on a flipped bit in its log, and calls the rest intact (200 of 200,
measured). After each commit the head goes to a small file, without a sync of its
own; at start the database must reach it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.errors import StoreBroken
from arifa.store import bulk
from arifa.store.schema import inbox, merchants
from arifa.store.schema import seals as table

HEAD_PREFIX: Final = "seal-head."
_COLUMNS: Final = (
    *("writer", "number", "previous", "head"),
    *("requests", "first_request", "last_request", "sealed_at"),
)
_CHUNK: Final = 1000
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
GENESIS: Final = b"\x00" * 32


class Seal(NamedTuple):
    """The end of a chain: its number and its head, 32 bytes."""

    number: int
    head: bytes


def last(connection: Connection, writer: str) -> Seal:
    """The last seal of this writer; number 0 before the first."""
    row = connection.execute(
        sa.select(table.c.number, table.c.head)
        .where(table.c.writer == writer)
        .order_by(table.c.number.desc())
        .limit(1)
    ).first()
    return Seal(0, GENESIS) if row is None else Seal(row.number, row.head)


def last_sealed_at(connection: Connection, writer: str) -> int:
    """When this writer last sealed something, in microseconds; 0 before it ever did."""
    query = sa.select(sa.func.max(table.c.sealed_at)).where(table.c.writer == writer)
    return int(connection.execute(query).scalar() or 0)


def chained(previous: bytes, parts: Iterable[bytes]) -> bytes:
    """The head after `previous` over these parts."""
    return sha256(previous + b"".join(parts)).digest()


def part(inbox_id: str, outcome: str, body_hash: bytes, answer: bytes) -> bytes:
    """What is sealed of one request."""
    return sha256(b"\x1f".join((inbox_id.encode(), outcome.encode(), body_hash, answer))).digest()


def append(
    connection: Connection,
    writer: str,
    previous: Seal,
    parts: list[tuple[str, bytes]],
    now_us: int,
) -> Seal:
    """Write the next seal of this writer over `parts`, which are (inbox id, `part`)."""
    parts = sorted(parts)
    seal = Seal(previous.number + 1, chained(previous.head, [digest for _, digest in parts]))
    row = (
        *(writer, seal.number, previous.head, seal.head),
        *(len(parts), parts[0][0], parts[-1][0], now_us),
    )
    bulk.start_insert(connection, table, _COLUMNS, [row])
    return seal


class HeadFile:
    """The file that holds the head of this writer's chain. Not synced: a second, cheap witness."""

    def __init__(self, folder: Path, writer: str) -> None:
        path = folder / f"{HEAD_PREFIX}{writer}"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def note(self, writer: str, seal: Seal) -> None:
        """Put the head down, after its commit."""
        line = f"{writer} {seal.number} {seal.head.hex()}\n".encode("ascii")
        os.pwrite(self._descriptor, line, 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def check_heads(connection: Connection, folder: Path) -> None:
    """Compare the database with every head that was noted in this folder.

    Raises:
        StoreBroken: the database does not reach one, or holds another chain.
    """
    for path in sorted(folder.glob(f"{HEAD_PREFIX}*")):
        _check_head(connection, path)


def _check_head(connection: Connection, path: Path) -> None:
    try:
        # A new file that was never synced may be all zeros after a power cut: then it says nothing.
        words = path.read_text("ascii").strip("\x00").split()
    except (OSError, UnicodeDecodeError):
        words = ["?"]
    if not words:
        return
    if len(words) < 3 or not _NUMBER.fullmatch(words[1]):
        raise StoreBroken(f"{path} cannot be read; look at the disk, then remove it")
    writer, number, head = words[0], int(words[1]), words[2]
    found = connection.execute(
        sa.select(table.c.head).where(table.c.writer == writer, table.c.number == number)
    ).scalar()
    if found is None:
        raise StoreBroken(
            f"the database ends at seal {last(connection, writer).number}, but {number} groups were "
            f"acknowledged: something that a bank was told is stored has been lost. Restore a "
            f"backup; or, after asking the banks to send again, remove {path}"
        )
    if found.hex() != head:
        raise StoreBroken(
            f"seal {number} is not the one that was noted beside the database: the file was "
            f"changed or replaced. Restore the right one; or, after a look, remove {path}"
        )


def verify(connection: Connection, writer: str) -> tuple[int, str | None]:
    """Walk the whole chain of one writer: (seals checked, what is wrong at the first bad one)."""
    previous, checked = GENESIS, 0
    while rows := _after(connection, writer, checked):
        for row in rows:
            if row.number != checked + 1 or row.previous != previous:
                return checked, f"seal {row.number} does not follow seal {checked}"
            parts = _parts(connection, row)
            if len(parts) != row.requests:
                return checked, (
                    f"seal {row.number} covers {row.requests} requests; {len(parts)} are left"
                )
            if chained(previous, parts) != row.head:
                return checked, f"a request under seal {row.number} was changed"
            previous, checked = row.head, checked + 1
    return checked, None


def _after(connection: Connection, writer: str, number: int) -> Sequence[Row[Any]]:
    query = sa.select(table).where(table.c.writer == writer, table.c.number > number)
    return connection.execute(query.order_by(table.c.number).limit(_CHUNK)).all()


def _parts(connection: Connection, seal: Row[Any]) -> list[bytes]:
    # By the primary key: a group's ids lie close together, whatever merchants they belong to.
    rows = connection.execute(
        sa.select(inbox.c.id, inbox.c.outcome, inbox.c.body_hash, inbox.c.answer)
        .where(
            inbox.c.merchant.in_(sa.select(merchants.c.merchant)),
            inbox.c.id >= seal.first_request,
            inbox.c.id <= seal.last_request,
            inbox.c.writer == seal.writer,
            inbox.c.seal == seal.number,
        )
        .order_by(inbox.c.id)
    )
    return [part(row.id, row.outcome, row.body_hash, row.answer) for row in rows]


def writers(connection: Connection) -> list[str]:
    """Every writer that has sealed something."""
    return list(connection.execute(sa.select(table.c.writer).distinct()).scalars())
