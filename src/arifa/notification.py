"""The canonical words: what a bank's message says, whoever the bank is. The names are ISO 20022's.

A `Reading` is what a dialect's `parse` gives; the hub, which knows the merchant, makes it a
`Notification`. Both are frozen.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import msgspec

from arifa.money import Money, read_amount
from arifa.timestamp import from_rfc3339, to_rfc3339
from arifa.word import Word


class Kind(Word):
    """What the message is about."""

    PAYMENT = "payment"
    REVERSAL = "reversal"
    REFUND = "refund"
    CHARGEBACK = "chargeback"
    DISPUTE = "dispute"
    AUTHORIZATION = "authorization"
    FRAUD_ACTION = "fraud_action"
    FEE = "fee"
    UNKNOWN = "unknown"


class Direction(Word):
    """The way the money went, seen from the merchant's account."""

    CREDIT = "credit"
    DEBIT = "debit"


class Status(Word):
    """Whether the money moved."""

    SUCCESS = "success"
    FAILED = "failed"
    PENDING = "pending"


PAYMENT: Final = Kind.PAYMENT
CREDIT: Final = Direction.CREDIT
SUCCESS: Final = Status.SUCCESS
"""What most messages say; kept here, since each look-up in its list takes time (`arifa.word`)."""


class State(Word):
    """Whether the notification counts, or waits for a second proof as a case."""

    ACCEPTED = "accepted"
    HELD = "held"


class Payer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who paid, as far as the bank says."""

    name: str | None = None
    phone: str | None = None
    reference: str | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message in canonical words, before it has a merchant or an id.

    Attributes:
        amount: never negative; the direction says which way. None only where it is doubted.
        occurred_at: microseconds UTC; `occurred_text` is the time as the bank wrote it.
        unproven: the names of the fields that carry a value which no proof covered.
        doubts: sentences about what could not be read as it stood.
        held: why this may not count until a second proof is there; None if it may.
        extra: the bank's other fields, as text.
    """

    kind: Kind
    direction: Direction
    status: Status
    amount: Money | None
    fee: Money | None = None
    order_amount: Money | None = None
    balance_after: Money | None = None
    bank_reference: str | None = None
    other_references: tuple[str, ...] = ()
    end_to_end_id: str | None = None
    related_reference: str | None = None
    account: str | None = None
    short_code: str | None = None
    payer: Payer = Payer()
    channel: str | None = None
    provider: str | None = None
    remittance_information: str | None = None
    occurred_at: int | None = None
    occurred_text: str | None = None
    unproven: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    held: str | None = None
    extra: dict[str, str] = {}


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A reading that has become a merchant's: the message that money moved, or did not."""

    id: str
    merchant: str
    source: str
    dialect: str
    received_at: int
    state: State
    reading: Reading


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A bank's question before a payment: does this reference exist, for whom, how much?"""

    request_id: str
    reference: str
    account: str | None = None


class QueryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The merchant's answer to a `Query`; `found` false means that the payment should not go on."""

    found: bool
    transaction_id: str = ""
    name: str | None = None
    amount: Money | None = None
    partial: bool = True
    account: str | None = None


READING_FIELDS: Final = tuple(
    name
    for name in Reading.__struct_fields__
    if name not in ("unproven", "doubts", "held", "extra")
)
MONEY_FIELDS: Final = ("amount", "fee", "order_amount", "balance_after")


def reading_as_json(reading: Reading) -> dict[str, Any]:
    """The reading as plain JSON values, by the names of the design; absent is null."""
    payer, occurred_at = reading.payer, reading.occurred_at
    return {
        "kind": reading.kind.value,
        "direction": reading.direction.value,
        "status": reading.status.value,
        "amount": _money_as_json(reading.amount),
        "fee": _money_as_json(reading.fee),
        "order_amount": _money_as_json(reading.order_amount),
        "balance_after": _money_as_json(reading.balance_after),
        "bank_reference": reading.bank_reference,
        "other_references": list(reading.other_references),
        "end_to_end_id": reading.end_to_end_id,
        "related_reference": reading.related_reference,
        "account": reading.account,
        "short_code": reading.short_code,
        "payer": {"name": payer.name, "phone": payer.phone, "reference": payer.reference},
        "channel": reading.channel,
        "provider": reading.provider,
        "remittance_information": reading.remittance_information,
        "occurred_at": None if occurred_at is None else to_rfc3339(occurred_at),
        "occurred_text": reading.occurred_text,
        "unproven": list(reading.unproven),
        "doubts": list(reading.doubts),
        "extra": reading.extra,
    }


def _money_as_json(money: Money | None) -> dict[str, str] | None:
    return None if money is None else money.as_json()


def notification_as_json(notification: Notification) -> dict[str, Any]:
    """The notification by the names that the store, the API, `--json` and the event share."""
    return {
        "id": notification.id,
        "merchant": notification.merchant,
        "source": notification.source,
        "dialect": notification.dialect,
        **reading_as_json(notification.reading),
        "received_at": to_rfc3339(notification.received_at),
        "state": notification.state.value,
        "held": notification.reading.held,
    }


def reading_from_json(row: dict[str, Any]) -> Reading:
    """The inverse of `reading_as_json`; unknown members are ignored, absent ones are absent.

    Raises:
        KeyError, TypeError, ValueError, ArifaError: the row is not such a reading.
    """

    def money(name: str) -> Money | None:
        value = row.get(name)
        return None if value is None else read_amount(value["amount"], value["currency"])

    payer, occurred_at = row.get("payer") or {}, row.get("occurred_at")
    return Reading(
        kind=Kind(row["kind"]),
        direction=Direction(row["direction"]),
        status=Status(row["status"]),
        amount=money("amount"),
        fee=money("fee"),
        order_amount=money("order_amount"),
        balance_after=money("balance_after"),
        bank_reference=row.get("bank_reference"),
        other_references=tuple(row.get("other_references") or ()),
        end_to_end_id=row.get("end_to_end_id"),
        related_reference=row.get("related_reference"),
        account=row.get("account"),
        short_code=row.get("short_code"),
        payer=Payer(payer.get("name"), payer.get("phone"), payer.get("reference")),
        channel=row.get("channel"),
        provider=row.get("provider"),
        remittance_information=row.get("remittance_information"),
        occurred_at=None if occurred_at is None else from_rfc3339(occurred_at),
        occurred_text=row.get("occurred_text"),
        unproven=tuple(row.get("unproven") or ()),
        doubts=tuple(row.get("doubts") or ()),
        held=row.get("held"),
        extra=dict(row.get("extra") or {}),
    )


_MONEY_HASH_VERSION: Final = "1"


def money_hash(reading: Reading) -> bytes:
    """32 bytes over what means money, and nothing else: a repeat with another hash is a conflict.

    Amount, currency, direction, kind, status, account and end-to-end id; never balance, text or
    times, which a bank may well write anew when it sends a notification again.
    """
    amount = reading.amount
    parts = (
        _MONEY_HASH_VERSION,
        "" if amount is None else str(amount.minor),
        "" if amount is None else amount.currency,
        reading.direction,
        reading.kind,
        reading.status,
        reading.account or "",
        reading.end_to_end_id or "",
    )
    return sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).digest()
