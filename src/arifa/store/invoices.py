"""Invoices: money owed, and what was taken for it.

open ──► paid, overpaid        by payments; less than all of it leaves it open
paid, overpaid ──► open        by a reversal that leaves something of it paid
any of these ──► reversed      by a reversal that leaves nothing of it paid; it may be paid again
open, reversed ──► cancelled   while nothing of it is paid; for good
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from arifa.errors import NotFound, Refused
from arifa.store import merchants
from arifa.store.schema import invoice_payments, invoices


class InvoiceState(StrEnum):
    """Where an invoice stands."""

    OPEN = "open"
    PAID = "paid"
    OVERPAID = "overpaid"
    REVERSED = "reversed"
    CANCELLED = "cancelled"


PAYABLE = frozenset({InvoiceState.OPEN.value, InvoiceState.REVERSED.value})
"""The states in which something is owed."""
PAYMENT, REVERSAL = "payment", "reversal"
FORM, OPERATOR = "form", "operator"


class Entry(NamedTuple):
    """One invoice, as it is inserted. `payer` is JSON."""

    merchant: str
    id: str
    number: str
    origin: str
    client: str | None
    reference: str | None
    content_hash: bytes
    currency: str
    amount: int
    callback_url: str | None
    revenue_head: str | None
    category: str | None
    external_reference: str | None
    description: str | None
    payer: str
    created_at: int
    changed_at: int
    state: str = InvoiceState.OPEN.value


class PaymentEntry(NamedTuple):
    """One payment or reversal, as it is inserted. `bank` is JSON."""

    merchant: str
    id: str
    invoice: str
    kind: str
    provider: str
    reference: str
    amount: int
    channel: str | None
    bank: str
    occurred_at: int
    created_at: int
    reverses: str | None = None
    reason: str | None = None


def pack(texts: dict[str, str | None]) -> str:
    """Named texts as the store keeps them, without those that are absent."""
    return msgspec.json.encode({name: text for name, text in texts.items() if text}).decode()


def unpack(packed: str) -> dict[str, str]:
    """The inverse of `pack`."""
    return msgspec.json.decode(packed, type=dict[str, str])


def insert(connection: Connection, entry: Entry) -> None:
    """Store an invoice.

    Raises:
        IntegrityError: its number, or its client's reference, is taken.
    """
    connection.execute(sa.insert(invoices).values(entry._asdict()))


def is_free(connection: Connection, merchant: str, number: str) -> bool:
    """Whether none of the merchant's invoices has this number."""
    query = sa.select(invoices.c.id).where(
        invoices.c.merchant == merchant, invoices.c.number == number
    )
    return connection.execute(query).first() is None


def by_reference(
    connection: Connection, merchant: str, client: str | None, reference: str
) -> Row[Any] | None:
    """The client's invoice of this reference; without a client, that of nobody's."""
    return connection.execute(
        sa.select(invoices).where(
            invoices.c.merchant == merchant,
            invoices.c.reference == reference,
            invoices.c.client.is_(None) if client is None else invoices.c.client == client,
        )
    ).first()


def get(
    connection: Connection, name: str, merchant: str | None = None, *, lock: bool = False
) -> Row[Any]:
    """The invoice of this id or number; with `lock`, nobody else changes it meanwhile.

    Raises:
        NotFound: there is none.
        Refused: several merchants have one of this number.
    """
    owners = merchants.names(connection) if merchant is None else [merchant]
    query = sa.select(invoices).where(
        invoices.c.merchant.in_(owners), (invoices.c.id == name) | (invoices.c.number == name)
    )
    # SQLite has one writer at a time, and no such clause.
    found = connection.execute(query.with_for_update() if lock else query).all()
    if not found:
        raise NotFound(f"there is no invoice {name!r}; see: arifa invoice list")
    if len(found) > 1:
        raise Refused(
            f"several merchants have an invoice {name}: "
            f"{', '.join(sorted(row.merchant for row in found))}; say --merchant, or give its id"
        )
    return found[0]


def payable(connection: Connection, merchant: str, name: str) -> list[Row[Any]]:
    """The merchant's invoices of this number or reference for which something is owed."""
    query = sa.select(invoices).where(
        invoices.c.merchant == merchant,
        (invoices.c.number == name) | (invoices.c.reference == name),
        invoices.c.state.in_(sorted(PAYABLE)),
    )
    return list(connection.execute(query))


def listed(
    connection: Connection,
    *,
    merchant: str | None = None,
    client: str | None = None,
    state: str | None = None,
    limit: int = 50,
) -> list[Row[Any]]:
    """The newest first; `client` is an endpoint's id."""
    owners = merchants.names(connection) if merchant is None else [merchant]
    query = sa.select(invoices).where(invoices.c.merchant.in_(owners))
    if client is not None:
        query = query.where(invoices.c.client == client)
    if state is not None:
        query = query.where(invoices.c.state == state)
    return list(connection.execute(query.order_by(invoices.c.id.desc()).limit(limit)))


def set_state(
    connection: Connection,
    invoice: Row[Any],
    state: InvoiceState,
    now_us: int,
    *,
    paid: int,
    paid_at: int | None,
) -> None:
    """Store where a locked invoice stands now."""
    connection.execute(
        sa.update(invoices)
        .where(invoices.c.merchant == invoice.merchant, invoices.c.id == invoice.id)
        .values(state=state.value, paid=paid, paid_at=paid_at, changed_at=now_us)
    )


# ---------------------------------------------------------------------------------- payments


def insert_payment(connection: Connection, entry: PaymentEntry) -> None:
    """Store a payment or a reversal.

    Raises:
        IntegrityError: the provider's reference is there already, or the payment was taken back.
    """
    connection.execute(sa.insert(invoice_payments).values(entry._asdict()))


def payments_of(connection: Connection, invoice: Row[Any]) -> list[Row[Any]]:
    """What was taken for an invoice and what went back, in the order in which it was recorded."""
    query = sa.select(invoice_payments).where(
        invoice_payments.c.merchant == invoice.merchant,
        invoice_payments.c.invoice == invoice.id,
    )
    return list(
        connection.execute(query.order_by(invoice_payments.c.created_at, invoice_payments.c.id))
    )


def announced(
    connection: Connection, merchant: str, payments: Collection[str], notification: str
) -> None:
    """Note which notification has announced these payments (their ids)."""
    connection.execute(
        sa.update(invoice_payments)
        .where(invoice_payments.c.merchant == merchant, invoice_payments.c.id.in_(sorted(payments)))
        .values(notification=notification)
    )
