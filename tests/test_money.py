"""Money is exact, knows its currency's decimals, and costs nothing to refuse."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arifa.errors import Unreadable
from arifa.money import (
    EXPONENT,
    MINOR_MAX,
    Money,
    decimal_text,
    is_currency,
    is_decimal,
    read_amount,
)
from arifa.testing.strategies import CURRENCIES, effort

currencies = st.sampled_from(CURRENCIES)


@effort(200)
@given(st.integers(-(10**15), 10**15), currencies)
def test_text_and_reading_are_inverse(minor: int, currency: str) -> None:
    money = Money(minor, currency)

    assert read_amount(money.text(), currency) == money
    assert Decimal(money.text()) == Decimal(minor).scaleb(-EXPONENT[currency])


@effort(200)
@given(st.decimals(0, 10**14, places=2), currencies)
def test_reading_agrees_with_decimal_arithmetic_or_refuses(amount: Decimal, currency: str) -> None:
    exact = amount.scaleb(EXPONENT[currency])
    try:
        money = read_amount(str(amount), currency)
    except Unreadable:
        assert exact != int(exact)
    else:
        assert money == Money(int(exact), currency)


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("100", "KES", 10_000),
        ("100.0", "KES", 10_000),
        ("100.00", "KES", 10_000),
        ("100.0000", "KES", 10_000),
        ("0.01", "KES", 1),
        ("007", "KES", 700),
        ("+5", "KES", 500),
        ("-2000.00", "NGN", -200_000),
        ("-0.01", "KES", -1),
        ("-0", "KES", 0),
        ("1000", "UGX", 1000),
        ("1000.0", "UGX", 1000),
        ("1.500", "BHD", 1500),
        ("1.5", "BHD", 1500),
        ("1.0001", "CLF", 10_001),
        ("20,000.00", "KES", 2_000_000),
        ("1,234,567", "UGX", 1_234_567),
        ("-1,000.5", "KES", -100_050),
        ("999999999999999.99", "KES", 99_999_999_999_999_999),
    ],
)
def test_amount_is_read(text: str, currency: str, minor: int) -> None:
    assert read_amount(text, currency) == Money(minor, currency)


REFUSED = [
    "",
    " ",
    " 1",
    "1 ",
    ".5",
    "5.",
    "1.005",
    "--1",
    "1-",
    "1e3",
    "1E+9999999",
    "1e-9999999",
    "0x10",
    "0b1",
    "1_000",
    "1,00",
    "1,0000",
    "10,00.00",
    ",100",
    "1,000,00",
    "1.000,00",
    "NaN",
    "Infinity",
    "-inf",
    "٣٤",
    "１００",
    "1\n",
    "1\x00",
    "1000000000000000",
    "9" * 5000,
    "1." + "0" * 5000,
    "-",
    "+",
    "KES 100",
    "100/-",
]


@pytest.mark.parametrize("text", REFUSED, ids=[repr(text[:20]) for text in REFUSED])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_amount(text, "KES")


@effort(300)
@given(st.text(st.characters(), max_size=40) | st.text("0123456789.,+-eE", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        money = read_amount(text, "KES")
    except Unreadable:
        return
    assert is_decimal(text)
    assert Decimal(text.replace(",", "")) == Decimal(money.minor).scaleb(-2)


@pytest.mark.parametrize("code", ["", "kes", "KSH", "KES ", "XXX", "USDT", "\x00", "ＫＥＳ"])
def test_unknown_currency_is_refused(code: str) -> None:
    assert not is_currency(code)
    with pytest.raises(Unreadable, match="ISO 4217"):
        read_amount("1", code)


def test_decimals_that_the_currency_lacks_are_refused_unless_zero() -> None:
    assert read_amount("1000.00", "UGX") == Money(1000, "UGX")
    with pytest.raises(Unreadable, match=r"more decimals than UGX has \(0\)"):
        read_amount("1000.50", "UGX")


@pytest.mark.parametrize("currency", CURRENCIES)
def test_what_is_read_fits_into_63_bits(currency: str) -> None:
    largest = f"999999999999999.{'9' * EXPONENT[currency]}".rstrip(".")
    if EXPONENT[currency] == 4:
        with pytest.raises(Unreadable, match="63 bits"):
            read_amount(largest, currency)
        largest = "922337203685477.5807"

    assert read_amount(largest, currency).minor <= MINOR_MAX


def test_exponents_are_those_of_iso_4217() -> None:
    expected = {"KES": 2, "NGN": 2, "UGX": 0, "RWF": 0, "BHD": 3, "TND": 3, "CLF": 4, "JPY": 0}

    assert {code: EXPONENT[code] for code in expected} == expected
    assert all(len(code) == 3 and code.isupper() and code.isascii() for code in EXPONENT)
    assert len(EXPONENT) > 150


def test_json_and_text_have_the_currencys_own_decimals() -> None:
    assert Money(10_000, "KES").as_json() == {"amount": "100.00", "currency": "KES"}
    assert str(Money(1000, "UGX")) == "1000 UGX"
    assert str(Money(-5, "BHD")) == "-0.005 BHD"
    assert decimal_text(-123456, 2) == "-1234.56"
