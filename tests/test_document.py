"""The one JSON decoder: exact, strict, and bounded in every direction."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arifa.document import (
    DEPTH_MAX,
    MEMBERS_MAX,
    NUMBER_DIGITS_MAX,
    STRING_CHARACTERS_MAX,
    JsonValue,
    Number,
    _decode_any,
    _decode_plain,
    decode,
    decode_object,
    encode,
)
from arifa.errors import Unreadable
from arifa.testing.strategies import HOSTILE_BODIES, effort

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.from_regex(
    r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,10})?([eE][+-]?[0-9]{1,7})?", fullmatch=True
)
values = st.recursive(
    st.none() | st.booleans() | texts | numbers.map(Number),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def kinds(value: JsonValue) -> object:
    """The value with each text told apart from a number of the same letters."""
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [kinds(item) for item in value]
    return type(value).__name__, value


@effort(200)
@given(values)
def test_what_is_encoded_is_decoded_again_to_the_letter(value: JsonValue) -> None:
    assert kinds(decode(encode(value))) == kinds(value)


@effort(200)
@given(values)
def test_it_agrees_with_the_plain_encoder_and_decoder(value: JsonValue) -> None:
    plain = json.loads(encode(value), parse_int=Number, parse_float=Number)
    assert kinds(plain) == kinds(value)

    written = json.dumps(json.loads(encode(value), parse_float=str, parse_int=str))
    assert decode(written.encode()) == json.loads(written)


def test_numbers_stay_the_text_that_was_sent() -> None:
    document = decode_object(
        b'{"a": 100.10, "b": 1E+9999999, "c": -0.0, "d": 12345678901234567890.5}'
    )

    assert document == {
        "a": "100.10",
        "b": "1E+9999999",
        "c": "-0.0",
        "d": "12345678901234567890.5",
    }
    assert all(isinstance(value, Number) for value in document.values())
    assert Decimal(str(document["a"])) == Decimal("100.10")
    assert encode(document) == b'{"a":100.10,"b":1E+9999999,"c":-0.0,"d":12345678901234567890.5}'


def test_our_own_whole_numbers_are_written_and_booleans_stay() -> None:
    assert (
        encode({"statusCode": 0, "ok": True, "no": None}) == b'{"statusCode":0,"ok":true,"no":null}'
    )
    assert encode({"a": Number("1.50"), "b": 2}) == b'{"a":1.50,"b":2}'


def test_texts_are_written_as_utf_8_in_received_order() -> None:
    assert encode({"b": "é李", "a": '"\\\n\x00'}) == '{"b":"é李","a":"\\"\\\\\\n\\u0000"}'.encode()


REFUSED = {
    "nothing": b"",
    "white space": b" \n",
    "not JSON": b"a=1",
    "two texts": b"{}{}",
    "trailing comma": b'{"a":1,}',
    "comment": b"{} // x",
    "single quotes": b"{'a':1}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-32": '{"a":1}'.encode("utf-32-le"),
    "Latin-1": '{"a":"é"}'.encode("latin-1"),
    "overlong UTF-8": b'{"a":"\xc0\xaf"}',
    "half a character in bytes": b'{"a":"\xed\xa0\x80"}',
    "NUL": b"\x00",
    "NUL in a text": b'{"a":"\x00"}',
    "line end in a text": b'{"a":"\n"}',
    "one key twice": b'{"a":1,"a":1}',
    "one key twice, once escaped": b'{"a":1,"\\u0061":2}',
    "one key twice, deep": b'{"a":[{"b":1,"b":2}]}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "minus Infinity": b'{"a":-Infinity}',
    "leading zero": b'{"a":01}',
    "plus": b'{"a":+1}',
    "no digit before the point": b'{"a":.5}',
    "hexadecimal": b'{"a":0x10}',
    "too many digits": b'{"a":' + b"9" * (NUMBER_DIGITS_MAX + 1) + b"}",
    "very many digits": b'{"a":' + b"9" * 100_000 + b"}",
    "too deep": b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1),
    "very deep": b"[" * 100_000,
    "very deep objects": b'{"a":' * 100_000,
    "deep after a text of brackets": b'{"a":"]]]]", "b":' + b"[" * 40 + b"]" * 40 + b"}",
    "deep after an escaped quote": b'{"a":"\\"]]]]]", "b":' + b"[" * 40 + b"]" * 40 + b"}",
    "too long a text": b'"' + b"x" * (STRING_CHARACTERS_MAX + 1) + b'"',
    "too long a key": b'{"' + b"x" * (STRING_CHARACTERS_MAX + 1) + b'":1}',
    "too many members": b"{"
    + b",".join(b'"%d":1' % number for number in range(MEMBERS_MAX + 1))
    + b"}",
    "too many items": b"[" + b",".join([b"1"] * (MEMBERS_MAX + 2)) + b"]",
    "quotes without end": b'{"a":"' + b'\\"' * 100_000,
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(body)


@pytest.mark.parametrize("body", [b"[]", b"1", b'"a"', b"null", b"true"])
def test_what_is_no_object_is_refused_where_one_is_wanted(body: bytes) -> None:
    with pytest.raises(Unreadable, match="not an object"):
        decode_object(body)


ALLOWED = {
    "as deep as may be": b"[" * DEPTH_MAX + b"]" * DEPTH_MAX,
    "brackets in a text": b'{"a":"' + b"[{" * 100 + b'"}',
    "commas in a text": b'{"a":"' + b"," * 2000 + b'"}',
    "escaped quotes": b'{"a":"' + b'\\"[' * 100 + b'"}',
    "escaped backslash before a quote": b'{"a":"\\\\","b":["' + b"[" * 40 + b'"]}',
    "as long a text as may be": b'"' + b"x" * STRING_CHARACTERS_MAX + b'"',
    "as many digits as may be": b"9" * NUMBER_DIGITS_MAX,
    "a lone surrogate, escaped": b'{"a":"\\ud800"}',
    "white space all around": b' \r\n\t{ "a" : 1 } \n',
}


@pytest.mark.parametrize("body", ALLOWED.values(), ids=ALLOWED)
def test_what_is_within_the_bounds_is_read(body: bytes) -> None:
    assert decode(body) == json.loads(body, parse_int=str)


@effort(300)
@given(st.binary(max_size=200) | st.sampled_from(HOSTILE_BODIES))
def test_any_bytes_are_read_or_refused_by_name(body: bytes) -> None:
    with contextlib.suppress(Unreadable):
        decode(body)


def test_a_refusal_tells_nothing_of_the_body() -> None:
    with pytest.raises(Unreadable) as caught:
        decode(b'{"customerName": "Jane Doe" "phone": 1}')

    assert str(caught.value) == "the body is not JSON (near byte 28)"


@effort(100)
@given(st.text('{}[]",:\\1a ', max_size=60))
def test_what_plain_json_refuses_is_refused(text: str) -> None:
    try:
        plain = json.loads(text, parse_int=str, parse_float=str)
    except ValueError:
        with pytest.raises(Unreadable):
            decode(text.encode())
    else:
        try:
            assert decode(text.encode()) == plain
        except Unreadable as error:
            assert "twice" in str(error)  # noqa: PT017 - the one way in which it is stricter here


def test_half_a_character_cannot_be_written() -> None:
    for value in ("\ud800", {"\udfff": 1}, [{"a": "\ud83d"}], {"a": Number("1"), "b": "\ud800"}):
        with pytest.raises(Unreadable, match="lone surrogate"):
            encode(value)  # type: ignore[arg-type]


def both(body: bytes) -> tuple[object, object]:
    """What the short way and the long way make of a body: a value, or the word that it is none."""

    def long_way() -> object:
        try:
            return kinds(_decode_any(body))
        except Unreadable:
            return "refused"

    plain = _decode_plain(body)
    return None if plain is None else kinds(plain), long_way()


@effort(300)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.sampled_from(HOSTILE_BODIES),
        st.text('{}[]",:-01.e \n\x00é', max_size=60).map(lambda text: f'{{"a":{text}}}'.encode()),
        st.lists(st.tuples(texts, values), max_size=6).map(
            lambda pairs: (
                b"{" + b",".join(encode(key) + b" : " + encode(item) for key, item in pairs) + b"}"
            )
        ),
    )
)
def test_the_short_way_agrees_with_the_long_one_or_says_nothing(body: bytes) -> None:
    short, long = both(body)

    assert short in (None, long)


@effort(300)
@given(
    st.binary(max_size=200)
    | st.sampled_from(HOSTILE_BODIES)
    | st.text(max_size=20).map(
        lambda text: f'{{"{text}":["{text}"]}}'.encode("utf-8", "surrogatepass")
    )
)
def test_what_escapes_nothing_says_nothing_that_cannot_be_stored(body: bytes) -> None:
    with contextlib.suppress(Unreadable):
        value = decode(body.replace(b"\\", b""))

        assert "\\u0000" not in json.dumps(value)
        json.dumps(value, ensure_ascii=False).encode()


PLAIN = [
    b'{"a":"b"}',
    b'{ "a" : 15, "b": -1.50, "c": null, "d": true, "e": [1, "x", {"f": "13:15"}], "g": {} }',
    '{"name":"Wanjikũ"}'.encode(),
    b'{"a":' + b"9" * NUMBER_DIGITS_MAX + b"}",
    b'{"code":0,"day":"2024-02-07"}',
]


@pytest.mark.parametrize("body", PLAIN)
def test_what_banks_send_takes_the_short_way(body: bytes) -> None:
    short, long = both(body)

    assert short == long != "refused"


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_the_short_way_takes_nothing_that_is_refused(body: bytes) -> None:
    assert _decode_plain(body) is None
