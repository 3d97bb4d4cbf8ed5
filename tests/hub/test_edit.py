"""Changing an endpoint: what changed is said, what could not work is refused, the rest stays."""

from __future__ import annotations

from typing import Any

import pytest

from arifa.clock import now_us
from arifa.errors import Refused
from arifa.feed import Endpoint, Manner
from arifa.hub.configure import (
    NewEndpoint,
    add_endpoint,
    remove_endpoint,
    set_endpoint_state,
)
from arifa.hub.edit import RESETTABLE, Edits, edit_endpoint, settings_of
from arifa.hub.rotate import rotate_endpoint
from arifa.identifiers import identifier
from arifa.notification import Direction, Kind, Status
from arifa.signing import Credentials
from arifa.store import changes, deliveries, endpoint_deliveries, endpoints
from arifa.store.opened import Store
from tests.hub.bank import Hub

URL, OTHER = "https://shop.example/hook", "https://shop.example/v2"
MANNER = Manner(
    timeout=5.0,
    concurrency=2,
    rate=1.5,
    delays=(0, 5),
    headers=(("X-Key", "a"), ("X-Team", "b")),
    ordered="account",
    halts=True,
)


def endpoint(store: Store, **wanted: Any) -> Endpoint:
    return add_endpoint(store, NewEndpoint(name="shop", url=URL, **wanted), now_us()).endpoint


def edited(store: Store, one: Endpoint, **changes_: Any) -> dict[str, Any]:
    return edit_endpoint(store, one.id, Edits(**changes_), now_us()).changed


def stored(store: Store) -> Endpoint:
    with store.database.read() as connection:
        return endpoints.get(connection, store.vault, "shop")


def test_what_is_changed_is_changed_and_nothing_else(store: Store) -> None:
    """One edit of everything; the name, the merchant, the dialect and the keys stay."""
    Hub(store).source("kcb")
    one = endpoint(store)
    changed = edited(
        store,
        one,
        url=OTHER,
        statuses=frozenset({Status.SUCCESS}),
        kinds=frozenset({Kind.PAYMENT}),
        directions=frozenset({Direction.CREDIT}),
        sources=("kcb",),
        currencies=frozenset({"KES"}),
        accounts=frozenset({"1"}),
        show_phone=True,
        currency="UGX",
        timezone="Africa/Kampala",
        headers={"X-Key": "a"},
        timeout=5.0,
        concurrency=2,
        rate=1.5,
        delays=(0, 5),
        ordered="account",
        halts=True,
    )
    after = stored(store)
    assert set(changed) == set(settings_of(one)) - {"alerts"}
    assert changed["url"] == (URL, OTHER)
    assert settings_of(after) == {**settings_of(one), **{n: new for n, (_, new) in changed.items()}}
    kept = ("id", "name", "merchant", "dialect", "credentials", "state")
    assert [getattr(after, name) for name in kept] == [getattr(one, name) for name in kept]


def test_the_same_again_is_no_change(sqlite_store: Store) -> None:
    """Nothing is written, so nobody who serves loads anything anew."""
    one = endpoint(sqlite_store, manner=MANNER)
    with sqlite_store.database.read() as connection:
        before = changes.number(connection)
    assert edited(sqlite_store, one, url=URL, timeout=5.0, headers={"X-Key": "a"}) == {}
    with sqlite_store.database.read() as connection:
        assert changes.number(connection) == before


def test_everything_can_be_put_back(sqlite_store: Store) -> None:
    """After a reset of all, an endpoint is set as one that was made without a word."""
    plain = settings_of(endpoint(sqlite_store))
    wanted = NewEndpoint(
        name="other",
        url=URL,
        manner=MANNER,
        statuses=frozenset({Status.SUCCESS}),
        currencies=frozenset({"KES"}),
        show_phone=True,
    )
    other = add_endpoint(sqlite_store, wanted, now_us()).endpoint
    reset = edit_endpoint(sqlite_store, other.id, Edits(reset=frozenset(RESETTABLE)), now_us())
    assert settings_of(reset.endpoint) == plain


def test_one_header_at_a_time(sqlite_store: Store) -> None:
    """A header is replaced by its name, however it is spelt; an empty one goes."""
    one = endpoint(sqlite_store, manner=MANNER)
    edited(sqlite_store, one, headers={"x-key": "new", "X-Team": "", "X-More": "m"})
    assert stored(sqlite_store).manner.headers == (("x-key", "new"), ("X-More", "m"))


def test_a_dialects_own_currency_goes_along(sqlite_store: Store) -> None:
    """The filter that the dialect made follows its currency."""
    one = endpoint(
        sqlite_store,
        dialect="cbs",
        currency="NGN",
        credentials=Credentials(secrets=(b"x" * 16,)),
        statuses=frozenset({Status.SUCCESS}),
        kinds=frozenset({Kind.PAYMENT}),
    )
    edited(sqlite_store, one, currency="KES")
    assert stored(sqlite_store).currencies == {"KES"}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"url": "ftp://x/"}, "https"),
        ({"timeout": 31.0}, "time-out"),
        ({"reset": frozenset({"name"})}, "cannot be reset"),
        ({"headers": {"Host": "x"}}, "Host"),
        ({"delays": (5,)}, "0s"),
        ({"sources": ("nope",)}, "no source"),
        ({"timezone": "Nairobi"}, "Africa/Nairobi"),
        ({"options": {"phone": "loud"}}, "masked, full"),
        ({"alerts": True, "kinds": frozenset({Kind.PAYMENT})}, "no payment"),
        ({"halts": True}, "--ordered"),
    ],
)
def test_an_edit_that_could_not_work_is_refused(
    sqlite_store: Store, wanted: dict[str, Any], said: str
) -> None:
    """As when it is made; and it stays as it was."""
    one = endpoint(sqlite_store)
    with pytest.raises(Refused, match=said):
        edited(sqlite_store, one, **wanted)
    assert stored(sqlite_store) == one


def test_an_edit_leaves_a_rotation_alone(sqlite_store: Store) -> None:
    """Old and new go on signing while the URL changes."""
    one = endpoint(sqlite_store)
    rotating = rotate_endpoint(sqlite_store, one.id, Credentials(), now_us()).endpoint
    edited(sqlite_store, one, url=OTHER)
    after = stored(sqlite_store)
    assert (after.retiring, after.retires_at) == (rotating.retiring, rotating.retires_at)


def test_pause_and_resume(store: Store) -> None:
    """The reason is kept while it is paused, and gone when it is resumed."""
    one = endpoint(store)
    assert set_endpoint_state(store, one, endpoints.PAUSED, now_us(), reason="moving house")
    assert (stored(store).state, stored(store).reason) == ("paused", "moving house")
    assert not set_endpoint_state(store, one, endpoints.PAUSED, now_us())
    assert set_endpoint_state(store, one, endpoints.ACTIVE, now_us())
    assert (stored(store).state, stored(store).reason) == ("active", None)


def waiting(store: Store, one: Endpoint, number: int) -> None:
    """Queue deliveries that nobody sends."""
    now = now_us()
    entries = [
        deliveries.Entry(
            merchant=one.merchant,
            id=identifier("dlv", now),
            notification=identifier("ntf", now),
            endpoint=one.id,
            next_attempt_at=now,
            created_at=now,
        )
        for _ in range(number)
    ]
    with store.database.write() as connection:
        deliveries.insert(connection, entries)


def test_nothing_that_waits_is_forgotten(store: Store) -> None:
    """An endpoint for which deliveries wait goes only with them, and they stay to be seen."""
    one, other = endpoint(store), add_endpoint(store, NewEndpoint(name="b", url=URL), now_us())
    waiting(store, one, 3)
    waiting(store, other.endpoint, 1)
    with pytest.raises(Refused, match="3 deliveries wait"):
        remove_endpoint(store, one, now_us())
    assert stored(store) == one
    assert remove_endpoint(store, one, now_us(), cancel=True) == 3
    with store.database.read() as connection:
        assert endpoint_deliveries.counted(connection, one) == {"cancelled": 3}
        assert endpoint_deliveries.pending(connection) == {other.endpoint.id: 1}
        rows = deliveries.listed(connection, state="cancelled")
    assert {row.last_cause for row in rows} == {"endpoint_removed"}
    assert endpoint(store).id != one.id
