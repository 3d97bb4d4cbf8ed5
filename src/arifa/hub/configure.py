"""Making and changing merchants, sources and endpoints: everything is checked before it is stored.

What cannot work is refused with the sentence that says what to do; what works but may surprise is a
note. The database counts each change, and whoever serves sees it at the next request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from arifa import dialects
from arifa.dialects.base import Dialect
from arifa.errors import Refused
from arifa.feed import DEFAULT_MANNER, Endpoint, Manner, Source
from arifa.hub import key_files
from arifa.hub.checks import (
    check_credentials,
    check_filter,
    check_name,
    check_url,
    checked_profile,
    signs_webhooks,
    with_defaults,
)
from arifa.hub.key_files import KeyPairs
from arifa.hub.manner import check_manner
from arifa.identifiers import identifier, unguessable
from arifa.notification import Direction, Kind, Status
from arifa.signing import Credentials
from arifa.signing.webhook import new_secret
from arifa.store import endpoint_deliveries, endpoints, merchants, sources
from arifa.store.database import Connection
from arifa.store.notifications import ISSUED
from arifa.store.opened import Store

DEFAULT_ENDPOINT_DIALECT: Final = "standard_webhooks"
_NO_WORDS: Final[Mapping[str, str]] = {}

Address = Callable[[str], list[str]]
"""Sees that notifications may be sent to a URL; gives notes, raises `Refused`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSource:
    """What a source is asked to be. What is None is the dialect's default."""

    name: str
    dialect: str
    merchant: str = merchants.DEFAULT
    mode: str = "live"
    credentials: Credentials = field(default_factory=Credentials)
    generate_key: bool = False
    currency: str | None = None
    timezone: str | None = None
    account: str | None = None
    routes: Mapping[str, str] = field(default_factory=lambda: _NO_WORDS)
    options: Mapping[str, str] = field(default_factory=lambda: _NO_WORDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEndpoint:
    """What an endpoint is asked to be. Empty filters let everything pass.

    `directions` and `currencies` empty mean those that the dialect has words for; `sources` are
    names or ids.
    """

    name: str
    url: str
    dialect: str = DEFAULT_ENDPOINT_DIALECT
    merchant: str = merchants.DEFAULT
    mode: str = "live"
    credentials: Credentials = field(default_factory=Credentials)
    generate_key: bool = False
    currency: str | None = None
    timezone: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: _NO_WORDS)
    statuses: frozenset[Status] = frozenset()
    kinds: frozenset[Kind] = frozenset()
    directions: frozenset[Direction] = frozenset()
    sources: tuple[str, ...] = ()
    currencies: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    alerts: bool = False
    show_phone: bool = False
    manner: Manner = DEFAULT_MANNER


class AddedSource(NamedTuple):
    """A source that is stored, the files of the keys made for it, and what to know about it."""

    source: Source
    private_key_path: Path | None
    public_key_path: Path | None
    notes: list[str]


class AddedEndpoint(NamedTuple):
    """An endpoint that is stored; `secret` is the one made for it, to be shown once.

    `public_key` is the half, for the other side, of the pair that was made.
    """

    endpoint: Endpoint
    secret: str | None
    public_key: str | None
    public_key_path: Path | None
    notes: list[str]


# ---------------------------------------------------------------------------------- merchants


def add_merchant(store: Store, merchant: str, now_us: int) -> None:
    """Make a merchant and its test twin.

    Raises:
        Refused, AlreadyExists: the name cannot be used, or is taken.
    """
    with store.database.write() as connection:
        merchants.add(connection, merchant, now_us)


# ---------------------------------------------------------------------------------- sources


def add_source(store: Store, wanted: NewSource, now_us: int) -> AddedSource:
    """Check and store a source.

    Raises:
        Refused: something about it cannot work; NotFound where a merchant or the dialect is
            missing, AlreadyExists where the name is taken.
    """
    check_name(wanted.name)
    dialect = dialects.get(wanted.dialect)
    if not dialect.carries:
        raise Refused(
            f"{dialect.name} is for endpoints only; a source needs the dialect of the bank itself"
        )
    identity = identifier("src", now_us)
    made = KeyPairs(store.folder, identity)
    credentials = wanted.credentials
    if wanted.generate_key:
        credentials = made.for_source(dialect, credentials)
    notes = check_credentials(dialect, credentials)
    merchant = merchants.with_mode(wanted.merchant, wanted.mode)
    source = Source(
        id=identity,
        name=wanted.name,
        merchant=merchant,
        dialect=dialect.name,
        token=unguessable(),
        # Not the account as well: two sources of one bank, one with an account and one without,
        # would book a payment that both announce twice (docs/decisions/0015).
        scope=f"{dialect.name}:",
        profile=checked_profile(dialect, wanted.currency, wanted.timezone, wanted.options),
        credentials=credentials,
        account=wanted.account,
        routes={key: _routed(merchant, target) for key, target in wanted.routes.items()},
    )

    def add(connection: Connection) -> None:
        for owner in sorted({merchant, *source.routes.values()}):
            merchants.check(connection, owner, now_us)
        sources.add(connection, store.vault, source, now_us)

    made.store_with(store, add)
    return AddedSource(source, made.theirs, made.ours, notes + made.notes)


def _routed(merchant: str, target: str) -> str:
    """The merchant that money is routed to: live to live, test to test."""
    is_test = merchant.endswith(merchants.TWIN)
    found = merchants.with_mode(target, "test" if is_test else "live")
    if found.endswith(merchants.TWIN) != is_test:
        raise Refused(f"a live source cannot route to {target}, which is a test merchant")
    return found


def set_paused(store: Store, source: Source, now_us: int, *, paused: bool) -> None:
    """Let a source answer "try again later", or take requests again."""
    state = sources.PAUSED if paused else sources.ACTIVE
    with store.database.write() as connection:
        sources.set_state(connection, source, state, now_us)


def remove_source(store: Store, source: Source, now_us: int) -> None:
    """Remove a source: its path answers 404 and its name is free; what it received stays."""
    with store.database.write() as connection:
        sources.remove(connection, source, now_us)
    key_files.remove(key_files.their_private_key(store.folder, source.id))
    key_files.remove(key_files.our_public_key(store.folder, source.id))


# ---------------------------------------------------------------------------------- endpoints


def add_endpoint(
    store: Store, wanted: NewEndpoint, now_us: int, *, address: Address = check_url
) -> AddedEndpoint:
    """Check and store an endpoint.

    Args:
        address: what says whether a URL may be called; whoever knows more ways out than HTTP
            gives its own.

    Raises:
        Refused: something about it cannot work; NotFound where a merchant, a source or the
            dialect is missing, AlreadyExists where the name is taken.
    """
    check_name(wanted.name)
    dialect = dialects.get(wanted.dialect)
    notes = address(wanted.url)
    identity = identifier("end", now_us)
    made = KeyPairs(store.folder, identity)
    credentials, secret = wanted.credentials, None
    if wanted.generate_key:
        credentials = made.for_endpoint(dialect, credentials)
    if signs_webhooks(dialect) and not credentials.secrets:
        secret = new_secret()
        credentials = replace(credentials, secrets=(secret.encode("ascii"),))
    options = dict(wanted.options)
    if wanted.show_phone and "phone" in dialect.options:
        options["phone"] = "full"
    asked = Endpoint(
        id=identity,
        name=wanted.name,
        merchant=merchants.with_mode(wanted.merchant, wanted.mode),
        url=wanted.url,
        dialect=dialect.name,
        profile=checked_profile(dialect, wanted.currency, wanted.timezone, options),
        credentials=credentials,
        statuses=frozenset(wanted.statuses),
        kinds=frozenset(wanted.kinds),
        directions=frozenset(wanted.directions),
        currencies=wanted.currencies,
        accounts=wanted.accounts,
        alerts=wanted.alerts,
        show_phone=wanted.show_phone,
        manner=wanted.manner,
    )
    if wanted.alerts and wanted.sources:
        raise Refused("an endpoint for alerts hears of no payment, so it has no --sources")
    endpoint = with_defaults(dialect, asked)
    notes += check_endpoint(dialect, endpoint)

    def add(connection: Connection) -> Endpoint:
        merchants.check(connection, endpoint.merchant, now_us)
        chosen = source_ids(connection, store, wanted.sources, endpoint.merchant)
        stored = replace(endpoint, sources=chosen)
        endpoints.add(connection, store.vault, stored, now_us)
        return stored

    stored = made.store_with(store, add)
    return AddedEndpoint(stored, secret, made.public, made.ours, notes + made.notes)


def check_endpoint(dialect: Dialect, endpoint: Endpoint) -> list[str]:
    """See that an endpoint can work, but for its address; gives notes on what may surprise.

    Raises:
        Refused: something about it cannot.
    """
    notes = check_credentials(dialect, endpoint.credentials, sending=True)
    notes += check_filter(dialect, endpoint)
    check_manner(dialect, endpoint)
    return notes


def set_endpoint_state(
    store: Store, endpoint: Endpoint, state: str, now_us: int, *, reason: str | None = None
) -> bool:
    """Pause an endpoint, or let it be told again (`active`); False where it is so already.

    What comes while it is paused waits for it.
    """
    with store.database.write() as connection:
        return endpoints.set_state(connection, endpoint, state, now_us, reason=reason)


def remove_endpoint(store: Store, endpoint: Endpoint, now_us: int, *, cancel: bool = False) -> int:
    """Remove an endpoint: its name is free, its credentials are gone; gives how many it cancelled.

    Raises:
        Refused: deliveries wait for it, and `cancel` does not say that they may go.
    """
    with store.database.write() as connection:
        still_open = endpoint_deliveries.count_open(connection, endpoint)
        if still_open and not cancel:
            raise Refused(
                f"{still_open} deliveries wait for {endpoint.name}, or are out; with --yes they "
                f"are cancelled, and stay to be seen in: arifa delivery list --state cancelled"
            )
        cancelled = endpoint_deliveries.cancel(connection, endpoint, now_us)
        endpoints.remove(connection, endpoint, now_us, detail=f"{cancelled} cancelled")
    key_files.remove_of_endpoint(store.folder, endpoint.id)
    return cancelled


def source_ids(
    connection: Connection, store: Store, names: Iterable[str], merchant: str
) -> frozenset[str]:
    """The ids of the sources of these names or ids that may serve this merchant.

    Raises:
        NotFound: there is no such source.
    """
    return frozenset(_source_id(connection, store, name, merchant) for name in names)


def _source_id(connection: Connection, store: Store, name: str, merchant: str) -> str:
    """The id of a source that may serve this merchant: its own, or one that routes to it.

    `issue` is what this hub itself issues, which no source brings.
    """
    found = [
        source
        for source in sources.all_active(connection, store.vault)
        if name in (source.name, source.id)
        and merchant in (source.merchant, *source.routes.values())
    ]
    own = [source for source in found if source.merchant == merchant]
    if not found:
        if name == ISSUED:
            return ISSUED
        raise sources.missing(name, merchant)
    return (own or found)[0].id
