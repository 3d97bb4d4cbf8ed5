"""The machine of transactions: every move of the table happens once, and no other ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from arifa.clock import now_us
from arifa.errors import AlreadyClaimed, NotFound, Refused
from arifa.identifiers import Identifiers, identifier
from arifa.money import Money
from arifa.notification import Direction, Kind, Reading, Status
from arifa.store import merchants, notifications, transactions
from arifa.store.opened import Store
from arifa.store.schema import transactions as table
from arifa.store.transactions import BEGINNINGS, MOVES, Entry, Move, TransactionState

READING = Reading(
    kind=Kind.PAYMENT,
    direction=Direction.CREDIT,
    status=Status.PENDING,
    amount=Money(15000, "KES"),
)


@pytest.fixture
def books(store: Store) -> Store:
    """A store on one of the engines, with the default merchant."""
    with store.database.write() as connection:
        merchants.check(connection, "default", now_us())
    return store


def entry(reference: str, state: TransactionState = TransactionState.SUBMITTED) -> Entry:
    return Entry(
        merchant="default",
        id=identifier("trx", now_us()),
        origin="submit",
        reference=reference,
        state=state.value,
        batch=None,
        source_account=None,
        content_hash=bytes(32),
        reading=notifications.pack_reading(READING),
        reason=None,
        notification=None,
        deliveries="[]",
        untold="[]",
        created_at=now_us(),
        changed_at=now_us(),
    )


def entered(books: Store, *entries: Entry) -> None:
    with books.database.write() as connection:
        transactions.insert(connection, entries)


def row_of(books: Store, identity: str) -> Any:
    with books.database.read() as connection:
        return transactions.get(connection, identity)


@pytest.mark.parametrize("before", TransactionState)
def test_only_the_moves_of_the_table(books: Store, before: TransactionState) -> None:
    """From each state every move of the table is made, and every other is refused in a sentence."""
    for to in TransactionState:
        made = entry(to.value, before)
        entered(books, made)
        row = row_of(books, made.id)
        if to in MOVES[before]:
            with books.database.write() as connection:
                transactions.move(connection, row, to, now_us())
            assert row_of(books, made.id).state == to
            continue
        with (
            pytest.raises(Refused, match=f"is {before}, so it cannot become {to}"),
            books.database.write() as connection,
        ):
            transactions.move(connection, row, to, now_us())
        assert row_of(books, made.id).state == before


def test_the_table_leads_to_an_end() -> None:
    """Every state can be reached from a beginning, and from every state an end can be reached."""
    reached, fresh = set(BEGINNINGS), set(BEGINNINGS)
    while fresh:
        fresh = {to for state in fresh for to in MOVES[state]} - reached
        reached |= fresh
    assert reached == set(TransactionState)
    ends = {state for state, moves in MOVES.items() if not moves}
    assert ends == {TransactionState.DECLINED, TransactionState.COMPLETE}
    leading = set(ends)
    for _ in TransactionState:
        leading |= {state for state, moves in MOVES.items() if moves & leading}
    assert leading == set(TransactionState)


def test_of_many_who_move_one_is_heard(books: Store) -> None:
    """Several who approve and decline one order at the same moment: one move, one audit line."""
    made = entry("A")
    entered(books, made)
    row, barrier = row_of(books, made.id), threading.Barrier(4)

    def one_of_many(to: TransactionState) -> str:
        barrier.wait()
        try:
            with books.database.write() as connection:
                transactions.move(connection, row, to, now_us())
                move = Move("default", made.id, to, "somebody")
                transactions.record_moves(connection, Identifiers(now_us()), [move], now_us())
        except Refused as error:
            return str(error)
        return "moved"

    choices = [TransactionState.APPROVED, TransactionState.DECLINED] * 2
    with ThreadPoolExecutor(4) as people:
        heard = list(people.map(one_of_many, choices))
    assert heard.count("moved") == 1
    assert sum("just now" in answer for answer in heard) == 3
    assert row_of(books, made.id).state == choices[heard.index("moved")]
    with books.database.read() as connection:
        assert len(transactions.moves_of(connection, "default", made.id)) == 1


def test_a_reference_is_there_once(books: Store) -> None:
    """A second one of the same merchant, origin and reference is refused, and rolls its group back."""
    entered(books, entry("A"))
    with pytest.raises(AlreadyClaimed):
        entered(books, entry("B"), entry("A"))
    entered(books, entry("A")._replace(origin="core"), entry("A")._replace(merchant="default:test"))
    with books.database.read() as connection:
        assert transactions.by_reference(connection, "default", "submit", ["A", "B"]).keys() == {
            "A"
        }
        assert transactions.by_reference(connection, "default", "cards", ["A"]) == {}


def test_many_references_at_once(books: Store) -> None:
    """More references than a statement takes parameters are found all the same."""
    entered(books, *(entry(str(number)) for number in range(0, 1200, 2)))
    with books.database.read() as connection:
        found = transactions.by_reference(
            connection, "default", "submit", [str(number) for number in range(1200)]
        )
    assert found.keys() == {str(number) for number in range(0, 1200, 2)}


def test_a_claim_is_one_workers(books: Store) -> None:
    """Of two who claim from the same look one gets it; its fence makes the other's end harmless."""
    made = entry("A", TransactionState.APPROVED)
    entered(books, made)
    with books.database.write() as connection:
        (row,) = transactions.approved(connection, 10)
        first = transactions.claim(connection, row, "one", 0, now_us())
        assert transactions.claim(connection, row, "two", 0, now_us()) is None
    assert first is not None
    with books.database.write() as connection:
        (again,) = transactions.abandoned(connection, 10)
        second = transactions.claim(connection, again, "two", 60, now_us())
    assert second is not None
    assert second.fence == first.fence + 1
    outcome: dict[str, Any] = {"reading": made.reading, "reason": None, "now_us": now_us()}
    with books.database.write() as connection:
        assert not transactions.put_off(connection, first, "late")
        assert not transactions.finish(connection, first, TransactionState.FAILED, **outcome)
        assert transactions.finish(connection, second, TransactionState.SETTLED, **outcome)
        assert not transactions.finish(connection, second, TransactionState.FAILED, **outcome)
    assert row_of(books, made.id).state == "settled"


def test_nothing_waits_where_nothing_is_open(books: Store) -> None:
    """There is work only for what is approved, or whose lease is over."""
    for state in set(TransactionState) - {TransactionState.APPROVED}:
        entered(books, entry(state.value, state))
    with books.database.write() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.state == "processing")
            .values(lease_until=now_us() + 60_000_000)
        )
    with books.database.read() as connection:
        assert not transactions.waiting(connection)
    entered(books, entry("next", TransactionState.APPROVED))
    with books.database.read() as connection:
        assert transactions.waiting(connection)


def test_lists_go_by_pages(books: Store) -> None:
    """`before` goes on where the last page ended, under every filter."""
    made = [entry(f"{number}") for number in range(7)]
    entered(books, *made)
    for states, limit in product(((), ("submitted",), ("submitted", "complete")), (1, 3, 7)):
        found: list[str] = []
        before = None
        while True:
            with books.database.read() as connection:
                page = transactions.listed(connection, states=states, before=before, limit=limit)
            found += [row.id for row in page]
            if len(page) < limit:
                break
            before = page[-1].id
        assert found == sorted((item.id for item in made), reverse=True)


def test_what_is_not_there(books: Store) -> None:
    """An unknown id or reference is not found; a row that is none is not moved."""
    with pytest.raises(NotFound), books.database.read() as connection:
        transactions.get(connection, "trx_0")
    ghost = SimpleNamespace(merchant="default", id="trx_0", state="submitted")
    with pytest.raises(Refused), books.database.write() as connection:
        transactions.move(connection, ghost, TransactionState.APPROVED, now_us())
