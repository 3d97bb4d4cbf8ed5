"""CBS, the Central Billing System of Parkway, Nigeria: `Synchronization` notifications.

Source: the page Synchronization of the CBS wiki (2021), and what its sender was seen to do.
What surprises:
- The `Mac` in the body is over `InvoiceNumber + PaymentRef + AmountPaid + RequestReference`, joined
  with nothing in between, untrimmed (the page's own PaymentRef ends with a space) and null as
  empty. So it proves the joined text and not where one field ends: `PR-1` with 2000.00 and `PR-`
  with 12000.00 share a Mac, and so do `PR-` with 2000.00 and `PR` with -2000.00. The identity is
  therefore the joined text: another split of a text already seen is the same notification with
  other money, and becomes a case.
- Everything else is unsigned: dates, bank, channel, `ResponseCode` and `IsReversal`.
- A reversal comes in two ways: with a negative amount and a PaymentRef of its own (PayDirect), or
  as the payment over again with `IsReversal` true and its positive amount (a manual resend). Either
  sign alone makes it a reversal, and it is held, since no proof covers that it is one.
- The Mac's amount has two decimals, rounded half away from zero as .NET's "F" does, whatever the
  JSON number has; further decimals are unsigned, so an amount with any but zeros is not kept as
  money. On an exact tie a Mac over the amount rounded the other way is taken too: such a message is
  held all the same. For a number of two decimals there is one text only: to try a kobo more, as a
  sender that rounds twice would need it, would let one Mac serve two amounts.
- RequestReference is the merchant's own, given when the invoice was made: `related_reference`.
- There is no currency: naira, or what the source says. There is no zone: Lagos.
- `ResponseCode` and `TransactionRef` are in the page's sample but not in its table. 0000 is the only
  code whose meaning is known.
- The sender takes any 2xx as received and does not look at the body; it tries ten times.
- The codes PPS1, PPVE and PPIE are those of CBS's own interface. The form of our answers follows
  that interface; the page asks for none.
"""

from __future__ import annotations

import re
from functools import lru_cache
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
from arifa.dialects.fields import Fields, written
from arifa.document import JsonObject, Number, decode_object
from arifa.errors import CannotExpress, Unreadable
from arifa.feed import Profile
from arifa.money import Money, decimal_text
from arifa.notification import (
    CREDIT,
    PAYMENT,
    SUCCESS,
    Direction,
    Kind,
    Notification,
    Reading,
    Status,
)
from arifa.outcome import RECEIVED, STATUS, Outcome
from arifa.signing import HmacFields
from arifa.timestamp import ISO_PATTERNS, Patterns, to_local
from arifa.wire import WireRequest, WireResponse

_DATES: Final = Patterns(("DD/MM/YYYY hh:mm:ss", "DD/MM/YYYY hh:mm", "DD/MM/YYYY", *ISO_PATTERNS))
_AMOUNT: Final = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,8}))?", re.ASCII)
_YES: Final = frozenset({"true", "1", "yes"})
_NO: Final = frozenset({"false", "0", "no"})
_SIGNED: Final = ("InvoiceNumber", "PaymentRef", "AmountPaid", "RequestReference")
_SUCCESS: Final = "0000"
_CODES: Final = {
    Outcome.NOT_GENUINE: ("PPS1", "Mac", "Invalid Signature"),
    Outcome.UNREADABLE: ("PPVE", "", "Form validation Error"),
    Outcome.UNAVAILABLE: ("PPIE", "", "Internal Server Exception"),
}
_OUTCOMES: Final = {code: outcome for outcome, (code, _, _) in _CODES.items()}
# The page's sample with its masked values filled: InvoiceNumber, PaymentRef, and the Mac over them
# under the key `test-client-secret`.
_SAMPLE: Final = b"""{
    "InvoiceNumber": "1000000001",
    "PaymentRef": "PR-0001 ",
    "PaymentDate": "13/04/2019 15:11:20",
    "BankCode": null,
    "BankName": null,
    "BankBranch": null,
    "AmountPaid": 2000.00,
    "TransactionDate": "13/04/2019 15:10:18",
    "TransactionRef": null,
    "Channel": "Web",
    "PaymentProvider": "Bank3D",
    "Mac": "i38osKGEeOl2KlsXn61JLhFrWTQUHcojJmr8pJwK4gc=",
    "ResponseCode": "0000",
    "ResponseMessage": "Ok",
    "RequestReference": "6075b3ebc5015",
    "IsReversal": false
}"""
_REVERSAL_SAMPLE: Final = _SAMPLE.replace(b": false", b": true")
_NEGATIVE_SAMPLE: Final = (
    _REVERSAL_SAMPLE.replace(b"2000.00", b"-2000.00")
    .replace(b"PR-0001 ", b"PR-0002")
    .replace(
        b"i38osKGEeOl2KlsXn61JLhFrWTQUHcojJmr8pJwK4gc=",
        b"Xn8oPPbXDeosl9Sq1LhTINMPm7stFVgnylgzfBVZoQg=",
    )
)
_NO_REQUEST_SAMPLE: Final = (
    _SAMPLE.replace(b'"6075b3ebc5015"', b"null")
    .replace(b"PR-0001 ", b"PR-0001")
    .replace(
        b"i38osKGEeOl2KlsXn61JLhFrWTQUHcojJmr8pJwK4gc=",
        b"1EeJB67t8zqyw7z19eARnPdO5SFwjppaEvFGCyoSKnk=",
    )
)


def _signed_texts(document: JsonObject) -> list[bytes]:
    """What the Mac may be over: one text, or two where the amount lies on a tie.

    Raises:
        Unreadable: one of the four fields is not a text or a plain decimal number.
    """
    said: list[str] = []
    for name in _SIGNED:
        value = document.get(name)
        if value is None:
            value = ""
        elif not isinstance(value, str):
            raise Unreadable(f"{name} is not a text")
        said.append(value)
    invoice, reference, amount, request = said
    try:
        return [
            f"{invoice}{reference}{rounded}{request}".encode() for rounded in _two_decimals(amount)
        ]
    except UnicodeEncodeError:
        raise Unreadable("a text holds half a character (a lone surrogate)") from None


@lru_cache(maxsize=4096)
def _two_decimals(text: str) -> tuple[str, ...]:
    """The number as .NET's "F" writes it, and the neighbour if it lies midway between two.

    Raises:
        Unreadable: not a plain decimal number of at most 15 digits before the point.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise Unreadable("AmountPaid is not a plain decimal number of at most 15 digits")
    sign, whole, decimals = match.groups("")
    kobo, excess = int(whole + decimals[:2].ljust(2, "0")), decimals[2:].rstrip("0")
    found = [kobo] if excess < "5" else [kobo + 1]
    if excess == "5":
        found.append(kobo)
    return tuple(decimal_text(-minor if sign else minor, 2) for minor in found)


class Cbs(Dialect):
    """CBS: payments of invoices, and their reversals."""

    name = "cbs"
    title = "CBS, Parkway's Central Billing System, Nigeria"
    page = "https://github.com/parkwayprojects/CBS/wiki/Synchronization"
    proofs = (
        HmacFields(
            "Mac",
            _signed_texts,
            # The fields that are read from the four signed ones and from nothing else.
            covers=frozenset({"end_to_end_id", "bank_reference", "amount", "related_reference"}),
        ),
    )
    defaults = Profile(currency="NGN", timezone="Africa/Lagos")
    # The page: at most 10 retries until a 200. Their spacing is the sender's: n^4 + 15 seconds.
    delays = (0, *(retry**4 + 15 for retry in range(1, 11)))
    options: ClassVar = {
        # What the AmountPaid of a reversal that we send looks like; both are read.
        "reversal_amount": ("negative", "positive"),
        # The status of a refusal: by what went wrong, or 400 for all that is wrong with a message.
        "refusal": ("http", "400"),
    }
    expresses = Expresses(
        kinds=frozenset({Kind.PAYMENT, Kind.REVERSAL}),
        directions=frozenset({Direction.CREDIT, Direction.DEBIT}),
        currencies=frozenset(),
    )
    carries = frozenset(
        {"kind", "direction", "status", "amount", "bank_reference", "end_to_end_id"}
        | {"related_reference", "channel", "provider", "occurred_at"}
    )
    cases: ClassVar = {
        "web": Case(title="payment of an invoice, as published", body=_SAMPLE),
        "reversal": Case(
            title="the same payment reversed, its amount positive (a manual resend)",
            body=_REVERSAL_SAMPLE,
            options={"reversal_amount": "positive"},
        ),
        "negative-reversal": Case(
            title="reversal with a reference of its own and a negative amount (PayDirect)",
            body=_NEGATIVE_SAMPLE,
        ),
        "no-request-reference": Case(
            title="payment of an invoice made without a request reference",
            body=_NO_REQUEST_SAMPLE,
        ),
    }

    # ------------------------------------------------------------------ parse / render

    def read(self, verified: Verified, profile: Profile) -> list[Reading]:
        """One payment or reversal."""
        fields = verified.fields()
        sent: dict[str, str] = {}
        signed = _amount(fields, profile.currency, sent)
        kind, direction = _kind(fields, sent)
        status, held = _status(fields, sent)
        at, text = fields.time("PaymentDate", _DATES, profile.timezone)
        bank_reference = _reference(fields, "PaymentRef", sent)
        if bank_reference is None:
            raise Unreadable("the message has no PaymentRef")
        fields.raw("Mac")
        return [
            Reading(
                kind=kind,
                direction=direction,
                status=status,
                amount=None if signed is None else abs(signed),
                bank_reference=bank_reference,
                end_to_end_id=_reference(fields, "InvoiceNumber", sent),
                related_reference=_reference(fields, "RequestReference", sent),
                channel=fields.text("Channel"),
                provider=fields.text("PaymentProvider"),
                occurred_at=at,
                occurred_text=text,
                extra={**fields.rest(), **sent},
                doubts=tuple(fields.doubts),
                held=held,
            )
        ]

    def write(
        self, notification: Notification, profile: Profile, original: WireRequest | None
    ) -> WireRequest:
        """The sixteen fields in the order and the forms of the page; `sign` fills the Mac."""
        reading = notification.reading
        if not reading.bank_reference or reading.amount is None:
            raise CannotExpress("cbs cannot say a notification without a reference or an amount")
        is_reversal = reading.kind is Kind.REVERSAL
        amount = _two_decimals(reading.amount.text())[0]
        if is_reversal and self.option(profile, "reversal_amount") == "negative":
            amount = f"-{amount}"
        date, extra = _date(reading, profile), reading.extra
        invoice, reference = written(reading.end_to_end_id), written(reading.bank_reference)
        request = written(reading.related_reference)
        return self.request(
            {
                "InvoiceNumber": _as_signed(reading, "InvoiceNumber", invoice),
                "PaymentRef": _as_signed(reading, "PaymentRef", reference),
                "PaymentDate": date,
                "BankCode": extra.get("BankCode"),
                "BankName": extra.get("BankName"),
                "BankBranch": extra.get("BankBranch"),
                "AmountPaid": Number(amount),
                "TransactionDate": extra.get("TransactionDate") or date,
                "TransactionRef": extra.get("TransactionRef"),
                "Channel": written(reading.channel) or None,
                "PaymentProvider": written(reading.provider) or None,
                "Mac": "",
                "ResponseCode": _SUCCESS,
                "ResponseMessage": "Ok",
                "RequestReference": _as_signed(reading, "RequestReference", request) or None,
                "IsReversal": is_reversal,
            }
        )

    def identity(self, reading: Reading) -> Identity:
        """The text that the Mac is over; another one of the same PaymentRef waits as a case."""
        signed = (
            _as_signed(reading, "InvoiceNumber", reading.end_to_end_id),
            _as_signed(reading, "PaymentRef", reading.bank_reference),
            _amount_as_signed(reading),
            _as_signed(reading, "RequestReference", reading.related_reference),
        )
        return Identity(f"signed:{''.join(signed)}", (f"ref:{reading.bank_reference}",))

    # ------------------------------------------------------------------ acknowledge / read

    def acknowledge(
        self, request: WireRequest, outcome: Outcome, result: Result, profile: Profile
    ) -> WireResponse:
        """`Error`, `ErrorCode`, `StatusCode`, `ResponseObject`, as CBS's own interface answers."""
        status = STATUS[outcome]
        if outcome in RECEIVED:
            told: JsonObject = {
                "Message": result.message or "Ok",
                "TransactionId": result.transaction_id,
            }
            return json_response(status, _answer(status, "", told))
        code, field, message = _CODES[outcome]
        if outcome is Outcome.NOT_GENUINE and self.option(profile, "refusal") == "400":
            status = 400
        error: JsonObject = {"FieldName": field, "ErrorMessage": result.message or message}
        return json_response(status, _answer(status, code, [error]))

    def read_acknowledgement(self, response: WireResponse, profile: Profile) -> Acknowledgement:
        """Any 2xx is received, whatever its body says; else the error code, then the status."""
        outcome = outcome_of_status(response.status)
        try:
            fields = Fields(decode_object(response.body))
        except Unreadable:
            return Acknowledgement(outcome=outcome)
        if outcome in RECEIVED:
            told = fields.nested("ResponseObject")
            return Acknowledgement(
                outcome=outcome,
                transaction_id=told.text("TransactionId"),
                message=told.text("Message"),
            )
        errors = fields.raw("ResponseObject")
        first = errors[0] if isinstance(errors, list) and errors else None
        return Acknowledgement(
            outcome=_OUTCOMES.get(fields.text("ErrorCode") or "", outcome),
            message=Fields(first).text("ErrorMessage") if isinstance(first, dict) else None,
        )


def _answer(status: int, code: str, told: JsonObject | list[JsonObject]) -> JsonObject:
    return {
        "Error": bool(code),
        "ErrorCode": code,
        "StatusCode": status,
        "ResponseObject": list(told) if isinstance(told, list) else told,
    }


def _reference(fields: Fields, name: str, sent: dict[str, str]) -> str | None:
    """The member trimmed; the untrimmed original, which the Mac is over, goes into `sent`."""
    original = fields.text(name, strip=False)
    if original is None:
        return None
    trimmed = original.strip()
    if trimmed != original:
        sent[name] = original
    return trimmed or None


def _as_signed(reading: Reading, name: str, value: str | None) -> str:
    """The member as the Mac is over it: the untrimmed original where there was one."""
    original = reading.extra.get(name)
    if original is None:
        return value or ""
    return original if original.strip() == (value or "") else (value or "")


def _amount_as_signed(reading: Reading) -> str:
    amount = "" if reading.amount is None else reading.amount.text()
    text = reading.extra.get("AmountPaid", amount)
    try:
        return _two_decimals(text)[0]
    except Unreadable:
        return text


def _amount(fields: Fields, currency: str, sent: dict[str, str]) -> Money | None:
    """The signed amount; the text goes into `sent` where it tells more than the amount will.

    Raises:
        Unreadable: absent, or not a plain decimal number.
    """
    text = fields.required("AmountPaid")
    if text.partition(".")[2][2:].strip("0"):
        fields.doubt("AmountPaid", f"({text}) has more decimals than the two that the Mac covers")
        amount = None
    else:
        amount = fields.signed_amount("AmountPaid", currency)
    if amount is None or amount.minor < 0:
        sent["AmountPaid"] = text
    return amount


def _kind(fields: Fields, sent: dict[str, str]) -> tuple[Kind, Direction]:
    """A reversal if the flag or the sign says so; neither can rule it out alone."""
    said = _word(fields, "IsReversal", "false").lower()
    if sent.get("AmountPaid", "").startswith("-"):
        if said not in _YES:
            fields.doubt(
                "IsReversal", "is not true, yet AmountPaid is negative; read as a reversal"
            )
        return Kind.REVERSAL, Direction.DEBIT
    if said in _YES:
        return Kind.REVERSAL, Direction.DEBIT
    if said in _NO:
        return PAYMENT, CREDIT
    fields.doubt("IsReversal", "is neither true nor false")
    return Kind.UNKNOWN, Direction.CREDIT


def _status(fields: Fields, sent: dict[str, str]) -> tuple[Status, str | None]:
    """0000 and no code at all are success; any other is held, since nothing proves it."""
    code = _word(fields, "ResponseCode", _SUCCESS)
    if code == _SUCCESS:
        return SUCCESS, None
    fields.doubt("ResponseCode", f"is not {_SUCCESS}, the only one whose meaning is known")
    sent["ResponseCode"] = code
    return Status.FAILED, "no proof covers that the payment failed"


def _word(fields: Fields, name: str, default: str) -> str:
    """The member as text, the default where it is absent; of another type, no known word."""
    text = fields.text(name)
    if text is not None:
        return text
    return default if fields.raw(name) in (None, "") else "?"


def _date(reading: Reading, profile: Profile) -> str:
    if reading.occurred_at is None:
        return ""
    try:
        local = to_local(reading.occurred_at, profile.timezone)
    except OverflowError:
        raise CannotExpress("the time lies outside the years 1 to 9999") from None
    return f"{local:%d/%m/}{local.year:04}{local: %H:%M:%S}"
