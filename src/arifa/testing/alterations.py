"""Every way in which the laws alter a genuine message: bits, members, and how it is written."""

from __future__ import annotations

import binascii
import copy
import itertools
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Any, Final

from arifa.document import JsonObject, JsonValue, Number, decode_object, encode
from arifa.errors import Unreadable

Path = tuple[str | int, ...]

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")
_HEXADECIMAL: Final = re.compile(rb"(?:[0-9a-f]{2}){16,}|(?:[0-9A-F]{2}){16,}")
_SPLITS_MAX: Final = 2000


# ------------------------------------------------------------------------------------- bits


def flipped_bits(data: bytes, count_max: int) -> Iterator[bytes]:
    """`data` with one bit flipped: every bit, or at most `count_max` of them spread evenly."""
    bits = len(data) * 8
    # An odd step walks through the eight places of a byte instead of meeting only one of them.
    step = max(1, bits // max(count_max, 1)) | 1
    for bit in range(0, bits, step):
        place, mask = bit // 8, 1 << (bit % 8)
        yield data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


def flipped_proofs(value: bytes, count_max: int) -> Iterator[bytes]:
    """A proof's text with one bit of what it stands for flipped, base64 or hexadecimal.

    Where it has several signatures, of which one that fits is enough, each has its bit flipped.
    """
    pieces = _BASE64.split(value)
    flips = [_flipped_texts(match.group(), count_max) for match in _BASE64.finditer(value)]
    for texts in zip(*flips, strict=False):
        mixed = itertools.chain.from_iterable(zip(pieces, texts, strict=False))
        yield b"".join((*mixed, pieces[-1]))


def _flipped_texts(text: bytes, count_max: int) -> Iterator[bytes]:
    if _HEXADECIMAL.fullmatch(text):
        for flipped in flipped_bits(binascii.unhexlify(text), count_max):
            yield binascii.hexlify(flipped)
        return
    try:
        decoded = b64decode(text, validate=True)
    except binascii.Error:
        return
    for flipped in flipped_bits(decoded, count_max):
        yield b64encode(flipped)


# ---------------------------------------------------------------------------------- members


def places(value: JsonValue, path: Path = ()) -> Iterator[tuple[Path, JsonValue]]:
    """The path and value of everything within a document that is neither object nor list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))
    else:
        yield path, value


def _container(document: Any, path: Path) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


def _replaced(document: JsonObject, *changes: tuple[Path, JsonValue]) -> JsonObject:
    result = copy.deepcopy(document)
    for path, value in changes:
        _container(result, path)[path[-1]] = value
    return result


def _without(document: JsonObject, path: Path) -> JsonObject:
    result = copy.deepcopy(document)
    del _container(result, path)[path[-1]]
    return result


def _others(value: JsonValue) -> Iterator[JsonValue]:
    """Values that could stand in the place of `value`, of its type and of others."""
    yield from (None, "", "NONE", "X", True, False, [], {})
    if isinstance(value, Number):
        yield from (Number(f"{value}1"), Number(f"{value}0"), Number("0"), str(value))
        yield Number(value[1:] if value.startswith("-") else f"-{value}")
    elif isinstance(value, str):
        yield from (
            f"{value}X",
            value[:-1],
            f" {value}",
            f"{value} ",
            value.swapcase(),
            f"-{value}",
        )
        if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]+)?", value, re.ASCII):
            yield Number(value.lstrip("0") or "0")


def with_each_value(document: JsonObject, values: Iterable[JsonValue]) -> Iterator[JsonObject]:
    """The document with each of these values in the place of each of its own."""
    others = tuple(values)
    for path, _ in places(document):
        for other in others:
            yield _replaced(document, (path, other))


def escaped(value: JsonValue) -> bytes:
    """JSON in which everything but ASCII is escaped, so that half characters can be sent too."""
    if isinstance(value, Number):
        return value.encode("ascii")
    if isinstance(value, dict):
        pairs = (escaped(key) + b":" + escaped(item) for key, item in value.items())
        return b"{" + b",".join(pairs) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(escaped, value)) + b"]"
    return json.dumps(value).encode("ascii")


def altered_members(document: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """(what was done, document) for every member exchanged, lost, or joined by a twin.

    A twin is the same name in other letters, before and after the original: a parser that folds
    names must not take the one that no proof looked at.
    """
    for path, value in places(document):
        name = ".".join(map(str, path))
        for other in _others(value):
            if other != value or type(other) is not type(value):
                yield f"{name} as {other!r}", _replaced(document, (path, other))
        yield f"{name} left out", _without(document, path)
    for key, value in document.items():
        for twin in {key.upper(), key.lower(), key.swapcase(), f"{key[:1].swapcase()}{key[1:]}"}:
            if twin not in document:
                other = "9" if isinstance(value, str) else value
                yield f"{twin} after {key}", {**document, twin: other}
                yield f"{twin} before {key}", {twin: other, **document}
    yield "an unknown member added", {**document, "unheard_of": "1"}


def resplit_texts(document: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """(what was done, document) with the end of one text moved to the beginning of another.

    Fields that are hashed one behind the other without a mark between them read the same so.
    """
    texts = [(path, value) for path, value in places(document) if isinstance(value, str)]
    texts = [(path, value) for path, value in texts if not isinstance(value, Number)]
    made = 0
    for source, left in texts:
        for target, right in texts:
            for size in (1, 2, len(left)):
                if source == target or not 0 < size <= len(left):
                    continue
                made += 1
                if made > _SPLITS_MAX:
                    return
                yield (
                    f"{size} characters of {source[-1]} moved to {target[-1]}",
                    _replaced(
                        document,
                        (source, left[: len(left) - size]),
                        (target, left[len(left) - size :] + right),
                    ),
                )


# ------------------------------------------------------------------------ how it is written


def rewritten(body: bytes) -> Iterator[tuple[str, bytes]]:
    """(what was done, body) with other bytes that mean the same JSON."""
    yield "a space behind it", body + b" "
    yield "a line end before it", b"\n" + body
    try:
        document = decode_object(body)
    except Unreadable:
        return
    compact = encode(document)
    yield "written without spaces", compact
    yield "written with spaces", _outside_texts(compact, b",", b", ")
    yield "with its members turned round", encode(dict(reversed(document.items())))
    for place in range(len(compact)):
        if compact[place : place + 1].isalpha() and compact[:place].count(b'"') % 2:
            escape = b"\\u%04x" % compact[place]
            yield "with a letter escaped", compact[:place] + escape + compact[place + 1 :]
            break


def _outside_texts(body: bytes, mark: bytes, replacement: bytes) -> bytes:
    pieces = re.split(rb'("(?:[^"\\]|\\.)*")', body)
    return b"".join(
        piece if piece.startswith(b'"') else piece.replace(mark, replacement) for piece in pieces
    )
