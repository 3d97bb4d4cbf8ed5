"""The bytes of a request: nothing in it can become another header, or another request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arifa.delivery.message import place, written
from arifa.errors import Refused
from arifa.wire import WireRequest, read_request

THERE = place("https://shop.example:8443/a%2Fb?c=d", allow_private=True, ports=frozenset())


def test_where_it_goes():
    """The path and the query as they were given; a port where it is not the scheme's own."""
    assert THERE.origin == ("https", "shop.example", 8443)
    sent = read_request(written(WireRequest(b"body"), THERE.head))
    assert (sent.method, sent.target, sent.body) == ("POST", "/a%2Fb?c=d", b"body")
    assert sent.values(b"host") == [b"shop.example:8443"]
    plain = place("https://shop.example/", allow_private=False, ports=frozenset({443}))
    assert read_request(written(WireRequest(b""), plain.head)).values(b"host") == [b"shop.example"]


@given(
    st.lists(
        st.tuples(st.from_regex(rb"[a-zA-Z0-9_-]{1,12}", fullmatch=True), st.binary(max_size=30)),
        max_size=6,
    )
)
def test_what_is_sent_is_what_was_given_or_nothing(headers):
    """Each header arrives as it was, or the request is refused: no value makes a line of its own."""
    request = WireRequest(b"body", tuple((b"x-" + name, value) for name, value in headers))
    has_controls = any(
        byte == 127 or (byte < 32 and byte != 9) for _, value in headers for byte in value
    )
    try:
        message = written(request, THERE.head)
    except Refused:
        assert has_controls
        return
    assert not has_controls
    head, _, body = message.partition(b"\r\n\r\n")
    assert body == b"body"
    assert head.count(b"\r\n") == 4 + len(headers)
    for name, value in request.headers:
        assert b"\r\n%b: %b\r\n" % (name, value) in message


@pytest.mark.parametrize("name", [b"", b"x y", b"x:", b"x\r\ny", b"x\xff", b"x\x00"])
def test_a_name_that_is_none(name):
    """A header whose name is no token is refused."""
    with pytest.raises(Refused):
        written(WireRequest(b"", ((name, b"a"),)), THERE.head)


@pytest.mark.parametrize("method", ["", "PO ST", "POST /x HTTP/1.1\r\nx:", "PÖST"])
def test_a_method_that_is_none(method):
    """A method that is no token is refused."""
    with pytest.raises(Refused):
        written(WireRequest(b"", method=method), THERE.head)
