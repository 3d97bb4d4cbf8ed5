"""Raw HTTP: bytes stay bytes, and a message survives its way through a file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arifa.errors import Unreadable
from arifa.testing.strategies import effort
from arifa.wire import WireRequest, WireResponse, read_request, read_response, values

names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(str.encode)
header_values = st.binary(max_size=30).map(
    lambda value: value.replace(b"\r", b"").replace(b"\n", b"").strip()
)
headers = st.lists(
    st.tuples(names.filter(lambda name: name not in (b"content-length", b"host")), header_values),
    max_size=5,
).map(tuple)


@effort(150)
@given(st.binary(max_size=200), headers)
def test_request_survives_its_way_through_bytes(body: bytes, own) -> None:
    request = WireRequest(body=body, headers=own, target="/ipn/token")
    back = read_request(request.to_bytes(), peer="192.0.2.7", received_at=5)

    kept = tuple(item for item in own if item[0] != b"transfer-encoding")
    added = {b"host", b"content-length"}
    assert back.body == body
    assert tuple(item for item in back.headers if item[0] not in added) == kept
    assert (back.method, back.target, back.peer, back.received_at) == (
        "POST",
        "/ipn/token",
        "192.0.2.7",
        5,
    )


@effort(150)
@given(st.integers(200, 599), st.binary(max_size=200), headers)
def test_answer_survives_its_way_through_bytes(status: int, body: bytes, own) -> None:
    back = read_response(WireResponse(status, body, own).to_bytes())

    assert (back.status, back.body) == (status, body)
    assert back.headers == (*own, (b"content-length", b"%d" % len(body)))


def test_length_is_that_of_the_body_and_host_is_kept() -> None:
    request = WireRequest(
        body=b"12345",
        headers=((b"Host", b"hub.example"), (b"Content-Length", b"99"), (b"a", b"b")),
    )

    assert request.to_bytes() == (
        b"POST / HTTP/1.1\r\nHost: hub.example\r\na: b\r\ncontent-length: 5\r\n\r\n12345"
    )


def test_a_capture_may_be_edited_by_hand() -> None:
    """Bare line ends, no length, names in any letters, white space about values."""
    request = read_request(b"POST /x HTTP/1.1\nSignature:  abc \nX-Empty:\n\n{}\n")

    assert request.headers == ((b"signature", b"abc"), (b"x-empty", b""))
    assert request.body == b"{}\n"


def test_body_may_hold_blank_lines_of_both_kinds() -> None:
    assert (
        read_request(b"POST / HTTP/1.1\r\na: b\r\n\r\nx\n\ny\r\n\r\nz").body == b"x\n\ny\r\n\r\nz"
    )
    assert read_request(b"POST / HTTP/1.1\na: b\n\nx\r\n\r\ny").body == b"x\r\n\r\ny"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "no blank line"),
        (b"POST / HTTP/1.1", "no blank line"),
        (b"POST /\r\n\r\n", "not an HTTP request line"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "not an HTTP request line"),
        (b"POST / FTP/1\r\n\r\n", "not an HTTP request line"),
        (b"POST / HTTP/1.1\r\nno colon\r\n\r\n", "no colon"),
        (b"POST / HTTP/1.1\r\n: value\r\n\r\n", "no colon"),
    ],
)
def test_what_is_no_request_is_refused_with_a_sentence(message: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read_request(message)


@pytest.mark.parametrize(
    "message", [b"", b"200 OK\r\n\r\n", b"HTTP/1.1 ok\r\n\r\n", b"HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_answer_is_refused(message: bytes) -> None:
    with pytest.raises(Unreadable):
        read_response(message)


@effort(150)
@given(
    st.binary(max_size=80) | st.binary(max_size=80).map(lambda data: b"POST / HTTP/1.1\r\n" + data)
)
def test_any_bytes_are_read_or_refused_by_name(message: bytes) -> None:
    for read in (read_request, read_response):
        try:
            read(message)
        except Unreadable:
            continue


def test_headers_are_found_in_any_letters_and_order() -> None:
    request = WireRequest(
        body=b"", headers=((b"Signature", b"1"), (b"x", b"2"), (b"SIGNATURE", b"3"))
    )

    assert request.values(b"signature") == [b"1", b"3"]
    assert values(request.headers, b"missing") == []


def test_a_header_of_the_same_name_is_replaced_in_any_letters() -> None:
    request = WireRequest(
        body=b"", headers=((b"Signature", b"1"), (b"x", b"2"), (b"signature", b"3"))
    )

    assert request.with_headers((b"SIGNATURE", b"new")).headers == (
        (b"x", b"2"),
        (b"SIGNATURE", b"new"),
    )


def test_body_is_decoded_once_and_never_that_of_another() -> None:
    request = WireRequest(body=b'{"a": 1}')
    assert request.document() is request.document()

    other = replace(request, body=b'{"a": 2}')
    assert other.document() == {"a": "2"}
    assert request.document() == {"a": "1"}
    with pytest.raises(Unreadable):
        replace(request, body=b"").document()


def test_repr_shows_nothing_of_the_body() -> None:
    request = WireRequest(
        body=b'{"name": "Jane"}', headers=((b"authorization", b"Basic c2VjcmV0"),)
    )

    assert repr(request) == "<WireRequest POST of 16 bytes>"
