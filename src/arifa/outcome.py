"""What became of a request, in words that everything shares."""

from __future__ import annotations

from typing import Final

from arifa.word import Word


class Outcome(Word):
    """What a bank is told, in order of precedence: the first that applies is the one."""

    NOT_GENUINE = "NOT_GENUINE"
    UNREADABLE = "UNREADABLE"
    UNAVAILABLE = "UNAVAILABLE"
    CONFLICT = "CONFLICT"
    DUPLICATE = "DUPLICATE"
    ACCEPTED = "ACCEPTED"


NOT_GENUINE: Final = Outcome.NOT_GENUINE
"""Kept here, since each look-up in its list takes time (`arifa.word`)."""

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


class Insertion(Word):
    """What the books made of one reading."""

    CREATED = "CREATED"
    EXISTS = "EXISTS"
    CONFLICT = "CONFLICT"
