"""The number of an invoice: eleven digits that a person types, the last of them a check digit.

`1`, nine random digits, and Damm's check digit, which notices every single wrong digit and every
two neighbours that were swapped (H. M. Damm, Total anti-symmetrische Quasigruppen, Marburg 2004). A
number that somebody makes up is one of a merchant's 10,000 invoices once in 100,000 times.
"""

from __future__ import annotations

import secrets
from typing import Final

DIGITS: Final = 11
# The page of the billing system shows numbers that begin so; and none loses a zero on its way.
_FIRST: Final = "1"
_DAMM: Final = (
    "0317598642",
    "7092154863",
    "4206871359",
    "1750983426",
    "6123045978",
    "3674209581",
    "5869720134",
    "8945362017",
    "9438617205",
    "2581436790",
)


def new_number() -> str:
    """A number that nobody can guess."""
    digits = _FIRST + "".join(secrets.choice("0123456789") for _ in range(DIGITS - 2))
    return digits + check_digit(digits)


def is_number(text: str) -> bool:
    """Whether it may be the number of an invoice; false where a digit is wrong."""
    return len(text) == DIGITS and text.isascii() and text.isdigit() and check_digit(text) == "0"


def check_digit(digits: str) -> str:
    """The digit to be put behind; 0 for digits that have theirs already."""
    interim = 0
    for digit in digits:
        interim = int(_DAMM[interim][int(digit)])
    return str(interim)
