"""KCB Bank, Kenya: Buni Instant Payment Notifications.

Sources: the bank's page on the IPN API, and KCB's OpenAPI file as published by an integrator.
What surprises:
- One merchant may get two shapes: an account notification (flat) and a till notification (nested),
  told apart by shape alone. A `validation` query before a payment has a third, and is unsigned.
- The signature is RSA-SHA256 over the raw body. One live integration verifies over re-serialised
  compact JSON; that is an option here, never a fallback.
- Dates have 12, 13 or 14 digits, or are ISO or Java's `Date.toString`. The page's own sample has 13:
  a 14-digit time that lost a digit, or one-digit seconds; read as the latter, with a doubt.
- The page's `statusCode` is an integer, the OpenAPI file's a string: an option.
- There is no status: a message means money received. A failed payment cannot be said.
- `originatorConversationID` holds the M-Pesa receipt of a till payment: a second identity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final

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
from arifa.dialects.fields import Fields
from arifa.document import JsonObject, decode_object, encode
from arifa.errors import CannotExpress, Unreadable
from arifa.feed import Profile
from arifa.money import Money
from arifa.notification import (
    CREDIT,
    PAYMENT,
    SUCCESS,
    Notification,
    Payer,
    Query,
    QueryAnswer,
    Reading,
)
from arifa.outcome import NOT_GENUINE, RECEIVED, STATUS, Outcome
from arifa.signing import RsaSha256
from arifa.timestamp import ISO_PATTERNS, Patterns, to_local
from arifa.wire import WireRequest, WireResponse

_DIGITS_13: Final = "YYYYMMDDhhmms"
_DATES: Final = Patterns(
    (
        "YYYYMMDDhhmmss",
        "YYYYMMDDhhmm",
        _DIGITS_13,
        "YYYYMMDD",
        "DDD MMM DD hh:mm:ss ZZZ YYYY",
        *ISO_PATTERNS,
    )
)
_RECEIPT: Final = re.compile(r"[A-Z][A-Z0-9]{9}", re.ASCII)
_MESSAGES: Final = {
    Outcome.ACCEPTED: "Notification received",
    Outcome.DUPLICATE: "Duplicate transaction - already processed",
    Outcome.CONFLICT: "Notification received",
    Outcome.NOT_GENUINE: "Signature verification failed",
    Outcome.UNREADABLE: "Notification could not be read",
    Outcome.UNAVAILABLE: "Service unavailable, please send again",
}
_ACCOUNT_SAMPLE: Final = b"""{
    "transactionReference": "FT00026252",
    "requestId": "c7d702cb-6b5f-4fa6-8b57-436d0f789017",
    "channelCode": "202",
    "timestamp": "2021111103005",
    "transactionAmount": "100.00",
    "currency": "KES",
    "customerReference": "INV-0001",
    "customerName": "John Doe",
    "customerMobileNumber": "25471111111",
    "balance": "100000.00",
    "narration": "Payment for goods",
    "creditAccountIdentifier": "JD001",
    "organizationShortCode": "777777",
    "tillNumber": "150150"
}"""
_TILL_SAMPLE: Final = b"""{
    "header": {
        "messageID": "12345",
        "originatorConversationID": "TEJ6CQQPBQ",
        "channelCode": "202",
        "timeStamp": "20250519133100"
    },
    "requestPayload": {
        "primaryData": {
            "businessKey": "150150",
            "businessKeyType": "notifyBiller"
        },
        "additionalData": {
            "notificationData": {
                "businessKey": "7504343#ACC-SINV-2026-00780",
                "businessKeyType": "BillReferenceNumber",
                "debitMSISDN": "254711000000",
                "transactionAmt": "1000",
                "transactionDate": "Mon May 19 13:30:54 EAT 2025",
                "transactionID": "FT25139M3RM6",
                "firstName": "PETER BOR",
                "middleName": "",
                "lastName": "",
                "currency": "KES",
                "narration": "Lipa na KCB",
                "transactionType": "Pay Bill",
                "balance": "0"
            }
        }
    }
}"""


def _reserialised(request: WireRequest, options: Mapping[str, str]) -> bytes | None:
    """The compact JSON of the body in received order, where the source says so explicitly.

    The strict decoder refuses duplicate keys, so that no two bodies share one such text unseen.
    """
    if options.get("signature_over") != "reserialised":
        return None
    return encode(request.document())


class Kcb(Dialect):
    """KCB Buni: account and till notifications."""

    name = "kcb"
    title = "KCB Bank Kenya, Buni IPN"
    page = "https://buni.kcbgroup.com"
    proofs = (RsaSha256("signature", also_over=_reserialised),)
    defaults = Profile(currency="KES", timezone="Africa/Nairobi")
    options: ClassVar = {
        "status_code": ("integer", "text"),
        "refusal": ("http", "200"),
        "signature_over": ("raw", "reserialised"),
        "form": ("account", "till"),
    }
    expresses = Expresses()
    carries = frozenset(
        {"kind", "direction", "status", "amount", "balance_after", "bank_reference"}
        | {"end_to_end_id", "short_code", "payer.name", "payer.phone"}
        | {"remittance_information", "occurred_at", "channel"}
    )
    cases: ClassVar = {
        "account": Case(title="credit to an account, as published", body=_ACCOUNT_SAMPLE),
        "till": Case(
            title="till payment, after the OpenAPI file",
            body=_TILL_SAMPLE,
            options={"form": "till"},
        ),
    }

    # ------------------------------------------------------------------ parse / render

    def read(self, verified: Verified, profile: Profile) -> list[Reading] | Query:
        """One account or till notification, or a question before a payment."""
        fields = verified.fields()
        if fields.has_object("requestPayload"):
            return [_till(fields, profile)]
        if fields.raw("transactionReference") is None and fields.raw("organizationReference"):
            return _validation(fields)
        return [_account(fields, profile)]

    def write(
        self, notification: Notification, profile: Profile, original: WireRequest | None
    ) -> WireRequest:
        """The shape that the option `form` says."""
        reading = notification.reading
        if reading.bank_reference is None:
            raise CannotExpress("kcb cannot say a notification without a bank reference")
        if self.option(profile, "form") == "till":
            return self.request(_till_document(notification, reading, profile))
        return self.request(_account_document(notification, reading, profile))

    def carried(self, profile: Profile) -> frozenset[str]:
        """An account notification names the account; a till's, the M-Pesa receipt."""
        is_till = self.option(profile, "form") == "till"
        return self.carries | {"other_references" if is_till else "account"}

    def identity(self, reading: Reading) -> Identity:
        """The bank's reference; the M-Pesa receipt is a second one."""
        receipts = tuple(f"receipt:{other}" for other in reading.other_references)
        return Identity(f"ft:{reading.bank_reference}", receipts)

    # ------------------------------------------------------------------ acknowledge / read

    def acknowledge(
        self, request: WireRequest, outcome: Outcome, result: Result, profile: Profile
    ) -> WireResponse:
        """`transactionID`, `statusCode`, `statusMessage`; for a till, with its ids echoed."""
        code = "0" if outcome in RECEIVED else "1"
        message = result.message or _MESSAGES[outcome]
        status = STATUS[outcome]
        if outcome is NOT_GENUINE and self.option(profile, "refusal") == "200":
            status = 200
        header = _header_of(request)
        if header is not None:
            return json_response(status, _till_answer(header, code, message, result))
        as_text = self.option(profile, "status_code") == "text"
        return json_response(
            status,
            {
                "transactionID": result.transaction_id,
                "statusCode": code if as_text else int(code),
                "statusMessage": message,
            },
        )

    def read_acknowledgement(self, response: WireResponse, profile: Profile) -> Acknowledgement:
        """Received only if `statusCode` is zero, number or text, whatever the HTTP status says."""
        outcome = outcome_of_status(response.status)
        try:
            fields = Fields(_decoded(response))
            header = fields.nested("header") if fields.has_object("header") else fields
            code, message = header.text("statusCode"), header.text("statusMessage")
        except Unreadable:
            code, message, fields = None, None, Fields({})
        transaction = fields.text("transactionID") or (
            fields.nested("responsePayload").nested("transactionInfo").text("transactionId")
        )
        if outcome is Outcome.ACCEPTED and (code is None or code.strip("0") or not code):
            outcome = Outcome.NOT_GENUINE if code else Outcome.UNAVAILABLE
        return Acknowledgement(outcome=outcome, transaction_id=transaction, message=message)

    # ------------------------------------------------------------------ answer / read_answer

    def answer(
        self, request: WireRequest, query: Query, answer: QueryAnswer, profile: Profile
    ) -> WireResponse:
        """The validation reply, all texts; an unknown customer is statusCode 1 with no name."""
        amount = answer.amount
        return json_response(
            200,
            {
                "transactionID": answer.transaction_id or query.request_id,
                "statusCode": "0" if answer.found else "1",
                "statusMessage": "Success" if answer.found else "Unknown reference",
                "CustomerName": answer.name or "",
                "billAmount": "" if amount is None else amount.text(),
                "currency": profile.currency if amount is None else amount.currency,
                "billType": "PARTIAL" if answer.partial else "FIXED",
                "creditAccountIdentifier": answer.account or "",
            },
        )

    def read_answer(self, response: WireResponse, profile: Profile) -> QueryAnswer:
        """What a validation reply says."""
        fields = Fields(_decoded(response))
        return QueryAnswer(
            found=fields.text("statusCode") == "0",
            transaction_id=fields.text("transactionID") or "",
            name=fields.text("CustomerName"),
            amount=fields.money("billAmount", fields.currency("currency", profile.currency)),
            partial=fields.text("billType") != "FIXED",
            account=fields.text("creditAccountIdentifier"),
        )


def _account(fields: Fields, profile: Profile) -> Reading:
    currency = fields.currency("currency", profile.currency)
    at, text = _time(fields, "timestamp", profile)
    return Reading(
        kind=PAYMENT,
        direction=CREDIT,
        status=SUCCESS,
        amount=fields.amount("transactionAmount", currency),
        balance_after=fields.money("balance", currency),
        bank_reference=fields.required("transactionReference"),
        end_to_end_id=fields.text("customerReference"),
        account=fields.text("creditAccountIdentifier"),
        short_code=fields.text("organizationShortCode"),
        payer=Payer(fields.text("customerName"), fields.text("customerMobileNumber")),
        channel=fields.text("channelCode"),
        remittance_information=fields.text("narration"),
        occurred_at=at,
        occurred_text=text,
        extra=fields.rest(),
        doubts=tuple(fields.doubts),
    )


def _till(fields: Fields, profile: Profile) -> Reading:
    header = fields.nested("header")
    payload = fields.nested("requestPayload")
    primary = payload.nested("primaryData")
    additional = payload.nested("additionalData")
    data = additional.nested("notificationData")
    currency = data.currency("currency", profile.currency)
    at, text = _time(data, "transactionDate", profile)
    if text is None:
        at, text = _time(header, "timeStamp", profile)
    names = [data.text(name) for name in ("firstName", "middleName", "lastName")]
    conversation = header.text("originatorConversationID")
    is_receipt = conversation is not None and _RECEIPT.fullmatch(conversation) is not None
    return Reading(
        kind=PAYMENT,
        direction=CREDIT,
        status=SUCCESS,
        amount=data.amount("transactionAmt", currency),
        balance_after=data.money("balance", currency),
        bank_reference=data.required("transactionID"),
        other_references=(conversation,) if is_receipt and conversation else (),
        end_to_end_id=data.text("businessKey"),
        short_code=primary.text("businessKey"),
        payer=Payer(" ".join(name for name in names if name) or None, data.text("debitMSISDN")),
        channel=header.text("channelCode"),
        remittance_information=data.text("narration"),
        occurred_at=at,
        occurred_text=text,
        extra={
            **header.rest(fields, payload, primary, additional, data),
            **({} if is_receipt or not conversation else {_CONVERSATION: conversation}),
        },
        doubts=tuple(fields.doubts),
    )


_CONVERSATION: Final = "header.originatorConversationID"


def _validation(fields: Fields) -> Query:
    return Query(
        request_id=fields.text("requestId") or "",
        reference=fields.required("customerReference"),
        account=fields.text("organizationReference"),
    )


def _time(fields: Fields, name: str, profile: Profile) -> tuple[int | None, str | None]:
    at, text = fields.time(name, _DATES, profile.timezone)
    if text is not None and len(text) == 13 and text.isdigit():
        fields.doubt(name, "has 13 digits; its last is read as one-digit seconds")
    return at, text


def _when(reading: Reading, profile: Profile) -> str:
    if reading.occurred_at is None:
        return ""
    return to_local(reading.occurred_at, profile.timezone).strftime("%Y%m%d%H%M%S")


def _balance(reading: Reading) -> Money | None:
    amount, balance = reading.amount, reading.balance_after
    if balance is not None and amount is not None and balance.currency != amount.currency:
        raise CannotExpress(
            f"kcb has one currency for amount and balance, not {amount.currency} and "
            f"{balance.currency}"
        )
    return balance


def _account_document(notification: Notification, reading: Reading, profile: Profile) -> JsonObject:
    amount, balance = reading.amount, _balance(reading)
    return {
        "transactionReference": reading.bank_reference,
        "requestId": notification.id,
        "channelCode": reading.channel or "",
        "timestamp": _when(reading, profile),
        "transactionAmount": "" if amount is None else amount.text(),
        "currency": profile.currency if amount is None else amount.currency,
        "customerReference": reading.end_to_end_id or "",
        "customerName": reading.payer.name or "",
        "customerMobileNumber": reading.payer.phone or "",
        "balance": "" if balance is None else balance.text(),
        "narration": reading.remittance_information or "",
        "creditAccountIdentifier": reading.account or "",
        "organizationShortCode": reading.short_code or "",
        "tillNumber": reading.extra.get("tillNumber", ""),
    }


def _till_document(notification: Notification, reading: Reading, profile: Profile) -> JsonObject:
    amount, balance = reading.amount, _balance(reading)
    conversation = reading.extra.get(_CONVERSATION, notification.id)
    if reading.other_references:
        conversation = reading.other_references[0]
    return {
        "header": {
            "messageID": notification.id,
            "originatorConversationID": conversation,
            "channelCode": reading.channel or "",
            # Left empty rather than now: where a payment has no time, this one is read as its.
            "timeStamp": _when(reading, profile),
        },
        "requestPayload": {
            "primaryData": {
                "businessKey": reading.short_code or "",
                "businessKeyType": "notifyBiller",
            },
            "additionalData": {
                "notificationData": {
                    "businessKey": reading.end_to_end_id or "",
                    "businessKeyType": "BillReferenceNumber",
                    "debitMSISDN": reading.payer.phone or "",
                    "transactionAmt": "" if amount is None else amount.text(),
                    "transactionDate": _when(reading, profile),
                    "transactionID": reading.bank_reference,
                    "firstName": reading.payer.name or "",
                    "middleName": "",
                    "lastName": "",
                    "currency": profile.currency if amount is None else amount.currency,
                    "narration": reading.remittance_information or "",
                    "transactionType": "",
                    "balance": "" if balance is None else balance.text(),
                }
            },
        },
    }


def _header_of(request: WireRequest) -> JsonObject | None:
    """The header of a till notification; None where the request is none, or cannot be read."""
    try:
        document = request.document()
    except Unreadable:
        return None
    header = document.get("header")
    return header if isinstance(header, dict) and "requestPayload" in document else None


def _till_answer(header: JsonObject, code: str, message: str, result: Result) -> JsonObject:
    echoed = Fields(header)
    return {
        "header": {
            "messageID": echoed.text("messageID") or "",
            "originatorConversationID": echoed.text("originatorConversationID") or "",
            "statusCode": code,
            "statusMessage": message,
        },
        "responsePayload": {"transactionInfo": {"transactionId": result.transaction_id}},
    }


def _decoded(response: WireResponse) -> JsonObject:
    return decode_object(response.body)
