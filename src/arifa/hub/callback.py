"""Callbacks: what a merchant registers for its accounts in its bank's portal.

As in JengaHQ and in Credit Bank's portal: a URL, a user and a password, failed and successful
payments by default, only successful ones by choice. A callback is an endpoint with an accounts
filter, for what is issued here, in the form that the bank issues in; what it does not say here is
the endpoint's default, and `arifa endpoint` can change the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from arifa import dialects
from arifa.dialects.base import Dialect
from arifa.errors import NotFound, Refused
from arifa.feed import Endpoint
from arifa.hub.checks import check_url
from arifa.hub.configure import AddedEndpoint, Address, NewEndpoint, add_endpoint
from arifa.hub.edit import Edits, edit_endpoint
from arifa.hub.order import checked_text
from arifa.notification import Status
from arifa.signing import Credentials
from arifa.store import endpoints
from arifa.store.database import Connection
from arifa.store.notifications import ISSUED
from arifa.store.opened import Store

ACCOUNTS_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCallback:
    """What a merchant asks for. `credentials` are the user and password that its URL expects, or
    the keys that the dialect signs with."""

    name: str
    url: str
    dialect: str
    merchant: str
    accounts: frozenset[str]
    mode: str = "live"
    credentials: Credentials = field(default_factory=Credentials)
    generate_key: bool = False
    success_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackEdits:
    """What is to be changed; None leaves it as it is. `accounts` are all that it is for then."""

    url: str | None = None
    accounts: frozenset[str] | None = None
    success_only: bool | None = None
    credentials: Credentials | None = None


def new_callback(
    store: Store, wanted: NewCallback, now_us: int, *, address: Address = check_url
) -> AddedEndpoint:
    """Register a callback: told of every kind and status that its dialect has words for.

    Raises:
        Refused: something about it cannot work; NotFound and AlreadyExists as `add_endpoint`.
    """
    dialect = dialects.get(wanted.dialect)
    if dialect.passes_on:
        raise Refused(
            f"{dialect.name} passes on what came, and nothing comes in for what is issued here; "
            f"choose the form that the merchant expects"
        )
    added = add_endpoint(
        store,
        NewEndpoint(
            name=wanted.name,
            url=wanted.url,
            dialect=wanted.dialect,
            merchant=wanted.merchant,
            mode=wanted.mode,
            credentials=wanted.credentials,
            generate_key=wanted.generate_key,
            statuses=_statuses(dialect, success_only=wanted.success_only),
            kinds=dialect.expresses.kinds,
            # Another bank, whose notifications come in here, may have an account of that number.
            sources=(ISSUED,),
            accounts=_accounts(wanted.accounts),
        ),
        now_us,
        address=address,
    )
    if Status.FAILED not in dialect.expresses.statuses and not wanted.success_only:
        added.notes.append(
            f"{dialect.name} has no word for a failed payment: the merchant hears of successful "
            f"ones only"
        )
    return added


def edit_callback(
    store: Store,
    callback: Endpoint,
    edits: CallbackEdits,
    now_us: int,
    *,
    address: Address = check_url,
) -> list[str]:
    """Change a callback; what waits goes to its new URL, with its new user. Gives notes.

    Raises:
        Refused: it could not work so.
    """
    dialect = dialects.get(callback.dialect)
    statuses = None
    if edits.success_only is not None:
        statuses = _statuses(dialect, success_only=edits.success_only)
    edited = edit_endpoint(
        store,
        callback.id,
        Edits(
            url=edits.url,
            accounts=None if edits.accounts is None else _accounts(edits.accounts),
            statuses=statuses,
        ),
        now_us,
        address=address,
        # The merchant's own system expects the new ones from now on: there is no overlap.
        credentials=edits.credentials,
    )
    return list(edited.notes)


def listed(connection: Connection, store: Store, merchant: str | None = None) -> list[Endpoint]:
    """The callbacks of this merchant, or of all."""
    return [
        endpoint
        for endpoint in endpoints.listed(connection, store.vault)
        if is_callback(endpoint) and merchant in (None, endpoint.merchant)
    ]


def get(connection: Connection, store: Store, name: str, merchant: str | None = None) -> Endpoint:
    """The callback of this name or id.

    Raises:
        NotFound: there is none. Refused: several merchants have one of this name.
    """
    found = endpoints.get(connection, store.vault, name, merchant)
    if not is_callback(found):
        raise NotFound(
            f"{name!r} is an endpoint for all accounts, not a callback; see: arifa endpoint show"
        )
    return found


def is_callback(endpoint: Endpoint) -> bool:
    """Whether an endpoint is one that a merchant registered for accounts."""
    return bool(endpoint.accounts) and not endpoint.alerts


def is_success_only(endpoint: Endpoint) -> bool:
    """Whether it hears of successful payments only."""
    return endpoint.statuses == {Status.SUCCESS}


def _statuses(dialect: Dialect, *, success_only: bool) -> frozenset[Status]:
    return frozenset({Status.SUCCESS}) if success_only else dialect.expresses.statuses


def _accounts(given: frozenset[str]) -> frozenset[str]:
    if not 1 <= len(given) <= ACCOUNTS_MAX:
        raise Refused(
            f"a callback is for 1 to {ACCOUNTS_MAX} accounts: name them with --accounts; for all "
            f"there is arifa endpoint add"
        )
    return frozenset(checked_text(account, "an account") for account in given)
