"""Prefixed, sortable identifiers: `ntf_` and 28 hexadecimal digits.

The first 12 digits are the milliseconds since 1970, so that rows made later sort later and a
database appends instead of scattering; the other 16 count on from 63 random bits. Not secrets: what
must be unguessable (an intake path) has its own maker, `unguessable`.
"""

from __future__ import annotations

import os
import secrets
import threading
from os import urandom
from typing import Final

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_GROUP: Final = 1 << 32
"""How many numbers of a millisecond one `Identifiers` has for itself."""


class _Start:
    """Where the count of a millisecond stands in this process: a random start, then on from there.

    So that what one process makes later sorts later within a millisecond too, as long as its clock
    does not go back: two requests in a row are faster than that.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child must: it would count on from where its parent stands."""
        self._lock = threading.Lock()
        self._moment = -1
        self._number = 0

    def take(self, moment: int, count: int) -> int:
        """The first of `count` numbers of this millisecond that are nobody else's."""
        with self._lock:
            if moment != self._moment:
                # The highest bit is free, so that counting on never runs over.
                self._moment, self._number = moment, int.from_bytes(urandom(8), "big") >> 1
            first, self._number = self._number, self._number + count
            return first


_start = _Start()
os.register_at_fork(after_in_child=_start.forget)


def identifier(prefix: str, now_us: int) -> str:
    """A new identifier of this prefix, sortable by `now_us` (microseconds since 1970)."""
    moment = now_us // 1000
    return f"{prefix}_{moment:012x}{_start.take(moment, 1):016x}"


class Identifiers:
    """Identifiers of one moment, each greater than the one before: rows of a group are appended.

    Counting costs a third of `identifier`, and a tree whose keys come in order splits no page.
    """

    __slots__ = ("_moment", "_next")

    def __init__(self, now_us: int) -> None:
        moment = now_us // 1000
        self._moment = f"{moment:012x}"
        self._next = _start.take(moment, _GROUP)

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
