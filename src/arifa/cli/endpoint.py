"""`arifa endpoint`: where merchants want to be told."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

from arifa.cli.arguments import (
    NO_KEYS,
    Currency,
    KeyFlags,
    Limit,
    Many,
    Mode,
    Zone,
    pairs,
    words,
)
from arifa.cli.context import Given, Misused, noun
from arifa.cli.source import described
from arifa.feed import Endpoint
from arifa.notification import Direction, Kind, Status

app = noun("endpoint", "Where merchants want to be told.")

Word = TypeVar("Word", bound=StrEnum)


@app.command
def add(
    name: str,
    /,
    *,
    url: str,
    dialect: str = "standard_webhooks",
    merchant: str = "default",
    mode: Mode = "live",
    success_only: bool = False,
    statuses: Many = (),
    kinds: Many = (),
    directions: Many = (),
    sources: Many = (),
    show_phone: bool = False,
    keys: KeyFlags = NO_KEYS,
    generate_key: bool = False,
    currency: Currency = None,
    timezone: Zone = None,
    option: tuple[str, ...] = (),
    context: Given,
) -> None:
    """Add an endpoint; its `secret` is printed this once.

    arifa endpoint add shop --url https://shop.example/hooks/payments
    arifa endpoint add erp --url https://erp.example/kcb --dialect kcb --private-key ours.pem
    --success-only --kinds payment

    Args:
        name: what to call it.
        url: where to post to.
        dialect: the form it is told in.
        merchant: who wants to be told.
        mode: live, or test for the merchant's twin.
        success_only: only of payments that succeeded.
        statuses: only of these: success, failed, pending.
        kinds: only of these, such as payment reversal refund; see: arifa dialect show NAME.
        directions: only of these: credit, debit. Without, what the dialect can say.
        sources: only of what came from these, by name or id.
        show_phone: send the payer's phone number unmasked.
        generate_key: make our key pair; the public half is in the file `public_key_path`.
        currency: where the dialect writes none.
        timezone: the zone of the times it writes.
        option: K=V of the dialect; see: arifa dialect show NAME.
    """
    from arifa.clock import now_us
    from arifa.hub.configure import NewEndpoint, add_endpoint

    if success_only and statuses:
        raise Misused("--success-only and --statuses say the same; give one of them")
    wanted = NewEndpoint(
        name=name,
        url=url,
        dialect=dialect,
        merchant=merchant,
        mode=mode,
        credentials=keys.credentials(),
        generate_key=generate_key,
        currency=currency,
        timezone=timezone,
        options=pairs(option, "--option"),
        statuses=frozenset({Status.SUCCESS} if success_only else _of(Status, statuses, "status")),
        kinds=frozenset(_of(Kind, kinds, "kind")),
        directions=frozenset(_of(Direction, directions, "direction")),
        sources=tuple(words(sources)),
        show_phone=show_phone,
    )
    with context.store() as store:
        added = add_endpoint(store, wanted, now_us())
    row = {**_row(added.endpoint), "secret": added.secret}
    if added.public_key_path is not None:
        row["public_key_path"] = str(added.public_key_path)
    for note in added.notes:
        context.output.note(f"note: {note}")
    context.output.one(row)


@app.command(name="list")
def list_(*, merchant: str | None = None, limit: Limit = 1000, context: Given) -> None:
    """List the endpoints.

    Args:
        merchant: whose; all without.
        limit: how many at most.
    """
    from arifa.store import endpoints

    with context.store() as store, store.database.read() as connection:
        found = endpoints.listed(connection, store.vault)
    rows = [_row(endpoint) for endpoint in found if merchant in (None, endpoint.merchant)]
    context.output.rows(rows[:limit], ("id", "name", "dialect", "merchant", "state", "url"))


@app.command
def show(name: str, /, *, merchant: str | None = None, context: Given) -> None:
    """Show an endpoint: how it is set, and what it wants to hear of.

    Args:
        name: its name or id.
        merchant: whose, where several have one of this name.
    """
    from arifa.store import endpoints, sources

    with context.store() as store, store.database.read() as connection:
        endpoint = endpoints.get(connection, store.vault, name, merchant)
        named = sources.names(connection)
    profile = endpoint.profile
    context.output.one(
        {
            **_row(endpoint),
            "statuses": sorted(endpoint.statuses),
            "kinds": sorted(endpoint.kinds),
            "directions": sorted(endpoint.directions),
            "sources": sorted(named.get(identity, identity) for identity in endpoint.sources),
            "show_phone": endpoint.show_phone,
            "currency": profile.currency,
            "timezone": profile.timezone,
            "options": dict(profile.options),
            "credentials": described(endpoint.credentials),
        }
    )


def _of(kind: type[Word], given: tuple[str, ...], what: str) -> list[Word]:
    found = words(given)
    for word in found:
        if word not in set(kind):
            raise Misused(f"{word!r} is no {what}; there are {', '.join(kind)}")
    return [kind(word) for word in found]


def _row(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url,
        "dialect": endpoint.dialect,
        "merchant": endpoint.merchant,
        "state": "active" if endpoint.active else "paused",
    }
