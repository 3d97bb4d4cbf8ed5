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


class Identifiers:
    """Identifiers of one moment, each greater than the one before: rows of a group are appended.

    One random start, then a count: it costs a third of `identifier`, and a tree whose keys come in
    order splits no page.
    """

    __slots__ = ("_moment", "_next")

    def __init__(self, now_us: int) -> None:
        self._moment = f"{now_us // 1000:012x}"
        # The highest bit is free, so that counting on never runs over.
        self._next = int.from_bytes(urandom(8), "big") >> 1

    def new(self, prefix: str) -> str:
        """The next identifier, of this prefix."""
        self._next += 1
        return f"{prefix}_{self._moment}{self._next:016x}"


def moment_of(identity: str) -> str:
    """The 12 digits of an identifier that say when it was made; rows of one group share them."""
    return identity.partition("_")[2][:12]


def lower_bound(prefix: str, at_us: int) -> str:
    """The smallest identifier that could have been made at `at_us`: a range's lower end."""
    return f"{prefix}_{max(at_us, 0) // 1000:012x}"


def unguessable() -> str:
    """160 random bits as 32 lower-case letters and digits: for a path that only a bank knows."""
    return "".join(secrets.choice(ALPHABET) for _ in range(32))
