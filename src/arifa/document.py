"""The one JSON decoder: strict about form, exact about numbers, bounded in every direction.

Numbers stay the text that was sent (`Number`), so that an amount is never a float and a huge
exponent costs nothing. Duplicate keys are refused, because two readers of one signed body must not
see two payments; so are NaN and Infinity, other encodings than UTF-8, a byte order mark, and
anything deeper, longer or wider than a notification has reason to be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from arifa.errors import Unreadable

DEPTH_MAX: Final = 32
MEMBERS_MAX: Final = 500
STRING_CHARACTERS_MAX: Final = 8192
NUMBER_DIGITS_MAX: Final = 64

ESCAPE: Final = 0x5C
"""The backslash. A JSON text without one can neither say a NUL nor half a character: its texts can
all be stored."""

_BRACKET: Final = re.compile(rb"[\[\]{}]")
_MINUS_ZERO: Final = re.compile(rb"-0[\s,}\]]")


class Number(str):
    """A JSON number, as the text that was sent."""

    __slots__ = ()


JsonValue = str | Number | int | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
"""What is decoded, and what can be encoded; an `int` that is not a bool is only ever ours."""

JsonObject = dict[str, JsonValue]


def _refuse_constant(name: str) -> JsonValue:
    raise Unreadable(f"the body holds {name}, which is not JSON")


def _number(text: str) -> Number:
    if len(text) > NUMBER_DIGITS_MAX:
        raise Unreadable(f"the body holds a number of more than {NUMBER_DIGITS_MAX} digits")
    return Number(text)


def _object(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Unreadable("the body names one key twice")
    return members


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=_number,
    parse_int=_number,
    parse_constant=_refuse_constant,
    strict=True,
)


def decode(body: bytes) -> JsonValue:
    """Decode one JSON text.

    Raises:
        Unreadable: anything but one bounded, well-formed JSON text in UTF-8.
    """
    found = _decode_plain(body)
    return _decode_any(body) if found is None else found


def is_plain(body: bytes) -> bool:
    """Whether a JSON text is short, escapes nothing and has no more members than it may have.

    Its texts are then what stands between its quotes: none of them too long, none with a NUL.
    """
    size = len(body)
    if size > STRING_CHARACTERS_MAX or ESCAPE in body:
        return False
    # Fewer bytes than that have no room for too many members.
    return size <= 2 * MEMBERS_MAX or max(body.count(b","), body.count(b":")) <= MEMBERS_MAX


def _decode_plain(body: bytes) -> JsonObject | None:
    """A plain object, as banks send it, in half the time; None: ask `_decode_any`.

    The fast decoder keeps the last of two equal keys and says nothing. But where nothing is escaped
    every quote opens or closes a text, and a key that was dropped is missing in their number.
    """
    if not is_plain(body):
        return None
    try:
        found = _PLAIN(body if body.isascii() else body.decode())
        if type(found) is not dict or _texts_of(found, body) * 2 != body.count(b'"'):
            return None
    except (ValueError, RecursionError, msgspec.DecodeError, Unreadable):
        return None
    return found


def _texts_of(found: dict[str, Any], body: bytes) -> int:
    """How many texts an object holds, keys among them; its whole numbers become what was sent.

    Raises:
        Unreadable: it may be too deep, a number is too long, or a zero may have been a minus zero.
    """
    texts = 0
    containers: list[Any] = [found]
    for container in containers:
        texts += len(container)
        places: Iterable[tuple[Any, Any]]
        if type(container) is dict:
            texts += len(container)
            places = container.items()
        else:
            places = enumerate(container)
        for place, item in places:
            if type(item) is str:
                continue
            texts -= 1
            if item is None:
                continue
            kind = type(item)
            if kind is int:
                container[place] = _whole(item, body)
            elif kind is dict or kind is list:
                containers.append(item)
            elif kind is Number and len(item) > NUMBER_DIGITS_MAX:
                raise Unreadable("a number is too long")
    if len(containers) > DEPTH_MAX:
        raise Unreadable("it may be too deep")
    return texts


def _whole(number: int, body: bytes) -> Number:
    """A whole number as it was sent: it is written in one way only, but for a zero.

    Raises:
        Unreadable: as `_texts_of`.
    """
    if number == 0 and _MINUS_ZERO.search(body):
        raise Unreadable("a zero may have been a minus zero")
    text = str(number)
    if len(text) > NUMBER_DIGITS_MAX:
        raise Unreadable("a number is too long")
    return Number(text)


def _decode_any(body: bytes) -> JsonValue:
    """As `decode`: the rule, of which `_decode_plain` is the short form."""
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX or body.count(b",") > MEMBERS_MAX:
        _check_outline(body)
    try:
        value: JsonValue = _DECODER.decode(str(body, "utf-8"))
    except UnicodeDecodeError:
        raise Unreadable("the body is not UTF-8") from None
    except RecursionError:
        raise Unreadable(f"the body is nested deeper than {DEPTH_MAX}") from None
    except ValueError as error:
        place = getattr(error, "pos", None)
        where = "" if place is None else f" (near byte {place})"
        raise Unreadable(f"the body is not JSON{where}") from None
    if len(body) > STRING_CHARACTERS_MAX or body.count(b":") > MEMBERS_MAX:
        _check_size(value)
    return value


def decode_object(body: bytes) -> JsonObject:
    """Decode one JSON object.

    Raises:
        Unreadable: as `decode`, or the text is not an object.
    """
    found = _decode_plain(body)
    if found is not None:
        return found
    value = _decode_any(body)
    if not isinstance(value, dict):
        raise Unreadable("the body is JSON, but not an object")
    return value


def _check_outline(body: bytes) -> None:
    """Refuse too many or too deep members before any of them costs an object.

    Each step is linear in the body: a pattern that skips texts tries every quote of
    `\\"\\"\\"…` to the end of the body, and 256 KiB of that are minutes (measured).
    """
    cut = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    outside = b"".join(cut[::2])
    if outside.count(b",") > MEMBERS_MAX:
        raise Unreadable(f"the body has more than {MEMBERS_MAX} members")
    depth = 0
    for bracket in _BRACKET.finditer(outside):
        depth += 1 if bracket.group() in (b"[", b"{") else -1
        if depth > DEPTH_MAX:
            raise Unreadable(f"the body is nested deeper than {DEPTH_MAX}")


def _check_size(value: JsonValue) -> None:
    members, queue = 0, [value]
    while queue:
        item = queue.pop()
        if isinstance(item, str):
            if len(item) > STRING_CHARACTERS_MAX:
                raise Unreadable(f"a text is longer than {STRING_CHARACTERS_MAX} characters")
        elif isinstance(item, dict):
            members += len(item)
            queue.extend(item.keys())
            queue.extend(item.values())
        elif isinstance(item, list):
            members += len(item)
            queue.extend(item)
    if members > MEMBERS_MAX:
        raise Unreadable(f"the body has more than {MEMBERS_MAX} members")


def encode(value: JsonValue) -> bytes:
    """Compact JSON in UTF-8; a `Number` is written as its own text, unquoted.

    Raises:
        Unreadable: a text that has no UTF-8 form (a lone surrogate).
    """
    try:
        return _ENCODE(value)
    except UnicodeEncodeError:
        raise Unreadable("a text holds half a character (a lone surrogate)") from None


def _as_sent(value: object) -> msgspec.Raw:
    """What the encoder does not know: a `Number`, which is written as it is."""
    if isinstance(value, Number):
        return msgspec.Raw(value.encode("ascii"))
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_PLAIN: Final = msgspec.json.Decoder(float_hook=Number).decode
_ENCODE: Final = msgspec.json.Encoder(enc_hook=_as_sent).encode
