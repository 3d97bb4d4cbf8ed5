"""Prefixed, sortable identifiers: `ntf_` and 28 hexadecimal digits.

The first 12 digits are the milliseconds since 1970, so that rows made later sort later and a
database appends instead of scattering; the other 16 are 64 random bits. Not secrets: what must be
unguessable (an intake path) has its own maker, `unguessable`.
"""

from __future__ import annotations

import secrets
from os import urandom

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def identifier(prefix: str, now_us: int) -> str:
    """A new identifier of this prefix, sortable by `now_us` (microseconds since 1970)."""
    return f"{prefix}_{now_us // 1000:012x}{urandom(8).hex()}"


def lower_bound(prefix: str, at_us: int) -> str:
    """The smallest identifier that could have been made at `at_us`: a range's lower end."""
    return f"{prefix}_{max(at_us, 0) // 1000:012x}"


def unguessable() -> str:
    """160 random bits as 32 lower-case letters and digits: for a path that only a bank knows."""
    return "".join(secrets.choice(ALPHABET) for _ in range(32))
