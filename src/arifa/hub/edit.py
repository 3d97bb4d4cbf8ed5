"""Changing an endpoint: anything but its name, its merchant, its dialect and its credentials.

Credentials are rotated (`hub/rotate.py`), so that nothing that is on its way is refused. What waits
for the endpoint goes to its new URL, in its new manner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from arifa import dialects
from arifa.errors import Refused
from arifa.feed import DEFAULT_MANNER, Endpoint, Manner
from arifa.hub.checks import check_url, checked_profile, currencies_by_default, with_defaults
from arifa.hub.configure import Address, check_endpoint, source_ids
from arifa.hub.rotate import merged
from arifa.notification import Direction, Kind, Status
from arifa.signing import Credentials
from arifa.store import endpoints
from arifa.store.opened import Store

_PACE: Final = ("timeout", "concurrency", "rate", "delays", "ordered")
_FILTER: Final = ("statuses", "kinds", "directions", "sources", "currencies", "accounts")
RESETTABLE: Final = (*_FILTER, *_PACE, "headers", "halts", "alerts", "show_phone", "options")
"""What can be put back to how an endpoint is without a word about it."""
ON_THE_WIRE: Final = frozenset({"url", "headers", "options", "currency", "timezone"})
"""What a receiver sees of a change: after it, a test message has to make the round again."""

_NO_TEXTS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """What is to be changed. None leaves it as it is; `reset` names what goes back to default.

    `options` and `headers` are put among those that there are; an empty header goes. `sources` are
    names or ids.
    """

    url: str | None = None
    statuses: frozenset[Status] | None = None
    kinds: frozenset[Kind] | None = None
    directions: frozenset[Direction] | None = None
    sources: tuple[str, ...] | None = None
    currencies: frozenset[str] | None = None
    accounts: frozenset[str] | None = None
    alerts: bool | None = None
    show_phone: bool | None = None
    currency: str | None = None
    timezone: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: _NO_TEXTS)
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_TEXTS)
    timeout: float | None = None
    concurrency: int | None = None
    rate: float | None = None
    delays: tuple[int, ...] | None = None
    ordered: str | None = None
    halts: bool | None = None
    reset: frozenset[str] = frozenset()


class Edited(NamedTuple):
    """The endpoint as it is now, what changed (name → before and after), and what to know."""

    endpoint: Endpoint
    changed: dict[str, tuple[Any, Any]]
    notes: list[str]


def edit_endpoint(
    store: Store,
    name: str,
    edits: Edits,
    now_us: int,
    *,
    address: Address = check_url,
    credentials: Credentials | None = None,
) -> Edited:
    """Change an endpoint, by its id; what is the same already is no change.

    Args:
        credentials: in the place of the old ones, from now on and without an overlap: for what the
            owner of the URL changes on both sides at once. Else they are rotated.

    Raises:
        Refused: it could not work so; NotFound where it, or a source, is not there.
    """
    unknown = edits.reset - set(RESETTABLE)
    if unknown:
        raise Refused(
            f"{', '.join(sorted(unknown))} cannot be reset; there are {', '.join(RESETTABLE)}"
        )
    notes = [] if edits.url is None else address(edits.url)
    with store.database.write() as connection:
        before = endpoints.get(connection, store.vault, name, for_update=True)
        chosen = None
        if edits.sources is not None:
            chosen = source_ids(connection, store, edits.sources, before.merchant)
        after = _edited(before, edits, chosen)
        if credentials is not None:
            after = _with_credentials(after, credentials)
        notes += check_endpoint(dialects.get(after.dialect), after)
        changed = _changes(before, after)
        if after.credentials != before.credentials:
            # That they changed, and never what they are.
            changed["credentials"] = ("as they were", "as given")
        if changed:
            detail = ", ".join(changed)
            endpoints.update(connection, store.vault, after, now_us, detail=detail)
    return Edited(after, changed, notes)


def _with_credentials(endpoint: Endpoint, new: Credentials) -> Endpoint:
    credentials = merged(endpoint.credentials, new)
    return replace(endpoint, credentials=credentials, retiring=None, retires_at=None)


def settings_of(endpoint: Endpoint) -> dict[str, Any]:
    """All that can be changed of an endpoint, by name, as plain values.

    The values of `headers` may be secrets: whoever shows them masks them.
    """
    manner = endpoint.manner
    return {
        "url": endpoint.url,
        **{name: sorted(getattr(endpoint, name)) for name in _FILTER},
        "alerts": endpoint.alerts,
        "show_phone": endpoint.show_phone,
        "currency": endpoint.profile.currency,
        "timezone": endpoint.profile.timezone,
        "options": dict(endpoint.profile.options),
        **{name: getattr(manner, name) for name in _PACE},
        "headers": dict(manner.headers),
        "halts": manner.halts,
    }


def _changes(before: Endpoint, after: Endpoint) -> dict[str, tuple[Any, Any]]:
    old, new = settings_of(before), settings_of(after)
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}


def _edited(before: Endpoint, edits: Edits, sources: frozenset[str] | None) -> Endpoint:
    dialect = dialects.get(before.dialect)
    cleared = _cleared(before, edits.reset)
    options = {**cleared.profile.options, **edits.options}
    if edits.show_phone and "phone" in dialect.options:
        options["phone"] = "full"
    profile = cleared.profile
    filters = {name: getattr(edits, name) for name in _FILTER if name != "sources"}
    whole = {**filters, "url": edits.url, "alerts": edits.alerts, "sources": sources}
    changed = replace(
        cleared,
        **{name: value for name, value in whole.items() if value is not None},
        show_phone=cleared.show_phone or bool(edits.show_phone),
        profile=checked_profile(
            dialect, edits.currency or profile.currency, edits.timezone or profile.timezone, options
        ),
        manner=_manner(cleared.manner, edits),
    )
    if edits.currencies is None and before.currencies == currencies_by_default(
        dialect, before.profile
    ):
        # They were the dialect's, not somebody's wish: they go along with its currency.
        changed = replace(changed, currencies=frozenset())
    return with_defaults(dialect, changed)


def _cleared(endpoint: Endpoint, names: frozenset[str]) -> Endpoint:
    """The endpoint with these settings as they are without a word about them."""
    manner = {name: getattr(DEFAULT_MANNER, name) for name in names & {*_PACE, "headers", "halts"}}
    filters: dict[str, Any] = {name: frozenset() for name in names & set(_FILTER)}
    options = dict(endpoint.profile.options)
    if "options" in names:
        options = {}
    if "show_phone" in names:
        options.pop("phone", None)
    return replace(
        endpoint,
        **filters,
        alerts=endpoint.alerts and "alerts" not in names,
        show_phone=endpoint.show_phone and "show_phone" not in names,
        profile=replace(endpoint.profile, options=options),
        manner=replace(endpoint.manner, **manner),
    )


def _manner(manner: Manner, edits: Edits) -> Manner:
    wanted = {name: getattr(edits, name) for name in (*_PACE, "halts")}
    given = {name: value for name, value in wanted.items() if value is not None}
    replaced = {name.lower() for name in edits.headers}
    kept = [header for header in manner.headers if header[0].lower() not in replaced]
    added = [(name, value) for name, value in edits.headers.items() if value]
    return replace(manner, **given, headers=(*kept, *added))
