"""What the tests of issuing share: a bank with merchants, a ledger that settles, and its books."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from arifa.clock import now_us
from arifa.feed import Endpoint, Profile
from arifa.hub import acknowledged, approval, issue, process
from arifa.hub.order import Order, read_order
from arifa.hub.processor import NotKnownYet, Payment, Settlement
from arifa.identifiers import identifier
from arifa.notification import Notification, Status
from arifa.signing import Credentials
from arifa.store import deliveries, endpoints, merchants, notifications, transactions
from arifa.store.opened import Store
from arifa.store.schema import deliveries as table


def order(reference: str = "ORD-1", /, **changes: Any) -> dict[str, Any]:
    """A payment order, as a client of the bank submits it."""
    return {
        "reference": reference,
        "amount": {"amount": "150.00", "currency": "KES"},
        "account": "0021024000039",
        "source_account": "0010001",
        "end_to_end_id": "INV-7",
        "payer": {"name": "Jane Doe", "phone": "254712345678"},
    } | changes


def event(bank_reference: str | None = "FT1", /, **changes: Any) -> dict[str, Any]:
    """Something that has happened, as a core banking system says it."""
    return {
        "bank_reference": bank_reference,
        "amount": {"amount": "300.00", "currency": "KES"},
        "account": "0021024000039",
        "end_to_end_id": "INV-9",
        "occurred_at": "2026-11-20T07:42:38Z",
    } | changes


def raw(document: dict[str, Any]) -> bytes:
    """As it stands in a file."""
    return json.dumps(document).encode()


def read(*documents: dict[str, Any]) -> list[Order]:
    """The orders of these documents."""
    return [read_order(raw(document)) for document in documents]


class Ledger:
    """A processor with a book of its own: it moves money once for an id, and says so ever after.

    `before` and `after` are called around the moving, and may raise: a crash.
    """

    name = "ledger"

    def __init__(self, failing: dict[str, str] | None = None) -> None:
        self.failing = failing or {}
        self.moved: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.slow: set[str] = set()
        self.before: Callable[[Payment], None] = lambda _: None
        self.after: Callable[[Payment], None] = lambda _: None
        self._book: dict[str, Settlement] = {}

    def settle(self, payment: Payment) -> Settlement:
        """Move the money, if this id has not moved it."""
        self.asked[payment.id] += 1
        if payment.reference in self.slow:
            raise NotKnownYet("the switch has not answered")
        self.before(payment)
        if payment.id not in self._book:
            reason = self.failing.get(payment.reference)
            if reason is None:
                self.moved[payment.id] += 1
                made = Settlement(Status.SUCCESS, bank_reference=f"FT-{payment.reference}")
            else:
                made = Settlement(Status.FAILED, reason=reason)
            self._book[payment.id] = made
        self.after(payment)
        return self._book[payment.id]


class Bank:
    """A store whose merchants are told of what is issued."""

    def __init__(self, store: Store, *names: str) -> None:
        self.store = store
        self.ledger = Ledger()
        with store.database.write() as connection:
            merchants.check(connection, "default", now_us())
            for name in names:
                merchants.add(connection, name, now_us())

    def endpoint(self, name: str = "shop", **changes: Any) -> Endpoint:
        """Add an endpoint."""
        made = Endpoint(
            **{
                "id": identifier("end", now_us()),
                "name": name,
                "merchant": "default",
                "url": "http://127.0.0.1:9/",
                "dialect": "standard_webhooks",
                "profile": Profile(currency="KES", timezone="Africa/Nairobi"),
                "credentials": Credentials(secrets=(b"whsec_" + b"A" * 32,)),
                **changes,
            }
        )
        with self.store.database.write() as connection:
            endpoints.add(connection, self.store.vault, made, now_us())
        return made

    def submit(self, *documents: dict[str, Any], **kwargs: Any) -> issue.Submitted:
        """Submit these orders."""
        wanted = {"merchant": "default", "now_us": now_us(), **kwargs}
        return issue.submit(self.store, read(*(documents or (order(),))), **wanted)

    def approve(self, *identities: str) -> None:
        """Approve them, as a person would."""
        for identity in identities:
            approval.decide(
                self.store,
                identity,
                approval.Decision.APPROVE,
                by="Amina",
                reason="checked with the customer",
                now_us=now_us(),
            )

    def processing(self, **kwargs: Any) -> process.Processing:
        """A new process's processing."""
        return process.Processing(self.store, self.ledger, **kwargs)

    def run(self, **kwargs: Any) -> int:
        """Process until nothing is left to do; gives how many have ended."""
        processing, total = self.processing(**kwargs), 0
        while done := processing.step():
            total += done
        return total

    def approved(self, *documents: dict[str, Any]) -> list[str]:
        """Submit and approve."""
        made = self.submit(*documents).transactions
        self.approve(*made)
        return made

    def accept(self, *documents: dict[str, Any] | bytes, **kwargs: Any) -> list[issue.Verdict]:
        """Enter these events."""
        bodies = [item if isinstance(item, bytes) else raw(item) for item in documents]
        wanted = {"merchant": "default", "origin": "core", "now_us": now_us(), **kwargs}
        return issue.accept_events(self.store, bodies, **wanted)

    # ------------------------------------------------------------------ what is in the books

    def row(self, identity: str) -> Any:
        """The transaction, as it is stored."""
        with self.store.database.read() as connection:
            return transactions.get(connection, identity)

    def rows(self) -> list[Any]:
        """All transactions, the oldest first."""
        with self.store.database.read() as connection:
            return transactions.listed(connection, limit=100_000)[::-1]

    def completion(self, identity: str) -> acknowledged.Completion:
        """How far it is from complete, as a reader sees it."""
        row = self.row(identity)
        with self.store.database.read() as connection:
            return acknowledged.completion(row, transactions.told(connection, [row])[identity])

    def states(self) -> list[str]:
        """The stored states, the oldest first."""
        return [row.state for row in self.rows()]

    def history(self, identity: str) -> list[tuple[str, str]]:
        """(state, actor) of each move in the audit log."""
        with self.store.database.read() as connection:
            moves = transactions.moves_of(connection, "default", identity)
        return [(move.action.removeprefix("transaction."), move.actor) for move in moves]

    def notifications(self) -> list[Notification]:
        """All of them, the oldest first."""
        with self.store.database.read() as connection:
            return notifications.listed(connection, limit=100_000)[::-1]

    def deliveries(self) -> list[Any]:
        """All of them, the oldest first."""
        with self.store.database.read() as connection:
            return deliveries.listed(connection, limit=100_000)[::-1]

    def answer(self, state: str, *, endpoint: str | None = None) -> None:
        """Let every delivery (or those to one endpoint) have ended so, as the worker records it."""
        change = sa.update(table).values(state=state, finished_at=now_us())
        if endpoint is not None:
            change = change.where(table.c.endpoint == endpoint)
        with self.store.database.write() as connection:
            connection.execute(change)

    def follow(self) -> int:
        """Write down what is complete, to the end."""
        after, total = "", 0
        while True:
            done, after = acknowledged.record(self.store, after, now_us())
            total += done
            if not after:
                return total
