"""Invoices on the issuing side: made, paid, taken back, cancelled, and announced.

Whoever takes the money (a payment channel) tells of it here, each payment once. The invoice's owner
hears of it when all is paid, as the billing system does it: a part-payment is recorded and waits.
What is announced is then all that was not announced before, under the reference of the payment that
completed it; so the amounts that an owner hears of always sum up to what was paid. What is paid
beyond the amount is announced as it is. A reversal is announced where its payment was.

The announcement goes to the callback URL of the invoice, signed for its client; else to the client's
own URL; an invoice without a client is announced to all of the merchant's endpoints that want it.
All of it is in one transaction with what it is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple

from arifa.billing import (
    BANK_FIELDS,
    DIALECT,
    PAYMENT_REFERENCE,
    REFERENCE_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
    is_plain,
)
from arifa.errors import AlreadyExists, DataRefused, NotFound, Refused
from arifa.feed import NO_OPTIONS, Endpoint
from arifa.hub.announce import Announced, Announcement, Untold, announce
from arifa.hub.checks import check_url
from arifa.hub.invoice_number import new_number
from arifa.identifiers import identifier
from arifa.money import MINOR_MAX, Money
from arifa.notification import Direction, Kind, Payer, Reading, Status
from arifa.outcome import Insertion
from arifa.store import changes, endpoints, invoices, merchants
from arifa.store.database import Connection
from arifa.store.invoices import OPERATOR, PAYABLE, PAYMENT, REVERSAL, InvoiceState
from arifa.store.opened import Store

REVERSAL_PREFIX: Final = "REV-"
PAYER_FIELDS: Final = (
    *("name", "email", "address", "phone", "tax_number", "company_number", "payer_id"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInvoice:
    """An invoice that is to be made.

    Attributes:
        client: the endpoint whose invoice it is: it signs what is announced.
        reference: the client's own; the same one again is the same invoice again.
        callback_url: where its payment is announced, instead of the client's URL.
        payer: texts by the names of `PAYER_FIELDS`.
        origin: `form` or `operator`.
    """

    merchant: str
    amount: Money
    client: Endpoint | None = None
    reference: str | None = None
    callback_url: str | None = None
    revenue_head: str | None = None
    category: str | None = None
    external_reference: str | None = None
    description: str | None = None
    payer: Mapping[str, str | None] = field(default_factory=lambda: NO_OPTIONS)
    origin: str = OPERATOR


class AddedInvoice(NamedTuple):
    """The invoice (its row), and CREATED, EXISTS, or CONFLICT with the one that has its reference."""

    invoice: Any
    insertion: Insertion
    notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a payment channel says that it took.

    Attributes:
        reference: the channel's, unique for its provider; spaces at its ends are kept.
        amount: None: what is owed.
        provider: who runs the channel; empty where nobody is named.
        bank: texts by the names of `BANK_FIELDS`.
        occurred_at: None: now.
    """

    reference: str
    amount: Money | None = None
    provider: str = ""
    channel: str | None = None
    bank: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    occurred_at: int | None = None


class Settled(NamedTuple):
    """What a payment or a reversal came to.

    `announced` is None where nothing was to be announced, or where all of it was there already.
    """

    invoice: Any
    payment: Any
    insertion: Insertion
    announced: Announced | None


# ---------------------------------------------------------------------------------- making


def add_invoice(store: Store, wanted: NewInvoice, now_us: int) -> AddedInvoice:
    """Make an invoice.

    Raises:
        Refused: something about it cannot work; AlreadyExists where its reference has another
            invoice, NotFound where the merchant is missing.
    """
    try:
        return _added(store, wanted, now_us)
    except DataRefused:
        # Somebody else was faster with the same reference or number: look again.
        return _added(store, wanted, now_us)


def _added(store: Store, wanted: NewInvoice, now_us: int) -> AddedInvoice:
    with store.database.write() as connection:
        merchants.check(connection, wanted.merchant, now_us)
        added = add(connection, wanted, now_us)
    if added.insertion is Insertion.CONFLICT:
        raise AlreadyExists(
            f"the reference is that of another invoice, {added.invoice.number}; "
            f"an invoice is not changed: cancel it, and give the new one a new reference"
        )
    return added


def add(connection: Connection, wanted: NewInvoice, now_us: int) -> AddedInvoice:
    """Make an invoice in the caller's transaction.

    Raises:
        Refused: something about it cannot work.
        DataRefused: another transaction was faster with the same reference or number.
    """
    notes = _check(wanted)
    client = None if wanted.client is None else wanted.client.id
    content = _content_hash(wanted)
    if wanted.reference is not None:
        found = invoices.by_reference(connection, wanted.merchant, client, wanted.reference)
        if found is not None:
            is_same = found.content_hash == content
            return AddedInvoice(found, Insertion.EXISTS if is_same else Insertion.CONFLICT, notes)
    number = new_number()
    while not invoices.is_free(connection, wanted.merchant, number):
        number = new_number()
    entry = invoices.Entry(
        merchant=wanted.merchant,
        id=identifier("inv", now_us),
        number=number,
        origin=wanted.origin,
        client=client,
        reference=wanted.reference,
        content_hash=content,
        currency=wanted.amount.currency,
        amount=wanted.amount.minor,
        callback_url=wanted.callback_url,
        revenue_head=wanted.revenue_head,
        category=wanted.category,
        external_reference=wanted.external_reference,
        description=wanted.description,
        payer=invoices.pack(dict(wanted.payer)),
        created_at=now_us,
        changed_at=now_us,
    )
    invoices.insert(connection, entry)
    _record(connection, entry, "add", wanted.origin, now_us)
    made = invoices.get(connection, entry.id, wanted.merchant)
    return AddedInvoice(made, Insertion.CREATED, notes)


def _check(wanted: NewInvoice) -> list[str]:
    """See that it can be announced when it is paid; gives notes on what may surprise."""
    if wanted.amount.minor <= 0:
        raise Refused("the amount of an invoice is more than nothing")
    client = wanted.client
    if client is None:
        if wanted.callback_url is not None:
            raise Refused(
                "a callback URL needs a client, whose secret signs what is sent there: --client "
                "NAME of an endpoint"
            )
    elif client.dialect != DIALECT:
        raise Refused(
            f"{client.name} is an endpoint in the form of {client.dialect}; the client of an "
            f"invoice has --dialect {DIALECT}"
        )
    elif client.merchant != wanted.merchant:
        raise Refused(f"{client.name} is an endpoint of {client.merchant}, not {wanted.merchant}")
    elif wanted.amount.currency != client.profile.currency:
        raise Refused(f"{client.name} is told of {client.profile.currency} only")
    for text in (wanted.reference, wanted.external_reference):
        _check_text(text, "the reference", REFERENCE_CHARACTERS_MAX)
    for text in (wanted.description, *wanted.payer.values()):
        _check_text(text, "a text", TEXT_CHARACTERS_MAX)
    if wanted.reference is not None and wanted.reference != wanted.reference.strip():
        raise Refused("the reference has spaces at an end")
    return [] if wanted.callback_url is None else check_url(wanted.callback_url)


def _check_text(text: str | None, what: str, characters_max: int) -> None:
    if text is None:
        return
    if not text.strip() or len(text) > characters_max or not is_plain(text):
        raise Refused(
            f"{what} is empty, longer than {characters_max} characters, or holds a sign that is "
            f"no text"
        )


def _content_hash(wanted: NewInvoice) -> bytes:
    """32 bytes over all that makes an invoice this one and no other."""
    payer = sorted((name, text) for name, text in wanted.payer.items() if text)
    parts = (
        *(str(wanted.amount.minor), wanted.amount.currency, wanted.callback_url),
        *(wanted.revenue_head, wanted.category, wanted.external_reference, wanted.description),
        *(part for pair in payer for part in pair),
    )
    text = "\x1f".join(f"{len(part or '')}:{part or ''}" for part in parts)
    return sha256(text.encode()).digest()


# ---------------------------------------------------------------------------------- paying


def pay(store: Store, name: str, taken: Taken, now_us: int, merchant: str | None = None) -> Settled:
    """Record what a channel took for the invoice of this id or number, and announce what is due.

    Raises:
        NotFound: there is no such invoice.
        Refused: it is cancelled, the payment cannot be, or its reference was another payment's.
    """
    _check_taken(taken)
    with store.database.write() as connection:
        invoice = invoices.get(connection, name, merchant, lock=True)
        payments = invoices.payments_of(connection, invoice)
        found = _find(payments, PAYMENT, taken.provider, taken.reference)
        if found is not None:
            _check_same(found, taken, invoice)
            return Settled(invoice, found, Insertion.EXISTS, None)
        amount = _amount(invoice, taken)
        entry = invoices.PaymentEntry(
            merchant=invoice.merchant,
            id=identifier("pay", now_us),
            invoice=invoice.id,
            kind=PAYMENT,
            provider=taken.provider,
            reference=taken.reference,
            amount=amount,
            channel=taken.channel,
            bank=invoices.pack(dict(taken.bank)),
            occurred_at=now_us if taken.occurred_at is None else taken.occurred_at,
            created_at=now_us,
        )
        return _settled(connection, store, invoice, [*payments, entry], now_us)


def _check_taken(taken: Taken) -> None:
    _check_text(taken.reference, "the reference of the payment", REFERENCE_CHARACTERS_MAX)
    for text in (taken.channel, taken.provider or None, *taken.bank.values()):
        _check_text(text, "a text", REFERENCE_CHARACTERS_MAX)
    if not set(taken.bank) <= set(BANK_FIELDS):
        raise Refused(f"of a bank there are {', '.join(BANK_FIELDS)}")
    for text in (taken.channel, taken.provider):
        if text and text != text.strip():
            raise Refused("the channel or the provider has spaces at an end")
    if taken.amount is not None and taken.amount.minor <= 0:
        raise Refused("the amount of a payment is more than nothing")


def _find(payments: Sequence[Any], kind: str, provider: str, reference: str) -> Any | None:
    for payment in payments:
        if (payment.kind, payment.provider, payment.reference) == (kind, provider, reference):
            return payment
    return None


def _check_same(found: Any, taken: Taken, invoice: Any) -> None:
    said = taken.amount
    if said is not None and said != Money(found.amount, invoice.currency):
        raise Refused(
            f"the payment {found.reference!r} was recorded with another amount, "
            f"{Money(found.amount, invoice.currency)}; a payment is not changed: reverse it"
        )


def _amount(invoice: Any, taken: Taken) -> int:
    if invoice.state == InvoiceState.CANCELLED:
        raise Refused(
            f"the invoice {invoice.number} is cancelled, and nothing is taken for it; give the "
            f"money back"
        )
    if taken.amount is None:
        if invoice.paid >= invoice.amount:
            raise Refused(f"nothing is owed for {invoice.number}; say what was paid: --amount")
        return int(invoice.amount - invoice.paid)
    if taken.amount.currency != invoice.currency:
        raise Refused(f"the invoice {invoice.number} is in {invoice.currency}")
    if invoice.paid + taken.amount.minor > MINOR_MAX:
        raise Refused("the amounts together are beyond 63 bits of minor units")
    return taken.amount.minor


# ---------------------------------------------------------------------------------- taking back


def reverse(
    store: Store,
    name: str,
    now_us: int,
    *,
    payment: str | None = None,
    reference: str | None = None,
    reason: str | None = None,
    merchant: str | None = None,
) -> Settled:
    """Record that a payment of the invoice went back, whole, and announce it if the payment was.

    Args:
        payment: its id or reference; needed where there is more than one that may go back.
        reference: the reversal's own; `REV-` before the payment's without.

    Raises:
        NotFound: there is no such invoice or payment.
        Refused: it went back already, or it is not said which.
    """
    _check_text(reference, "the reference of the reversal", REFERENCE_CHARACTERS_MAX)
    _check_text(reason, "the reason", TEXT_CHARACTERS_MAX)
    with store.database.write() as connection:
        invoice = invoices.get(connection, name, merchant, lock=True)
        payments = invoices.payments_of(connection, invoice)
        earlier = _reversible(invoice, payments, payment, reference)
        done = next((item for item in payments if item.reverses == earlier.id), None)
        if done is not None:
            _check_same_reversal(done, reference)
            return Settled(invoice, done, Insertion.EXISTS, None)
        own = reference or f"{REVERSAL_PREFIX}{earlier.reference}"
        if _find(payments, REVERSAL, earlier.provider, own) is not None:
            raise Refused(f"another reversal has the reference {own!r}; give this one its own")
        entry = invoices.PaymentEntry(
            merchant=invoice.merchant,
            id=identifier("pay", now_us),
            invoice=invoice.id,
            kind=REVERSAL,
            provider=earlier.provider,
            reference=own,
            amount=earlier.amount,
            channel=earlier.channel,
            bank=earlier.bank,
            occurred_at=now_us,
            created_at=now_us,
            reverses=earlier.id,
            reason=reason,
        )
        return _settled(connection, store, invoice, [*payments, entry], now_us)


def _reversible(
    invoice: Any, payments: Sequence[Any], wanted: str | None, reference: str | None
) -> Any:
    """The payment that is meant: as it is named, or the only one that has not gone back."""
    made = [item for item in payments if item.kind == PAYMENT]
    if wanted is not None:
        named = [
            item for item in made if wanted in (item.id, item.reference, item.reference.strip())
        ]
        if not named:
            raise NotFound(
                f"the invoice {invoice.number} has no payment {wanted!r}; see: arifa invoice show"
            )
    else:
        gone = {item.reverses: item.reference for item in payments if item.kind == REVERSAL}
        named = [item for item in made if item.id not in gone]
        if not named:
            # Said again, word for word: the same reversal again.
            named = [item for item in made if reference and gone[item.id] == reference]
    if len(named) == 1:
        return named[0]
    if not named:
        raise Refused(f"there is nothing to take back: no payment of {invoice.number} is there")
    raise Refused(
        f"{invoice.number} has several payments; say which, by its id: --payment "
        f"{' or '.join(item.id for item in named)}"
    )


def _check_same_reversal(done: Any, reference: str | None) -> None:
    if reference not in (None, done.reference):
        raise Refused(
            f"the payment went back already, under the reference {done.reference!r}; it goes back "
            f"once"
        )


# ---------------------------------------------------------------------------------- cancelling


def cancel(store: Store, name: str, reason: str, now_us: int, merchant: str | None = None) -> Any:
    """Cancel the invoice of this id or number, for good; gives its row.

    Raises:
        NotFound: there is no such invoice.
        Refused: something of it is paid.
    """
    _check_text(reason, "the reason", TEXT_CHARACTERS_MAX)
    with store.database.write() as connection:
        invoice = invoices.get(connection, name, merchant, lock=True)
        if invoice.state == InvoiceState.CANCELLED:
            return invoice
        if invoice.state not in PAYABLE or invoice.paid:
            raise Refused(
                f"{Money(invoice.paid, invoice.currency)} of {invoice.number} is paid: take that "
                f"back first, with arifa invoice reverse"
            )
        invoices.set_state(
            connection, invoice, InvoiceState.CANCELLED, now_us, paid=0, paid_at=None
        )
        _record(connection, invoice, "cancel", reason, now_us)
        return invoices.get(connection, invoice.id, invoice.merchant)


# ---------------------------------------------------------------------------------- settling


def _settled(
    connection: Connection, store: Store, invoice: Any, payments: Sequence[Any], now_us: int
) -> Settled:
    """Store the last of `payments`, and what follows from it."""
    entry: invoices.PaymentEntry = payments[-1]
    invoices.insert_payment(connection, entry)
    paid = invoice.paid + (entry.amount if entry.kind == PAYMENT else -entry.amount)
    state = state_of(invoice.amount, paid, is_reversed=entry.kind == REVERSAL)
    is_paid = state in (InvoiceState.PAID, InvoiceState.OVERPAID)
    paid_at = (invoice.paid_at or now_us) if is_paid else None
    invoices.set_state(connection, invoice, state, now_us, paid=paid, paid_at=paid_at)
    _record(connection, invoice, entry.kind, entry.id, now_us)
    told = to_announce(payments, is_paid=is_paid)
    announced = None
    if told:
        amount = Money(sum(item.amount for item in told), invoice.currency)
        announced = _announced(
            connection, store, invoice, announcement_of(invoice, entry, amount, payments), now_us
        )
        if announced.deliveries:
            # What nobody could be told waits, for the next announcement or `announce_invoice`.
            ids = [item.id for item in told]
            invoices.announced(connection, invoice.merchant, ids, announced.notification)
    current = invoices.get(connection, invoice.id, invoice.merchant)
    stored = invoices.payments_of(connection, current)
    payment = next(item for item in stored if item.id == entry.id)
    return Settled(current, payment, Insertion.CREATED, announced)


def state_of(amount: int, paid: int, *, is_reversed: bool) -> InvoiceState:
    """Where an invoice of `amount` stands when `paid` is paid; `is_reversed`: something just went back."""
    if paid > amount:
        return InvoiceState.OVERPAID
    if paid == amount:
        return InvoiceState.PAID
    return InvoiceState.REVERSED if is_reversed and paid == 0 else InvoiceState.OPEN


def to_announce(payments: Sequence[Any], *, is_paid: bool) -> list[Any]:
    """Which of the payments are announced now that the last of them has come.

    A reversal alone, if its payment was; a payment with all that waited, once all is paid.
    """
    *before, last = payments
    if last.kind == REVERSAL:
        was_announced = any(item.id == last.reverses and item.notification for item in before)
        return [last] if was_announced else []
    if not is_paid:
        return []
    return [*untold(before), last]


def untold(payments: Sequence[Any]) -> list[Any]:
    """The payments that nobody was told of, and that have not gone back."""
    gone = {item.reverses for item in payments}
    return [
        item
        for item in payments
        if item.kind == PAYMENT and item.notification is None and item.id not in gone
    ]


def announcement_of(invoice: Any, payment: Any, amount: Money, payments: Sequence[Any]) -> Reading:
    """What is said of the money: `payment` is the one whose reference it goes by."""
    is_reversal = payment.kind == REVERSAL
    extra = invoices.unpack(payment.bank)
    reference = payment.reference.strip()
    if reference != payment.reference:
        extra[PAYMENT_REFERENCE] = payment.reference
    related = next((item.reference for item in payments if item.id == payment.reverses), None)
    if related is not None:
        extra["reversed_reference"] = related
    payer = invoices.unpack(invoice.payer)
    return Reading(
        kind=Kind.REVERSAL if is_reversal else Kind.PAYMENT,
        direction=Direction.DEBIT if is_reversal else Direction.CREDIT,
        status=Status.SUCCESS,
        amount=amount,
        order_amount=Money(invoice.amount, invoice.currency),
        bank_reference=reference,
        end_to_end_id=invoice.number,
        related_reference=invoice.reference,
        payer=Payer(name=payer.get("name"), phone=payer.get("phone")),
        channel=payment.channel,
        provider=payment.provider or None,
        remittance_information=invoice.description,
        occurred_at=payment.occurred_at,
        extra=extra,
    )


def _announced(
    connection: Connection, store: Store, invoice: Any, reading: Reading, now_us: int
) -> Announced:
    """Announce to the invoice's client; where it never had one, to whoever wants it."""
    client, url = None, None
    if invoice.client is not None:
        try:
            client = endpoints.get(connection, store.vault, invoice.client, invoice.merchant)
        except NotFound:
            # Removed, and its secret with it. Nobody else's business: the others are other clients.
            gone = Untold(invoice.client, "the client", "it was removed")
            return Announced("", [], [gone])
        url = invoice.callback_url
    announcement = Announcement(invoice.merchant, reading, client, url, waits=True)
    return announce(connection, store, announcement, now_us)


def announce_invoice(
    store: Store, name: str, now_us: int, merchant: str | None = None
) -> Announced | None:
    """Announce what is paid and nobody has been told of; None where there is nothing.

    Raises:
        NotFound: there is no such invoice.
        Refused: only a part is paid.
    """
    with store.database.write() as connection:
        invoice = invoices.get(connection, name, merchant, lock=True)
        payments = invoices.payments_of(connection, invoice)
        waiting = untold(payments)
        if not waiting:
            return None
        if invoice.state not in (InvoiceState.PAID, InvoiceState.OVERPAID):
            raise Refused(
                f"only a part of {invoice.number} is paid, and a part is announced with the rest"
            )
        amount = Money(sum(item.amount for item in waiting), invoice.currency)
        reading = announcement_of(invoice, waiting[-1], amount, payments)
        announced = _announced(connection, store, invoice, reading, now_us)
        if announced.deliveries:
            ids = [item.id for item in waiting]
            invoices.announced(connection, invoice.merchant, ids, announced.notification)
            _record(connection, invoice, "announce", announced.notification, now_us)
    return announced


def _record(connection: Connection, invoice: Any, act: str, detail: str, now_us: int) -> None:
    """Put an act into the audit log; `invoice` is its row, or its entry."""
    changes.record(
        connection,
        merchant=invoice.merchant,
        action=f"invoice.{act}",
        subject=invoice.id,
        now_us=now_us,
        detail=detail,
    )
