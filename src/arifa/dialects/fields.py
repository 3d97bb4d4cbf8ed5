"""Permissive reading of one JSON object: what is odd becomes a doubt, and nothing is lost.

A `Fields` notes which members were taken; the rest become the reading's `extra`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from arifa.document import JsonObject, JsonValue, Number, encode
from arifa.errors import CannotExpress, Unreadable
from arifa.money import Money, is_decimal, read_amount
from arifa.timestamp import ISO_PATTERNS, read_local, to_datetime, to_local

EXTRA_MAX: Final = 100
_REPLACEMENT: Final = "\ufffd"


class Fields:
    """The members of one object. `doubts` is shared by the objects of one message.

    `is_storable`: its texts are known to hold no character that cannot be stored. `left` are the
    members that nobody has taken yet.
    """

    __slots__ = ("_is_storable", "_members", "doubts", "left", "prefix")

    def __init__(
        self,
        members: JsonObject,
        doubts: list[str] | None = None,
        prefix: str = "",
        is_storable: bool = False,
    ) -> None:
        self._members = members
        self.left = members.copy()
        self._is_storable = is_storable
        self.doubts: list[str] = [] if doubts is None else doubts
        self.prefix = prefix

    def doubt(self, name: str, sentence: str) -> None:
        """Note that the member `name` is odd."""
        self.doubts.append(f"{self.prefix}{name} {sentence}")

    def raw(self, name: str) -> JsonValue:
        """The member as decoded; None where it is absent."""
        self.left.pop(name, None)
        return self._members.get(name)

    def text(self, name: str, *, strip: bool = True) -> str | None:
        """The member as text: a number as it was sent; empty and absent alike are None."""
        value = self.left.pop(name, None)
        if type(value) is str and self._is_storable:
            # So are nearly all.
            return (value.strip() if strip else value) or None
        if value is None:
            # Absent, or taken before.
            value = self._members.get(name)
            if value is None:
                return None
        if not isinstance(value, str):
            return self._unlike_text(name, value)
        # Both make a plain text of a `Number`.
        value = value.strip() if strip else str(value)
        if self._is_storable or not value:
            return value or None
        return self._storable(name, value)

    def _unlike_text(self, name: str, value: JsonValue) -> str | None:
        if isinstance(value, bool):
            return "true" if value else "false"
        self.doubt(name, "is not a text")
        return None

    def _storable(self, name: str, value: str) -> str:
        # PostgreSQL keeps no NUL and UTF-8 has no lone surrogate; a payment is not lost to either.
        if value.isascii() and "\x00" not in value:
            return value
        clean = value.replace("\x00", _REPLACEMENT)
        try:
            clean.encode("utf-8")
        except UnicodeEncodeError:
            clean = clean.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        if clean != value:
            self.doubt(name, "holds a character that no text can hold; it was replaced")
        return clean

    def required(self, name: str) -> str:
        """The member as text.

        Raises:
            Unreadable: it is absent or empty.
        """
        value = self.text(name)
        if value is None:
            raise self._without(name)
        return value

    def _without(self, name: str) -> Unreadable:
        return Unreadable(f"the message has no {self.prefix}{name}")

    def nested(self, name: str) -> Fields:
        """The member as an object of its own; absent or of another type reads as empty."""
        value = self.left.pop(name, None) or self._members.get(name)
        if not isinstance(value, dict):
            if value is not None:
                self.doubt(name, "is not an object")
            value = {}
        return Fields(value, self.doubts, f"{self.prefix}{name}.", self._is_storable)

    def has_object(self, name: str) -> bool:
        """Whether the member is there and an object: for telling shapes apart."""
        return isinstance(self._members.get(name), dict)

    def currency(self, name: str, default: str) -> str:
        """The member as an ISO 4217 code in capitals; the default where it is absent."""
        code = self.text(name)
        return default if code is None else code.upper()

    def money(self, name: str, currency: str) -> Money | None:
        """An optional amount: what cannot be read is None with a doubt."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return read_amount(text, currency)
        except Unreadable as error:
            self.doubt(name, f"is not kept as money: {error}")
            return None

    def amount(self, name: str, currency: str) -> Money | None:
        """The amount of the message, not negative; None with a doubt where it is not for certain.

        Raises:
            Unreadable: absent, or not a number at all: then this is no message about money.
        """
        money = self.signed_amount(name, currency)
        if money is not None and money.minor < 0:
            self.doubt(name, f"is negative ({money.text()}), which this bank does not announce")
            return None
        return money

    def signed_amount(self, name: str, currency: str) -> Money | None:
        """As `amount`, for a bank whose amounts may be negative."""
        text = self.text(name)
        if text is None:
            raise self._without(name)
        try:
            return read_amount(text, currency)
        except Unreadable as error:
            if not is_decimal(text):
                what = f"{self.prefix}{name}"
                raise Unreadable(f"{what} is not a decimal number of at most 15 digits") from None
            self.doubt(name, f"({text} {currency}) is not kept as money: {error}")
            return None

    def time(
        self, name: str, patterns: Iterable[str], timezone: str
    ) -> tuple[int | None, str | None]:
        """(microseconds UTC or None, the bank's text or None)."""
        text = self.text(name)
        if text is None:
            return None, None
        at, doubt = read_local(text, patterns, timezone)
        if doubt is not None:
            self.doubt(name, doubt)
        return at, text

    def rest(self, *others: Fields) -> dict[str, str]:
        """The members that nobody took, as text, by their full names; at most a hundred of each.

        `others` are further objects of the message, whose rest is to be kept with this one's.
        """
        rest: dict[str, str] = {}
        prefix, is_storable = self.prefix, self._is_storable
        for name, value in self.left.items():
            if value is None or value == "":
                continue
            if len(rest) >= EXTRA_MAX:
                self.doubts.append("the message has more fields than are kept")
                break
            # Doubts name the member by what can be stored of its name, too.
            clean = name if is_storable else self._storable("a field's name", name)
            if isinstance(value, str) and type(value) is not Number:
                rest[prefix + clean] = value if is_storable else self._storable(clean, value)
            else:
                rest[prefix + clean] = self._as_json(clean, value)
        for other in others:
            if other.left:
                rest |= other.rest()
        return rest

    def _as_json(self, name: str, value: JsonValue) -> str:
        try:
            return encode(value).decode("utf-8")
        except Unreadable:
            self.doubt(name, "holds a character that no text can hold; it was left out")
            return ""


def written(text: str | None) -> str:
    """The inverse of `Fields.text`: an optional text as it is to be sent, empty where absent.

    Raises:
        CannotExpress: it would not be read back the same (empty, spaces at an end, or a NUL).
    """
    if text is None:
        return ""
    if not text or text != text.strip() or "\x00" in text:
        raise CannotExpress(
            "a text is empty, has spaces at an end or holds a NUL: it would not be read back the same"
        )
    return text


def written_time(at_us: int | None, timezone: str) -> str:
    """`2023-01-13 12:40:55` in local time, empty where absent: what `ISO_PATTERNS` read back.

    A fraction is written only where there is one. A moment that local time does not name for
    certain, in the hour that comes twice, is written in UTC with its `Z`.

    Raises:
        CannotExpress: the moment lies outside the years 1 to 9999.
    """
    if at_us is None:
        return ""
    try:
        text = to_local(at_us, timezone).replace(tzinfo=None).isoformat(sep=" ")
        if read_local(text, ISO_PATTERNS, timezone) != (at_us, None):
            text = to_datetime(at_us).replace(tzinfo=None).isoformat(sep=" ") + "Z"
    except OverflowError:
        raise CannotExpress("the time lies outside the years 1 to 9999") from None
    return text
