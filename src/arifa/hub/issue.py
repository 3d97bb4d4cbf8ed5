"""Issuing: orders are submitted and queued, events that have happened are entered and announced.

    submit         an order or a batch, all or nothing ──► submitted, or what a rule decides
    accept_events  raw events, each for itself ──► settled or failed, and announced

Both are answered at once and both are safe to repeat: a reference is taken once and for ever, by a
unique key of the store. Nothing here does I/O but the store: files, folders and brokers call it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeVar

from arifa.errors import AlreadyClaimed, DataRefused, Refused
from arifa.hub.announce import Announced, Announcement, Announcer
from arifa.hub.approval import decided_by_rule
from arifa.hub.order import Order, checked_text, read_event
from arifa.identifiers import Identifiers
from arifa.notification import Status
from arifa.store import merchants, notifications, transactions
from arifa.store.database import Connection
from arifa.store.merchants import TWIN, with_mode
from arifa.store.opened import Store
from arifa.store.transactions import SUBMITTED, Entry, Move, TransactionState

BATCH_MAX: Final = 500
RETRIES: Final = 5

T = TypeVar("T")


class Submitted(NamedTuple):
    """The ids of the transactions, in the orders' order; `is_repeat` where all were there before."""

    transactions: list[str]
    batch: str | None
    is_repeat: bool


class EventOutcome(StrEnum):
    """What became of one event."""

    ENTERED = "entered"
    KNOWN = "known"
    REFUSED = "refused"


class Verdict(NamedTuple):
    """What became of one event: its transaction, or the sentence why it was refused."""

    outcome: EventOutcome
    transaction: str | None = None
    reason: str | None = None


# ---------------------------------------------------------------------------------- orders


def submit(
    store: Store,
    orders: Sequence[Order],
    *,
    merchant: str,
    now_us: int,
    key: str | None = None,
    by: str = "operator",
) -> Submitted:
    """Queue one order or a batch, all or nothing.

    Args:
        merchant: whose they are.
        key: an idempotency key: the same orders under it get the same answer, others are refused.
        by: who submits, for the audit log.

    Raises:
        Refused: one of them cannot be taken, or the key or a reference stands for something else.
        StoreError: nothing was queued, or its fate is not known: submit it again.
    """
    _check_batch(orders, merchant)
    by = checked_text(by, "the name of who submits")
    if key is not None:
        key = checked_text(key, "the idempotency key")

    def attempt() -> Submitted:
        with store.database.write() as connection:
            merchants.check(connection, merchant, now_us)
            return _Batch(connection, merchant, by, now_us).submitted(orders, key)

    return _until_claimed(attempt)


def _check_batch(orders: Sequence[Order], merchant: str) -> None:
    if not 1 <= len(orders) <= BATCH_MAX:
        raise Refused(f"a batch has 1 to {BATCH_MAX} orders, not {len(orders)}; split it")
    for number, order in enumerate(orders, start=1):
        if order.merchant not in (None, merchant):
            raise Refused(
                f"order {number} is for {order.merchant}, and the batch for {merchant}: submit one "
                f"batch for each merchant"
            )
    (reference, times), *_ = Counter(order.reference for order in orders).most_common(1)
    if times > 1:
        raise Refused(f"the reference {reference!r} is in the batch {times} times")


class _Batch:
    """One call of `submit`, in its transaction."""

    def __init__(self, connection: Connection, merchant: str, by: str, now_us: int) -> None:
        self._connection = connection
        self._merchant = merchant
        self._by = by
        self._now_us = now_us
        self._ids = Identifiers(now_us)
        self._rules = transactions.rules(connection, merchant)

    def submitted(self, orders: Sequence[Order], key: str | None) -> Submitted:
        content_hash = sha256(b"".join(order.content_hash() for order in orders)).digest()
        if key is not None:
            earlier = transactions.key_of(self._connection, self._merchant, key)
            if earlier is not None:
                return _answer_again(earlier, key, content_hash)
        references = [order.reference for order in orders]
        known = transactions.by_reference(self._connection, self._merchant, SUBMITTED, references)
        for order in orders:
            if order.reference in known:
                _check_same(known[order.reference], order)
        found = {reference: row.id for reference, row in known.items()}
        fresh = [order for order in orders if order.reference not in known]
        batch = self._ids.new("bat") if len(orders) > 1 and fresh else None
        found |= self._store(fresh, batch)
        answer = [found[reference] for reference in references]
        if key is not None:
            transactions.keep_key(
                self._connection,
                self._merchant,
                key,
                content_hash=content_hash,
                answer=answer,
                now_us=self._now_us,
            )
        return Submitted(answer, batch, is_repeat=not fresh)

    def _store(self, fresh: Sequence[Order], batch: str | None) -> dict[str, str]:
        """reference → id of what is new."""
        entries: list[Entry] = []
        moves: list[Move] = []
        for order in fresh:
            identity = self._ids.new("trx")
            passed = [Move(self._merchant, identity, TransactionState.SUBMITTED, self._by)]
            decided = decided_by_rule(self._rules, order, self._merchant, identity)
            if decided is not None:
                transactions.check_move(identity, passed[-1].to, decided.to)
                passed.append(decided)
            moves += passed
            entry = _entry(order, SUBMITTED, passed[-1], self._now_us)
            entries.append(entry._replace(batch=batch))
        if entries:
            transactions.insert(self._connection, entries)
            transactions.record_moves(self._connection, self._ids, moves, self._now_us)
        return {entry.reference: entry.id for entry in entries}


def _answer_again(earlier: Any, key: str, content_hash: bytes) -> Submitted:
    if earlier.content_hash != content_hash:
        raise Refused(
            f"the idempotency key {key!r} was used before, for something else: take a new key for "
            f"what is new"
        )
    return Submitted(transactions.answered(earlier), None, is_repeat=True)


def _check_same(earlier: Any, order: Order) -> None:
    if earlier.content_hash != order.content_hash():
        raise Refused(
            f"the reference {order.reference!r} was submitted before, with other content, as "
            f"{earlier.id}: give another payment another reference"
        )


def _entry(order: Order, origin: str, last: Move, now_us: int) -> Entry:
    """The row of an order, as its last move left it."""
    return Entry(
        merchant=last.merchant,
        id=last.transaction,
        origin=origin,
        reference=order.reference,
        state=last.to.value,
        batch=None,
        source_account=order.source_account,
        content_hash=order.content_hash(),
        reading=notifications.pack_reading(order.reading),
        reason=last.detail or None,
        notification=None,
        deliveries="[]",
        untold="[]",
        created_at=now_us,
        changed_at=now_us,
    )


def _until_claimed(attempt: Callable[[], T]) -> T:
    """Look again where another node has taken a reference between our look and our insert."""
    for _ in range(RETRIES - 1):
        try:
            return attempt()
        except AlreadyClaimed:
            continue
    return attempt()


# ---------------------------------------------------------------------------------- events


def accept_events(
    store: Store,
    bodies: Sequence[bytes],
    *,
    merchant: str,
    origin: str,
    now_us: int,
    announcer: Announcer | None = None,
) -> list[Verdict]:
    """Enter raw JSON events in one transaction, and announce what is new; a verdict for each.

    Args:
        merchant: whose an event is that names no merchant. Where it is a test twin, all that are
            named become their twins.
        origin: the system that they come from: a reference is unique within it.
        announcer: kept between calls, so that the configuration is not loaded for each.

    Raises:
        Refused: the origin cannot be one. What is wrong with one event is its verdict.
        StoreError: nothing was entered, or its fate is not known: the same call may come again.
    """
    origin = checked_text(origin, "the origin", 64)
    if origin == SUBMITTED:
        raise Refused(f"the origin {SUBMITTED!r} is that of orders; name the system itself")
    told_by = announcer or Announcer(store)

    def attempt() -> list[Verdict]:
        with store.database.write() as connection:
            merchants.check(connection, merchant, now_us)
            return _Intake(connection, merchant, origin, now_us).entered(bodies, told_by)

    try:
        return _until_claimed(attempt)
    except AlreadyClaimed:
        raise
    except DataRefused as error:
        if len(bodies) == 1:
            return [Verdict(EventOutcome.REFUSED, None, str(error))]
    # One of them has something that the database will not have: the others must not wait for it.
    return [
        accept_events(
            store, [body], merchant=merchant, origin=origin, now_us=now_us, announcer=told_by
        )[0]
        for body in bodies
    ]


class _Event(NamedTuple):
    number: int
    merchant: str
    order: Order
    id: str


class _Intake:
    """One call of `accept_events`, in its transaction."""

    def __init__(self, connection: Connection, merchant: str, origin: str, now_us: int) -> None:
        self._connection = connection
        self._merchant = merchant
        self._origin = origin
        self._now_us = now_us
        self._ids = Identifiers(now_us)
        self._names = frozenset(merchants.names(connection))

    def entered(self, bodies: Sequence[bytes], announcer: Announcer) -> list[Verdict]:
        verdicts: list[Verdict | None] = [None] * len(bodies)
        events = []
        for number, body in enumerate(bodies):
            try:
                events.append(self._read(number, body))
            except Refused as error:
                verdicts[number] = Verdict(EventOutcome.REFUSED, None, str(error))
        fresh: list[_Event] = []
        known = self._known(events)
        for event in events:
            place = (event.merchant, event.order.reference)
            if place in known:
                verdicts[event.number] = _repeat(event.order, *known[place])
            else:
                known[place] = event.id, event.order.money_hash()
                verdicts[event.number] = Verdict(EventOutcome.ENTERED, event.id)
                fresh.append(event)
        if fresh:
            self._store(fresh, announcer)
        return [verdict for verdict in verdicts if verdict is not None]

    def _read(self, number: int, body: bytes) -> _Event:
        order = read_event(body)
        merchant = self._merchant
        if order.merchant is not None:
            merchant = self._owner(order.merchant)
        if order.reading.bank_reference is None:
            raise Refused(
                "bank_reference is missing: the merchant could not find the payment by it"
            )
        return _Event(number, merchant, order, self._ids.new("trx"))

    def _owner(self, named: str) -> str:
        is_test = self._merchant.endswith(TWIN)
        owner = with_mode(named, "test" if is_test else "live")
        if owner.endswith(TWIN) != is_test:
            raise Refused("it names a test merchant, and this is a live feed")
        if owner not in self._names:
            raise Refused("it names a merchant that there is not; see: arifa merchant list")
        return owner

    def _known(self, events: list[_Event]) -> dict[tuple[str, str], tuple[str, bytes]]:
        """(merchant, reference) → the transaction that has it, and its money's hash."""
        wanted: dict[str, list[str]] = {}
        for event in events:
            wanted.setdefault(event.merchant, []).append(event.order.reference)
        found = {}
        for merchant, references in sorted(wanted.items()):
            rows = transactions.by_reference(self._connection, merchant, self._origin, references)
            for reference, row in rows.items():
                found[merchant, reference] = (row.id, row.content_hash)
        return found

    def _store(self, fresh: list[_Event], announcer: Announcer) -> None:
        announced = announcer.announce(
            self._connection,
            [Announcement(event.merchant, event.order.reading) for event in fresh],
            self._now_us,
        )
        entries: list[Entry] = []
        moves: list[Move] = []
        for event, told in zip(fresh, announced, strict=True):
            passed = self._passed(event, told)
            moves += passed
            entry = _entry(event.order, self._origin, passed[-1], self._now_us)
            entries.append(
                entry._replace(
                    content_hash=event.order.money_hash(),
                    reason=None,
                    notification=told.notification,
                    deliveries=transactions.pack(told.deliveries),
                    untold=transactions.pack([item._asdict() for item in told.untold]),
                )
            )
        transactions.insert(self._connection, entries)
        transactions.record_moves(self._connection, self._ids, moves, self._now_us)

    def _passed(self, event: _Event, told: Announced) -> list[Move]:
        is_settled = event.order.reading.status is Status.SUCCESS
        came = TransactionState.SETTLED if is_settled else TransactionState.FAILED
        passed = [Move(event.merchant, event.id, came, f"origin {self._origin}")]
        if told.deliveries:
            passed.append(announcing(event.merchant, event.id, told))
        return passed


def announcing(merchant: str, identity: str, told: Announced) -> Move:
    """The move of one that has been announced: it waits for the merchant's OK."""
    detail = f"{told.notification}: {len(told.deliveries)} to be told"
    return Move(merchant, identity, TransactionState.UNACKNOWLEDGED, "announce", detail)


def _repeat(order: Order, identity: str, content_hash: bytes) -> Verdict:
    if content_hash == order.money_hash():
        return Verdict(EventOutcome.KNOWN, identity)
    return Verdict(
        EventOutcome.REFUSED,
        identity,
        f"the reference {order.reference!r} came before with other money, as {identity}; nothing "
        f"is announced: look which of them is right",
    )
