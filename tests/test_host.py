"""The hosts of URLs: what no program can call is refused where it is entered, by every way in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arifa.delivery import nats_target, target
from arifa.errors import Refused
from arifa.host import check_host
from arifa.hub.checks import check_url

NEVER_CALLED = [
    "127.1",
    "0x7f.1",
    "0177.0.0.1",
    "0177.0.0.01",
    "2130706433",
    "0x7f000001",
    "127.0.0.1.",
    "1.2.3.4.5",
    "localhost.",
    "shop.example.",
    ".example",
    "a..b",
    "a..",
    "-a.example",
    "a-.example",
    "a%2eb",
    "a" * 64 + ".example",
    ".".join(["a" * 60] * 5),
]


@pytest.mark.parametrize("host", NEVER_CALLED)
def test_hosts_that_can_never_be_called(host: str) -> None:
    """They are refused with a sentence, by the rule and by every kind of URL that has a host."""
    for check, text in (
        (check_host, host),
        (check_url, f"https://{host}/hook"),
        (target.check, f"https://{host}/hook"),
        (nats_target.check, f"tls+nats://{host}/payments"),
    ):
        with pytest.raises(Refused, match=r"\w{3,} \w+"):
            check(text)


@pytest.mark.parametrize(
    "host",
    [
        "shop.example",
        "shop.test",
        "shop.invalid",
        "localhost",
        "erp",
        "my_service",
        "xn--op-yja.example",
        "3com.example",
        "8.8.8.8",
        "127.0.0.1",
        "::1",
        "2606:4700:4700::1111",
    ],
)
def test_hosts_that_are_taken(host: str) -> None:
    """Names and addresses in their ordinary spelling; whether they are inside is asked elsewhere."""
    check_host(host)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{:d}", "0x{:x}", "0{:o}", "1.{:d}", "0X{:X}"]))
def test_no_number_is_a_host(number: int, spelling: str) -> None:
    """Of all the spellings of an address, one."""
    with pytest.raises(Refused, match="ordinary spelling"):
        check_host(spelling.format(number))
