"""The peer's address against a list."""

from __future__ import annotations

from dataclasses import replace

import pytest

from arifa.errors import Refused
from arifa.signing import AddressList, Credentials
from arifa.signing.credentials import network
from tests.signing.proofs import NOW_US, passes, refuses, request

PROOF = AddressList()
LIST = Credentials(addresses=("41.2.2.10", "196.216.222.0/24", "2001:db8::/32"))


@pytest.mark.parametrize(
    "peer", ["41.2.2.10", "196.216.222.15", "::ffff:41.2.2.10", "2001:db8::1", "2001:DB8:0::1"]
)
def test_address_of_the_list_passes(peer: str) -> None:
    assert passes(PROOF, replace(request(), peer=peer), LIST)


@pytest.mark.parametrize(
    "peer",
    [
        None,
        "",
        "41.2.2.11",
        "196.216.223.1",
        "2001:db9::1",
        "::1",
        "::ffff:41.2.2.11",
        "041.2.2.10",
        "41.2.2.10 ",
        "41.2.2.10, 10.0.0.1",
        "0x29020a0a",
        "1".rjust(9, "4"),
        "localhost",
        "é",
        "unix:",
    ],
)
def test_any_other_is_refused(peer: str | None) -> None:
    refuses(PROOF, replace(request(), peer=peer), LIST)


def test_a_header_says_nothing() -> None:
    """Who may speak for a caller is decided at the edge, where the proxies are known."""
    forwarded = request(b"{}", (b"x-forwarded-for", b"41.2.2.10"), (b"forwarded", b"for=41.2.2.10"))

    refuses(PROOF, replace(forwarded, peer="10.0.0.1"), LIST)


def test_an_empty_list_lets_nobody_in() -> None:
    refuses(PROOF, replace(request(), peer="41.2.2.10"), Credentials())


def test_an_optional_list_applies_only_where_there_is_one() -> None:
    assert not AddressList(is_optional=True).applies(Credentials())
    assert AddressList(is_optional=True).applies(LIST)
    assert AddressList().applies(Credentials())


def test_signing_adds_nothing() -> None:
    assert PROOF.sign(request(), LIST, NOW_US) == request()


@pytest.mark.parametrize("text", ["", "41.2.2", "41.2.2.10/33", "bank.example", "41.2.2.10-20"])
def test_what_is_no_network_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(Refused, match="is not an address"):
        network(text)
