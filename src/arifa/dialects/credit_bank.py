"""Credit Bank, Kenya: Instant Payment Notifications of its core banking system.

Source: the IPN page of the bank's developer portal, the only public text on it.
What surprises:
- Nothing proves the sender, and no field is signed: a source needs a control of its own.
- The page speaks of refunds, disputes, chargebacks, authorizations and fraud actions whose name
  "will be sent in the transactionType parameter", and shows only `credit` and `debit`. A known name
  is read as its kind; but whether money moved, and which way, is a guess, so such a message is held.
- There is no currency: it is the source's. There is no status: a message means money moved.
- `transactionReference` is in the sample and not in the field list. It is the one field that a payer
  or a merchant can have chosen, so it is the end-to-end id. It never tells two payments apart while
  the bank's own `CBSReference` does: a quoted text may well come twice.
- `CBSReference` names a transfer, which may be a credit here and a debit there, or a credit and
  later its refund: a notification is told from others by it together with what happened.
- The words for PesaLink are not published. `notificationType` is kept as the bank writes it.
- No answer is published either: ours is a small JSON, and only the HTTP status is relied on.
"""

from __future__ import annotations

from hashlib import sha256
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
from arifa.document import decode_object, encode
from arifa.errors import CannotExpress, Unreadable
from arifa.feed import Profile
from arifa.money import Money
from arifa.notification import (
    PAYMENT,
    SUCCESS,
    Direction,
    Kind,
    Notification,
    Payer,
    Query,
    Reading,
)
from arifa.outcome import NOT_GENUINE, RECEIVED, STATUS, Outcome
from arifa.signing import CHALLENGE, Unproven
from arifa.timestamp import ISO_PATTERNS
from arifa.wire import JSON, WireRequest, WireResponse

Event = tuple[Kind, Direction]


def _folded(word: str) -> str:
    """The word without case, spaces, signs and a plural's end: `Charge_Backs` is `chargeback`."""
    return "".join(filter(str.isalnum, word.casefold())).removesuffix("s")


# What may stand in `transactionType`; of several words for one event, the first is what we write.
# The direction is the merchant's side of it, and published for the first two only.
_EVENTS: Final[dict[str, Event]] = {
    "credit": (Kind.PAYMENT, Direction.CREDIT),
    "debit": (Kind.PAYMENT, Direction.DEBIT),
    "refund": (Kind.REFUND, Direction.DEBIT),
    "dispute": (Kind.DISPUTE, Direction.DEBIT),
    "chargeback": (Kind.CHARGEBACK, Direction.DEBIT),
    "authorization": (Kind.AUTHORIZATION, Direction.CREDIT),
    "fraud action": (Kind.FRAUD_ACTION, Direction.DEBIT),
    "reversal": (Kind.REVERSAL, Direction.DEBIT),
    "cr": (Kind.PAYMENT, Direction.CREDIT),
    "dr": (Kind.PAYMENT, Direction.DEBIT),
    "refunded": (Kind.REFUND, Direction.DEBIT),
    "disputed": (Kind.DISPUTE, Direction.DEBIT),
    "charged back": (Kind.CHARGEBACK, Direction.DEBIT),
    "authorisation": (Kind.AUTHORIZATION, Direction.CREDIT),
    "authorized": (Kind.AUTHORIZATION, Direction.CREDIT),
    "authorised": (Kind.AUTHORIZATION, Direction.CREDIT),
    "fraud": (Kind.FRAUD_ACTION, Direction.DEBIT),
    "fraud filter": (Kind.FRAUD_ACTION, Direction.DEBIT),
    "fraud filter action": (Kind.FRAUD_ACTION, Direction.DEBIT),
    "fraud management filter": (Kind.FRAUD_ACTION, Direction.DEBIT),
    "fraud management filter action": (Kind.FRAUD_ACTION, Direction.DEBIT),
    "reversed": (Kind.REVERSAL, Direction.DEBIT),
}
_EVENT_OF: Final = {_folded(word): event for word, event in _EVENTS.items()}
_WORD_OF: Final = {event: word for word, event in reversed(_EVENTS.items())}

_NOTIFICATION_TYPES: Final = {"ft": "FT", "pesalink": "PesaLink"}
_SUBTYPE: Final = "notificationSubType"
_WORD: Final = "data.transactionType"
_DIGEST: Final = "body_sha256"

_MESSAGES: Final = {
    Outcome.ACCEPTED: "Notification received",
    Outcome.DUPLICATE: "Notification was received before",
    Outcome.CONFLICT: "Notification received",
    Outcome.NOT_GENUINE: "The sender could not be proven",
    Outcome.UNREADABLE: "Notification could not be read",
    Outcome.UNAVAILABLE: "Service unavailable, please send again",
}
_REFUSING: Final = frozenset({"failed", "failure", "error"})

_FT_SAMPLE: Final = (
    b'{ "notificationType": "FT", "notificationSubType": "CBS_FT", "data": { "amount": "300", '
    b'"transactionType": "credit", "transactionReference": "DAFSHSTFSFSJ", "CBSReference": '
    b'"FT22321YXDV8", "mobileNumber": "254727123456", "momoReference": "RTGH87685", "custAccount": '
    b'"0021024000039", "timestamp": "2023-01-13 12:40:55" } }'
)


def _after_the_page(word: bytes) -> bytes:
    """The published sample with another event's name where the page says that it will be."""
    return _FT_SAMPLE.replace(b'"credit"', b'"%s"' % word)


_PESALINK_SAMPLE: Final = b"""{
  "notificationType": "PesaLink",
  "notificationSubType": "CBS_PESALINK",
  "data": {
    "amount": "12500.50",
    "transactionType": "credit",
    "transactionReference": "INV-0042",
    "CBSReference": "FT23013K7QX2",
    "mobileNumber": "254711000000",
    "momoReference": "",
    "custAccount": "0021024000039",
    "timestamp": "2023-01-13 15:02:10"
  }
}"""


class CreditBank(Dialect):
    """Credit Bank: fund transfers and PesaLink."""

    name = "credit_bank"
    title = "Credit Bank Kenya, core banking IPN"
    page = "https://konnectapidocs.creditbank.co.ke/developer-portal/ipn"
    proofs = (Unproven("the bank publishes no signature and no credentials for its notifications"),)
    defaults = Profile(currency="KES", timezone="Africa/Nairobi")
    expresses = Expresses(
        kinds=frozenset(kind for kind, _ in _WORD_OF),
        directions=frozenset(Direction),
        currencies=frozenset(),
    )
    carries = frozenset(
        {"kind", "direction", "status", "amount", "bank_reference", "other_references"}
        | {"end_to_end_id", "account", "payer.phone", "occurred_at"}
    )
    cases: ClassVar = {
        "ft": Case(title="fund transfer to an account, as published", body=_FT_SAMPLE),
        "pesalink": Case(
            title="PesaLink transfer, after the page: its words are not published",
            body=_PESALINK_SAMPLE,
        ),
        "debit": Case(title="debit of the account", body=_after_the_page(b"debit")),
        "refund": Case(title="refund, by name", body=_after_the_page(b"refund")),
        "dispute": Case(title="dispute, by name", body=_after_the_page(b"dispute")),
        "chargeback": Case(title="chargeback, by name", body=_after_the_page(b"chargeback")),
        "authorization": Case(
            title="authorization, by name", body=_after_the_page(b"authorization")
        ),
        "fraud_action": Case(
            title="fraud filter action, by its name on the page",
            body=_after_the_page(b"Fraud Management Filter action"),
        ),
    }

    # ------------------------------------------------------------------ parse / render

    def read(self, verified: Verified, profile: Profile) -> list[Reading] | Query:
        """One event on an account."""
        fields = verified.fields()
        data = fields.nested("data")
        (kind, direction), kept = _event(data)
        # Not on the page; but a currency that is there must not be read as the source's.
        currency = data.currency("currency", profile.currency)
        at, text = data.time("timestamp", ISO_PATTERNS, profile.timezone)
        reference, receipt = data.text("CBSReference"), data.text("momoReference")
        if reference is None:
            data.doubt("CBSReference", "is missing")
            kept[_DIGEST] = sha256(verified.content).hexdigest()
        return [
            Reading(
                kind=kind,
                direction=direction,
                status=SUCCESS,
                amount=data.amount("amount", currency),
                bank_reference=reference,
                other_references=(receipt,) if receipt else (),
                end_to_end_id=data.text("transactionReference"),
                account=data.text("custAccount"),
                payer=Payer(phone=data.text("mobileNumber")),
                channel=fields.text("notificationType"),
                occurred_at=at,
                occurred_text=text,
                held=_why_held(kind, reference),
                extra={**fields.rest(data), **kept},
                doubts=tuple(fields.doubts),
            )
        ]

    def write(
        self, notification: Notification, profile: Profile, original: WireRequest | None
    ) -> WireRequest:
        """The published shape."""
        reading = notification.reading
        word = _WORD_OF.get((reading.kind, reading.direction))
        if word is None:
            raise CannotExpress(
                f"credit_bank has no word for the kind {reading.kind.value!r} as a "
                f"{reading.direction.value}"
            )
        if reading.bank_reference is None:
            raise CannotExpress("credit_bank cannot say a notification without a bank reference")
        if len(reading.other_references) > 1:
            raise CannotExpress("credit_bank has room for one other reference, a momoReference")
        receipt = next(iter(reading.other_references), None)
        channel = _folded(reading.channel or "")
        return self.request(
            {
                "notificationType": _NOTIFICATION_TYPES.get(channel, "FT"),
                _SUBTYPE: reading.extra.get(_SUBTYPE, "CBS_FT"),
                "data": {
                    "amount": _amount(reading.amount),
                    "transactionType": word,
                    "transactionReference": written(reading.end_to_end_id),
                    "CBSReference": written(reading.bank_reference),
                    "mobileNumber": written(reading.payer.phone),
                    "momoReference": written(receipt),
                    "custAccount": written(reading.account),
                    "timestamp": written_time(reading.occurred_at, profile.timezone),
                },
            }
        )

    def identity(self, reading: Reading) -> Identity:
        """What happened, with the bank's reference; the mobile-money receipt is a second one.

        Without the bank's reference the message is held, and told apart by `transactionReference`
        or, failing that too, by its bytes.
        """
        what = f"{reading.kind.value}:{reading.direction.value}"
        if reading.kind is Kind.UNKNOWN:
            what += f":{_folded(reading.extra.get(_WORD, ''))}"
        receipts = tuple(f"{what}:momo:{other}" for other in reading.other_references)
        if reading.bank_reference is not None:
            return Identity(f"{what}:cbs:{reading.bank_reference}", receipts)
        if reading.end_to_end_id is not None:
            return Identity(f"{what}:transaction:{reading.end_to_end_id}", receipts)
        return Identity(f"{what}:body:{reading.extra.get(_DIGEST, '')}", receipts)

    # ------------------------------------------------------------------ acknowledge / read

    def acknowledge(
        self, request: WireRequest, outcome: Outcome, result: Result, profile: Profile
    ) -> WireResponse:
        """The HTTP status with a small JSON: `status` is `received` or `failed`."""
        body = encode(
            {
                "status": "received" if outcome in RECEIVED else "failed",
                "message": result.message or _MESSAGES[outcome],
                "transactionId": result.transaction_id,
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
        if outcome in RECEIVED and (fields.text("status") or "").casefold() in _REFUSING:
            outcome = Outcome.UNAVAILABLE
        return Acknowledgement(
            outcome=outcome,
            transaction_id=fields.text("transactionId"),
            message=fields.text("message"),
        )


def _event(data: Fields) -> tuple[Event, dict[str, str]]:
    """What happened, and the bank's word for it where that is not known."""
    word = data.text("transactionType")
    event = _EVENT_OF.get(_folded(word or ""))
    if event is None:
        data.doubt("transactionType", "is missing" if word is None else "is a word not known")
        return (Kind.UNKNOWN, Direction.CREDIT), {} if word is None else {_WORD: word}
    kind, direction = event
    if kind is not PAYMENT:
        data.doubt(
            "transactionType",
            f"says {kind.value} and not which way the money went; read as a {direction.value}",
        )
    return event, {}


def _why_held(kind: Kind, reference: str | None) -> str | None:
    if reference is None:
        return "the message lacks the bank's reference, so a repeat could not be told from it"
    if kind is PAYMENT or kind is Kind.UNKNOWN:
        return None
    return f"the bank does not publish what the event '{kind.value}' does to the account"


def _amount(amount: Money | None) -> str:
    """Major units, without decimals where there are none: the page's sample is `"300"`."""
    if amount is None:
        return ""
    whole, _, decimals = amount.text().partition(".")
    return f"{whole}.{decimals}" if decimals.strip("0") else whole
