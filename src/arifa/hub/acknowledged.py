"""Whether the merchant has said OK: read from the deliveries, and then written down.

What a reader sees is derived from the deliveries at that moment, by `completion`, so it cannot
differ from what the worker recorded, however late a follower is. `record` follows behind and writes
the same verdict into the transaction, once and for good: an OK is not taken back, retention may
remove deliveries, and the audit log has the move. The worker knows nothing of it: they meet in the
store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from arifa.identifiers import Identifiers
from arifa.store import transactions
from arifa.store.database import Connection, Urgency
from arifa.store.deliveries import SKIPPED, DeliveryState
from arifa.store.opened import Store
from arifa.store.transactions import Move, Told, TransactionState

CHUNK: Final = 50


class Completion(NamedTuple):
    """How far a transaction is from complete.

    Attributes:
        state: as a reader sees it, which may be ahead of what is stored.
        told: how many endpoints were told of it; `acknowledged`: how many said OK.
        note: what a person should know: nobody is told, or who has not said OK and how it stands.
        completed_at: when the last of them said OK.
    """

    state: TransactionState
    told: int
    acknowledged: int
    note: str | None = None
    completed_at: int | None = None


def completion(row: Any, told: Sequence[Told]) -> Completion:
    """How far a transaction is from complete, by its row and its deliveries.

    Complete is one of which every endpoint that was told said OK; one that was removed meanwhile
    does not count, unless nobody else is left.
    """
    state = TransactionState(row.state)
    by_endpoint: dict[str, list[Told]] = {}
    for delivery in told:
        by_endpoint.setdefault(delivery.endpoint, []).append(delivery)
    heard = [found for some in by_endpoint.values() if (found := _heard(some)) is not None]
    open_ = [some[-1] for some in by_endpoint.values() if _heard(some) is None]
    if state in (TransactionState.SETTLED, TransactionState.FAILED):
        return Completion(state, 0, 0, _nobody(row))
    if state is not TransactionState.UNACKNOWLEDGED:
        return Completion(state, len(by_endpoint), len(heard))
    awaited = [item for item in open_ if not _is_gone(item)]
    if heard and not awaited:
        last = max(item.finished_at or 0 for item in heard)
        return Completion(TransactionState.COMPLETE, len(by_endpoint), len(heard), None, last)
    return Completion(state, len(by_endpoint), len(heard), _waits(awaited or open_))


def _heard(some: Sequence[Told]) -> Told | None:
    """The delivery that was acknowledged: the first one, or one that was sent again."""
    return next((item for item in some if item.state == DeliveryState.DELIVERED), None)


def _is_gone(item: Told) -> bool:
    """Whether nobody is left to say OK. What a person skipped was not heard of: that is no OK."""
    return item.state == DeliveryState.CANCELLED and item.last_cause != SKIPPED


def _nobody(row: Any) -> str:
    untold = transactions.untold(row)
    if untold:
        reasons = "; ".join(f"{item['name']}: {item['reason']}" for item in untold)
        return f"nobody is told: {reasons}"
    return (
        f"nobody is told: no endpoint of {row.merchant} wants it; register one (arifa callback "
        f"new), then: arifa transaction announce {row.id}"
    )


def _waits(open_: Sequence[Told]) -> str:
    if not open_:
        return "its deliveries are no longer there"
    return "no OK yet; a delivery " + "; a delivery ".join(map(_how_it_stands, open_))


def _how_it_stands(item: Told) -> str:
    if item.state == DeliveryState.DEAD:
        return f"is dead, see: arifa delivery show {item.id}"
    if item.state == DeliveryState.CANCELLED:
        why = "its endpoint removed" if _is_gone(item) else "skipped by a person"
        return f"is cancelled, {why}: {item.id}"
    return f"is {item.state}: {item.id}"


def listed(
    connection: Connection, *, state: TransactionState | None = None, limit: int, **wanted: Any
) -> list[tuple[Any, Completion]]:
    """Transactions with their completion, the newest first; `wanted` is as in the store's.

    What is stored as unacknowledged may be complete by now, so it is looked at for both.
    """
    states = () if state is None else _STORED.get(state, (state.value,))
    found: list[tuple[Any, Completion]] = []
    before = None
    while len(found) < limit:
        page = limit if state is None else max(limit, CHUNK)
        rows = transactions.listed(connection, states=states, before=before, limit=page, **wanted)
        told = transactions.told(connection, rows)
        pairs = [(row, completion(row, told[row.id])) for row in rows]
        found += [pair for pair in pairs if state in (None, pair[1].state)]
        if len(rows) < page:
            break
        before = rows[-1].id
    return found[:limit]


_STORED: Final = {
    TransactionState.COMPLETE: (
        TransactionState.COMPLETE.value,
        TransactionState.UNACKNOWLEDGED.value,
    ),
}


def record(store: Store, after: str, now_us: int) -> tuple[int, str]:
    """Write down which of the next chunk are complete: how many, and where to go on.

    Args:
        after: the id that the last call ended with; empty at the beginning, and after the end.

    Raises:
        StoreError: nothing was written; the same call may come again.
    """
    with store.database.read() as connection:
        rows = transactions.unacknowledged(connection, after=after, limit=CHUNK)
        done = _complete(connection, rows)
    recorded = 0
    if done:
        with store.database.write(Urgency.BACKGROUND) as connection:
            recorded = _record(connection, done, now_us)
    return recorded, rows[-1].id if len(rows) == CHUNK else ""


def _complete(connection: Connection, rows: Sequence[Any]) -> list[tuple[Any, Completion]]:
    told = transactions.told(connection, rows)
    found = [(row, completion(row, told[row.id])) for row in rows]
    return [item for item in found if item[1].state is TransactionState.COMPLETE]


def _record(connection: Connection, done: list[tuple[Any, Completion]], now_us: int) -> int:
    moves = []
    for row, found in done:
        if not transactions.complete(connection, row, found.completed_at or now_us):
            continue  # another node has
        detail = f"{found.acknowledged} of {found.told} said OK"
        to = TransactionState.COMPLETE
        moves.append(Move(row.merchant, row.id, to, "delivery", detail))
    transactions.record_moves(connection, Identifiers(now_us), moves, now_us)
    return len(moves)
