"""`arifa invoice`: money owed, on the issuing side.

`pay` and `reverse` are what a payment channel tells the billing system. `invoice` is named by its id
or by its number; `client` is the endpoint's name, and `client_id` its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from arifa.cli.arguments import Currency, Limit, Mode, Time, micros, when
from arifa.cli.context import Context, Given, Misused, noun
from arifa.errors import Unreadable
from arifa.money import Money, read_amount

if TYPE_CHECKING:
    from arifa.feed import Endpoint
    from arifa.hub.announce import Announced
    from arifa.hub.invoice import Settled
    from arifa.store.opened import Store

app = noun("invoice", "Money owed: made, paid, taken back, and announced to whoever is owed it.")

State = Literal["open", "paid", "overpaid", "reversed", "cancelled"]


@app.command
def add(
    *,
    amount: str,
    client: str | None = None,
    merchant: str = "default",
    mode: Mode = "live",
    currency: Currency = None,
    reference: str | None = None,
    callback_url: str | None = None,
    description: str | None = None,
    revenue_head: str | None = None,
    external_reference: str | None = None,
    payer_name: str | None = None,
    payer_phone: str | None = None,
    payer_email: str | None = None,
    payer_address: str | None = None,
    context: Given,
) -> None:
    """Make an invoice, as the billing system's form does for its clients.

    arifa invoice add --client school --amount 2000.00 --reference TERM-1 --payer-name "Jane Doe"

    Args:
        amount: in major units, such as 2000.00.
        client: the endpoint (of the dialect cbs) whose invoice it is; without, it is announced to
            all of the merchant's endpoints that want it.
        merchant: who is owed, where there is no client.
        mode: live, or test for the merchant's twin, where there is no client.
        currency: the client's where there is one, else needed.
        reference: the client's own; the same one again is the same invoice again.
        callback_url: where its payment is announced, instead of the client's URL.
        description: what it is for.
        revenue_head: the billing system's number of what is paid for.
        external_reference: somebody else's reference.
        payer_name: who is to pay.
        payer_phone: the payer's number.
        payer_email: the payer's address for mail.
        payer_address: where the payer lives.
    """
    from arifa.cli.address import checked_address
    from arifa.clock import now_us
    from arifa.hub.invoice import NewInvoice, add_invoice
    from arifa.store import merchants

    with context.store() as store:
        owner = None if client is None else _client(store, client)
        if owner is not None and currency not in (None, owner.profile.currency):
            raise Misused(f"{owner.name} is told of {owner.profile.currency} only")
        wanted = NewInvoice(
            merchant=merchants.with_mode(merchant, mode) if owner is None else owner.merchant,
            amount=_money(amount, currency if owner is None else owner.profile.currency),
            client=owner,
            reference=reference,
            callback_url=callback_url,
            revenue_head=revenue_head,
            external_reference=external_reference,
            description=description,
            payer={
                "name": payer_name,
                "phone": payer_phone,
                "email": payer_email,
                "address": payer_address,
            },
        )
        added = add_invoice(store, wanted, now_us())
        row = _row(added.invoice, _named(store))
    address = [] if callback_url is None else checked_address(callback_url)
    for note in dict.fromkeys((*added.notes, *address)):
        context.output.note(f"note: {note}")
    context.output.one({**row, "insertion": added.insertion.value})


@app.command(name="list")
def list_(
    *,
    state: State | None = None,
    client: str | None = None,
    merchant: str | None = None,
    limit: Limit = 50,
    context: Given,
) -> None:
    """List the newest invoices.

    Args:
        state: only those in this state.
        client: only those of this endpoint, by name or id.
        merchant: only those of this merchant.
        limit: how many at most.
    """
    from arifa.store import endpoints, invoices

    with context.store() as store, store.database.read() as connection:
        named = endpoints.names(connection)
        found = invoices.listed(
            connection,
            merchant=merchant,
            client=None if client is None else endpoints.find_id(connection, client, merchant),
            state=state,
            limit=limit,
        )
    rows = (_row(item, named) for item in found)
    columns = ("id", "number", "state", "amount", "due", "client", "reference", "created_at")
    context.output.rows(rows, columns)


@app.command
def show(invoice: str, /, *, merchant: str | None = None, context: Given) -> None:
    """Show an invoice with what was paid, and where that was announced.

    Args:
        invoice: its id or number.
        merchant: whose, where several have one of this number.
    """
    from arifa.store import deliveries, invoices

    with context.store() as store:
        named = _named(store)
        with store.database.read() as connection:
            found = invoices.get(connection, invoice, merchant)
            payments = []
            for payment in invoices.payments_of(connection, found):
                row = _payment(payment, found.currency)
                told = payment.notification
                row["deliveries"] = [
                    {"id": item.id, "state": item.state, "url": item.url}
                    for item in (
                        [] if told is None else deliveries.listed(connection, notification=told)
                    )
                ]
                payments.append(row)
    context.output.one({**_row(found, named), "payer": _payer(found), "payments": payments})


@app.command
def pay(
    invoice: str,
    /,
    *,
    reference: str,
    amount: str | None = None,
    provider: str = "",
    channel: str | None = None,
    bank_code: str | None = None,
    bank_name: str | None = None,
    bank_branch: str | None = None,
    at: Time = None,
    merchant: str | None = None,
    context: Given,
) -> None:
    """Record what a payment channel took for an invoice; each reference of a provider once.

    When all is paid it is announced: to the invoice's callback URL, else to its client's own URL,
    else to the merchant's endpoints. A part-payment waits for the rest. What is paid beyond the
    amount is announced as it is.

    Args:
        invoice: its id or number.
        reference: the channel's own; spaces at its ends are kept.
        amount: in major units; without, what is owed.
        provider: who runs the channel, such as PayDirect, Remita, Bank3D.
        channel: such as Web, POS, ATM, BankBranch.
        bank_code: the bank's code.
        bank_name: the bank's name.
        bank_branch: the bank's branch.
        at: when it was paid; now without.
        merchant: whose, where several have an invoice of this number.
    """
    from arifa.clock import now_us
    from arifa.hub.invoice import Taken
    from arifa.hub.invoice import pay as pay_invoice
    from arifa.store import invoices

    bank = {"BankCode": bank_code, "BankName": bank_name, "BankBranch": bank_branch}
    with context.store() as store:
        with store.database.read() as connection:
            currency = invoices.get(connection, invoice, merchant).currency
        taken = Taken(
            reference=reference,
            amount=None if amount is None else _money(amount, currency),
            provider=provider,
            channel=channel,
            bank={name: text for name, text in bank.items() if text},
            occurred_at=micros(at),
        )
        settled = pay_invoice(store, invoice, taken, now_us(), merchant)
        _tell(context, settled, _named(store))


@app.command
def reverse(
    invoice: str,
    /,
    *,
    payment: str | None = None,
    reference: str | None = None,
    reason: str | None = None,
    merchant: str | None = None,
    context: Given,
) -> None:
    """Record that a payment went back, and announce that by the same form, if the payment was.

    Args:
        invoice: its id or number.
        payment: which, by its id or reference; needed where there are several.
        reference: the reversal's own; REV- before the payment's without.
        reason: why, for whoever looks at it later.
        merchant: whose, where several have an invoice of this number.
    """
    from arifa.clock import now_us
    from arifa.hub.invoice import reverse as reverse_payment

    with context.store() as store:
        settled = reverse_payment(
            store,
            invoice,
            now_us(),
            payment=payment,
            reference=reference,
            reason=reason,
            merchant=merchant,
        )
        _tell(context, settled, _named(store))


@app.command
def announce(invoice: str, /, *, merchant: str | None = None, context: Given) -> None:
    """Announce what is paid of an invoice and nobody could be told of when it was.

    Args:
        invoice: its id or number.
        merchant: whose, where several have an invoice of this number.
    """
    from arifa.clock import now_us
    from arifa.hub.invoice import announce_invoice

    with context.store() as store:
        announced = announce_invoice(store, invoice, now_us(), merchant)
    if announced is None:
        context.output.note("note: there is nothing to announce: all that is paid was")
    else:
        _note_untold(context, announced, invoice)
    context.output.one(
        {
            "notification": None if announced is None else announced.notification or None,
            "deliveries": [] if announced is None else announced.deliveries,
        }
    )


@app.command
def cancel(invoice: str, /, *, reason: str, merchant: str | None = None, context: Given) -> None:
    """Cancel an invoice of which nothing is paid, for good.

    Args:
        invoice: its id or number.
        reason: why, for whoever looks at it later.
        merchant: whose, where several have an invoice of this number.
    """
    from arifa.clock import now_us
    from arifa.hub.invoice import cancel as cancel_invoice

    with context.store() as store:
        cancelled = cancel_invoice(store, invoice, reason, now_us(), merchant)
        context.output.one(_row(cancelled, _named(store)))


def _client(store: Store, name: str) -> Endpoint:
    from arifa.store import endpoints

    with store.database.read() as connection:
        return endpoints.get(connection, store.vault, name)


def _named(store: Store) -> dict[str, str]:
    from arifa.store import endpoints

    with store.database.read() as connection:
        return endpoints.names(connection)


def _money(text: str, currency: str | None) -> Money:
    if currency is None:
        raise Misused("say the currency, such as --currency NGN; without a client there is none")
    try:
        return read_amount(text, currency)
    except Unreadable as error:
        raise Misused(f"--amount {text!r}: {error}") from None


def _tell(context: Context, settled: Settled, named: Mapping[str, str]) -> None:
    invoice, announced = settled.invoice, settled.announced
    if announced is None and settled.payment.notification is None:
        context.output.note(
            f"note: it is not announced: {_due(invoice)} of {invoice.number} is owed still"
            if settled.payment.kind == "payment"
            else "note: it is not announced, since the payment was not"
        )
    if invoice.state == "overpaid":
        over = Money(invoice.paid - invoice.amount, invoice.currency)
        context.output.note(f"note: {over} more than the amount is paid")
    if announced is not None:
        _note_untold(context, announced, invoice.number)
    context.output.one(
        {
            **_row(invoice, named),
            "insertion": settled.insertion.value,
            "payment": _payment(settled.payment, invoice.currency),
            "deliveries": [] if announced is None else announced.deliveries,
        }
    )


def _note_untold(context: Context, announced: Announced, number: str) -> None:
    for untold in announced.untold:
        context.output.note(f"note: {untold.name} is not told: {untold.reason}")
    if not announced.deliveries:
        context.output.note(
            f"note: nobody is told yet; once an endpoint can be: arifa invoice announce {number}"
        )


def _due(invoice: Any) -> Money:
    is_owed = invoice.state != "cancelled"
    return Money(max(0, invoice.amount - invoice.paid) if is_owed else 0, invoice.currency)


def _row(invoice: Any, named: Mapping[str, str]) -> dict[str, Any]:
    currency, client = invoice.currency, invoice.client
    return {
        "id": invoice.id,
        "number": invoice.number,
        "merchant": invoice.merchant,
        "state": invoice.state,
        "amount": Money(invoice.amount, currency).as_json(),
        "paid": Money(invoice.paid, currency).as_json(),
        "due": _due(invoice).as_json(),
        "client": None if client is None else named.get(client, client),
        "client_id": client,
        "reference": invoice.reference,
        "callback_url": invoice.callback_url,
        "revenue_head": invoice.revenue_head,
        "category": invoice.category,
        "external_reference": invoice.external_reference,
        "description": invoice.description,
        "origin": invoice.origin,
        "unproven": _unproven(invoice),
        "created_at": when(invoice.created_at),
        "paid_at": when(invoice.paid_at),
    }


def _unproven(invoice: Any) -> list[str]:
    """What nobody has signed of what came through the form."""
    from arifa.billing import UNPROVEN
    from arifa.store.invoices import FORM

    if invoice.origin != FORM:
        return []
    return [name for name in UNPROVEN if getattr(invoice, name) not in (None, "{}")]


def _payer(invoice: Any) -> dict[str, str]:
    from arifa.store.invoices import unpack

    return unpack(invoice.payer)


def _payment(payment: Any, currency: str) -> dict[str, Any]:
    from arifa.store.invoices import unpack

    return {
        "id": payment.id,
        "kind": payment.kind,
        "amount": Money(payment.amount, currency).as_json(),
        "provider": payment.provider or None,
        "reference": payment.reference,
        "channel": payment.channel,
        "bank": unpack(payment.bank),
        "occurred_at": when(payment.occurred_at),
        "reverses": payment.reverses,
        "reason": payment.reason,
        "notification": payment.notification,
    }
