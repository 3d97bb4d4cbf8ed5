"""Xente, Uganda: Instant Payment Notifications.

Source: Xente's page on the IPN, and three other shapes that Xente's documentation had over time.
What surprises:
- Four shapes are published: snake_case with one camel slip (`client_referenceId`; the page), camelCase
  with a nested `requestReference`, PascalCase, and all values in the query of a POST without a body.
  Names are folded (case and `_` dropped), so all four are read alike. Two spellings of one name
  with different values hold the message.
- The camelCase and PascalCase shapes publish no amount. Such a message is read and held, not lost:
  Xente's transaction query, or a person, must say how much.
- A status is a word and a number, and only 0 is known to be success. Where the two do not agree, or
  the word is not known, it is never success: the kind is unknown, and the message is held.
- A transaction is announced as PROCESSING and then with its end: the status is part of the identity.
- The page asks for exchanged keys and calls it symmetric encryption; no envelope is published. Ours
  is a proposal (`signing/nested.py`), and runs where both keys are configured: then nothing else is
  taken, and no value from the query, which no envelope covers. Without keys there is the address list.
- Nothing says which way the money went: a notification is money received. A feed of payouts must
  not be sent to this source.
- Xente commits the payment on our 200, and only on 200. The page's table of a response (Token,
  refreshToken, success, message) is that of its log-in; the form of our answer is our own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import ClassVar, Final
from urllib.parse import parse_qsl, urlsplit

from arifa.dialects.base import (
    Acknowledgement,
    Case,
    Dialect,
    Expresses,
    Identity,
    Result,
    Verified,
    json_response,
    outcome_of_status,
)
from arifa.dialects.fields import Fields, written, written_time
from arifa.document import MEMBERS_MAX, JsonObject, JsonValue, Number, decode_object
from arifa.errors import CannotExpress, Unreadable
from arifa.feed import Profile
from arifa.money import Money
from arifa.notification import Direction, Kind, Notification, Reading, Status
from arifa.outcome import RECEIVED, STATUS, Outcome
from arifa.signing import AddressList, SignedThenEncrypted
from arifa.timestamp import ISO_PATTERNS
from arifa.wire import WireRequest, WireResponse

# Folded names. Where several shapes have a name of their own for one thing, the first that is there.
_TRANSACTION: Final = ("transactionid",)
_ACCOUNT: Final = ("accountnumber", "accountid")
_REFERENCE: Final = ("clientreferenceid", "requestid")
_CREATED: Final = ("createdon",)
_AMOUNT: Final = ("amount",)
_CURRENCY: Final = ("currency",)
_NESTED: Final = ("requestreference",)
_WORD: Final = ("statusmessage", "responsemessage", "status")
_CODE: Final = ("statuscode", "responsecode")
_KNOWN: Final = frozenset(
    {*_TRANSACTION, *_ACCOUNT, *_REFERENCE, *_CREATED, *_AMOUNT, *_CURRENCY, *_NESTED}
    | {*_WORD, *_CODE}
)

_STATUS_OF: Final = {
    "SUCCESS": Status.SUCCESS,
    "SUCCESSFUL": Status.SUCCESS,
    "PROCESSING": Status.PENDING,
    "PENDING": Status.PENDING,
    "FAILED": Status.FAILED,
    "FAILURE": Status.FAILED,
    "DECLINED": Status.FAILED,
    "REJECTED": Status.FAILED,
    "CANCELLED": Status.FAILED,
    "EXPIRED": Status.FAILED,
}
# Of the numbers only 0 is published; 1 stands for whatever is not success.
_WORDS_OF: Final = {
    Status.SUCCESS: ("SUCCESS", "0"),
    Status.PENDING: ("PROCESSING", "1"),
    Status.FAILED: ("FAILED", "1"),
}
_ZERO: Final = re.compile(r"0{1,4}", re.ASCII)
_LONG: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_UNCLEAR: Final = "what Xente says of the status is not clear"
_TORN: Final = "one field comes in two spellings with different values"
_NO_AMOUNT: Final = "the message states no amount; look the transaction up at Xente"

# What each form calls the eleven fields of the page, in its order.
_NAMES: Final = {
    "snake": (
        *("account_number", "subscription_id", "transaction_id", "batch_id", "client_referenceId"),
        *("status_message", "status_code", "correlation_id", "created_on", "amount", "currency"),
    ),
    "camel": (
        *("accountId", "subscriptionId", "transactionId", "batchId", "requestId"),
        *("statusMessage", "statusCode", "correlationId", "createdOn", "amount", "currency"),
    ),
    "pascal": (
        *("AccountId", "SubscriptionId", "TransactionId", "BatchId", "RequestId"),
        *("ResponseMessage", "ResponseCode", "CorrelationId", "createdOn", "Amount", "Currency"),
    ),
}
_MESSAGES: Final = {
    Outcome.ACCEPTED: "Notification received",
    Outcome.DUPLICATE: "Notification received before",
    Outcome.CONFLICT: "Notification received",
    Outcome.NOT_GENUINE: "Not authenticated",
    Outcome.UNREADABLE: "Notification could not be read",
    Outcome.UNAVAILABLE: "Service unavailable, please send again",
}
# The page's sample, whose values are all "string", with values.
_SAMPLE: Final = b"""{
    "account_number": "256784378515",
    "subscription_id": "20024",
    "transaction_id": "5f0c1f5e-7d0a-4f0a-9c7b-0d2b6a1e4c11",
    "batch_id": "B-0001",
    "client_referenceId": "INV-0001",
    "status_message": "SUCCESS",
    "status_code": 0,
    "correlation_id": "0e3f6c1a-52b7-4a0e-8a8e-2f7d9b1c6a34",
    "created_on": "2024-02-27 14:06:41",
    "amount": 1000.0,
    "currency": "UGX"
}"""
_CAMEL_SAMPLE: Final = b"""{
    "accountId": 256784378515,
    "subscriptionId": 20024,
    "transactionId": "5f0c1f5e-7d0a-4f0a-9c7b-0d2b6a1e4c11",
    "batchId": "B-0001",
    "requestId": "INV-0001",
    "requestReference": {
        "createdOn": "2024-02-27 14:06:41",
        "requestId": "INV-0001"
    },
    "statusMessage": "SUCCESS",
    "statusCode": 0,
    "correlationId": "0e3f6c1a-52b7-4a0e-8a8e-2f7d9b1c6a34"
}"""
_PASCAL_SAMPLE: Final = b"""{
    "TransactionId": "5f0c1f5e-7d0a-4f0a-9c7b-0d2b6a1e4c11",
    "AccountId": "256784378515",
    "createdOn": "2024-02-27 14:06:41",
    "SubscriptionId": "20024",
    "ResponseCode": "0",
    "RequestId": "INV-0001",
    "ReferenceId": "R-0001",
    "ResponseMessage": "SUCCESS"
}"""


class Xente(Dialect):
    """Xente: transactions and what became of them."""

    name = "xente"
    title = "Xente, Uganda, IPN"
    page = "https://docs.xente.co"
    proofs = (AddressList(), SignedThenEncrypted(is_optional=True))
    defaults = Profile(currency="UGX", timezone="Africa/Kampala")
    # The shape of what we send. That of the query is read only: no envelope could cover it.
    options: ClassVar = {"form": ("snake", "camel", "pascal")}
    expresses = Expresses(statuses=frozenset(Status))
    carries = frozenset(
        {"kind", "direction", "status", "amount", "bank_reference", "end_to_end_id"}
        | {"account", "occurred_at"}
    )
    cases: ClassVar = {
        "success": Case(title="a payment, the page's sample with values", body=_SAMPLE),
        "failed": Case(
            title="a payment that failed",
            body=_SAMPLE.replace(b'"SUCCESS"', b'"FAILED"').replace(b": 0,", b": 1,"),
        ),
        "processing": Case(
            title="a payment on its way",
            body=_SAMPLE.replace(b'"SUCCESS"', b'"PROCESSING"').replace(b": 0,", b": 1,"),
        ),
        "camel": Case(
            title="the camelCase shape, without an amount as published",
            body=_CAMEL_SAMPLE,
            options={"form": "camel"},
        ),
        "pascal": Case(
            title="the PascalCase shape, without an amount as published",
            body=_PASCAL_SAMPLE,
            options={"form": "pascal"},
        ),
    }

    # ------------------------------------------------------------------ parse / render

    def read(self, verified: Verified, profile: Profile) -> list[Reading]:
        """One transaction, in whichever of the four shapes."""
        message = _Message(_fields(verified))
        fields, inner = message.fields, message.inner()
        kind, status, held = _status(message)
        if message.torn:
            held = held or _TORN
        elif not message.has(_AMOUNT):
            held = held or _NO_AMOUNT
        amount = _amount(message, profile)
        at, text = fields.time(message.name(_CREATED), ISO_PATTERNS, profile.timezone)
        if text is None:
            at, text = inner.time("createdOn", ISO_PATTERNS, profile.timezone)
        reference = fields.text(message.name(_REFERENCE)) or inner.text("requestId")
        return [
            Reading(
                kind=kind,
                direction=Direction.CREDIT,
                status=status,
                amount=amount,
                bank_reference=fields.required(message.name(_TRANSACTION)),
                end_to_end_id=reference,
                account=fields.text(message.name(_ACCOUNT)),
                occurred_at=at,
                occurred_text=text,
                extra={**fields.rest(inner), **message.unclear},
                doubts=tuple(fields.doubts),
                held=held,
            )
        ]

    def write(
        self, notification: Notification, profile: Profile, original: WireRequest | None
    ) -> WireRequest:
        """The shape that the option `form` says; amount and currency in each of them."""
        reading = notification.reading
        if not reading.bank_reference or reading.amount is None:
            raise CannotExpress("xente cannot say a notification without a reference or an amount")
        form = self.option(profile, "form")
        is_camel = form == "camel"
        account, subscription = written(reading.account), _kept(reading, "subscriptionid")
        word, code = _WORDS_OF[reading.status]
        created = written_time(reading.occurred_at, profile.timezone)
        amount = reading.amount.text()
        values: tuple[JsonValue, ...] = (
            _long(account) if is_camel else account,
            _long(subscription) if is_camel else subscription,
            written(reading.bank_reference),
            _kept(reading, "batchid"),
            written(reading.end_to_end_id),
            word,
            code if form == "pascal" else Number(code),
            _kept(reading, "correlationid"),
            created,
            Number(amount if "." in amount else f"{amount}.0"),
            reading.amount.currency,
        )
        document: JsonObject = dict(zip(_NAMES[form], values, strict=True))
        if is_camel:
            request: JsonObject = {
                "createdOn": document.pop("createdOn"),
                "requestId": document["requestId"],
            }
            document["requestReference"] = request
        return self.request(document)

    def identity(self, reading: Reading) -> Identity:
        """The transaction and its status; an unclear one by the words themselves."""
        status = reading.status.value
        if reading.kind is Kind.UNKNOWN:
            said = (_kept(reading, name) for name in (*_WORD, *_CODE))
            status = "unclear:" + "/".join(text for text in said if text)
        return Identity(f"transaction:{reading.bank_reference}:{status}")

    # ------------------------------------------------------------------ acknowledge / read

    def acknowledge(
        self, request: WireRequest, outcome: Outcome, result: Result, profile: Profile
    ) -> WireResponse:
        """200 where it is stored, and never else; `success`, `message` and our `reference`."""
        return json_response(
            STATUS[outcome],
            {
                "success": outcome in RECEIVED,
                "message": result.message or _MESSAGES[outcome],
                "reference": result.transaction_id,
            },
        )

    def read_acknowledgement(self, response: WireResponse, profile: Profile) -> Acknowledgement:
        """Received only if the status is 200 itself, as the page says; its body is not looked at."""
        outcome = outcome_of_status(response.status)
        if outcome is Outcome.ACCEPTED and response.status != 200:
            outcome = Outcome.UNAVAILABLE
        try:
            fields = Fields(decode_object(response.body))
        except Unreadable:
            return Acknowledgement(outcome=outcome)
        return Acknowledgement(
            outcome=outcome,
            transaction_id=fields.text("reference"),
            message=fields.text("message"),
        )


@lru_cache(maxsize=256)
def _fold(name: str) -> str:
    return name.replace("_", "").lower()


class _Message:
    """The members of a message by their folded names.

    `torn` has the known names that come in two spellings with different values; `unclear` keeps
    the bank's own words where they do not make a status.
    """

    __slots__ = ("_sent", "fields", "torn", "unclear")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._sent: dict[str, str] = {}
        self.torn: set[str] = set()
        self.unclear: dict[str, str] = {}
        members = fields.left
        for name, value in members.items():
            folded = _fold(name)
            if folded not in _KNOWN or value in (None, ""):
                continue
            first = self._sent.setdefault(folded, name)
            if members[first] != value and folded not in self.torn:
                self.torn.add(folded)
                self.fields.doubt(first, "comes in two spellings with different values")

    def has(self, names: tuple[str, ...]) -> bool:
        """Whether one of these is there and not empty."""
        return any(name in self._sent for name in names)

    def name(self, names: tuple[str, ...]) -> str:
        """How the first of these that is there is spelled; the first itself where none is."""
        for name in names:
            if name in self._sent:
                return self._sent[name]
        return names[0]

    def inner(self) -> Fields:
        """The members of the nested `requestReference`; none where there is none."""
        name = self.name(_NESTED)
        return self.fields.nested(name) if self.fields.has_object(name) else Fields({})

    def said(self, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """(spelling, text) of each of these that is there; of another type, the text is empty."""
        for name in names:
            if name in self._sent:
                spelled = self._sent[name]
                yield spelled, self.fields.text(spelled) or ""


def _fields(verified: Verified) -> Fields:
    """The body's members; those of the query where there is no body.

    Only what came without an envelope may be in the query: an envelope does not cover it.
    """
    if verified.content.strip() or verified.content is not verified.request.body:
        return verified.fields()
    query = urlsplit(verified.request.target).query
    # What is not UTF-8 becomes half characters, which `Fields` replaces with a doubt.
    pairs = parse_qsl(
        query, keep_blank_values=True, errors="surrogateescape", max_num_fields=MEMBERS_MAX
    )
    members: JsonObject = dict(pairs)
    if len(members) != len(pairs):
        raise Unreadable("the query names one key twice")
    return Fields(members)


def _status(message: _Message) -> tuple[Kind, Status, str | None]:
    """Kind, status, and why it is held: a success only where nothing speaks against it."""
    words, codes = list(message.said(_WORD)), list(message.said(_CODE))
    doubt = _doubt(message, words, codes)
    if doubt is not None:
        message.fields.doubt(*doubt)
        message.unclear.update((name, text) for name, text in (*words, *codes) if text)
        return Kind.UNKNOWN, Status.PENDING, _UNCLEAR
    status = _STATUS_OF[words[0][1].upper()] if words else Status.SUCCESS
    return Kind.PAYMENT, status, None


def _doubt(
    message: _Message, words: list[tuple[str, str]], codes: list[tuple[str, str]]
) -> tuple[str, str] | None:
    """(name, sentence) of what leaves the status unclear."""
    if not words and not codes:
        return message.name(_WORD), "is missing, and so is a number of the status"
    for name, text in words:
        if text.upper() not in _STATUS_OF:
            return name, "holds a word that is not known"
    statuses = {_STATUS_OF[text.upper()] for _, text in words}
    zeros = {_ZERO.fullmatch(text) is not None for _, text in codes}
    if not words and zeros != {True}:
        return codes[0][0], "is not 0, the only number whose meaning is known"
    if len(statuses) > 1 or len(zeros) > 1 or message.torn & {*_WORD, *_CODE}:
        return (words or codes)[0][0], "and another name of the status do not agree"
    if zeros and words and zeros != {Status.SUCCESS in statuses}:
        return codes[0][0], f"and {words[0][0]} do not agree"
    return None


def _amount(message: _Message, profile: Profile) -> Money | None:
    """The amount; None with a doubt where the message has none, or none that can be kept."""
    fields = message.fields
    currency = fields.currency(message.name(_CURRENCY), profile.currency)
    if not message.has(_AMOUNT):
        fields.doubt("amount", "is missing: this form of the message does not publish one")
        return None
    name = message.name(_AMOUNT)
    money = fields.money(name, currency)
    if money is not None and money.minor < 0:
        fields.doubt(name, f"is negative ({money.text()}), which Xente does not announce")
        return None
    return money


def _kept(reading: Reading, folded: str) -> str:
    """The member of `extra` that has this folded name; empty where there is none."""
    return next((text for name, text in reading.extra.items() if _fold(name) == folded), "")


def _long(text: str) -> str:
    """The text as a JSON number where it is one that a `long` can hold, as camelCase has it."""
    return Number(text) if _LONG.fullmatch(text) else text
