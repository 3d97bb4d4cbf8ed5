"""Going live: what was set up and tried under a merchant's test twin becomes the merchant's own.

A live endpoint or source that nobody has tried fails with the first customer's money. So promotion
asks for a test message that made the whole round with the keys and the address of now: sent or
received, proven, acknowledged. A person may override it with a reason. What was shown, or who
overrode it and why, is kept with the live thing and in the audit log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import structs

from arifa import dialects
from arifa.errors import NotFound, NotGenuine, Refused
from arifa.feed import Endpoint, Source
from arifa.hub import key_files
from arifa.hub.checks import check_credentials, check_url
from arifa.hub.configure import AddedEndpoint, AddedSource, Address, check_endpoint, source_ids
from arifa.hub.edit import ON_THE_WIRE
from arifa.hub.key_files import KeyPairs
from arifa.identifiers import identifier, unguessable
from arifa.signing.basic import Basic
from arifa.store import changes, endpoint_deliveries, endpoints, inbox, merchants, sources
from arifa.store.changes import Act
from arifa.store.database import Connection
from arifa.store.merchants import TWIN
from arifa.store.opened import Store
from arifa.timestamp import from_rfc3339, to_rfc3339

NOT_CHECKED: Final = "not checked"


class Override(NamedTuple):
    """Somebody takes it upon themselves that it works."""

    who: str
    reason: str


class Proof(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was shown before it went live. Times are RFC 3339; hashes are SHA-256 in hex.

    Attributes:
        kind: `test` (a message of `endpoint test`), `delivery`, `request` (received), `override`.
        of: the id of the thing under the test twin.
        message: the id of the message, delivery or inbox row.
    """

    kind: str
    at: str
    of: str
    message: str | None = None
    status: int | None = None
    request_sha256: str | None = None
    answer_sha256: str | None = None
    who: str | None = None
    reason: str | None = None
    bank_key_made_here: bool = False

    def as_json(self) -> str:
        """As it is stored."""
        return msgspec.json.encode(self).decode()


def read_proof(text: str | None) -> dict[str, Any] | None:
    """A stored proof as rows show it."""
    found: dict[str, Any] | None = None if text is None else msgspec.json.decode(text)
    return found


def checked(merchant: str, proof: str | None) -> str | None:
    """In a word or two: whether a live thing was tried before; None of a test twin's."""
    if merchant.endswith(TWIN):
        return None
    if proof is None:
        return NOT_CHECKED
    return "overridden" if msgspec.json.decode(proof, type=Proof).kind == "override" else "checked"


# ---------------------------------------------------------------------------------- the proof


def keep_test(store: Store, tried: Endpoint, proof: Proof, now_us: int) -> bool:
    """Keep that a test message made the round; False where the endpoint was changed meanwhile."""
    with store.database.write() as connection:
        found = endpoints.get(connection, store.vault, tried.id, for_update=True)
        if found != tried:
            return False
        endpoints.set_proof(connection, found, proof.as_json(), now_us)
    return True


def _changed_at(acts: Iterable[Act], *, since_made: bool = False) -> int:
    """When the address, the form or the keys were last changed; 0 if never `since_made`."""
    made = () if since_made else (".add",)
    return max(
        (
            act.at
            for act in acts
            if act.action.endswith((".rotate", *made))
            or (act.action.endswith(".edit") and ON_THE_WIRE & set(act.detail.split(", ")))
        ),
        default=0,
    )


def proves_current_keys(endpoint: Endpoint, sent_at: int) -> bool:
    """Whether what is acknowledged, sent at this moment, shows that the new keys work.

    While the old ones sign, alone or together with the new, a receiver that knows only the old ones
    is content; it would refuse everything once they have ended.
    """
    return not endpoint.is_rotating(sent_at)


def _of_endpoint(connection: Connection, endpoint: Endpoint) -> Proof | None:
    since = _changed_at(changes.acts_on(connection, endpoint.merchant, endpoint.id))
    kept = endpoints.proof_of(connection, endpoint)
    if kept is not None:
        proof = msgspec.json.decode(kept, type=Proof)
        if from_rfc3339(proof.at) >= since:
            return proof
    # Until then the old keys signed, so that it may be those that were believed.
    since = max(since, endpoint.retires_at or 0)
    row = endpoint_deliveries.acknowledged(connection, endpoint, since)
    if row is None:
        return None
    return Proof(
        kind="delivery",
        at=to_rfc3339(row.finished_at),
        of=endpoint.id,
        message=row.id,
        status=row.status,
    )


def _of_source(connection: Connection, source: Source) -> Proof | None:
    acts = changes.acts_on(connection, source.merchant, source.id)
    found = inbox.received(connection, source, _changed_at(acts))
    if _takes_old_keys(acts, source):
        found = (row for row in found if _is_of_newest_keys(connection, source, row.id))
    row = next(iter(found), None)
    if row is None:
        return None
    return Proof(
        kind="request",
        at=to_rfc3339(row.received_at),
        of=source.id,
        message=row.id,
        status=row.answer_status,
        request_sha256=bytes(row.body_hash).hex(),
    )


def _takes_old_keys(acts: Iterable[Act], source: Source) -> bool:
    """Whether keys of before a rotation are taken too; those of its making are all meant to be."""
    was_rotated = _changed_at(acts, since_made=True) > 0
    return was_rotated and source.credentials != source.credentials.newest


def _is_of_newest_keys(connection: Connection, source: Source, inbox_id: str) -> bool:
    """Whether the newest keys alone prove a request that was received: it is verified again.

    A password is not kept with a request. So where an old one is taken too, nothing is shown until
    it is retired; where there is one, the request had it.
    """
    newest = source.credentials.newest
    request = inbox.request_of(connection, source.merchant, inbox_id)
    if request is None or source.credentials.passwords != newest.passwords:
        return False
    if newest.passwords:
        request = Basic().sign(request, newest, request.received_at)
    try:
        dialects.get(source.dialect).verify(request, newest, source.profile, request.received_at)
    except NotGenuine:
        return False
    return True


def is_changed_since(connection: Connection, live: Endpoint | Source, proof: str) -> bool:
    """Whether a live thing has other keys, or another address, than when it was tried."""
    acts = changes.acts_on(connection, live.merchant, live.id)
    tried_at = from_rfc3339(msgspec.json.decode(proof, type=Proof).at)
    return tried_at < _changed_at(acts, since_made=True)


# ---------------------------------------------------------------------------------- promotion


def promote_endpoint(
    store: Store,
    name: str,
    now_us: int,
    *,
    merchant: str | None = None,
    override: Override | None = None,
    address: Address = check_url,
) -> AddedEndpoint:
    """Make the live endpoint of which a test twin's was the trial: its name, settings and keys.

    Raises:
        Refused: it has not been tried since its last change, or could not work live; NotFound where
            no test twin has one, AlreadyExists where the live merchant has one of this name.
    """
    with store.database.read() as connection:
        found = _trial(endpoints.listed(connection, store.vault), "endpoint", name, merchant)
    made = KeyPairs(store.folder, identifier("end", now_us))

    def promote(connection: Connection) -> AddedEndpoint:
        trial = endpoints.get(connection, store.vault, found.id, for_update=True)
        owner = trial.merchant.removesuffix(TWIN)
        endpoints.check_name_is_free(connection, owner, trial.name)
        if not trial.active:
            raise Refused(
                f"{trial.name} is {trial.state}: resume it, and see that a test message arrives: "
                f"arifa endpoint test {trial.name}"
            )
        proof = _proof(
            _of_endpoint(connection, trial), trial, override, now_us, _test_of(trial, now_us)
        )
        named = sources.names(connection)
        heard = source_ids(connection, store, (named.get(one, one) for one in trial.sources), owner)
        live = replace(trial, id=made.identity, merchant=owner, sources=heard)
        notes = [*address(live.url), *check_endpoint(dialects.get(live.dialect), live)]
        merchants.check(connection, owner, now_us)
        made.copy_of(trial.id)
        detail = f"promoted from {trial.id}"
        endpoints.add(connection, store.vault, live, now_us, proof=proof.as_json(), detail=detail)
        # The two have one URL and one key now: what a test says there would be taken for money.
        reason = f"promoted: its URL and its keys are those of {live.id} of {owner}"
        endpoints.set_state(connection, trial, endpoints.PAUSED, now_us, reason=reason)
        notes.append(
            f"{trial.name} of {trial.merchant} is paused: the live one has its URL and keys"
        )
        return AddedEndpoint(live, None, made.public, made.ours, notes)

    added = made.store_with(store, promote)
    return added._replace(notes=added.notes + made.notes)


def _test_of(trial: Endpoint, now_us: int) -> str:
    """The command that shows whether it works."""
    command = f"arifa endpoint test {trial.name} --merchant {trial.merchant}"
    if not trial.is_rotating(now_us):
        return command
    until = to_rfc3339(trial.retires_at or 0)
    return f"{command} --new-key (until {until} the old keys sign too, and prove nothing of these)"


def check_apart(store: Store, trial: Endpoint) -> None:
    """See that no live endpoint has the URL of this trial, which would book what a test says.

    A dialect that has words for a test is no danger, and a live endpoint is no trial.

    Raises:
        Refused: one has.
    """
    dialect = dialects.get(trial.dialect)
    said = dialect.test_message("tst", 0, merchant=trial.merchant, endpoint=trial.name)
    if said is not None or not trial.merchant.endswith(TWIN):
        return
    with store.database.read() as connection:
        for endpoint in endpoints.listed(connection, store.vault):
            if endpoint.url == trial.url and not endpoint.merchant.endswith(TWIN):
                raise Refused(
                    f"{endpoint.name} of {endpoint.merchant} is live at this URL, and would book a "
                    f"sample in {trial.dialect}'s form as money; try it out at another URL"
                )


def promote_source(
    store: Store,
    name: str,
    now_us: int,
    *,
    merchant: str | None = None,
    override: Override | None = None,
) -> AddedSource:
    """Make the live source of which a test twin's was the trial; its path is a new one.

    Raises:
        Refused: nothing proven was received on it since its last change; NotFound where no test
            twin has one, AlreadyExists where the live merchant has one of this name.
    """
    with store.database.read() as connection:
        found = _trial(sources.all_active(connection, store.vault), "source", name, merchant)
    made = KeyPairs(store.folder, identifier("src", now_us))
    bank_key = key_files.their_private_key(store.folder, found.id)
    notes = check_credentials(dialects.get(found.dialect), found.credentials)
    if bank_key.exists():
        notes.append(
            f"the bank's key pair was made here, for trying it out: whoever reads {bank_key} can "
            f"sign as the bank. Before real payments give the bank's own key with: arifa source "
            f"rotate {found.name} --merchant {found.merchant.removesuffix(TWIN)} --public-key FILE "
            f"--retire --now --reason TEXT"
        )

    def promote(connection: Connection) -> Source:
        # As it is now: its keys may have been rotated since it was looked up.
        trial = sources.get(connection, store.vault, found.id)
        proof = _proof(
            _of_source(connection, trial), trial, override, now_us, _request_to(connection, trial)
        )
        owner = trial.merchant.removesuffix(TWIN)
        live = replace(
            trial,
            id=made.identity,
            merchant=owner,
            token=unguessable(),
            paused=False,
            routes={key: target.removesuffix(TWIN) for key, target in trial.routes.items()},
        )
        for target in sorted({owner, *live.routes.values()}):
            merchants.check(connection, target, now_us)
        made.copy_of(trial.id)
        proof = structs.replace(proof, bank_key_made_here=bank_key.exists())
        detail = f"promoted from {trial.id}"
        sources.add(connection, store.vault, live, now_us, proof=proof.as_json(), detail=detail)
        return live

    live = made.store_with(store, promote)
    return AddedSource(live, None, made.ours, notes + made.notes)


def _request_to(connection: Connection, trial: Source) -> str:
    """What shows whether it works."""
    by = "arifa trigger, or by the bank,"
    if not _takes_old_keys(changes.acts_on(connection, trial.merchant, trial.id), trial):
        return by
    return (
        f"{by} a new message, with the newest keys (it takes the old ones too, and what those "
        f"prove counts for nothing; a password counts once the old one is retired: arifa source rotate {trial.name} "
        f"--merchant {trial.merchant} --retire),"
    )


Thing = TypeVar("Thing", Endpoint, Source)


def _trial(found: Iterable[Thing], what: str, name: str, merchant: str | None) -> Thing:
    """The one under a test twin that has this name or id."""
    named = [thing for thing in found if name in (thing.name, thing.id)]
    if merchant is not None:
        owner = merchant.removesuffix(TWIN)
        named = [thing for thing in named if thing.merchant.removesuffix(TWIN) == owner]
    trials = [thing for thing in named if thing.merchant.endswith(TWIN)]
    if len(trials) > 1:
        owners = ", ".join(thing.merchant for thing in trials)
        raise Refused(
            f"several merchants have a {what} {name!r} on trial: {owners}; say --merchant"
        )
    if trials:
        return trials[0]
    if named:
        raise Refused(f"the {what} {name!r} is live already, and no test twin has one of this name")
    raise NotFound(f"there is no {what} {name!r} under a test twin; see: arifa {what} list")


def _proof(
    shown: Proof | None,
    trial: Endpoint | Source,
    override: Override | None,
    now_us: int,
    by: str,
) -> Proof:
    if shown is not None:
        return shown
    if override is None:
        raise Refused(
            f"no test message has made the full round with {trial.name} since its address or its "
            f"keys were last changed: send one by {by} and see it acknowledged, or take it upon "
            f"yourself with --override --reason TEXT"
        )
    return Proof(
        kind="override",
        at=to_rfc3339(now_us),
        of=trial.id,
        who=override.who,
        reason=override.reason,
    )
