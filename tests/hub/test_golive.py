"""Going live: what has not made the round with the keys of now stays on trial, unless overridden."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from arifa import dialects
from arifa.clock import now_us
from arifa.errors import AlreadyExists, NotFound, Refused
from arifa.feed import Endpoint, Manner, Source
from arifa.hub import key_files
from arifa.hub.configure import (
    NewEndpoint,
    NewSource,
    add_endpoint,
    add_merchant,
    add_source,
    set_endpoint_state,
    set_paused,
)
from arifa.hub.edit import Edits, edit_endpoint
from arifa.hub.golive import (
    Override,
    Proof,
    check_apart,
    checked,
    is_changed_since,
    keep_test,
    promote_endpoint,
    promote_source,
    proves_current_keys,
    read_proof,
)
from arifa.hub.receive import Receiver
from arifa.hub.rotate import OVERLAP_MIN_US, Haste, rotate_endpoint, rotate_source
from arifa.identifiers import identifier
from arifa.notification import Kind, Status
from arifa.signing import Credentials
from arifa.signing.keys import new_rsa_key
from arifa.store import changes, endpoints, sources
from arifa.store.opened import Store
from arifa.store.schema import attempts, deliveries
from arifa.timestamp import to_rfc3339
from arifa.wire import WireRequest
from tests.hub.bank import PUBLIC
from tests.hub.bank import request as sample

URL = "https://shop.example/hook"
BOLD = Override("jane", "the bank has no test system")
PAYMENT = {"statuses": frozenset({Status.SUCCESS}), "kinds": frozenset({Kind.PAYMENT})}


def endpoint(store: Store, **wanted: Any) -> Endpoint:
    asked: dict[str, Any] = {"name": "shop", "url": URL, "mode": "test", **wanted}
    return add_endpoint(store, NewEndpoint(**asked), now_us()).endpoint


def source(store: Store, **wanted: Any) -> Source:
    asked: dict[str, Any] = {
        "name": "kcb",
        "dialect": "kcb",
        "mode": "test",
        "credentials": Credentials(public_keys=(PUBLIC,)),
        **wanted,
    }
    return add_source(store, NewSource(**asked), now_us()).source


def passed_test(store: Store, one: Endpoint) -> bool:
    """As `endpoint test` keeps it."""
    at = now_us()
    proof = Proof(kind="test", at=to_rfc3339(at), of=one.id, message="tst_1", status=200)
    return keep_test(store, one, proof, at)


def delivered(store: Store, one: Endpoint, *, at: int | None = None, **changed: Any) -> None:
    """As the worker records a delivery that was acknowledged."""
    now = now_us() if at is None else at
    identity = identifier("dlv", now)
    row = {
        "merchant": one.merchant,
        "id": identity,
        "notification": identifier("ntf", now),
        "endpoint": one.id,
        "state": "delivered",
        "attempt_count": 1,
        "fence": 1,
        "created_at": now,
        "finished_at": now,
        **changed,
    }
    tried = {
        "merchant": one.merchant,
        "delivery": identity,
        "number": 1,
        "worker": "w",
        "fence": 1,
        "started_at": now,
        "finished_at": now,
        "status": 200,
        "cause": "delivered",
    }
    with store.database.write() as connection:
        connection.execute(sa.insert(deliveries).values(**row))
        connection.execute(sa.insert(attempts).values(**tried))


def received(
    store: Store, one: Source, at: int | None = None, *, request: WireRequest | None = None
) -> int:
    """What the hub answers to a request, KCB's sample signed by its key, on this source."""
    request = sample("kcb") if request is None else request
    receiver = Receiver(store, now_us if at is None else lambda: at)
    try:
        (answer,) = receiver.receive([receiver.prepare(one.token, request)])
    finally:
        receiver.close()
    assert answer is not None
    return answer.status


def stored(store: Store, one: Endpoint) -> Endpoint:
    with store.database.read() as connection:
        return endpoints.get(connection, store.vault, one.id)


# ---------------------------------------------------------------------------------- endpoints


def test_an_endpoint_goes_live_as_it_was_tried(store: Store) -> None:
    """The live one has the name, the settings and the keys of the trial, and the proof of it."""
    trial = endpoint(
        store,
        manner=Manner(timeout=5.0, headers=(("X-Key", "a"),)),
        currencies=frozenset({"KES"}),
        show_phone=True,
    )
    assert passed_test(store, trial)
    live = promote_endpoint(store, "shop", now_us()).endpoint
    assert stored(store, live) == live
    assert live.merchant == "default"
    assert live.id != trial.id
    for name in ("name", "url", "dialect", "profile", "credentials", "manner", "currencies"):
        assert getattr(live, name) == getattr(trial, name)
    assert stored(store, trial) == replace(
        trial, state="paused", reason=stored(store, trial).reason
    )
    with store.database.read() as connection:
        proof = endpoints.proof_of(connection, live)
        acts = changes.acts_on(connection, "default", live.id)
        assert proof is not None
        assert not is_changed_since(connection, live, proof)
    shown = read_proof(proof)
    assert shown is not None
    assert (shown["kind"], shown["of"], shown["message"]) == ("test", trial.id, "tst_1")
    assert [(act.action, act.detail) for act in acts] == [
        ("endpoint.add", f"promoted from {trial.id}")
    ]
    assert checked("default", proof) == "checked"


def test_a_real_delivery_is_a_proof_too(store: Store) -> None:
    """One of the test twin's deliveries that was acknowledged at its own URL is enough."""
    trial = endpoint(store)
    delivered(store, trial, url="https://elsewhere.example/")
    delivered(store, trial, state="dead")
    with pytest.raises(Refused, match="full round"):
        promote_endpoint(store, "shop", now_us())
    delivered(store, trial)
    live = promote_endpoint(store, "shop", now_us()).endpoint
    with store.database.read() as connection:
        shown = read_proof(endpoints.proof_of(connection, live))
    assert shown is not None
    assert (shown["kind"], shown["status"]) == ("delivery", 200)


@pytest.mark.parametrize("change", ["url", "headers", "options", "keys"])
@pytest.mark.parametrize("proof", ["test", "delivery"])
def test_a_change_asks_for_a_new_test(sqlite_store: Store, change: str, proof: str) -> None:
    """What was shown with another address or other keys is not shown of these."""
    trial = endpoint(sqlite_store)
    show = passed_test if proof == "test" else delivered
    show(sqlite_store, trial)
    if change == "keys":
        haste = Haste("for the test")
        rotate_endpoint(sqlite_store, trial.id, Credentials(), now_us(), haste=haste)
    else:
        edits = {
            "url": Edits(url="https://shop.example/v2"),
            "headers": Edits(headers={"X-Key": "a"}),
            "options": Edits(options={"phone": "full"}),
        }
        edit_endpoint(sqlite_store, trial.id, edits[change], now_us())
    with pytest.raises(Refused, match="since its address or its keys were last changed"):
        promote_endpoint(sqlite_store, "shop", now_us())
    show(sqlite_store, stored(sqlite_store, trial))
    promote_endpoint(sqlite_store, "shop", now_us())


def test_a_filter_may_change_after_the_test(sqlite_store: Store) -> None:
    """What a receiver sees of a message is the same; only which messages come is not."""
    trial = endpoint(sqlite_store)
    passed_test(sqlite_store, trial)
    edit_endpoint(sqlite_store, trial.id, Edits(timeout=5.0, accounts=frozenset({"1"})), now_us())
    promote_endpoint(sqlite_store, "shop", now_us())


def test_the_old_key_proves_nothing_of_the_new(sqlite_store: Store) -> None:
    """While the old key of a bank's form signs, what arrives says nothing about the new one."""
    trial = endpoint(sqlite_store, dialect="kcb", generate_key=True, **PAYMENT)
    start = now_us()
    one = rotate_endpoint(sqlite_store, trial.id, Credentials(), start, generate_key=True).endpoint
    assert not proves_current_keys(one, start)
    assert proves_current_keys(one, start + OVERLAP_MIN_US)
    delivered(sqlite_store, one)
    with pytest.raises(Refused, match="full round"):
        promote_endpoint(sqlite_store, "shop", now_us())


def test_a_message_that_both_keys_signed_proves_nothing_of_the_new(sqlite_store: Store) -> None:
    """A receiver that knows only the old secret believes it, and nothing once that has ended."""
    trial = endpoint(sqlite_store)
    start = now_us()
    one = rotate_endpoint(sqlite_store, trial.id, Credentials(), start).endpoint
    assert not proves_current_keys(one, start)
    assert proves_current_keys(replace(one, retiring=None, retires_at=None), start)
    delivered(sqlite_store, one)
    with pytest.raises(Refused, match=r"arifa endpoint test shop --merchant \S+ --new-key \(until"):
        promote_endpoint(sqlite_store, "shop", now_us())
    late = start + OVERLAP_MIN_US
    with pytest.raises(Refused, match="full round") as refused:
        promote_endpoint(sqlite_store, "shop", late)
    assert "--new-key" not in str(refused.value)
    delivered(sqlite_store, one, at=late + 1)
    promote_endpoint(sqlite_store, "shop", late + 2)


def test_a_test_of_what_was_changed_meanwhile_is_not_kept(sqlite_store: Store) -> None:
    """The message was on its way with the old URL when the new one was set."""
    trial = endpoint(sqlite_store)
    edit_endpoint(sqlite_store, trial.id, Edits(url="https://shop.example/v2"), now_us())
    assert not passed_test(sqlite_store, trial)
    with pytest.raises(Refused, match="full round"):
        promote_endpoint(sqlite_store, "shop", now_us())


def test_an_override_is_kept_with_its_reason(sqlite_store: Store) -> None:
    """Who said that it may go live untried, and why, is with it for good."""
    endpoint(sqlite_store)
    live = promote_endpoint(sqlite_store, "shop", now_us(), override=BOLD).endpoint
    with sqlite_store.database.read() as connection:
        proof = endpoints.proof_of(connection, live)
    shown = read_proof(proof)
    assert shown is not None
    assert (shown["kind"], shown["who"], shown["reason"]) == ("override", *BOLD)
    assert checked("default", proof) == "overridden"


def test_a_change_after_going_live_is_seen(sqlite_store: Store) -> None:
    """The proof stays, and it is said that it is of other keys."""
    trial = endpoint(sqlite_store)
    passed_test(sqlite_store, trial)
    live = promote_endpoint(sqlite_store, "shop", now_us()).endpoint
    with sqlite_store.database.read() as connection:
        proof = endpoints.proof_of(connection, live) or ""
    rotate_endpoint(sqlite_store, live.id, Credentials(), now_us())
    with sqlite_store.database.read() as connection:
        assert is_changed_since(connection, live, proof)


def test_live_sources_stand_for_those_on_trial(sqlite_store: Store) -> None:
    """A filter that names a test source names the live one of that name, which must be there."""
    source(sqlite_store)
    trial = endpoint(sqlite_store, sources=("kcb",))
    passed_test(sqlite_store, trial)
    with pytest.raises(NotFound, match="no source 'kcb' of default"):
        promote_endpoint(sqlite_store, "shop", now_us())
    live_source = promote_source(sqlite_store, "kcb", now_us(), override=BOLD).source
    assert promote_endpoint(sqlite_store, "shop", now_us()).endpoint.sources == {live_source.id}


def test_the_public_key_goes_along(sqlite_store: Store) -> None:
    """The live endpoint has the same pair, and its public half lies under its own id."""
    trial = endpoint(sqlite_store, generate_key=True)
    passed_test(sqlite_store, trial)
    added = promote_endpoint(sqlite_store, "shop", now_us())
    ours = key_files.public_of_endpoint(sqlite_store.folder, trial.id)
    assert added.public_key_path is not None
    assert ours is not None
    assert added.public_key_path.read_bytes() == ours.read_bytes()


def test_the_trial_ends_when_it_is_promoted(store: Store) -> None:
    """It is paused: its test money would reach the live system, which has its URL and keys."""
    made = endpoint(store)
    promote_endpoint(store, "shop", now_us(), override=BOLD)
    trial = stored(store, made)
    assert trial.state == "paused"
    assert "promoted" in str(trial.reason)


def test_a_banks_form_is_not_tried_where_it_is_live(store: Store) -> None:
    """It has no words for a test; a dialect that has them is no danger."""
    keys = Credentials(username="u", passwords=("p",))
    trial = endpoint(store, name="erp", dialect="jenga", credentials=keys, **PAYMENT)
    check_apart(store, trial)
    live = promote_endpoint(store, "erp", now_us(), override=BOLD).endpoint
    with pytest.raises(Refused, match="is live at this URL"):
        check_apart(store, trial)
    check_apart(store, live)
    check_apart(store, endpoint(store))


def test_what_cannot_be_promoted(sqlite_store: Store) -> None:
    """What is not there, is live already, is paused, or has a live one of its name."""
    with pytest.raises(NotFound, match="under a test twin"):
        promote_endpoint(sqlite_store, "shop", now_us())
    add_endpoint(sqlite_store, NewEndpoint(name="direct", url=URL), now_us())
    with pytest.raises(Refused, match="live already"):
        promote_endpoint(sqlite_store, "direct", now_us())
    trial = endpoint(sqlite_store)
    passed_test(sqlite_store, trial)
    set_endpoint_state(sqlite_store, trial, endpoints.PAUSED, now_us())
    with pytest.raises(Refused, match="resume it"):
        promote_endpoint(sqlite_store, "shop", now_us())
    set_endpoint_state(sqlite_store, trial, endpoints.ACTIVE, now_us())
    promote_endpoint(sqlite_store, "shop", now_us())
    with pytest.raises(AlreadyExists):
        promote_endpoint(sqlite_store, "shop", now_us())


def test_each_merchant_has_its_own_trial(sqlite_store: Store) -> None:
    """Where two merchants try one of the same name, it must be said whose is meant."""
    add_merchant(sqlite_store, "acme", now_us())
    endpoint(sqlite_store)
    theirs = endpoint(sqlite_store, merchant="acme")
    passed_test(sqlite_store, theirs)
    with pytest.raises(Refused, match="say --merchant"):
        promote_endpoint(sqlite_store, "shop", now_us())
    with pytest.raises(Refused, match="full round"):
        promote_endpoint(sqlite_store, "shop", now_us(), merchant="default")
    live = promote_endpoint(sqlite_store, "shop", now_us(), merchant="acme:test").endpoint
    assert live.merchant == "acme"
    with pytest.raises(AlreadyExists):
        promote_endpoint(sqlite_store, "shop", now_us(), merchant="acme")


# ---------------------------------------------------------------------------------- sources


def test_a_source_goes_live_once_it_has_received(store: Store) -> None:
    """A proven request is the proof; the live source has its settings and a path of its own."""
    trial = source(store, account="JD001", routes={"9": "default"})
    with pytest.raises(Refused, match="full round"):
        promote_source(store, "kcb", now_us())
    assert received(store, trial) == 200
    live = promote_source(store, "kcb", now_us()).source
    assert live.token != trial.token
    for name in ("name", "dialect", "scope", "profile", "credentials", "account"):
        assert getattr(live, name) == getattr(trial, name)
    assert (live.merchant, live.routes) == ("default", {"9": "default"})
    with store.database.read() as connection:
        assert sources.get(connection, store.vault, live.id) == live
        shown = read_proof(sources.proof_of(connection, live))
    assert shown is not None
    assert (shown["kind"], shown["of"], shown["status"]) == ("request", trial.id, 200)
    assert len(shown["request_sha256"]) == 64
    assert received(store, live) == 200


def test_a_new_key_of_the_bank_asks_for_a_new_request(sqlite_store: Store) -> None:
    """What was received before the rotation proves nothing of what is taken now."""
    trial = source(sqlite_store)
    received(sqlite_store, trial)
    new = Credentials(public_keys=(new_rsa_key()[1],))
    rotated = rotate_source(
        sqlite_store, trial, new, now_us(), retire=True, haste=Haste("for the test")
    ).source
    with pytest.raises(Refused, match="full round") as refused:
        promote_source(sqlite_store, "kcb", now_us())
    assert "newest" not in str(refused.value)
    back = Credentials(public_keys=(PUBLIC,))
    rotated = rotate_source(sqlite_store, rotated, back, now_us()).source
    set_paused(sqlite_store, rotated, now_us(), paused=True)
    set_paused(sqlite_store, rotated, now_us(), paused=False)
    # Of a repeat the bytes are not kept again, so it shows nothing.
    received(sqlite_store, rotated)
    with pytest.raises(Refused, match="a new message"):
        promote_source(sqlite_store, "kcb", now_us())
    received(sqlite_store, rotated, request=sample("kcb", transactionReference="NEW1"))
    promote_source(sqlite_store, "kcb", now_us())


def test_the_old_key_of_a_bank_proves_nothing_of_its_new(store: Store) -> None:
    """Both are taken, and only what the newest alone proves counts, whatever came after it."""
    trial = source(store)
    private, public = new_rsa_key()
    rotate_source(store, trial, Credentials(public_keys=(public,)), now_us())
    assert received(store, trial) == 200
    with pytest.raises(Refused, match="a new message, with the newest keys"):
        promote_source(store, "kcb", now_us())
    unsigned = replace(sample("kcb", transactionReference="NEW1"), headers=())
    by_new = dialects.get("kcb").sign(unsigned, Credentials(private_key=private), now_us())
    assert received(store, trial, request=by_new) == 200
    assert received(store, trial, request=sample("kcb", transactionReference="OLD2")) == 200
    promote_source(store, "kcb", now_us())


def test_a_second_password_proves_nothing_until_the_first_is_retired(sqlite_store: Store) -> None:
    """A request is kept without its password, so nobody can say afterwards which it had."""
    first, second = (
        Credentials(username="jenga", passwords=(one,)) for one in ("open:sesame", "sesame")
    )
    trial = source(sqlite_store, name="jenga", dialect="jenga", credentials=first)
    both = rotate_source(sqlite_store, trial, second, now_us()).source
    unsigned = replace(sample("jenga"), headers=())
    by_new = dialects.get("jenga").sign(unsigned, second, now_us())
    assert received(sqlite_store, trial, request=by_new) == 200
    with pytest.raises(Refused, match="source rotate jenga --merchant default:test --retire"):
        promote_source(sqlite_store, "jenga", now_us())
    rotate_source(
        sqlite_store, both, Credentials(), now_us(), retire=True, haste=Haste("for the test")
    )
    again = dialects.get("jenga").sign(replace(unsigned, received_at=now_us()), second, now_us())
    assert received(sqlite_store, trial, request=again) == 200
    promote_source(sqlite_store, "jenga", now_us())


def test_both_keys_that_a_source_was_made_with_are_meant(sqlite_store: Store) -> None:
    """A bank that signs with either of two has no old one."""
    keys = Credentials(public_keys=(new_rsa_key()[1], PUBLIC))
    received(sqlite_store, source(sqlite_store, credentials=keys))
    promote_source(sqlite_store, "kcb", now_us())


def test_what_was_refused_is_no_proof(sqlite_store: Store) -> None:
    """A request that the key did not sign, and one that could not be read, count for nothing."""
    trial = source(sqlite_store, credentials=Credentials(public_keys=(new_rsa_key()[1],)))
    assert received(sqlite_store, trial) == 401
    with pytest.raises(Refused, match="full round"):
        promote_source(sqlite_store, "kcb", now_us())


def test_a_bank_key_that_was_made_here_is_said(sqlite_store: Store) -> None:
    """It may go live for trying it out, but never without a word, here and in the proof."""
    source(sqlite_store, credentials=Credentials(), generate_key=True)
    added = promote_source(sqlite_store, "kcb", now_us(), override=BOLD)
    assert any("can sign as the bank" in note for note in added.notes)
    with sqlite_store.database.read() as connection:
        shown = read_proof(sources.proof_of(connection, added.source))
    assert shown is not None
    assert shown["bank_key_made_here"]
    assert not key_files.their_private_key(sqlite_store.folder, added.source.id).exists()


def test_routes_lead_to_live_merchants(sqlite_store: Store) -> None:
    """A route of the trial's leads to the twin of that merchant; the live one's to itself."""
    add_merchant(sqlite_store, "acme", now_us())
    source(sqlite_store, routes={"1": "acme"})
    live = promote_source(sqlite_store, "kcb", now_us(), override=BOLD).source
    assert live.routes == {"1": "acme"}
