"""`arifa callback`: what merchants register for their accounts, as in a bank's portal."""

from __future__ import annotations

from typing import Any

from arifa.cli.arguments import NO_KEYS, KeyFlags, Limit, Many, Mode, Yes, words
from arifa.cli.context import Context, Given, Misused, noun
from arifa.feed import Endpoint
from arifa.hub.callback import is_success_only

app = noun("callback", "What merchants register for their accounts: URL, user, password.")


@app.command
def new(
    name: str,
    /,
    *,
    url: str,
    accounts: Many,
    merchant: str = "default",
    mode: Mode = "live",
    dialect: str | None = None,
    success_only: bool = False,
    keys: KeyFlags = NO_KEYS,
    generate_key: bool = False,
    context: Given,
) -> None:
    """Register a callback: told of failed and successful payments of these accounts.

    arifa callback new till --merchant duka --dialect jenga --url https://duka.example/paid
    --accounts 0021024000039 --username duka --password-file duka.password

    Args:
        name: what to call it.
        url: where to post to.
        accounts: the merchant's accounts that it is for.
        merchant: whose they are.
        mode: live, or test for the merchant's twin.
        dialect: the form that the merchant expects; the setting `callback_dialect` unless given.
        success_only: only of payments that succeeded.
        generate_key: make our key pair; the public half is printed, and in `public_key_path`.
    """
    from arifa.cli.address import checked_address
    from arifa.clock import now_us
    from arifa.hub.callback import NewCallback, new_callback

    wanted = NewCallback(
        name=name,
        url=url,
        dialect=dialect or context.settings.callback_dialect,
        merchant=merchant,
        accounts=frozenset(words(accounts)),
        mode=mode,
        credentials=keys.credentials(),
        generate_key=generate_key,
        success_only=success_only,
    )
    with context.store() as store:
        added = new_callback(store, wanted, now_us(), address=checked_address)
    row = {**_row(added.endpoint), "secret": added.secret}
    if added.public_key_path is not None:
        row["public_key"] = added.public_key
        row["public_key_path"] = str(added.public_key_path)
    _print(context, row, added.notes)


@app.command(name="list")
def list_(*, merchant: str | None = None, limit: Limit = 1000, context: Given) -> None:
    """List the callbacks.

    Args:
        merchant: whose; all without.
        limit: how many at most.
    """
    from arifa.hub import callback

    with context.store() as store, store.database.read() as connection:
        found = callback.listed(connection, store, merchant)
    columns = ("id", "name", "merchant", "dialect", "accounts", "success_only", "state", "url")
    context.output.rows([_row(endpoint) for endpoint in found[:limit]], columns)


@app.command
def edit(
    name: str,
    /,
    *,
    url: str | None = None,
    accounts: Many = (),
    success_only: bool = False,
    every_status: bool = False,
    keys: KeyFlags = NO_KEYS,
    merchant: str | None = None,
    context: Given,
) -> None:
    """Change a callback. What waits for it goes to its new URL, with its new user and password.

    Args:
        name: its name or id.
        url: where to post to from now on.
        accounts: all the accounts that it is for from now on.
        success_only: only of payments that succeeded.
        every_status: of failed ones as well.
        merchant: whose, where several have one of this name.
    """
    from arifa.cli.address import checked_address
    from arifa.clock import now_us
    from arifa.hub import callback
    from arifa.hub.callback import CallbackEdits

    if success_only and every_status:
        raise Misused("--success-only and --every-status say different things; give one of them")
    edits = CallbackEdits(
        url=url,
        accounts=frozenset(words(accounts)) or None,
        success_only=success_only if success_only or every_status else None,
        credentials=None if keys == NO_KEYS else keys.credentials(),
    )
    if edits == CallbackEdits():
        raise Misused("there is nothing to change: give an option; see: arifa callback edit --help")
    with context.store() as store:
        with store.database.read() as connection:
            found = callback.get(connection, store, name, merchant)
        notes = callback.edit_callback(store, found, edits, now_us(), address=checked_address)
        with store.database.read() as connection:
            found = callback.get(connection, store, found.id)
    _print(context, _row(found), notes)


@app.command
def remove(
    name: str,
    /,
    *,
    yes: Yes = False,
    merchant: str | None = None,
    context: Given,
) -> None:
    """Remove a callback; refused while deliveries wait for it, unless they may be cancelled.

    Args:
        name: its name or id.
        yes: cancel the deliveries that wait; they stay in the list, as cancelled.
        merchant: whose, where several have one of this name.
    """
    from arifa.clock import now_us
    from arifa.hub import callback
    from arifa.hub.configure import remove_endpoint

    with context.store() as store:
        with store.database.read() as connection:
            found = callback.get(connection, store, name, merchant)
        cancelled = remove_endpoint(store, found, now_us(), cancel=yes)
    context.output.one({**_row(found), "state": "removed", "cancelled": cancelled})


def _print(context: Context, row: dict[str, Any], notes: list[str]) -> None:
    for note in notes:
        context.output.note(f"note: {note}")
    context.output.one(row)


def _row(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "merchant": endpoint.merchant,
        "url": endpoint.url,
        "dialect": endpoint.dialect,
        "accounts": sorted(endpoint.accounts),
        "success_only": is_success_only(endpoint),
        "username": endpoint.credentials.username,
        "state": endpoint.state,
    }
