"""`arifa endpoint`: where merchants want to be told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from arifa.cli.arguments import (
    NO_KEYS,
    Currency,
    KeyFlags,
    Limit,
    Many,
    Mode,
    Yes,
    Zone,
    overridden,
    pairs,
    reasoned,
    words,
)
from arifa.cli.context import Context, Given, Misused, noun
from arifa.cli.endpoint_flags import (
    NO_CALLS,
    NO_FILTER,
    CallFlags,
    Duration,
    FilterFlags,
    seconds,
)
from arifa.feed import DEFAULT_MANNER, Endpoint

if TYPE_CHECKING:
    from arifa.hub.configure import AddedEndpoint
    from arifa.store.opened import Store

app = noun("endpoint", "Where merchants want to be told.")

_US = 1_000_000


@app.command
def add(
    name: str,
    /,
    *,
    url: str,
    dialect: str = "standard_webhooks",
    merchant: str = "default",
    mode: Mode = "live",
    filters: FilterFlags = NO_FILTER,
    alerts: bool = False,
    show_phone: bool = False,
    calls: CallFlags = NO_CALLS,
    keys: KeyFlags = NO_KEYS,
    generate_key: bool = False,
    currency: Currency = None,
    timezone: Zone = None,
    option: tuple[str, ...] = (),
    unchecked: bool = False,
    context: Given,
) -> None:
    """Add an endpoint; its `secret` is printed this once.

    arifa endpoint add shop --url https://shop.example/hooks/payments
    arifa endpoint add erp --url https://erp.example/kcb --dialect kcb --generate-key
    --success-only --kinds payment --mode test

    Args:
        name: what to call it.
        url: where to post to; nats://HOST/SUBJECT for a broker.
        dialect: the form it is told in.
        merchant: who wants to be told.
        mode: live, or test for the merchant's twin.
        alerts: an operator's: it hears of dead deliveries and the like, not of money.
        show_phone: send the payer's phone number unmasked.
        generate_key: make our key pair; the public half is printed, and in `public_key_path`.
        currency: where the dialect writes none.
        timezone: the zone of the times it writes.
        option: K=V of the dialect; see: arifa dialect show NAME.
        unchecked: do not call a broker to see that it would keep what is sent.
    """
    from arifa.cli.address import called_address, checked_address
    from arifa.clock import now_us
    from arifa.hub.configure import NewEndpoint, add_endpoint

    manner = calls.given()
    headers = tuple(manner.pop("headers", {}).items())
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
        alerts=alerts,
        show_phone=show_phone,
        manner=replace(DEFAULT_MANNER, **manner, headers=headers),
        **filters.given(),
    )
    called = partial(called_address, credentials=wanted.credentials)
    address = checked_address if unchecked else called
    with context.store() as store:
        added = add_endpoint(store, wanted, now_us(), address=address)
    _print_added(context, added, None, secret=added.secret)


@app.command
def edit(
    name: str,
    /,
    *,
    url: str | None = None,
    filters: FilterFlags = NO_FILTER,
    alerts: bool = False,
    show_phone: bool = False,
    calls: CallFlags = NO_CALLS,
    currency: Currency = None,
    timezone: Zone = None,
    option: tuple[str, ...] = (),
    reset: Many = (),
    unchecked: bool = False,
    merchant: str | None = None,
    context: Given,
) -> None:
    """Change an endpoint, and print what changed. What waits for it goes to its new URL.

    arifa endpoint edit shop --url https://shop.example/v2 --timeout 5s
    arifa endpoint edit shop --reset kinds,schedule --header 'X-Team:'

    Its keys, secrets and passwords are changed by `rotate`.

    Args:
        name: its name or id.
        url: where to post to from now on.
        alerts: it hears of dead deliveries and the like, not of money.
        show_phone: send the payer's phone number unmasked.
        currency: where the dialect writes none.
        timezone: the zone of the times it writes.
        option: K=V of the dialect; see: arifa dialect show NAME.
        reset: settings that go back to their default, such as kinds, timeout, headers, schedule.
        unchecked: do not call a broker to see that it would keep what is sent.
        merchant: whose, where several have one of this name.
    """
    from arifa.cli.address import called_address, checked_address
    from arifa.cli.endpoint_shown import row, shown, shown_name
    from arifa.clock import now_us
    from arifa.hub.edit import Edits, edit_endpoint
    from arifa.store import endpoints, sources

    edits = Edits(
        url=url,
        **filters.given(),
        **calls.given(),
        alerts=alerts or None,
        show_phone=show_phone or None,
        currency=currency,
        timezone=timezone,
        options=pairs(option, "--option"),
        reset=_settings_to_reset(reset),
    )
    if edits == Edits():
        raise Misused("there is nothing to change: give an option; see: arifa endpoint edit --help")
    with context.store() as store:
        found = _found(store, name, merchant)
        called = partial(called_address, credentials=found.credentials)
        address = checked_address if unchecked else called
        edited = edit_endpoint(store, found.id, edits, now_us(), address=address)
        with store.database.read() as connection:
            named = sources.names(connection)
            proof = endpoints.proof_of(connection, edited.endpoint)
    for note in edited.notes:
        context.output.note(f"note: {note}")
    if not edited.changed:
        context.output.note("note: it was so already; nothing has changed")
    changed = {
        shown_name(one): {"from": shown(one, old, named), "to": shown(one, new, named)}
        for one, (old, new) in edited.changed.items()
    }
    context.output.one({**row(edited.endpoint, proof), "changed": changed})


@app.command(name="list")
def list_(*, merchant: str | None = None, limit: Limit = 1000, context: Given) -> None:
    """List the endpoints, with what waits for them and how the last delivery ended.

    Args:
        merchant: whose; all without.
        limit: how many at most.
    """
    from arifa.cli.endpoint_shown import last_result, row
    from arifa.store import endpoint_deliveries, endpoints

    with context.store() as store, store.database.read() as connection:
        found = endpoints.listed(connection, store.vault)
        proofs = endpoints.proofs(connection)
        waiting = endpoint_deliveries.pending(connection)
        wanted = [endpoint for endpoint in found if merchant in (None, endpoint.merchant)]
        rows = []
        for endpoint in wanted[:limit]:
            last = last_result(connection, endpoint)
            rows.append(
                {
                    **row(endpoint, proofs.get(endpoint.id)),
                    "pending": waiting.get(endpoint.id, 0),
                    "last_cause": None if last is None else last["cause"],
                    "last_status": None if last is None else last["status"],
                }
            )
    context.output.rows(
        rows,
        ("id", "name", "dialect", "merchant", "state", "go_live", "pending", "last_cause", "url"),
    )


@app.command
def show(name: str, /, *, merchant: str | None = None, context: Given) -> None:
    """Show an endpoint: how it is set, what it wants to hear of, its keys, and how it stands.

    Args:
        name: its name or id.
        merchant: whose, where several have one of this name.
    """
    from arifa.cli.endpoint_shown import keys, last_result, row, settings
    from arifa.clock import now_us
    from arifa.hub import key_files
    from arifa.hub.golive import is_changed_since, read_proof
    from arifa.store import endpoint_deliveries, endpoints, sources

    with context.store() as store, store.database.read() as connection:
        endpoint = endpoints.get(connection, store.vault, name, merchant)
        named = sources.names(connection)
        proof = endpoints.proof_of(connection, endpoint)
        counted = endpoint_deliveries.counted(connection, endpoint)
        last = last_result(connection, endpoint)
        is_changed = proof is not None and is_changed_since(connection, endpoint, proof)
        public = key_files.public_of_endpoint(store.folder, endpoint.id)
    context.output.one(
        {
            **row(endpoint, proof),
            **settings(endpoint, named),
            **keys(endpoint, now_us()),
            "public_key_path": None if public is None else str(public),
            "proof": read_proof(proof),
            "changed_since_proof": is_changed,
            "deliveries": counted,
            "last": last,
        }
    )


@app.command(name="test")
def send_test(
    name: str,
    /,
    *,
    new_key: bool = False,
    allow_private: bool = False,
    merchant: str | None = None,
    context: Given,
) -> int:
    """Send a test message now, and print what was sent and what came back; exit 1 if not taken.

    A standard_webhooks endpoint is sent the event `endpoint.test`, which is no money. One in a
    bank's form is sent that bank's sample under a reference that begins with TEST; only under a
    test twin, because a live system would book it.

    Args:
        name: its name or id.
        new_key: while keys are rotated: sign with the new ones alone.
        allow_private: let it go to loopback and private addresses; for development.
        merchant: whose, where several have one of this name.
    """
    from arifa.cli.endpoint_trial import tried
    from arifa.clock import now_us
    from arifa.delivery.transport import Reach
    from arifa.hub.golive import check_apart, keep_test, proves_current_keys

    settings = context.with_flags({"allow_private": allow_private or None}).settings
    reach = Reach(
        allow_private=settings.allow_private,
        ports=frozenset({443, *settings.allow_ports}),
        proxy=settings.egress_proxy,
    )
    with context.store() as store:
        endpoint = _found(store, name, merchant)
        check_apart(store, endpoint)
        sent = replace(endpoint, retiring=None, retires_at=None) if new_key else endpoint
        trial = tried(sent, reach)
        is_kept = False
        if trial.is_acknowledged and proves_current_keys(sent, trial.sent_at):
            is_kept = keep_test(store, endpoint, trial.proof(), now_us())
    if trial.is_acknowledged and not proves_current_keys(sent, trial.sent_at):
        context.output.note(
            "note: the old keys signed it, alone or too, so it is no proof of the new ones; for "
            "that add --new-key"
        )
    context.output.one({**trial.row(), "kept_as_proof": is_kept})
    return 0 if trial.is_acknowledged else 1


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
    """Make the live endpoint of which a test twin's was the trial, with its settings and keys.

    A test message must have been acknowledged since its URL or its keys were last changed: by
    `arifa endpoint test`, or a delivery of the test twin's.

    Args:
        name: its name or id.
        override: promote it untried; who did so and why is kept with it.
        reason: why; with --override.
        merchant: whose, where several have one of this name.
    """
    from arifa.cli.address import checked_address
    from arifa.clock import now_us
    from arifa.hub.golive import promote_endpoint, read_proof

    by_whom = overridden(reason, is_given=override)
    with context.store() as store:
        added = promote_endpoint(
            store, name, now_us(), merchant=merchant, override=by_whom, address=checked_address
        )
        proof = _proof_of(store, added.endpoint)
    _print_added(context, added, proof, proof=read_proof(proof))


@app.command
def rotate(
    name: str,
    /,
    *,
    keys: KeyFlags = NO_KEYS,
    generate_key: bool = False,
    overlap: Duration = None,
    now: bool = False,
    reason: str | None = None,
    merchant: str | None = None,
    context: Given,
) -> None:
    """Give an endpoint a new secret, key or password; the old one is in use for an overlap.

    arifa endpoint rotate shop
    arifa endpoint rotate erp --generate-key --overlap 7d

    A standard_webhooks endpoint gets a new secret, printed this once, unless one is given; both
    sign each request until the overlap ends. In a bank's form, where a request carries one proof,
    the old one signs until then and the new one from then on.

    Args:
        name: its name or id.
        generate_key: make a new key pair; the public half is printed, and in `public_key_path`.
        overlap: how long, such as 24h, which is the least, or 7d.
        now: end the old at once: a receiver that has only the old one refuses what comes.
        reason: why; with --now.
        merchant: whose, where several have one of this name.
    """
    from arifa.cli.endpoint_shown import keys as shown_keys
    from arifa.clock import now_us
    from arifa.hub.rotate import OVERLAP_MIN_US, Haste, rotate_endpoint

    if now and overlap is not None:
        raise Misused("--now and --overlap say different things; give one of them")
    why = reasoned(reason, "--now", is_given=now)
    with context.store() as store:
        found = _found(store, name, merchant)
        added = rotate_endpoint(
            store,
            found.id,
            keys.credentials(),
            now_us(),
            generate_key=generate_key,
            overlap_us=OVERLAP_MIN_US if overlap is None else round(seconds(overlap) * _US),
            haste=None if why is None else Haste(why),
        )
        proof = _proof_of(store, added.endpoint)
    shown = shown_keys(added.endpoint, now_us())
    _print_added(context, added, proof, secret=added.secret, **shown)


@app.command
def pause(
    name: str, /, *, reason: str | None = None, merchant: str | None = None, context: Given
) -> None:
    """Send nothing to an endpoint until it is resumed; what comes for it waits.

    Args:
        name: its name or id.
        reason: why, for those who look at it later.
        merchant: whose, where several have one of this name.
    """
    _set_state(context, name, merchant, "paused", reason)


@app.command
def resume(
    name: str, /, *, reason: str | None = None, merchant: str | None = None, context: Given
) -> None:
    """Send to an endpoint again that was paused, or disabled by what happened.

    Args:
        name: its name or id.
        reason: why, for the audit log.
        merchant: whose, where several have one of this name.
    """
    _set_state(context, name, merchant, "active", reason)


@app.command
def remove(
    name: str,
    /,
    *,
    yes: Yes = False,
    merchant: str | None = None,
    context: Given,
) -> None:
    """Remove an endpoint; refused while deliveries wait for it, unless they may be cancelled.

    Args:
        name: its name or id.
        yes: cancel the deliveries that wait; they stay in the list, as cancelled.
        merchant: whose, where several have one of this name.
    """
    from arifa.cli.endpoint_shown import row
    from arifa.clock import now_us
    from arifa.hub.configure import remove_endpoint

    with context.store() as store:
        endpoint = _found(store, name, merchant)
        before = row(endpoint, _proof_of(store, endpoint))
        cancelled = remove_endpoint(store, endpoint, now_us(), cancel=yes)
    context.output.one({**before, "state": "removed", "cancelled": cancelled})


# ---------------------------------------------------------------------------------- shared


def _settings_to_reset(reset: Iterable[str]) -> frozenset[str]:
    """The settings that are named by their flags.

    Raises:
        Misused: one of them is none, or has no default.
    """
    from arifa.cli.endpoint_shown import shown_name
    from arifa.hub.edit import RESETTABLE

    by_flag = {shown_name(name).replace("_", "-"): name for name in RESETTABLE}
    asked = [word.removeprefix("--").replace("_", "-") for word in words(reset)]
    # The flag that is given once for each.
    asked = [{"header": "headers", "option": "options"}.get(word, word) for word in asked]
    unknown = [word for word in asked if word not in by_flag]
    if unknown:
        raise Misused(f"{', '.join(unknown)} cannot be reset; there are {', '.join(by_flag)}")
    return frozenset(by_flag[word] for word in asked)


def _set_state(
    context: Context, name: str, merchant: str | None, state: str, reason: str | None
) -> None:
    from arifa.cli.endpoint_shown import row
    from arifa.clock import now_us
    from arifa.hub.configure import set_endpoint_state
    from arifa.hub.golive import check_apart

    with context.store() as store:
        endpoint = _found(store, name, merchant)
        if state == "active":
            check_apart(store, endpoint)
        if not set_endpoint_state(store, endpoint, state, now_us(), reason=reason):
            context.output.note(f"note: {endpoint.name} is {state} already")
        endpoint = _found(store, endpoint.id, None)
        context.output.one(row(endpoint, _proof_of(store, endpoint)))


def _found(store: Store, name: str, merchant: str | None) -> Endpoint:
    from arifa.store import endpoints

    with store.database.read() as connection:
        return endpoints.get(connection, store.vault, name, merchant)


def _proof_of(store: Store, endpoint: Endpoint) -> str | None:
    from arifa.store import endpoints

    with store.database.read() as connection:
        return endpoints.proof_of(connection, endpoint)


def _print_added(
    context: Context, added: AddedEndpoint, proof_json: str | None, **more: Any
) -> None:
    from arifa.cli.endpoint_shown import row

    shown = {**row(added.endpoint, proof_json), **more}
    if added.public_key_path is not None:
        shown["public_key"] = added.public_key
        shown["public_key_path"] = str(added.public_key_path)
    for note in added.notes:
        context.output.note(f"note: {note}")
    context.output.one(shown)
