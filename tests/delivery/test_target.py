"""The URLs of HTTP endpoints: what is refused when it is entered, and what when it is called."""

from __future__ import annotations

import pytest

from arifa.delivery.target import NotPublic, check, target
from arifa.errors import Refused


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example",
        "//shop.example/",
        "https://",
        "https:///hook",
        "http://shop.example/",
        "ftp://shop.example/",
        "file:///etc/passwd",
        "https://user@shop.example/",
        "https://user:word@shop.example/",
        "https://@shop.example/",
        "https://shop.example:0/",
        "https://shop.example:99999/",
        "https://shop.example:x/",
        "https://shop.example/a b",
        "https://shop.example/\r\nx: y",
        "https://shop.example/\x00",
        "https://shop.example\\@evil.example/",
        "https://[::1/",
        "https://10.0.0.1/",
        "https://[fd00::1]/",
        "https://shop.example/" + "a" * 2100,
    ],
)
def test_urls_that_are_refused(url):
    """A URL that cannot be called safely is refused with a sentence, when it is entered."""
    with pytest.raises(Refused, match=r"\w{3,} \w+"):
        target(url)


def test_urls_that_are_taken():
    """An https URL is, with port and query; an http one in development; the fragment goes."""
    assert str(target("https://shop.example:8443/a/b?c=d@e", ports=frozenset({443, 8443}))) == (
        "https://shop.example:8443/a/b?c=d@e"
    )
    assert str(target("https://shop.example/a#b")) == "https://shop.example/a"
    assert target("http://127.0.0.1:8000/", allow_private=True).port == 8000
    assert target("https://[2606:4700:4700::1111]/").host == "2606:4700:4700::1111"


def test_an_address_inside_has_an_error_of_its_own():
    """So that the attempt says where it leads, and not that the URL is written wrongly."""
    with pytest.raises(NotPublic):
        target("https://10.0.0.1/")


def test_a_port_that_is_not_allowed():
    """Only 443 is called, unless the operator allows another; in development any is."""
    with pytest.raises(Refused, match="--allow-port 8443"):
        target("https://shop.example:8443/")
    assert target("https://shop.example:8443/", ports=frozenset({8443})).port == 8443
    assert target("https://shop.example:8443/", allow_private=True).port == 8443


@pytest.mark.parametrize(
    ("url", "note"),
    [
        ("https://shop.example/hook", ""),
        ("https://shop.example:8443/hook", "port 8443 needs --allow-port 8443"),
        ("https://10.0.0.1/hook", "10.0.0.1 is a private address: it needs --allow-private"),
        ("http://localhost:8000/hook", "localhost is a private address"),
        ("http://[::1]:8000/hook", "::1 is a private address"),
        ("http://erp.internal/hook", "erp.internal is a private address"),
        ("http://erp/hook", "erp is a private address"),
    ],
)
def test_what_may_surprise_is_noted(url, note):
    """What works only if `arifa serve` allows it is taken, and said so."""
    notes = check(url)
    assert len(notes) == bool(note)
    assert not notes or notes[0].startswith(note)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://shop.example/", "in the clear|who paid"),
        ("https://shop.example/#part", "fragment"),
        ("https://user:word@shop.example/", "--password-file"),
        ("https://shop.example/a b", "%20"),
        ("gopher://shop.example/", "https://"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_entered(url, words):
    """The sentence says what to write instead."""
    with pytest.raises(Refused, match=words):
        check(url)
