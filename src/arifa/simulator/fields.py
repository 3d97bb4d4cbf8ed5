"""Setting a field of a message by its canonical name: `amount=250.00`, `payer.name=Jane`."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import structs

from arifa.errors import CannotExpress, Refused, Unreadable
from arifa.money import Money, is_currency, read_amount
from arifa.notification import MONEY_FIELDS, Direction, Kind, Reading, Status
from arifa.simulator.message import Message
from arifa.timestamp import from_rfc3339

_WORDS: Final[dict[str, type[StrEnum]]] = {"kind": Kind, "direction": Direction, "status": Status}
_CURRENCY: Final = "currency"
_LIST: Final = "other_references"
_TIME: Final = "occurred_at"
_PAYER: Final = "payer."

FIELDS: Final = (
    *_WORDS,
    "amount",
    _CURRENCY,
    *MONEY_FIELDS[1:],
    "bank_reference",
    _LIST,
    "end_to_end_id",
    "related_reference",
    "account",
    "short_code",
    "payer.name",
    "payer.phone",
    "payer.reference",
    "channel",
    "provider",
    "remittance_information",
    _TIME,
)
"""The names that may be set, in the order of a notification's own fields."""


def with_fields(message: Message, settings: list[str]) -> Message:
    """The message with these `FIELD=VALUE` set; an empty value is none.

    Raises:
        Refused: not of that form, no such field, or not a value of it.
        CannotExpress: the dialect has no place for the field.
    """
    wanted = _split(settings)
    if not wanted:
        return message
    reading = message.reading
    carried = message.dialect.carried(message.profile)
    # The currency first: the amounts are read in it.
    for name in sorted(wanted, key=lambda name: name != _CURRENCY):
        if _carrier(name) not in carried:
            places = ", ".join(name for name in FIELDS if _carrier(name) in carried)
            raise CannotExpress(
                f"a message of {message.dialect.name} has no place for {name}; it has: {places}"
            )
        reading = _with_field(reading, name, wanted[name], message.profile.currency)
    return message.with_reading(**structs.asdict(reading))


def _split(settings: list[str]) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise Refused(f"--set takes FIELD=VALUE, such as amount=250.00; not {setting!r}")
        if name not in FIELDS:
            raise Refused(f"there is no field {name!r} to set; there are: {', '.join(FIELDS)}")
        wanted[name] = value
    return wanted


def _carrier(name: str) -> str:
    return "amount" if name == _CURRENCY else name


def _with_field(reading: Reading, name: str, value: str, currency: str) -> Reading:
    """The reading with one field set; `currency` is that of a message without an amount."""
    if name in _WORDS:
        return structs.replace(reading, **{name: _word(name, value)})
    if name == _CURRENCY:
        return _in_currency(reading, value)
    if name in MONEY_FIELDS:
        before: Money | None = getattr(reading, name) or reading.amount
        own = currency if before is None else before.currency
        return structs.replace(reading, **{name: _money(name, value, own) if value else None})
    if name == _LIST:
        return structs.replace(reading, other_references=tuple(filter(None, value.split(","))))
    if name == _TIME:
        at = from_rfc3339(value) if value else None
        return structs.replace(reading, occurred_at=at, occurred_text=None)
    if name.startswith(_PAYER):
        part = {name.removeprefix(_PAYER): value or None}
        return structs.replace(reading, payer=structs.replace(reading.payer, **part))
    return structs.replace(reading, **{name: value or None})


def _word(name: str, value: str) -> StrEnum:
    words = _WORDS[name]
    if value not in set(words):
        raise Refused(f"{name} is one of {', '.join(words)}; not {value!r}")
    return words(value)


def _in_currency(reading: Reading, code: str) -> Reading:
    """The same figures in another currency."""
    if not is_currency(code):
        raise Refused(f"{code!r} is not an ISO 4217 currency; write it as KES")
    held: dict[str, Money | None] = {name: getattr(reading, name) for name in MONEY_FIELDS}
    changes = {
        name: _money(name, money.text(), code) for name, money in held.items() if money is not None
    }
    return structs.replace(reading, **changes)


def _money(name: str, value: str, currency: str) -> Money:
    try:
        money = read_amount(value, currency)
    except Unreadable as error:
        raise Refused(f"{name}={value} cannot be set: {error}") from error
    if money.minor < 0 and name != "balance_after":
        raise Refused(f"{name} is never negative: kind and direction say which way it went")
    return money
