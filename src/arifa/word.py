"""Words of a fixed list, as texts: a `StrEnum` whose members are found as fast as other attributes.

In Python 3.11 `Kind.PAYMENT` and `kind.value` each call a function written in Python, a quarter of a
microsecond, and a request meets dozens of them. Later versions have the members as plain attributes
of the class, which is what is done here. In the hottest places a module keeps the member itself.
"""

from __future__ import annotations

from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING


class Word(StrEnum):
    """One word of a list."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for member in cls:
            # The enumeration's own refuses to set a member again.
            type.__setattr__(cls, member.name, member)

    if not TYPE_CHECKING:
        value = property(attrgetter("_value_"))
