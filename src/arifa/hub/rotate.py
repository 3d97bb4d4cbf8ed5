"""New keys, secrets and passwords beside the old ones, so that nothing on its way is refused.

An endpoint signs with old and new for an overlap, where a request carries several signatures; where
it carries one, the old one signs until the overlap ends, which is the time to install the new one
in. The end comes by itself (`Endpoint.signing_credentials`). A source takes old and new until a
person retires the old: only the bank knows when it has changed, and a payment must not be refused
because a clock ran out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from arifa import dialects
from arifa.dialects.base import Dialect
from arifa.errors import Refused
from arifa.feed import Endpoint, Source
from arifa.hub.checks import check_credentials, signs_webhooks
from arifa.hub.configure import AddedEndpoint, AddedSource
from arifa.hub.key_files import KeyPairs
from arifa.signing import Credentials
from arifa.signing.webhook import is_private_key, new_secret
from arifa.store import changes, endpoints, sources
from arifa.store.database import Connection
from arifa.store.opened import Store
from arifa.timestamp import to_rfc3339

HOUR_US: Final = 3_600_000_000
OVERLAP_MIN_US: Final = 24 * HOUR_US
OVERLAP_MAX_US: Final = 90 * 24 * HOUR_US
OLD_SECRETS_MAX: Final = 10


class Haste(NamedTuple):
    """The old credentials end now: because a key was lost, or nobody uses them yet."""

    reason: str


# ---------------------------------------------------------------------------------- endpoints


def rotate_endpoint(
    store: Store,
    name: str,
    new: Credentials,
    now_us: int,
    *,
    generate_key: bool = False,
    overlap_us: int = OVERLAP_MIN_US,
    haste: Haste | None = None,
) -> AddedEndpoint:
    """Give an endpoint, by its id, new credentials; `new` has those that change.

    Without any, a Standard Webhooks endpoint gets a new secret of the kind that it has.

    Raises:
        Refused: there is nothing new, it cannot be used, or the overlap is too short or too long.
    """
    if haste is None:
        _check_overlap(overlap_us)
    else:
        _check_reason(haste)
    with store.database.read() as connection:
        identity = endpoints.get(connection, store.vault, name).id
    made = KeyPairs(store.folder, identity)

    def rotate(connection: Connection) -> AddedEndpoint:
        before = endpoints.get(connection, store.vault, identity, for_update=True)
        dialect = dialects.get(before.dialect)
        wanted, secret = _wanted(dialect, before, new, generate_key=generate_key)
        if wanted is None:
            wanted = made.for_endpoint(dialect, new)
        changed = merged(before.credentials, wanted)
        if changed == before.credentials:
            raise Refused("there is nothing to rotate: these are the credentials that it has")
        notes = check_credentials(dialect, changed, sending=True)
        after = replace(before, credentials=changed, retiring=None, retires_at=None)
        if haste is None:
            after = _overlapping(dialect, before, after, now_us, overlap_us)
        detail = f"at once: {haste.reason}" if haste else f"until {_when(after)}"
        endpoints.update(connection, store.vault, after, now_us, action="rotate", detail=detail)
        notes.append(_explained(dialect, after, haste))
        return AddedEndpoint(after, secret, made.public, made.ours, notes)

    added = made.store_with(store, rotate)
    return added._replace(notes=added.notes + made.notes)


def _check_overlap(overlap_us: int) -> None:
    if overlap_us < OVERLAP_MIN_US:
        raise Refused(
            "an overlap is 24 hours at least, so that the other side has a day to change; where "
            "the old key must end at once, say --now --reason TEXT"
        )
    if overlap_us > OVERLAP_MAX_US:
        raise Refused("an overlap is 90 days at most: a key that never ends was not rotated")


def _check_reason(haste: Haste) -> None:
    if not haste.reason.strip():
        raise Refused(
            "ending the old keys at once needs a reason, for the audit log: --reason TEXT"
        )


def _wanted(
    dialect: Dialect, before: Endpoint, new: Credentials, *, generate_key: bool
) -> tuple[Credentials | None, str | None]:
    """What changes, None where a key pair is to be made; and the secret that was made, if any."""
    if generate_key:
        return None, None
    if new != Credentials():
        return new, None
    if not signs_webhooks(dialect):
        raise Refused(
            "there is nothing to rotate: give a new key, secret or password, or --generate-key"
        )
    old = before.credentials.secrets
    if old and is_private_key(old[0]):
        return None, None
    secret = new_secret()
    return Credentials(secrets=(secret.encode("ascii"),)), secret


def merged(old: Credentials, new: Credentials) -> Credentials:
    """The credentials with those that are new in the place of the old.

    Raises:
        Refused: a user without a password.
    """
    if new.username and not new.passwords:
        raise Refused("a user and its password go together: --username U --password-file F")
    return Credentials(
        public_keys=new.public_keys or old.public_keys,
        private_key=new.private_key or old.private_key,
        secrets=new.secrets or old.secrets,
        username=new.username or old.username,
        passwords=new.passwords or old.passwords,
        addresses=old.addresses,
    )


def _overlapping(
    dialect: Dialect, before: Endpoint, after: Endpoint, now_us: int, overlap_us: int
) -> Endpoint:
    # Whatever signs at this moment goes on signing, also what an earlier rotation is retiring.
    signing = before.signing_credentials(now_us, together=dialect.signs_together)
    until = now_us + overlap_us
    if before.is_rotating(now_us):
        until = max(until, before.retires_at or 0)
    if len(signing.secrets) > OLD_SECRETS_MAX:
        raise Refused(
            f"{len(signing.secrets)} old secrets would sign beside the new one, and "
            f"{OLD_SECRETS_MAX} are the most; wait until they end, at {_when(before)}, or say "
            f"--now --reason TEXT"
        )
    return replace(after, retiring=signing, retires_at=until)


def _when(endpoint: Endpoint) -> str:
    return "now" if endpoint.retires_at is None else to_rfc3339(endpoint.retires_at)


def _explained(dialect: Dialect, after: Endpoint, haste: Haste | None) -> str:
    if haste is not None or after.retiring is None:
        return "the old credentials sign nothing any more, also of what is tried again"
    if dialect.signs_together and after.retiring.secrets != after.credentials.secrets:
        return f"old and new both sign until {_when(after)}; give the other side the new one"
    return (
        f"the old one signs until {_when(after)} and the new one from then on: see that the other "
        f"side takes both by then"
    )


# ---------------------------------------------------------------------------------- sources


def rotate_source(
    store: Store,
    source: Source,
    new: Credentials,
    now_us: int,
    *,
    generate_key: bool = False,
    retire: bool = False,
    haste: Haste | None = None,
) -> AddedSource:
    """Put new keys, secrets or passwords before the old, which go on being taken until `retire`.

    Raises:
        Refused: there is nothing to rotate, the new credentials cannot be used, or the old ones
            would end within a day of the change without `haste`.
    """
    if haste is not None:
        _check_reason(haste)
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

    def rotate(connection: Connection) -> None:
        if haste is None and _ends(source.credentials, credentials):
            _check_overlap_of_source(connection, source, new, now_us)
        detail = "retire" if retire else ""
        sources.set_credentials(
            connection,
            store.vault,
            source,
            credentials,
            now_us,
            detail=f"at once: {haste.reason}" if haste else detail,
        )

    made.store_with(store, rotate)
    changed = replace(source, credentials=credentials)
    return AddedSource(changed, made.theirs, made.ours, notes + made.notes)


def _ends(old: Credentials, new: Credentials) -> bool:
    """Whether anything that was taken is taken no more."""
    return (
        not set(old.public_keys) <= set(new.public_keys)
        or not set(old.secrets) <= set(new.secrets)
        or not set(old.passwords) <= set(new.passwords)
        or old.username not in (None, new.username)
        or not set(_ours(old)) <= set(_ours(new))
    )


def _ours(credentials: Credentials) -> tuple[bytes, ...]:
    newest = credentials.private_key
    return (() if newest is None else (newest,)) + credentials.old_private_keys


def _check_overlap_of_source(
    connection: Connection, source: Source, new: Credentials, now_us: int
) -> None:
    acts = changes.acts_on(connection, source.merchant, source.id)
    since = max((act.at for act in acts if act.action == "source.rotate"), default=0)
    if replace(new, addresses=()) != Credentials():
        since = now_us
    if now_us < since + OVERLAP_MIN_US:
        raise Refused(
            f"old and new are both taken for 24 hours at least, until "
            f"{to_rfc3339(since + OVERLAP_MIN_US)}, so that nothing the bank has sent is refused; "
            f"where the old must end at once, say --now --reason TEXT"
        )


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
    ours = tuple(dict.fromkeys((*_ours(new), *_ours(old))))
    if retire:
        # All that were given now are wanted; where none was given, the newest stays.
        public_keys = public_keys[: len(new.public_keys) or 1]
        secrets = secrets[: len(new.secrets) or 1]
        passwords = passwords[: len(new.passwords) or 1]
        ours = ours[:1]
    return Credentials(
        public_keys=public_keys,
        private_key=ours[0] if ours else None,
        old_private_keys=ours[1:],
        secrets=secrets,
        username=new.username or old.username,
        passwords=passwords,
        addresses=new.addresses or old.addresses,
    )
