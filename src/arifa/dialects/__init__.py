"""The registry of dialects. Nobody else names a concrete one; each is imported when first used.

    from arifa import dialects
    dialects.get("kcb").receive(request, credentials, profile, now_us=...)

A third party registers a dialect by an entry point of the group `arifa.dialects`, whose value is
the dialect's class.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Final

from arifa.dialects.base import Dialect
from arifa.errors import NotADialect, Refused

_GROUP: Final = "arifa.dialects"
_BUILT_IN: Final = {
    "kcb": "arifa.dialects.kcb:Kcb",
    "credit_bank": "arifa.dialects.credit_bank:CreditBank",
    "jenga": "arifa.dialects.jenga:Jenga",
    "xente": "arifa.dialects.xente:Xente",
    "cbs": "arifa.dialects.cbs:Cbs",
    "standard_webhooks": "arifa.dialects.standard_webhooks:StandardWebhooks",
    "as_received": "arifa.dialects.as_received:AsReceived",
}


@cache
def get(name: str) -> Dialect:
    """The dialect of this name.

    Raises:
        NotADialect: there is none.
        Refused: a third party's cannot be loaded.
    """
    place = _BUILT_IN.get(name)
    if place is None:
        return _third_party(name)
    module, _, attribute = place.partition(":")
    found: Dialect = getattr(import_module(module), attribute)()
    return found


def names() -> list[str]:
    """The names of all dialects, built in first."""
    return [*_BUILT_IN, *sorted(set(_entry_points()) - set(_BUILT_IN))]


def _entry_points() -> dict[str, object]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=_GROUP)}


def _third_party(name: str) -> Dialect:
    from importlib.metadata import EntryPoint

    point = _entry_points().get(name)
    if not isinstance(point, EntryPoint):
        raise NotADialect(f"there is no dialect {name!r}; there are {', '.join(names())}")
    try:
        found = point.load()()
    except Exception as error:
        raise Refused(f"the dialect {name!r} of {point.value} cannot be loaded: {error}") from error
    if not isinstance(found, Dialect):
        raise Refused(f"{point.value} is not a Dialect")
    return found


__all__ = ["Dialect", "get", "names"]
