"""Making and changing merchants, sources and endpoints: everything is checked before it is stored.

What cannot work is refused with the sentence that says what to do; what works but may surprise is a
note. The database counts each change, and whoever serves sees it at the next request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from arifa import dialects
from arifa.dialects.base import Dialect
from arifa.errors import Refused
from arifa.feed import Endpoint, Source
from arifa.hub import key_files
from arifa.hub.checks import (
    check_credentials,
    check_filter,
    check_name,
    check_url,
    checked_profile,
    signs_webhooks,
)
from arifa.hub.key_files import KeyPairs
from arifa.identifiers import identifier, unguessable
from arifa.notification import Direction, Kind, Status
from arifa.signing import Credentials
from arifa.signing.webhook import new_secret
from arifa.store import endpoints, merchants, sources
from arifa.store.database import Connection
from arifa.store.opened import Store

DEFAULT_ENDPOINT_DIALECT: Final = "standard_webhooks"
_NO_WORDS: Final[Mapping[str, str]] = {}


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

    `directions` empty means those that the dialect has words for; `sources` are names or ids.
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
    show_phone: bool = False


class AddedSource(NamedTuple):
    """A source that is stored, the files of the keys made for it, and what to know about it."""

    source: Source
    private_key_path: Path | None
    public_key_path: Path | None
    notes: list[str]


class AddedEndpoint(NamedTuple):
    """An endpoint that is stored; `secret` is the one made for it, to be shown once."""

    endpoint: Endpoint
    secret: str | None
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


def rotate_source(
    store: Store,
    source: Source,
    new: Credentials,
    now_us: int,
    *,
    generate_key: bool = False,
    retire: bool = False,
) -> AddedSource:
    """Put new keys, secrets or passwords before the old, which go on being taken until `retire`.

    Raises:
        Refused: there is nothing to rotate, or the new credentials cannot be used.
    """
    dialect = dialects.get(source.dialect)
    made = KeyPairs(store.folder, source.id)
    if generate_key:
        new = made.for_source(dialect, _with_their_keys(dialect, source.credentials, new))
    if new == Credentials() and not retire:
        raise Refused(
            "there is nothing to rotate: give a new key, secret or password, or --retire to drop "
            "all but the newest"
        )
    credentials = _rotated(source.credentials, new, retire=retire)
    notes = check_credentials(dialect, credentials)
    if credentials.private_key != source.credentials.private_key:
        notes.append("what is encrypted to our old key cannot be opened any more")

    def rotate(connection: Connection) -> None:
        sources.set_credentials(connection, store.vault, source, credentials, now_us)

    made.store_with(store, rotate)
    changed = replace(source, credentials=credentials)
    return AddedSource(changed, made.theirs, made.ours, notes + made.notes)


def _with_their_keys(dialect: Dialect, old: Credentials, new: Credentials) -> Credentials:
    """Where keys were exchanged, it is our own that is made anew: the bank's stay the bank's."""
    exchanged = any("private_key" in proof.verifies_with for proof in dialect.proofs)
    if not exchanged or new.public_keys:
        return new
    return replace(new, public_keys=old.public_keys)


def _rotated(old: Credentials, new: Credentials, *, retire: bool) -> Credentials:
    if new.username not in (None, old.username) and not retire:
        # A user and its passwords are a pair: two users at once would mix them.
        raise Refused("another user name can only replace the old one: add --retire")
    public_keys = tuple(dict.fromkeys((*new.public_keys, *old.public_keys)))
    secrets = tuple(dict.fromkeys((*new.secrets, *old.secrets)))
    passwords = tuple(dict.fromkeys((*new.passwords, *old.passwords)))
    if retire:
        # All that were given now are wanted; where none was given, the newest stays.
        public_keys = public_keys[: len(new.public_keys) or 1]
        secrets = secrets[: len(new.secrets) or 1]
        passwords = passwords[: len(new.passwords) or 1]
    return Credentials(
        public_keys=public_keys,
        private_key=new.private_key or old.private_key,
        secrets=secrets,
        username=new.username or old.username,
        passwords=passwords,
        addresses=new.addresses or old.addresses,
    )


# ---------------------------------------------------------------------------------- endpoints


def add_endpoint(store: Store, wanted: NewEndpoint, now_us: int) -> AddedEndpoint:
    """Check and store an endpoint.

    Raises:
        Refused: something about it cannot work; NotFound where a merchant, a source or the
            dialect is missing, AlreadyExists where the name is taken.
    """
    check_name(wanted.name)
    dialect = dialects.get(wanted.dialect)
    notes = check_url(wanted.url)
    identity = identifier("end", now_us)
    made = KeyPairs(store.folder, identity)
    credentials, secret = wanted.credentials, None
    if signs_webhooks(dialect) and not credentials.secrets:
        secret = new_secret()
        credentials = replace(credentials, secrets=(secret.encode("ascii"),))
    if wanted.generate_key:
        credentials = made.for_endpoint(dialect, credentials)
    notes += check_credentials(dialect, credentials, sending=True)
    options = dict(wanted.options)
    if wanted.show_phone and "phone" in dialect.options:
        options["phone"] = "full"
    endpoint = Endpoint(
        id=identity,
        name=wanted.name,
        merchant=merchants.with_mode(wanted.merchant, wanted.mode),
        url=wanted.url,
        dialect=dialect.name,
        profile=checked_profile(dialect, wanted.currency, wanted.timezone, options),
        credentials=credentials,
        statuses=frozenset(wanted.statuses),
        kinds=frozenset(wanted.kinds),
        directions=frozenset(wanted.directions or _directions_by_default(dialect)),
        show_phone=wanted.show_phone,
    )
    notes += check_filter(dialect, endpoint)

    def add(connection: Connection) -> Endpoint:
        merchants.check(connection, endpoint.merchant, now_us)
        chosen = (_source_id(connection, store, name, endpoint.merchant) for name in wanted.sources)
        stored = replace(endpoint, sources=frozenset(chosen))
        endpoints.add(connection, store.vault, stored, now_us)
        return stored

    stored = made.store_with(store, add)
    return AddedEndpoint(stored, secret, made.ours, notes + made.notes)


def _directions_by_default(dialect: Dialect) -> frozenset[Direction]:
    """Those that the dialect has words for; none, which is all, where it has words for all."""
    words = dialect.expresses.directions
    return frozenset() if words == frozenset(Direction) else words


def _source_id(connection: Connection, store: Store, name: str, merchant: str) -> str:
    """The id of a source that may serve this merchant: its own, or one that routes to it."""
    found = [
        source
        for source in sources.all_active(connection, store.vault)
        if name in (source.name, source.id)
        and merchant in (source.merchant, *source.routes.values())
    ]
    own = [source for source in found if source.merchant == merchant]
    if not found:
        raise sources.missing(name, merchant)
    return (own or found)[0].id
