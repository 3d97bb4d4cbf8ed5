"""Reading what is to be issued: one JSON object, by the names of `schemas/transaction.v1.json`.

This comes from the bank's own house, so it is read strictly, unlike what comes from outside: a
field that is not known, or a value that is not as the schema has it, is refused with a sentence that
names the field and never its value. An order is a payment to be approved and processed, so it has no
status yet; an event says what has happened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar

from arifa.document import JsonObject, JsonValue, Number, decode_object
from arifa.errors import ArifaError, Refused, Unreadable
from arifa.money import Money, read_amount
from arifa.notification import Direction, Kind, Payer, Reading, Status, money_hash
from arifa.store.notifications import pack_reading
from arifa.timestamp import from_rfc3339

BYTES_MAX: Final = 65_536
TEXT_CHARACTERS_MAX: Final = 256
LONG_TEXT_CHARACTERS_MAX: Final = 2000
REFERENCES_MAX: Final = 20
EXTRA_MAX: Final = 50
_HAS_OFFSET: Final = re.compile(r"(?:[Zz]|[+-]\d\d:\d\d)\s*$", re.ASCII)

Word = TypeVar("Word", bound=StrEnum)


class Order(NamedTuple):
    """One order or event. `merchant` None is whoever's it is by the channel that it came in by.

    `reference` is what it is known by; of the two accounts `source_account` is the one that pays.
    """

    merchant: str | None
    reference: str
    source_account: str | None
    reading: Reading

    def content_hash(self) -> bytes:
        """32 bytes over all of it: a repeat of an order must be the same in everything."""
        parts = (self.reference, self.source_account or "", pack_reading(self.reading))
        return sha256("\x1f".join(parts).encode()).digest()

    def money_hash(self) -> bytes:
        """32 bytes over what means money: a repeat of an event may say the rest anew."""
        return money_hash(self.reading)


def read_order(body: bytes) -> Order:
    """A payment to be approved and processed; its status is not known yet.

    Raises:
        Refused: the sentence says which field, and what it should be.
    """
    return _read(body, _ORDER_FIELDS, is_event=False)


def read_event(body: bytes) -> Order:
    """Something that has happened, in the core banking system.

    Raises:
        Refused: the sentence says which field, and what it should be.
    """
    return _read(body, _EVENT_FIELDS, is_event=True)


def checked_text(text: str, name: str, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    """The text without spaces around it, if every database can hold it.

    Raises:
        Refused: it is empty, too long, or holds a character that cannot be kept.
    """
    text = str(text).strip()
    if not text:
        raise Refused(f"{name} is empty: leave it out, or say what it is")
    if len(text) > characters_max:
        raise Refused(f"{name} is longer than {characters_max} characters")
    if "\x00" in text or any("\ud800" <= mark <= "\udfff" for mark in text):
        raise Refused(f"{name} holds a character that cannot be kept")
    return text


# ---------------------------------------------------------------------------------- the whole


def _read(body: bytes, known: Mapping[str, _Read], *, is_event: bool) -> Order:
    if len(body) > BYTES_MAX:
        raise Refused(f"it is longer than {BYTES_MAX} bytes")
    try:
        members = decode_object(body)
    except Unreadable as error:
        raise Refused(str(error).replace("the body", "it")) from None
    _check_known(members, known, is_event=is_event)
    found = {name: known[name](value, name) for name, value in members.items() if value is not None}
    return _order(found, is_event=is_event)


def _check_known(members: JsonObject, known: Mapping[str, _Read], *, is_event: bool) -> None:
    for name in members:
        if name in known:
            continue
        if name == "status" and not is_event:
            raise Refused(
                "an order has no status: what becomes of it is not known yet; import it as an "
                "event if it has happened"
            )
        near = get_close_matches(name, known, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ", see schemas/transaction.v1.json"
        shown = name if name.isprintable() and len(name) <= 40 else "of that name"
        raise Refused(f"there is no field {shown!r}{meant}")


def _order(found: dict[str, object], *, is_event: bool) -> Order:
    merchant, source_account = found.pop("merchant", None), found.pop("source_account", None)
    reference = found.pop("reference", None) or (found.get("bank_reference") if is_event else None)
    if is_event and "bank_reference" not in found:
        raise Refused("bank_reference is missing: it is what the merchant knows the payment by")
    if reference is None:
        raise Refused("reference is missing: it is what keeps it from being entered twice")
    if "amount" not in found:
        raise Refused('amount is missing: write {"amount": "100.00", "currency": "KES"}')
    defaults = {
        "kind": Kind.PAYMENT,
        "direction": Direction.CREDIT,
        "status": Status.SUCCESS if is_event else Status.PENDING,
    }
    return Order(
        merchant=_text_or_none(merchant),
        reference=str(reference),
        source_account=_text_or_none(source_account),
        reading=Reading(**{**defaults, **found}),  # type: ignore[arg-type]  # the table's types
    )


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


# ---------------------------------------------------------------------------------- one field

_Read = Callable[[JsonValue, str], object]


def _text(value: JsonValue, name: str) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        raise Refused(f"{name} is not a text: write it between quotes")
    return checked_text(value, name)


def _long_text(value: JsonValue, name: str) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        raise Refused(f"{name} is not a text: write it between quotes")
    return checked_text(value, name, LONG_TEXT_CHARACTERS_MAX)


def _texts(value: JsonValue, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > REFERENCES_MAX:
        raise Refused(f"{name} is not a list of at most {REFERENCES_MAX} texts")
    return tuple(_text(item, name) for item in value)


def _money(value: JsonValue, name: str) -> Money:
    wanted = f'{name} is not money: write {{"amount": "100.00", "currency": "KES"}}'
    if not isinstance(value, dict) or set(value) != {"amount", "currency"}:
        raise Refused(wanted)
    amount, currency = value["amount"], value["currency"]
    for item in (amount, currency):
        if not isinstance(item, str) or isinstance(item, Number):
            raise Refused(wanted)
    try:
        return read_amount(str(amount), str(currency))
    except Unreadable as error:
        raise Refused(f"{name}: {error}") from None


def _charge(value: JsonValue, name: str) -> Money:
    money = _money(value, name)
    if money.minor < 0:
        raise Refused(f"{name} is below zero: the direction says which way money went")
    return money


def _moved(value: JsonValue, name: str) -> Money:
    money = _charge(value, name)
    if money.minor == 0:
        raise Refused(f"{name} is zero: nothing moved, so there is nothing to say")
    return money


def _word(words: type[Word], *, apart_from: tuple[Word, ...] = ()) -> _Read:
    allowed = [word for word in words if word not in apart_from]

    def read(value: JsonValue, name: str) -> Word:
        if not isinstance(value, str) or value not in allowed:
            raise Refused(f"{name} is none of {', '.join(allowed)}")
        return words(value)

    return read


def _time(value: JsonValue, name: str) -> int:
    text = _text(value, name)
    try:
        at = from_rfc3339(text)
    except ArifaError:
        raise Refused(f"{name} is not a time: write 2026-11-20T07:42:38Z") from None
    if not _HAS_OFFSET.search(text):
        # Whose midnight, whose noon? A guess would be told to the merchant hours off.
        raise Refused(f"{name} has no offset: write 2026-11-20T07:42:38Z or …T10:42:38+03:00")
    return at


def _payer(value: JsonValue, name: str) -> Payer:
    if not isinstance(value, dict) or not set(value) <= set(_PAYER):
        raise Refused(f"{name} is an object with {', '.join(_PAYER)}, and nothing else")
    said = {key: item for key, item in value.items() if item is not None}
    return Payer(**{key: _text(item, f"{name}.{key}") for key, item in said.items()})


def _extra(value: JsonValue, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > EXTRA_MAX:
        raise Refused(f"{name} is an object with at most {EXTRA_MAX} texts")
    return {checked_text(key, name): _long_text(item, name) for key, item in value.items()}


_PAYER: Final = ("name", "phone", "reference")
_ORDER_FIELDS: Final[Mapping[str, _Read]] = {
    "merchant": _text,
    "reference": _text,
    "source_account": _text,
    "kind": _word(Kind, apart_from=(Kind.UNKNOWN,)),
    "direction": _word(Direction),
    "amount": _moved,
    "fee": _charge,
    "order_amount": _charge,
    "balance_after": _money,
    "bank_reference": _text,
    "other_references": _texts,
    "end_to_end_id": _text,
    "related_reference": _text,
    "account": _text,
    "short_code": _text,
    "payer": _payer,
    "channel": _text,
    "provider": _text,
    "remittance_information": _long_text,
    "occurred_at": _time,
    "occurred_text": _text,
    "extra": _extra,
}
_EVENT_FIELDS: Final[Mapping[str, _Read]] = {
    **_ORDER_FIELDS,
    # What is still under way is announced when it has ended.
    "status": _word(Status, apart_from=(Status.PENDING,)),
}
