"""Rotation: whoever has the old or the new key accepts during the overlap, and after it the new."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arifa import dialects
from arifa.delivery.attempt import Errand, prepare, signed
from arifa.errors import NotGenuine, Refused
from arifa.feed import Endpoint
from arifa.hub.configure import NewEndpoint, add_endpoint
from arifa.hub.rotate import (
    HOUR_US,
    OLD_SECRETS_MAX,
    OVERLAP_MAX_US,
    OVERLAP_MIN_US,
    Haste,
    rotate_endpoint,
)
from arifa.notification import Kind, Status
from arifa.signing import Credentials
from arifa.signing.keys import new_rsa_key, public_half
from arifa.signing.webhook import new_key_pair, new_secret
from arifa.signing.webhook import public_half as webhook_half
from arifa.store import changes, endpoints
from arifa.store.deliveries import Claimed
from arifa.store.opened import Store
from arifa.testing.genuine import plain_notification
from arifa.wire import WireRequest

URL = "https://shop.example/hook"
WEBHOOKS = dialects.get("standard_webhooks")
START = 1_795_000_000_000_000
PAYMENT = {"statuses": frozenset({Status.SUCCESS}), "kinds": frozenset({Kind.PAYMENT})}
RSA_PAIRS = [new_rsa_key(), new_rsa_key()]


def endpoint(store: Store, **wanted: Any) -> Endpoint:
    asked = {"name": "shop", "url": URL, **wanted}
    return add_endpoint(store, NewEndpoint(**asked), START).endpoint


def stored(store: Store) -> Endpoint:
    with store.database.read() as connection:
        return endpoints.get(connection, store.vault, "shop")


def sent(one: Endpoint, at_us: int) -> WireRequest:
    """What a receiver gets at this moment."""
    dialect = dialects.get(one.dialect)
    return signed(one, dialect, dialect.render(plain_notification(), one.profile), at_us)


def accepts(one: Endpoint, receiver: Credentials, at_us: int) -> bool:
    """Whether a receiver with these credentials takes what is sent at this moment."""
    dialect = dialects.get(one.dialect)
    try:
        dialect.verify(sent(one, at_us), receiver, one.profile, at_us)
    except NotGenuine:
        return False
    return True


def rotating(old: Credentials, new: Credentials, dialect: str, overlap_us: int) -> Endpoint:
    return Endpoint(
        id="end_1",
        name="shop",
        merchant="default",
        url=URL,
        dialect=dialect,
        profile=dialects.get(dialect).defaults,
        credentials=new,
        retiring=old,
        retires_at=START + overlap_us,
    )


def whsec() -> tuple[bytes, Credentials]:
    secret = new_secret().encode()
    return secret, Credentials(secrets=(secret,))


def whsk() -> tuple[bytes, Credentials]:
    private, public = new_key_pair()
    return private, Credentials(secrets=(public,))


@given(
    st.sampled_from([whsec, whsk]),
    st.sampled_from([whsec, whsk]),
    st.integers(0, 4 * OVERLAP_MIN_US),
)
def test_either_secret_is_enough_until_the_end(old_kind: Any, new_kind: Any, after: int) -> None:
    """At every moment of the overlap both receivers accept; after it the new one alone does."""
    (old, old_receiver), (new, new_receiver) = old_kind(), new_kind()
    one = rotating(
        Credentials(secrets=(old,)),
        Credentials(secrets=(new,)),
        "standard_webhooks",
        OVERLAP_MIN_US,
    )
    at = START + after
    assert accepts(one, new_receiver, at)
    assert accepts(one, old_receiver, at) is (after < OVERLAP_MIN_US)


@pytest.mark.parametrize("after", [0, 1, OVERLAP_MIN_US - 1, OVERLAP_MIN_US, 2 * OVERLAP_MIN_US])
def test_one_proof_is_the_old_one_until_the_end(after: int) -> None:
    """A receiver that takes the old key until the end and the new one from then refuses nothing."""
    (old, old_public), (new, new_public) = RSA_PAIRS
    one = rotating(
        Credentials(private_key=old), Credentials(private_key=new), "kcb", OVERLAP_MIN_US
    )
    public = old_public if after < OVERLAP_MIN_US else new_public
    other = new_public if after < OVERLAP_MIN_US else old_public
    assert accepts(one, Credentials(public_keys=(public,)), START + after)
    assert not accepts(one, Credentials(public_keys=(other,)), START + after)


def test_basic_and_the_mac_keep_the_old_one_too() -> None:
    """Wherever a request carries one proof, it is one whole proof: never half of each pair."""
    for name, old, new in (
        (
            "jenga",
            Credentials(username="old", passwords=("1",)),
            Credentials(username="new", passwords=("2",)),
        ),
        ("cbs", Credentials(secrets=(b"old" * 8,)), Credentials(secrets=(b"new" * 8,))),
    ):
        one = rotating(old, new, name, OVERLAP_MIN_US)
        notification = plain_notification()
        dialect = dialects.get(name)
        profile = replace(dialect.defaults, currency="KES")
        request = dialect.render(notification, profile)
        for at, theirs in ((START, old), (START + OVERLAP_MIN_US, new)):
            dialect.verify(signed(one, dialect, request, at), theirs, profile, at)


def test_what_was_prepared_before_is_accepted_after(store: Store) -> None:
    """An attempt that is out while the secret is rotated is still good for the old receiver."""
    before = endpoint(store)
    receiver = before.credentials
    claimed = Claimed(
        merchant="default",
        id="dlv_1",
        notification="ntf_1",
        endpoint=before.id,
        attempt_count=0,
        fence=1,
        created_at=START,
    )
    in_flight = prepare(Errand(claimed, before, plain_notification()), START)
    rotate_endpoint(store, before.id, Credentials(), START)
    retried = prepare(Errand(claimed, stored(store), plain_notification()), START + HOUR_US)
    for prepared, at in ((in_flight, START), (retried, START + HOUR_US)):
        assert prepared.request is not None
        WEBHOOKS.verify(prepared.request, receiver, WEBHOOKS.defaults, at)


def test_a_rotation_is_stored_and_ends_by_itself(store: Store) -> None:
    """A new secret of 32 bytes, both in use for a day; then nothing has to be done."""
    before = endpoint(store)
    added = rotate_endpoint(store, before.id, Credentials(), START)
    after = stored(store)
    assert after == added.endpoint
    assert added.secret is not None
    assert after.credentials.secrets == (added.secret.encode(),)
    assert (after.retiring, after.retires_at) == (before.credentials, START + OVERLAP_MIN_US)
    assert after.is_rotating(START + OVERLAP_MIN_US - 1)
    assert not after.is_rotating(START + OVERLAP_MIN_US)


def test_rotations_one_upon_another_refuse_nobody(sqlite_store: Store) -> None:
    """Each secret that was given out signs until the end of the last overlap; ten old at most."""
    one = endpoint(sqlite_store)
    given_out = [one.credentials]
    for number in range(OLD_SECRETS_MAX):
        at = START + number * HOUR_US
        given_out.append(
            rotate_endpoint(sqlite_store, one.id, Credentials(), at).endpoint.credentials
        )
    now = START + OLD_SECRETS_MAX * HOUR_US
    with pytest.raises(Refused, match="10 are the most"):
        rotate_endpoint(sqlite_store, one.id, Credentials(), now)
    found = stored(sqlite_store)
    assert len(given_out) == OLD_SECRETS_MAX + 1
    assert all(accepts(found, receiver, now) for receiver in given_out)
    end = found.retires_at
    assert end is not None
    assert [accepts(found, receiver, end) for receiver in given_out] == [False] * 10 + [True]


def test_a_later_rotation_never_shortens_an_overlap(sqlite_store: Store) -> None:
    """Who was promised a week has a week, whatever comes in between."""
    one = endpoint(sqlite_store)
    rotate_endpoint(sqlite_store, one.id, Credentials(), START, overlap_us=7 * OVERLAP_MIN_US)
    rotate_endpoint(sqlite_store, one.id, Credentials(), START + HOUR_US)
    assert stored(sqlite_store).retires_at == START + 7 * OVERLAP_MIN_US


def test_a_key_pair_is_made_anew(sqlite_store: Store) -> None:
    """KCB's form gets an RSA key, an Ed25519 endpoint an Ed25519 key; the public half is given."""
    kcb = endpoint(sqlite_store, dialect="kcb", generate_key=True, **PAYMENT)
    added = rotate_endpoint(sqlite_store, kcb.id, Credentials(), START, generate_key=True)
    ours = added.endpoint.credentials.private_key
    assert ours not in (None, kcb.credentials.private_key)
    assert ours is not None
    assert added.public_key == public_half(ours).decode().strip()
    assert added.public_key_path is not None
    assert added.public_key_path.read_bytes() == public_half(ours)

    signing = endpoint(sqlite_store, name="ed", generate_key=True)
    again = rotate_endpoint(sqlite_store, signing.id, Credentials(), START)
    (private,) = again.endpoint.credentials.secrets
    assert again.secret is None
    assert again.public_key == webhook_half(private).decode()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"overlap_us": OVERLAP_MIN_US - 1}, "24 hours"),
        ({"overlap_us": OVERLAP_MAX_US + 1}, "90 days"),
        ({"haste": Haste("")}, "reason"),
        ({"new": Credentials(secrets=(b"short",))}, "whsec_"),
        ({"new": Credentials(username="u")}, "together"),
    ],
)
def test_a_rotation_that_cannot_be_is_refused(
    sqlite_store: Store, wanted: dict[str, Any], said: str
) -> None:
    """Each is one sentence, and the endpoint is as it was."""
    before = endpoint(sqlite_store)
    asked = {"new": Credentials(), **wanted}
    with pytest.raises(Refused, match=said):
        rotate_endpoint(sqlite_store, before.id, asked.pop("new"), START, **asked)
    assert stored(sqlite_store) == before


def test_there_must_be_something_new(sqlite_store: Store) -> None:
    """The same secret again is no rotation, and a bank's form needs its key."""
    before = endpoint(sqlite_store)
    with pytest.raises(Refused, match="nothing to rotate"):
        rotate_endpoint(sqlite_store, before.id, before.credentials, START)
    kcb = endpoint(sqlite_store, name="kcb", dialect="kcb", generate_key=True, **PAYMENT)
    with pytest.raises(Refused, match="--generate-key"):
        rotate_endpoint(sqlite_store, kcb.id, Credentials(), START)


def test_at_once_with_a_reason(sqlite_store: Store) -> None:
    """A secret that was lost signs nothing any more; who did it why is in the audit log."""
    before = endpoint(sqlite_store)
    rotate_endpoint(sqlite_store, before.id, Credentials(), START + 1, haste=Haste("it was lost"))
    after = stored(sqlite_store)
    assert not accepts(after, before.credentials, START + 1)
    assert accepts(after, after.credentials, START)
    with sqlite_store.database.read() as connection:
        *_, last = changes.acts_on(connection, "default", before.id)
    assert (last.action, last.detail) == ("endpoint.rotate", "at once: it was lost")
