"""What became of a request, in words that everything shares."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    """What a bank is told, in order of precedence: the first that applies is the one."""

    NOT_GENUINE = "NOT_GENUINE"
    UNREADABLE = "UNREADABLE"
    UNAVAILABLE = "UNAVAILABLE"
    CONFLICT = "CONFLICT"
    DUPLICATE = "DUPLICATE"
    ACCEPTED = "ACCEPTED"


RECEIVED: Final = frozenset({Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.CONFLICT})
"""The outcomes that are answered as received: durable, and sending again would not help."""

STATUS: Final = {
    Outcome.NOT_GENUINE: 401,
    Outcome.UNREADABLE: 400,
    Outcome.UNAVAILABLE: 503,
    Outcome.CONFLICT: 200,
    Outcome.DUPLICATE: 200,
    Outcome.ACCEPTED: 200,
}


class Insertion(StrEnum):
    """What the books made of one reading."""

    CREATED = "CREATED"
    EXISTS = "EXISTS"
    CONFLICT = "CONFLICT"
