"""`arifa source`: feeds from banks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from arifa.cli.arguments import (
    NO_KEYS,
    Currency,
    KeyFlags,
    Limit,
    Mode,
    Networks,
    Zone,
    overridden,
    pairs,
    reasoned,
    when,
)
from arifa.cli.context import Context, Given, noun
from arifa.feed import Source
from arifa.signing import Credentials
from arifa.signing.keys import private_fingerprint, public_fingerprint

if TYPE_CHECKING:
    from arifa.hub.configure import AddedSource
    from arifa.store.opened import Store

app = noun("source", "Feeds from banks.")


@app.command
def add(
    name: str,
    /,
    *,
    dialect: str,
    merchant: str = "default",
    mode: Mode = "live",
    keys: KeyFlags = NO_KEYS,
    generate_key: bool = False,
    allow_ip: Networks = (),
    currency: Currency = None,
    timezone: Zone = None,
    account: str | None = None,
    route: tuple[str, ...] = (),
    option: tuple[str, ...] = (),
    context: Given,
) -> None:
    """Add a source; the bank posts to the `path` that is printed.

    arifa source add kcb-main --dialect kcb --public-key kcb.pem --account 1234567890
    arifa source add jenga --dialect jenga --username equity --password-file password.txt
    arifa source add trial --dialect kcb --mode test --generate-key

    Args:
        name: what to call it.
        dialect: the bank's form; see: arifa dialect list.
        merchant: whose money it is.
        mode: live, or test for the merchant's twin.
        generate_key: make the keys that are missing; the bank's private one is for trying it out.
        allow_ip: CIDR that the bank calls from; may come several times.
        currency: where the bank names none.
        timezone: the bank's zone, such as Africa/Nairobi.
        account: the account that this feed is about; another one's payments are held.
        route: KEY=MERCHANT, by account, short code or till; may come several times.
        option: K=V of the dialect; see: arifa dialect show NAME.
    """
    from arifa.clock import now_us
    from arifa.hub.configure import NewSource, add_source

    wanted = NewSource(
        name=name,
        dialect=dialect,
        merchant=merchant,
        mode=mode,
        credentials=keys.credentials(allow_ip),
        generate_key=generate_key,
        currency=currency,
        timezone=timezone,
        account=account,
        routes=pairs(route, "--route"),
        options=pairs(option, "--option"),
    )
    with context.store() as store:
        added = add_source(store, wanted, now_us())
    _print_added(context, added, None)


@app.command(name="list")
def list_(*, merchant: str | None = None, limit: Limit = 1000, context: Given) -> None:
    """List the sources.

    Args:
        merchant: whose; all without.
        limit: how many at most.
    """
    from arifa.store import sources

    with context.store() as store, store.database.read() as connection:
        found = sources.all_active(connection, store.vault)
        proofs = sources.proofs(connection)
    rows = [
        _row(source, proofs.get(source.id))
        for source in found
        if merchant in (None, source.merchant)
    ]
    columns = ("id", "name", "dialect", "merchant", "state", "go_live", "path")
    context.output.rows(rows[:limit], columns)


@app.command
def show(name: str, /, *, merchant: str | None = None, context: Given) -> None:
    """Show a source: how it is set, and what it has received and refused.

    Args:
        name: its name or id.
        merchant: whose, where several have one of this name.
    """
    from arifa.hub.golive import is_changed_since, read_proof
    from arifa.store import sources

    with context.store() as store, store.database.read() as connection:
        source = sources.get(connection, store.vault, name, merchant)
        counted = sources.counters(connection, source)
        proof = sources.proof_of(connection, source)
        is_changed = proof is not None and is_changed_since(connection, source, proof)
    profile = source.profile
    context.output.one(
        {
            **_row(source, proof),
            "account": source.account,
            "currency": profile.currency,
            "timezone": profile.timezone,
            "options": dict(profile.options),
            "routes": dict(source.routes),
            "scope": source.scope,
            "credentials": described(source.credentials),
            "received": counted["received"],
            "refused": counted["refused"],
            "last_received_at": when(counted["last_received_at"]),
            "proof": read_proof(proof),
            "changed_since_proof": is_changed,
        }
    )


@app.command
def pause(name: str, /, *, merchant: str | None = None, context: Given) -> None:
    """Answer a source's bank "try again later", until it is resumed.

    Args:
        name: its name or id.
        merchant: whose, where several have one of this name.
    """
    _set_paused(context, name, merchant, paused=True)


@app.command
def resume(name: str, /, *, merchant: str | None = None, context: Given) -> None:
    """Take a paused source's requests again.

    Args:
        name: its name or id.
        merchant: whose, where several have one of this name.
    """
    _set_paused(context, name, merchant, paused=False)


@app.command
def rotate(
    name: str,
    /,
    *,
    keys: KeyFlags = NO_KEYS,
    generate_key: bool = False,
    allow_ip: Networks = (),
    retire: bool = False,
    now: bool = False,
    reason: str | None = None,
    merchant: str | None = None,
    context: Given,
) -> None:
    """Give a source new keys, secrets or passwords; the old ones go on being taken.

    arifa source rotate kcb-main --public-key new.pem
    arifa source rotate kcb-main --retire

    Args:
        name: its name or id.
        generate_key: make a new pair, as `source add` does.
        allow_ip: the new list of networks that the bank calls from, in place of the old.
        retire: drop the old ones, 24 hours after the rotation or later.
        now: drop them at once: requests that the bank has signed with them are refused.
        reason: why; with --now.
        merchant: whose, where several have one of this name.
    """
    from arifa.clock import now_us
    from arifa.hub.rotate import Haste, rotate_source

    why = reasoned(reason, "--now", is_given=now)
    new = keys.credentials(allow_ip)
    with context.store() as store:
        source = _found(store, name, merchant)
        added = rotate_source(
            store,
            source,
            new,
            now_us(),
            generate_key=generate_key,
            retire=retire,
            haste=None if why is None else Haste(why),
        )
        proof = _proof_of(store, source)
    _print_added(context, added, proof, credentials=described(added.source.credentials))


@app.command
def promote(
    name: str,
    /,
    *,
    override: bool = False,
    reason: str | None = None,
    merchant: str | None = None,
    context: Given,
) -> None:
    """Make the live source of which a test twin's was the trial; its path is a new one.

    A request must have been proven and received on it since its keys were last changed: from the
    bank's own test system, or by `arifa trigger`.

    Args:
        name: its name or id.
        override: promote it untried; who did so and why is kept with it.
        reason: why; with --override.
        merchant: whose, where several have one of this name.
    """
    from arifa.clock import now_us
    from arifa.hub.golive import promote_source, read_proof

    by_whom = overridden(reason, is_given=override)
    with context.store() as store:
        added = promote_source(store, name, now_us(), merchant=merchant, override=by_whom)
        proof = _proof_of(store, added.source)
    _print_added(context, added, proof, proof=read_proof(proof))


@app.command
def remove(name: str, /, *, merchant: str | None = None, context: Given) -> None:
    """Remove a source: its path answers 404; what it received stays.

    Args:
        name: its name or id.
        merchant: whose, where several have one of this name.
    """
    from arifa.clock import now_us
    from arifa.hub.configure import remove_source

    with context.store() as store:
        source = _found(store, name, merchant)
        before = _row(source, _proof_of(store, source))
        remove_source(store, source, now_us())
    context.output.one({**before, "state": "removed", "path": None})


def _set_paused(context: Context, name: str, merchant: str | None, *, paused: bool) -> None:
    from arifa.clock import now_us
    from arifa.hub.configure import set_paused

    with context.store() as store:
        source = _found(store, name, merchant)
        set_paused(store, source, now_us(), paused=paused)
        row = _row(source, _proof_of(store, source))
    context.output.one({**row, "state": "paused" if paused else "active"})


def _found(store: Store, name: str, merchant: str | None) -> Source:
    from arifa.store import sources

    with store.database.read() as connection:
        return sources.get(connection, store.vault, name, merchant)


def _proof_of(store: Store, source: Source) -> str | None:
    from arifa.store import sources

    with store.database.read() as connection:
        return sources.proof_of(connection, source)


def _row(source: Source, proof: str | None = None) -> dict[str, Any]:
    from arifa.hub.golive import checked

    return {
        "id": source.id,
        "name": source.name,
        "dialect": source.dialect,
        "merchant": source.merchant,
        "state": "paused" if source.paused else "active",
        "path": f"/ipn/{source.token}",
        "go_live": checked(source.merchant, proof),
    }


def _print_added(context: Context, added: AddedSource, proof_json: str | None, **more: Any) -> None:
    row = {**_row(added.source, proof_json), **more}
    if added.private_key_path is not None:
        row["private_key_path"] = str(added.private_key_path)
    if added.public_key_path is not None:
        row["public_key_path"] = str(added.public_key_path)
    for note in added.notes:
        context.output.note(f"note: {note}")
    context.output.one(row)


def described(credentials: Credentials) -> dict[str, Any]:
    """What there is of keys and secrets, by fingerprint and number; no secret."""
    private = credentials.private_key
    return {
        "public_keys": [public_fingerprint(pem) for pem in credentials.public_keys],
        "private_key": None if private is None else private_fingerprint(private),
        "old_private_keys": [private_fingerprint(pem) for pem in credentials.old_private_keys],
        "secrets": len(credentials.secrets),
        "username": credentials.username,
        "passwords": len(credentials.passwords),
        "addresses": list(credentials.addresses),
    }
