"""Reading again what could not be read when it came: `arifa inbox reprocess`, after a fix.

A request that was proven and not understood is kept, with its bytes. Here it goes through its
dialect as it is now, and what it says is judged and stored as if it came today: by its identity it
is stored once, however often this runs, and however often the bank has sent it meanwhile. Its proof
is not run again (see `Dialect.reread`), and the row of the inbox, which tells what the bank was
answered then, stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from arifa import dialects
from arifa.errors import DataRefused, Unreadable
from arifa.feed import Source
from arifa.hub.judge import Judged
from arifa.hub.prepare import Prepared
from arifa.hub.record import Draft, Group, Sample
from arifa.notification import Query
from arifa.outcome import Insertion
from arifa.store import configuration, inbox, seals, sources
from arifa.store.opened import Store
from arifa.wire import WireRequest

PAGE: Final = 200
_UNSEALED: Final = seals.Seal(0, seals.GENESIS)
"""Nothing is added to the inbox, so nothing is sealed."""


@dataclass(slots=True)
class Reprocessed:
    """How many requests were looked at, and what became of the notifications in them.

    Attributes:
        stored: now counted; held: stored, and waiting as a case; known: stored before.
        unreadable: requests that cannot be read today either, or whose bytes are gone.
    """

    looked_at: int = 0
    stored: int = 0
    held: int = 0
    known: int = 0
    unreadable: int = 0


def reprocess(store: Store, now_us: int, since: int | None = None) -> Reprocessed:
    """Read again every unreadable request received since then, the oldest first.

    Raises:
        StoreError: the store cannot take it; what was stored before that stays.
    """
    total = Reprocessed()
    with store.database.read() as connection:
        known_sources = sources.any_by_id(connection, store.vault)
    for row, request in _unreadable(store, since):
        total.looked_at += 1
        source = known_sources.get(row.source)
        prepared = None if source is None else _read_again(source, request, now_us)
        if prepared is None or not _store(store, prepared, row.id, now_us, total):
            total.unreadable += 1
    return total


def _unreadable(store: Store, since: int | None) -> Iterator[tuple[Any, WireRequest | None]]:
    after = ""
    while True:
        with store.database.read() as connection:
            page = [
                (row, inbox.request_of(connection, row.merchant, row.id))
                for row in inbox.unreadable(connection, after=after, since=since, limit=PAGE)
            ]
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1][0].id


def _read_again(source: Source, request: WireRequest | None, now_us: int) -> Prepared | None:
    """The request as its dialect reads it now; None where it still does not, or asks a question."""
    if request is None:
        return None
    prepared = Prepared(source.token, request)
    prepared.source, prepared.dialect = source, dialects.get(source.dialect)
    try:
        read = prepared.dialect.reread(request, source.credentials, source.profile, now_us)
    except Unreadable:
        return None
    if isinstance(read, Query):
        # Its payer has long been answered: "not known".
        return None
    prepared.readings = read
    return prepared


def _store(store: Store, prepared: Prepared, row: str, now_us: int, total: Reprocessed) -> bool:
    """Record what one request says; false where the database does not take it."""
    for _ in range(2):
        try:
            judged = _recorded(store, prepared, row, now_us)
        except DataRefused:
            # Most often a node has just stored the bank's own repeat: look again.
            continue
        for item in judged:
            if item.insertion is Insertion.EXISTS:
                total.known += 1
            elif item.held is None:
                total.stored += 1
            else:
                total.held += 1
        return True
    return False


def _recorded(store: Store, prepared: Prepared, row: str, now_us: int) -> list[Judged]:
    source = prepared.source
    assert source is not None
    judged = [Judged(prepared, source, reading) for reading in prepared.readings]
    with store.database.write() as connection:
        group = Group(
            configuration.load(connection, store.vault),
            [Draft(prepared, judged, None, stored_as=row)],
            writer=store.writer,
            previous=_UNSEALED,
            now_us=now_us,
            sorted_us=now_us,
            sample=Sample(),
        )
        group.compose(connection)
        group.rows.write(connection)
    return judged
