"""Money: an integer of minor units and an ISO 4217 code. There is no float anywhere.

`read_amount` is the only way from text to money. It checks the shape of the text before any
arithmetic: `1E+9999999` is twelve bytes that would hold a CPU for minutes (measured).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from arifa.errors import Unreadable

# ISO 4217, active codes, by number of decimals. Codes that are not here have two.
_EXPONENTS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
    2: "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP "
    "BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP "
    "GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK "
    "LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK "
    "NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP "
    "STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER "
    "ZAR ZMW ZWG",
}
EXPONENT: Final[dict[str, int]] = {
    code: exponent for exponent, codes in _EXPONENTS.items() for code in codes.split()
}

# At most 15 digits before the point: with three decimals that is below 63 bits for certain.
_AMOUNT: Final = re.compile(r"([+-]?)([0-9]{1,15})(?:\.([0-9]{1,8}))?", re.ASCII)
MINOR_MAX: Final = 2**63 - 1
"""What a column of a database holds; only currencies with four decimals come near."""
_GROUPED: Final = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]{1,8})?", re.ASCII)


class Money(NamedTuple):
    """`minor` units of `currency`: `Money(10000, "KES")` is a hundred shillings."""

    minor: int
    currency: str

    def __str__(self) -> str:
        return f"{self.text()} {self.currency}"

    def __abs__(self) -> Money:
        return self if self.minor >= 0 else Money(-self.minor, self.currency)

    def text(self) -> str:
        """The amount in major units with the currency's own decimals: `"100.00"`, `"1000"`."""
        return decimal_text(self.minor, EXPONENT[self.currency])

    def as_json(self) -> dict[str, str]:
        """`{"amount": "100.00", "currency": "KES"}`."""
        return {"amount": self.text(), "currency": self.currency}


@lru_cache(maxsize=4096)
def decimal_text(minor: int, exponent: int) -> str:
    """`minor` with its last `exponent` digits behind a point."""
    if exponent == 0:
        return str(minor)
    sign = "-" if minor < 0 else ""
    digits = str(abs(minor)).rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}"


def is_currency(code: str) -> bool:
    """Whether `code` is an active ISO 4217 currency, in capitals."""
    return code in EXPONENT


def is_decimal(text: str) -> bool:
    """Whether `text` has the shape of an amount, whatever the currency."""
    return bool(_AMOUNT.fullmatch(text) or _GROUPED.fullmatch(text))


# Prices repeat: the same few make up most of a day. Only what was read is remembered, and that is
# short.
@lru_cache(maxsize=4096)
def read_amount(text: str, currency: str) -> Money:
    """Read major units, `"100"`, `"100.00"` or `"20,000.00"`, as money of `currency`.

    Excess decimals pass when they are zero (`UGX 1000.0`).

    Raises:
        Unreadable: not an amount, an unknown currency, or decimals that the currency lacks.
    """
    exponent = EXPONENT.get(currency)
    if exponent is None:
        raise Unreadable("the currency is not an ISO 4217 code")
    if "," in text and _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise Unreadable("the amount is not a decimal number of at most 15 digits")
    sign, whole, decimals = match.groups("")
    if decimals[exponent:].strip("0"):
        raise Unreadable(f"the amount has more decimals than {currency} has ({exponent})")
    minor = int(whole + decimals[:exponent].ljust(exponent, "0"))
    if minor > MINOR_MAX:
        raise Unreadable("the amount is beyond 63 bits of minor units")
    return Money(-minor if sign == "-" else minor, currency)
