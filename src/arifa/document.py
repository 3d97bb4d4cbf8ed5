"""The one JSON decoder: strict about form, exact about numbers, bounded in every direction.

Numbers stay the text that was sent (`Number`), so that an amount is never a float and a huge
exponent costs nothing. Duplicate keys are refused, because two readers of one signed body must not
see two payments; so are NaN and Infinity, other encodings than UTF-8, a byte order mark, and
anything deeper, longer or wider than a notification has reason to be.
"""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

from arifa.errors import Unreadable

DEPTH_MAX: Final = 32
MEMBERS_MAX: Final = 500
STRING_CHARACTERS_MAX: Final = 8192
NUMBER_DIGITS_MAX: Final = 64


_BRACKET: Final = re.compile(rb"[\[\]{}]")


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
    value = decode(body)
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
        try:
            return _ENCODE(value)
        except TypeError:
            # It holds a `Number`, which the encoder does not know.
            return _ENCODE(_with_raw_numbers(value))
    except UnicodeEncodeError:
        raise Unreadable("a text holds half a character (a lone surrogate)") from None


_ENCODE: Final = msgspec.json.Encoder().encode


def _with_raw_numbers(value: JsonValue) -> object:
    """The same with each `Number` marked to be written as it is."""
    if isinstance(value, dict):
        return {key: _with_raw_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_raw_numbers(item) for item in value]
    return msgspec.Raw(value.encode("ascii")) if isinstance(value, Number) else value
