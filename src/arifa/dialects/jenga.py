"""Equity Bank, Kenya: Instant Payment Notifications of Jenga.

Sources: the IPN page of Jenga, its older form as kept by integrators, and the form of its STK push.
What surprises:
- Basic proves the caller. No field is signed, in any version of the page.
- The page's sample is not JSON: it writes alternatives, `"CARD" || "MPESA"`. Its table names
  `bill.transactionType` and `bill.account` where its sample has `bank.*`; both are read.
- Both failed and successful payments are announced, perhaps under one reference: the status is part
  of what tells notifications apart. A status that is neither is held.
- Three shapes are about, told apart by shape alone. The older one has texts for amounts, no currency,
  a space before its references, the payer's name for a bill number, and the M-Pesa phone and receipt
  inside `additionalInfo`. That of the STK push writes "NONE" for the bank's reference and account,
  and has the merchant's own order reference in `customer.reference`: there it is the end-to-end id,
  and elsewhere `billNumber` is.
- "NONE", "", spaces and null all mean that there is nothing.
- `remarks` is the processor's code and text ("00:Approved"), not the payer's words: it stays among
  the extra fields; `additionalInfo` is the remittance information.
- No answer is published; integrators answer 200, some with a small JSON. Ours is one.
"""

from __future__ import annotations

import re
from hashlib import sha256
from itertools import product
from typing import ClassVar, Final

from arifa.dialects.base import (
    Acknowledgement,
    Case,
    Dialect,
    Expresses,
    Identity,
    Result,
    Verified,
    outcome_of_status,
)
from arifa.dialects.fields import Fields, written, written_time
from arifa.document import JsonObject, JsonValue, Number, decode_object, encode
from arifa.errors import CannotExpress, Unreadable
from arifa.feed import Profile
from arifa.money import Money, is_decimal
from arifa.notification import (
    PAYMENT,
    Direction,
    Kind,
    Notification,
    Payer,
    Query,
    Reading,
    Status,
)
from arifa.outcome import NOT_GENUINE, RECEIVED, STATUS, Outcome
from arifa.signing import CHALLENGE, Basic
from arifa.timestamp import ISO_PATTERNS
from arifa.wire import JSON, WireRequest, WireResponse

# In any case of their letters, written out: every field of every message is looked up here.
_NOTHING: Final = frozenset(
    "".join(letters)
    for word in ("NONE", "NULL")
    for letters in product(*zip(word, word.lower(), strict=True))
)
_STATUSES: Final = {"SUCCESS": Status.SUCCESS, "FAILED": Status.FAILED}
_PENDING: Final = Status.PENDING
_STATUS_WORDS: Final = {status: word for word, status in _STATUSES.items()}
_DIRECTIONS: Final = {
    "C": Direction.CREDIT,
    "CR": Direction.CREDIT,
    "CREDIT": Direction.CREDIT,
    "D": Direction.DEBIT,
    "DR": Direction.DEBIT,
    "DEBIT": Direction.DEBIT,
}
_DIRECTION_WORDS: Final = {Direction.CREDIT: "C", Direction.DEBIT: "D"}

# "MPS 254723000000 MKR35QEKV7 A N Other/537620": phone, receipt, name, reference.
_MPESA: Final = re.compile(r"MPS +(?P<phone>[0-9]{9,15}) +(?P<receipt>[A-Z][A-Z0-9]{9})(?: .*)?")
_RECEIPT: Final = re.compile(r"[A-Z][A-Z0-9]{9}")

_WORD: Final = "transaction.status"
_REMARKS: Final = "transaction.remarks"
_BILL_NUMBER: Final = "transaction.billNumber"
_DIGEST: Final = "body_sha256"

# The members of `transaction` in each shape, in the order of its sample.
_MEMBERS: Final = {
    "new": "date reference paymentMode amount currency billNumber servedBy additionalInfo "
    "orderAmount serviceCharge orderCurrency status remarks",
    "old": "date reference paymentMode amount billNumber orderAmount serviceCharge servedBy "
    "additionalInfo status remarks",
    "stk": "date reference paymentMode amount currency serviceCharge billNumber servedBy status",
}
_ONLY_IN: Final[dict[str, frozenset[str]]] = {
    "new": frozenset({"order_amount", "account", "payer.reference", "remittance_information"}),
    "old": frozenset({"account", "payer.reference", "remittance_information"}),
    "stk": frozenset(),
}

_MESSAGES: Final = {
    Outcome.ACCEPTED: "Notification received",
    Outcome.DUPLICATE: "Notification was received before",
    Outcome.CONFLICT: "Notification received",
    Outcome.NOT_GENUINE: "Authentication failed",
    Outcome.UNREADABLE: "Notification could not be read",
    Outcome.UNAVAILABLE: "Service unavailable, please send again",
}
_REFUSING: Final = frozenset({"FAILED", "FAILURE", "ERROR"})

# The page's own sample, where of each list of alternatives the first is taken.
_NEW_SAMPLE: Final = b"""{
"callbackType": "IPN",
"customer": {
"name": "John Doe",
"mobileNumber": "254712345678",
"reference": "071648816466242"
},
"transaction": {
"date": "2023-10-11 14:15:20",
"reference": "328411183176",
"paymentMode": "CARD",
"amount": 150,
"currency": "KES",
"billNumber": "INVZCF",
"servedBy": "EQ",
"additionalInfo": "CARD",
"orderAmount": 150,
"serviceCharge": 5.25,
"orderCurrency": "KES",
"status": "SUCCESS",
"remarks": "00:Approved"
},
"bank": {
"reference": "328411183176",
"transactionType": "C",
"account": null
}
}"""
_OLD_SAMPLE: Final = b"""{
    "callbackType": "IPN",
    "customer": {
        "name": "A N Other",
        "mobileNumber": "",
        "reference": null
    },
    "transaction": {
        "date": "2018-11-27 00:00:00.0",
        "reference": " S2596405",
        "paymentMode": "TPG",
        "amount": "10",
        "billNumber": "A N Other",
        "orderAmount": "",
        "serviceCharge": "",
        "servedBy": "EQ",
        "additionalInfo": "MPS 254723000000 MKR35QEKV7 A N Other/537620",
        "status": "SUCCESS",
        "remarks": "?"
    },
    "bank": {
        "reference": " S2596405",
        "transactionType": "C",
        "account": "0111234241028"
    }
}"""
_STK_SAMPLE: Final = b"""{
    "callbackType": "IPN",
    "customer": {
        "name": "Jane",
        "mobileNumber": "0722000000",
        "reference": "ORDER-1001"
    },
    "transaction": {
        "date": "2023-10-11 14:15:20",
        "reference": "SH90HU7FO2",
        "paymentMode": "MPESA",
        "amount": 20,
        "currency": "KES",
        "serviceCharge": 1,
        "billNumber": "INVDBU",
        "servedBy": "JENGA",
        "status": "SUCCESS"
    },
    "bank": {
        "reference": "NONE",
        "transactionType": "C",
        "account": "NONE"
    }
}"""
_FAILED_SAMPLE: Final = (
    _NEW_SAMPLE.replace(b'"CARD"', b'"MPESA"')
    .replace(b'"SUCCESS"', b'"FAILED"')
    .replace(b"00:Approved", b"51:Insufficient funds")
)
_DEBIT_SAMPLE: Final = _NEW_SAMPLE.replace(b'"C"', b'"D"').replace(b"null", b'"0111234241028"')
_BILL_SAMPLE: Final = _NEW_SAMPLE.replace(b'"bank"', b'"bill"').replace(b"null", b'"0111234241028"')
_CONVERTED_SAMPLE: Final = (
    _NEW_SAMPLE.replace(b'"CARD"', b'"MPESA"')
    .replace(b'"orderAmount": 150', b'"orderAmount": 1.16')
    .replace(b'"orderCurrency": "KES"', b'"orderCurrency": "USD"')
)


class Jenga(Dialect):
    """Equity's Jenga: payments made, and payments that failed."""

    name = "jenga"
    title = "Equity Bank Kenya, Jenga IPN"
    page = "https://developer.jengahq.io"
    proofs = (Basic(),)
    defaults = Profile(currency="KES", timezone="Africa/Nairobi")
    options: ClassVar = {"form": ("new", "old", "stk")}
    expresses = Expresses(
        directions=frozenset(Direction), statuses=frozenset({Status.SUCCESS, Status.FAILED})
    )
    carries = frozenset(
        {"kind", "direction", "status", "amount", "fee", "bank_reference", "end_to_end_id"}
        | {"payer.name", "payer.phone", "channel", "provider", "occurred_at"}
    )
    cases: ClassVar = {
        "new": Case(title="payment by card, as published", body=_NEW_SAMPLE),
        "old": Case(title="the older shape, by M-Pesa", body=_OLD_SAMPLE, options={"form": "old"}),
        "stk": Case(
            title="payment by STK push, after integrators",
            body=_STK_SAMPLE,
            options={"form": "stk"},
        ),
        "failed": Case(title="a payment that failed", body=_FAILED_SAMPLE),
        "debit": Case(title="debit of an account", body=_DEBIT_SAMPLE),
        "bill": Case(title="bill.* in place of bank.*, after the page's table", body=_BILL_SAMPLE),
        "converted": Case(title="an order in dollars, paid in shillings", body=_CONVERTED_SAMPLE),
    }

    # ------------------------------------------------------------------ parse / render

    def read(self, verified: Verified, profile: Profile) -> list[Reading] | Query:
        """One payment, in any of the three shapes."""
        fields = verified.fields()
        customer, transaction = fields.nested("customer"), fields.nested("transaction")
        bank, bill = fields.nested("bank"), fields.nested("bill")
        status, kept = _status(transaction)
        direction, is_certain = _direction(bank, bill)
        of_bank = _said(bank, "reference") or _said(bill, "reference")
        reference = _said(transaction, "reference") or of_bank
        if reference is None:
            transaction.doubt("reference", "is missing")
            kept[_DIGEST] = sha256(verified.content).hexdigest()
        elif of_bank is not None and of_bank != reference:
            kept["bank.reference"] = of_bank
        quoted, payer_reference = _quoted(customer, transaction, bank)
        currency = transaction.currency("currency", profile.currency)
        order_currency = transaction.currency("orderCurrency", currency)
        information = transaction.text("additionalInfo")
        mpesa = None if information is None else _MPESA.fullmatch(information)
        phone = _said(customer, "mobileNumber") or (mpesa["phone"] if mpesa else None)
        name = customer.text("name")
        if quoted is not None and quoted == name:
            transaction.doubt("billNumber", "is the payer's name, as in the older shape")
        at, text = transaction.time("date", ISO_PATTERNS, profile.timezone)
        reading = Reading(
            kind=_kind(fields),
            direction=direction,
            status=status,
            amount=transaction.amount("amount", currency),
            fee=transaction.money("serviceCharge", currency),
            order_amount=transaction.money("orderAmount", order_currency),
            bank_reference=reference,
            other_references=(mpesa["receipt"],) if mpesa else (),
            end_to_end_id=quoted,
            account=_said(bank, "account") or _said(bill, "account"),
            payer=Payer(name, phone, payer_reference),
            channel=transaction.text("paymentMode"),
            provider=transaction.text("servedBy"),
            remittance_information=information,
            occurred_at=at,
            occurred_text=text,
            held=_why_held(reference, status, is_certain),
            extra={**fields.rest(customer, transaction, bank, bill), **kept},
            doubts=tuple(fields.doubts),
        )
        return [reading]

    def write(
        self, notification: Notification, profile: Profile, original: WireRequest | None
    ) -> WireRequest:
        """The shape that the option `form` says."""
        reading, form = notification.reading, self.option(profile, "form")
        if reading.bank_reference is None:
            raise CannotExpress("jenga cannot say a notification without a bank reference")
        is_stk = form == "stk"
        quoted = _reference_text(reading.end_to_end_id)
        payer_reference = _reference_text(reading.payer.reference)
        members = _members(reading, profile, form)
        return self.request(
            {
                "callbackType": "IPN",
                "customer": {
                    "name": written(reading.payer.name),
                    "mobileNumber": _phone_text(reading),
                    "reference": (quoted if is_stk else payer_reference) or None,
                },
                "transaction": {name: members[name] for name in _MEMBERS[form].split()},
                "bank": {
                    "reference": "NONE" if is_stk else _reference_text(reading.bank_reference),
                    "transactionType": _DIRECTION_WORDS[reading.direction],
                    "account": "NONE" if is_stk else _reference_text(reading.account) or None,
                },
            }
        )

    def carried(self, profile: Profile) -> frozenset[str]:
        """The three shapes differ in what they have room for."""
        return self.carries | _ONLY_IN[self.option(profile, "form")]

    def identity(self, reading: Reading) -> Identity:
        """The status and the bank's reference; an M-Pesa receipt, with the status, is a second one.

        Where the reference is itself a receipt, as with an STK push, it is one too: the same money
        may also be announced as a credit to the account, with the receipt in `additionalInfo`.
        """
        status = reading.status.value
        if reading.status is _PENDING:
            status += f":{reading.extra.get(_WORD, '').casefold()}"
        receipts = reading.other_references
        if reading.bank_reference is None:
            primary = f"{status}:body:{reading.extra.get(_DIGEST, '')}"
        else:
            primary = f"{status}:reference:{reading.bank_reference}"
            if _RECEIPT.fullmatch(reading.bank_reference):
                receipts = (reading.bank_reference, *receipts)
        return Identity(primary, tuple(f"{status}:receipt:{receipt}" for receipt in receipts))

    # ------------------------------------------------------------------ acknowledge / read

    def acknowledge(
        self, request: WireRequest, outcome: Outcome, result: Result, profile: Profile
    ) -> WireResponse:
        """The HTTP status with a small JSON in Jenga's own words, `SUCCESS` and `FAILED`."""
        body = encode(
            {
                "status": "SUCCESS" if outcome in RECEIVED else "FAILED",
                "reference": result.transaction_id,
                "remarks": result.message or _MESSAGES[outcome],
            }
        )
        challenge = (CHALLENGE,) if outcome is NOT_GENUINE else ()
        return WireResponse(STATUS[outcome], body, (JSON, *challenge))

    def read_acknowledgement(self, response: WireResponse, profile: Profile) -> Acknowledgement:
        """Received by any 2xx, unless its JSON says in so many words that it failed."""
        outcome = outcome_of_status(response.status)
        try:
            fields = Fields(decode_object(response.body))
        except Unreadable:
            fields = Fields({})
        if outcome in RECEIVED and (fields.text("status") or "").upper() in _REFUSING:
            outcome = Outcome.UNAVAILABLE
        return Acknowledgement(
            outcome=outcome,
            transaction_id=fields.text("reference"),
            message=fields.text("remarks"),
        )


def _said(fields: Fields, name: str) -> str | None:
    """A reference, an account or a word; None also for the fillers that stand for nothing."""
    text = fields.text(name)
    return None if text in _NOTHING else text


def _reference_text(text: str | None) -> str:
    """The inverse of `_said`."""
    if text in _NOTHING:
        raise CannotExpress(f"to jenga the reference {text!r} means that there is none")
    return written(text)


def _phone_text(reading: Reading) -> str:
    """The payer's phone; where there is none, nobody may find one in the additional information."""
    if reading.payer.phone is None and _MPESA.fullmatch(reading.remittance_information or ""):
        raise CannotExpress("jenga would read a phone number out of the remittance information")
    return _reference_text(reading.payer.phone)


def _kind(fields: Fields) -> Kind:
    word = fields.text("callbackType")
    if word is not None and word.upper() == "IPN":
        return PAYMENT
    fields.doubt("callbackType", "is missing" if word is None else "is not IPN")
    return PAYMENT if word is None else Kind.UNKNOWN


def _status(transaction: Fields) -> tuple[Status, dict[str, str]]:
    """The status, and the bank's word for it where that is not known."""
    word = _said(transaction, "status")
    status = _STATUSES.get((word or "").upper())
    if status is not None:
        return status, {}
    transaction.doubt("status", "is missing" if word is None else "is neither SUCCESS nor FAILED")
    return Status.PENDING, {} if word is None else {_WORD: word}


def _direction(bank: Fields, bill: Fields) -> tuple[Direction, bool]:
    """Which way the money went, and whether that is certain."""
    of_bank, of_bill = _said(bank, "transactionType"), _said(bill, "transactionType")
    word = of_bank or of_bill
    if word is None:
        # The page defines a notification as a customer's payment: this is hardly a guess.
        bank.doubt("transactionType", "is missing; read as a credit")
        return Direction.CREDIT, True
    direction = _DIRECTIONS.get(word.upper())
    agree = of_bill is None or _DIRECTIONS.get(of_bill.upper()) is direction
    if direction is None or not agree:
        bank.doubt("transactionType", "does not say for certain which way the money went")
        return Direction.CREDIT, False
    return direction, True


def _quoted(customer: Fields, transaction: Fields, bank: Fields) -> tuple[str | None, str | None]:
    """(what the payer or the merchant's order quoted, the customer's own reference)."""
    customer_reference = _said(customer, "reference")
    is_stk = (bank.text("reference") or "").upper() == "NONE"
    if is_stk and customer_reference is not None:
        return customer_reference, None
    return _said(transaction, "billNumber"), customer_reference


def _why_held(reference: str | None, status: Status, is_certain: bool) -> str | None:
    if reference is None:
        return "the message has no reference, so a repeat could not be told from it"
    if status is _PENDING:
        return "the bank does not say whether the payment succeeded or failed"
    if not is_certain:
        return "the bank does not say for certain which way the money went"
    return None


def _members(reading: Reading, profile: Profile, form: str) -> JsonObject:
    """Every member that a `transaction` has in some shape."""
    amount, order, fee = reading.amount, reading.order_amount, reading.fee
    if amount is None:
        raise CannotExpress("jenga cannot say a notification without an amount")
    if fee is not None and fee.currency != amount.currency:
        raise CannotExpress("jenga has its service charge in the currency of the amount")
    is_stk, is_old = form == "stk", form == "old"
    return {
        "date": written_time(reading.occurred_at, profile.timezone),
        "reference": _reference_text(reading.bank_reference),
        "paymentMode": written(reading.channel),
        "amount": _figure(amount, as_text=is_old),
        "currency": amount.currency,
        "billNumber": reading.extra.get(_BILL_NUMBER, "")
        if is_stk
        else _reference_text(reading.end_to_end_id),
        "servedBy": written(reading.provider),
        "additionalInfo": written(reading.remittance_information),
        # The older shape names no currency: an order in another one would be read as ours.
        "orderAmount": "" if is_old else _figure(order, as_text=False),
        "serviceCharge": _figure(fee, as_text=is_old),
        "orderCurrency": amount.currency if order is None else order.currency,
        "status": _STATUS_WORDS[reading.status],
        "remarks": reading.extra.get(_REMARKS, ""),
    }


def _figure(money: Money | None, *, as_text: bool) -> JsonValue:
    """Major units: a JSON number, or a text in the older shape."""
    if money is None:
        return "" if as_text else None
    text = money.text()
    if not is_decimal(text):
        raise CannotExpress("jenga cannot say an amount of more than 15 digits")
    return text if as_text else Number(text)
