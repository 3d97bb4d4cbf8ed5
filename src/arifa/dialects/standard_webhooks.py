"""Standard Webhooks: the default for a merchant's own systems, and how one hub feeds another.

Source: https://www.standardwebhooks.com, specification 1.0.0. The event is ours and is described
by `schemas/notification.v1.json`: `{"type": "payment.success", "timestamp": …, "data": …}`.
What surprises:
- It carries everything, doubts and the bank's other fields too, so `data` is the notification by
  the names that the store and the API use.
- `timestamp` is when the notification was received, the same in every attempt and replay: the body
  never changes. When an attempt was made is in `webhook-timestamp`, where the five minutes of
  tolerance are counted; `webhook-id` is the notification's id, to de-duplicate by.
- The payer's phone is masked (`2547****1111`) unless the option `phone` is `full`; so is the same
  number where it is one of the bank's other fields, or the payer's reference.
- New kinds may come in later versions: an unknown one reads as `unknown`, an unknown status or
  direction is held. Nothing is lost to a sender that is newer than the reader.
- A hub behind a hub knows a notification by the id that it has before it: `data.id`, which the
  reading keeps in `extra`, as it does `data.merchant`, `data.source`, `data.dialect` and
  `data.received_at`. The bank's reference is no identity here: FAILED then SUCCESS share one.
- An event of the type `endpoint.test` tries the way and the signature. Nothing is read of it.
- What a person has accepted in the hub before is not held again behind it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final, TypeVar

from msgspec import Struct, structs
from msgspec.json import Decoder

from arifa.dialects.base import (
    ANYTHING,
    Acknowledgement,
    Case,
    Dialect,
    Identity,
    Result,
    Verified,
    outcome_of_status,
)
from arifa.dialects.fields import Fields
from arifa.document import JsonObject, decode_object, encode, is_plain
from arifa.feed import Profile
from arifa.money import Money, read_amount
from arifa.notification import (
    READING_FIELDS,
    Direction,
    Kind,
    Notification,
    Payer,
    Reading,
    State,
    Status,
    notification_as_json,
)
from arifa.outcome import STATUS, Outcome
from arifa.signing import WebhookSignature
from arifa.signing.webhook import ID
from arifa.timestamp import to_rfc3339
from arifa.wire import Headers, WireRequest, WireResponse

Word = TypeVar("Word", bound=StrEnum)

_ID: Final = "data.id"
_RFC3339: Final = ("YYYY-MM-DDThh:mm:ssffZ",)
_PHONES: Final = frozenset({"payer.phone", "payer.reference"})
_PHONE_DIGITS_MIN: Final = 11
TEST_TYPE: Final = "endpoint.test"
_TEST_SENTENCE: Final = "A test of this endpoint. No money has moved."
_SAMPLE: Final = b"""{
  "type": "payment.success",
  "timestamp": "2026-11-20T07:42:38Z",
  "data": {
    "id": "ntf_0123456789abcdef0123456789ab",
    "merchant": "default",
    "source": "src_0123456789abcdef0123456789ab",
    "dialect": "kcb",
    "kind": "payment",
    "direction": "credit",
    "status": "success",
    "amount": {"amount": "100.00", "currency": "KES"},
    "fee": null,
    "order_amount": null,
    "balance_after": {"amount": "100000.00", "currency": "KES"},
    "bank_reference": "FT00026252",
    "other_references": [],
    "end_to_end_id": "INV-0001",
    "related_reference": null,
    "account": "JD001",
    "short_code": "777777",
    "payer": {"name": "John Doe", "phone": "2547****1111", "reference": null},
    "channel": "202",
    "provider": null,
    "remittance_information": "Payment for goods",
    "occurred_at": "2021-11-11T00:00:05Z",
    "occurred_text": "2021111103005",
    "unproven": [],
    "doubts": ["timestamp has 13 digits; its last is read as one-digit seconds"],
    "extra": {"requestId": "c7d702cb-6b5f-4fa6-8b57-436d0f789017", "tillNumber": "150150"},
    "received_at": "2026-11-20T07:42:38Z",
    "state": "accepted",
    "held": null
  }
}"""


class StandardWebhooks(Dialect):
    """Our own event under the Standard Webhooks signature."""

    name = "standard_webhooks"
    title = "Standard Webhooks 1.0"
    page = "https://www.standardwebhooks.com"
    proofs = (WebhookSignature(),)
    defaults = Profile(currency="KES", timezone="UTC")
    options: ClassVar = {"phone": ("masked", "full")}
    expresses = ANYTHING
    carries = frozenset({*READING_FIELDS, "payer.name", "payer.phone", "payer.reference"}) - {
        "payer"
    }
    cases: ClassVar = {
        "payment": Case(title="the payment of KCB's published sample", body=_SAMPLE),
    }

    # ------------------------------------------------------------------ parse / render

    def read(self, verified: Verified, profile: Profile) -> list[Reading]:
        """One event: the notification of the hub before; a test has none."""
        event = verified.fields()
        if event.text("type") == TEST_TYPE:
            # It says that the way works: there is no payment in it to read.
            return []
        for name in ("type", "timestamp"):
            event.raw(name)
        data = event.nested("data")
        identifier = data.required("id")
        reading = _reading(data)
        extra = {**reading.extra, **event.rest(data), _ID: identifier}
        return [structs.replace(reading, extra=extra, doubts=(*reading.doubts, *event.doubts))]

    def write(
        self, notification: Notification, profile: Profile, original: WireRequest | None
    ) -> WireRequest:
        """The event of this notification."""
        reading = notification.reading
        data: JsonObject = notification_as_json(notification)
        if self.option(profile, "phone") == "masked" and reading.payer.phone is not None:
            _mask(data, reading.payer.phone)
        return self.request(
            {
                "type": f"{reading.kind.value}.{reading.status.value}",
                "timestamp": to_rfc3339(notification.received_at),
                "data": data,
            }
        )

    def test_message(self, identity: str, now_us: int, **told: str) -> WireRequest:
        """The event `endpoint.test`: it has no kind, no status and no amount, so it is no money."""
        data: JsonObject = {"id": identity, **told, "message": _TEST_SENTENCE}
        return self.request({"type": TEST_TYPE, "timestamp": to_rfc3339(now_us), "data": data})

    def meaning(self, request: WireRequest, profile: Profile) -> object:
        """As `read`; of a plain event, which has nothing that `read` would change, its own words."""
        if is_plain(request.body):
            said = _said_by(request.body).data
            if said.id.strip():
                return said
        return super().meaning(request, profile)

    def request(self, document: JsonObject) -> WireRequest:
        """The event, with the id of its notification as `webhook-id`."""
        return WireRequest(body=encode(document), headers=(*self.headers, *_identity(document)))

    def sample(self, case: Case) -> WireRequest:
        """The case, with its `webhook-id` too."""
        identity = _identity(decode_object(case.body))
        return WireRequest(body=case.body, headers=(*self.headers, *identity))

    def carried(self, profile: Profile) -> frozenset[str]:
        """Everything; a masked phone is not the phone."""
        return self.carries if self.option(profile, "phone") == "full" else self.carries - _PHONES

    def identity(self, reading: Reading) -> Identity:
        """The id that the hub before gave it."""
        return Identity(f"event:{reading.extra.get(_ID, '')}")

    # ------------------------------------------------------------------ acknowledge / read

    def acknowledge(
        self, request: WireRequest, outcome: Outcome, result: Result, profile: Profile
    ) -> WireResponse:
        """The HTTP status; the specification asks for nothing in the body."""
        return WireResponse(STATUS[outcome])

    def read_acknowledgement(self, response: WireResponse, profile: Profile) -> Acknowledgement:
        """Any 2xx is received; a redirection, 410 or anything else is not."""
        return Acknowledgement(outcome=outcome_of_status(response.status))


class _Figure(Struct):
    """Money as an event writes it."""

    amount: str
    currency: str


class _Said(Struct, rename={"figure": "amount"}):
    """What an event says of the fields that mean money, word for word."""

    id: str
    kind: str
    direction: str
    status: str
    figure: _Figure | None
    bank_reference: str | None
    end_to_end_id: str | None
    account: str | None

    @property
    def amount(self) -> Money | None:
        """The amount as `read` takes it: never negative."""
        if self.figure is None:
            return None
        money = read_amount(self.figure.amount, self.figure.currency)
        return None if money.minor < 0 else money


class _Event(Struct):
    data: _Said


_said_by: Final = Decoder(_Event).decode


def _identity(document: JsonObject) -> Headers:
    data = document.get("data")
    identifier = data.get("id") if isinstance(data, dict) else None
    if not isinstance(identifier, str):
        return ()
    return ((ID, identifier.encode("utf-8", "replace")),)


# ------------------------------------------------------------------------------- data → reading


def _reading(data: Fields) -> Reading:
    kind = _word(data, "kind", Kind) or Kind.UNKNOWN
    direction, status = _word(data, "direction", Direction), _word(data, "status", Status)
    payer = data.nested("payer")
    occurred_at, _ = data.time("occurred_at", _RFC3339, "UTC")
    return Reading(
        kind=kind,
        direction=direction or Direction.CREDIT,
        status=status or Status.PENDING,
        amount=_amount(data),
        fee=_money(data, "fee"),
        order_amount=_money(data, "order_amount"),
        balance_after=_money(data, "balance_after"),
        bank_reference=_text(data, "bank_reference"),
        other_references=_texts(data, "other_references"),
        end_to_end_id=_text(data, "end_to_end_id"),
        related_reference=_text(data, "related_reference"),
        account=_text(data, "account"),
        short_code=_text(data, "short_code"),
        payer=Payer(_text(payer, "name"), _text(payer, "phone"), _text(payer, "reference")),
        channel=_text(data, "channel"),
        provider=_text(data, "provider"),
        remittance_information=_text(data, "remittance_information"),
        occurred_at=occurred_at,
        occurred_text=_text(data, "occurred_text"),
        unproven=_texts(data, "unproven"),
        doubts=_texts(data, "doubts"),
        held=_held(data, is_certain=direction is not None and status is not None),
        extra=_extra(data),
    )


def _word(data: Fields, name: str, words: type[Word]) -> Word | None:
    text = data.text(name)
    try:
        return words(text or "")
    except ValueError:
        pass
    data.doubt(name, "is missing" if text is None else f"is the unknown word {text!r}")
    return None


def _text(data: Fields, name: str) -> str | None:
    # An event is exact, unlike a bank's message: what stands at its edges was meant.
    value = data.raw(name)
    if value is None:
        return None
    return "" if value == "" else data.text(name, strip=False)


def _texts(data: Fields, name: str) -> tuple[str, ...]:
    value = data.raw(name)
    if value is None or value == []:
        return ()
    if not isinstance(value, list):
        data.doubt(name, "is not a list")
        return ()
    items = Fields(dict(zip(map(str, range(len(value))), value, strict=True)), data.doubts, name)
    texts = [_text(items, str(index)) for index in range(len(value))]
    return tuple(text for text in texts if text is not None)


def _money(data: Fields, name: str) -> Money | None:
    if data.raw(name) is None:
        return None
    value = data.nested(name)
    return value.money("amount", value.currency("currency", ""))


def _amount(data: Fields) -> Money | None:
    amount = _money(data, "amount")
    if amount is not None and amount.minor < 0:
        data.doubt("amount", "is negative")
        return None
    return amount


def _held(data: Fields, *, is_certain: bool) -> str | None:
    state = data.text("state")
    if not is_certain:
        return "the status or the direction is not known"
    if state in (None, State.ACCEPTED.value):
        return None
    return _text(data, "held") or "it is held in the hub before this one"


def _extra(data: Fields) -> dict[str, str]:
    value = data.raw("extra")
    if value is not None and not isinstance(value, dict):
        data.doubt("extra", "is not an object")
    return Fields(value, data.doubts).rest() if isinstance(value, dict) else {}


# ---------------------------------------------------------------------------------- masking


def _mask(data: JsonObject, phone: str) -> None:
    """Mask the phone wherever `data` has it as a value of its own."""
    for name in ("payer", "extra"):
        members = data[name]
        if isinstance(members, dict):
            data[name] = {
                key: masked(phone) if value == phone else value for key, value in members.items()
            }


def masked(phone: str) -> str:
    """`2547****1111`: the first four and the last four digits; of a short number, nothing."""
    return f"{phone[:4]}****{phone[-4:]}" if len(phone) >= _PHONE_DIGITS_MIN else "****"
