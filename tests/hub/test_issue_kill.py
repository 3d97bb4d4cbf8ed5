"""A crash at every commit, before and after it: nothing is lost, settled twice or told twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from arifa.hub.issue import EventOutcome
from arifa.hub.processor import Payment
from arifa.store.database import Connection, Urgency
from arifa.store.opened import Store
from tests.hub.issuing import Bank, event, order

ORDERS = 3
MOVES = ["submitted", "approved", "processing", "settled", "unacknowledged", "complete"]


class Killed(BaseException):
    """The process is gone: nothing of it may handle this."""


class Fuse:
    """Kills the process at its n-th commit, before it or just after it."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commits = 0
        self.kill_at: int | None = None
        self.is_after = False
        self._write = store.database.write
        monkeypatch.setattr(store.database, "write", self._counting)

    @property
    def is_armed(self) -> bool:
        """Whether it has not killed yet."""
        return self.kill_at is not None

    @contextmanager
    def _counting(self, urgency: Urgency = Urgency.BACKGROUND) -> Iterator[Connection]:
        with self._write(urgency) as connection:
            yield connection
            self._count(is_after=False)
        self._count(is_after=True)

    def _count(self, *, is_after: bool) -> None:
        if not is_after:
            self.commits += 1
        if (self.commits, is_after) == (self.kill_at, self.is_after):
            self.kill_at = None
            raise Killed


@pytest.fixture
def bank(store: Store) -> Bank:
    """A bank on one of the engines, with one endpoint."""
    made = Bank(store)
    made.endpoint()
    return made


def issue_all(bank: Bank, again: Callable[[Callable[[], Any]], Any]) -> None:
    """From orders to the merchant's OK; every step that is cut short is made again."""
    documents = [order(str(number)) for number in range(ORDERS)]
    made = again(lambda: bank.submit(*documents, key="k").transactions)
    for identity in made:
        again(partial(approve_if_needed, bank, identity))
    # A lease of nothing: whoever comes after a crash need not wait.
    again(lambda: bank.run(lease_seconds=0))
    again(lambda: bank.answer("delivered"))
    again(bank.follow)


def approve_if_needed(bank: Bank, identity: str) -> None:
    if bank.row(identity).state == "submitted":
        bank.approve(identity)


def after_a_crash(step: Callable[[], Any]) -> Any:
    """The process is started again, as often as it is killed."""
    while True:
        try:
            return step()
        except Killed:
            continue


def check_books(bank: Bank) -> None:
    """Everything happened, and happened once."""
    rows = bank.rows()
    assert [row.state for row in rows] == ["complete"] * ORDERS
    assert bank.ledger.moved == {row.id: 1 for row in rows}
    assert sorted(item.id for item in bank.notifications()) == sorted(
        row.notification for row in rows
    )
    assert len(bank.deliveries()) == ORDERS
    for row in rows:
        states = [state for state, _ in bank.history(row.id)]
        # Only the claim may stand there again: by whoever came after the crash.
        assert [state for state in states if state != "processing"] == [
            state for state in MOVES if state != "processing"
        ]
        assert "processing" in states


def commits_of(bank: Bank, fuse: Fuse) -> int:
    before = fuse.commits
    issue_all(bank, lambda step: step())
    return fuse.commits - before


def test_a_crash_at_every_commit(
    opener: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the process is killed on the way, the next one brings everything to its one end."""
    store = opener()
    bank = Bank(store)
    bank.endpoint()
    fuse = Fuse(store, monkeypatch)
    total = commits_of(bank, fuse)
    check_books(bank)
    assert total > 2 * ORDERS
    for number in range(1, total + 1):
        for is_after in (False, True):
            clear(store)
            bank.ledger.moved.clear()
            fuse.commits, fuse.kill_at, fuse.is_after = 0, number, is_after
            issue_all(bank, after_a_crash)
            assert not fuse.is_armed
            check_books(bank)


def clear(store: Store) -> None:
    """An empty set of books, and the same endpoint."""
    is_sqlite = store.database.is_sqlite
    engine = store.database._writer
    with engine.begin() as connection:
        for table in ("transactions", "transaction_keys", "notifications", "deliveries"):
            connection.exec_driver_sql(f"DELETE FROM {table}" if is_sqlite else f"TRUNCATE {table}")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_in_the_processor(bank: Bank, moment: str) -> None:
    """Killed while the processor works: asked again with the same id, and money moves once."""
    left = {"crashes": 2}

    def crash(_: Payment) -> None:
        if left["crashes"]:
            left["crashes"] -= 1
            raise Killed

    setattr(bank.ledger, moment, crash)
    issue_all(bank, after_a_crash)
    check_books(bank)
    assert sum(bank.ledger.asked.values()) == ORDERS + 2


def test_events_at_every_commit(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feed that is killed and sends all again has each event entered and announced once."""
    fuse = Fuse(bank.store, monkeypatch)
    events = [event(f"FT{number}") for number in range(5)]
    for is_after in (False, True):
        fuse.commits, fuse.kill_at, fuse.is_after = 0, 1, is_after
        after_a_crash(lambda: bank.accept(*events))
        assert not fuse.is_armed
    assert {verdict.outcome for verdict in bank.accept(*events)} == {EventOutcome.KNOWN}
    assert len(bank.rows()) == len(bank.notifications()) == len(bank.deliveries()) == 5
