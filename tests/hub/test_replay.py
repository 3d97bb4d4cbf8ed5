"""Delivering again: what is chosen, what becomes of it, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from arifa.clock import now_us
from arifa.errors import NotFound, Refused
from arifa.feed import Endpoint, Manner
from arifa.hub.replay import (
    CHUNK,
    Goal,
    count_dead,
    count_delivered,
    missing,
    recover,
    replay,
    replay_one,
    retry,
    skip,
)
from arifa.store import deliveries, endpoints
from arifa.store.opened import Store
from arifa.store.replays import Selection
from arifa.store.schema import audit
from arifa.store.schema import deliveries as table
from tests.hub.bank import Hub, request

HOUR = 3_600_000_000


def always() -> Selection:
    """Everything up to now."""
    return Selection(0, now_us() + 1)


def paid(hub: Hub, count: int = 1) -> None:
    """Payments, each with deliveries to the endpoints that are there."""
    if "kcb" not in hub.sources:
        hub.source("kcb")
    begin = hub.count(table)
    for number in range(count):
        hub.one("kcb", request("kcb", transactionReference=f"FT{begin}-{number}"))


def rows(hub: Hub, **where: Any) -> list[Any]:
    """Deliveries, the oldest first."""
    query = sa.select(table).order_by(table.c.id)
    for name, value in where.items():
        query = query.where(table.c[name] == value)
    with hub.store.database.read() as connection:
        return list(connection.execute(query))


def ended(hub: Hub, state: str, cause: str = "server_error", at: int | None = None) -> None:
    """Let every delivery that waits end so."""
    with hub.store.database.write() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.state == "pending")
            .values(
                state=state,
                attempt_count=12,
                next_attempt_at=None,
                finished_at=at or now_us(),
                last_cause=cause,
            )
        )


def moved(hub: Hub, endpoint: Endpoint, url: str) -> Endpoint:
    """The endpoint with another URL."""
    changed = replace(endpoint, url=url)
    with hub.store.database.write() as connection:
        endpoints.update(connection, hub.store.vault, changed, now_us())
    return changed


def test_a_dead_delivery_is_retried_from_the_start(store: Store) -> None:
    """The same delivery is due now with its whole schedule, and says that it is a replay."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub)
    ended(hub, "dead")
    (dead,) = rows(hub)
    now = now_us()
    found = retry(store, dead.id, now)
    assert (found.state, found.attempt_count, found.finished_at) == ("pending", 0, None)
    assert (found.next_attempt_at, found.replay_of, found.url) == (now, dead.id, None)
    assert found.notification == dead.notification
    assert len(rows(hub)) == 1


def test_a_delivery_that_waits_is_hastened(store: Store) -> None:
    """It is due now; nothing else about it changes."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub)
    with store.database.write() as connection:
        connection.execute(sa.update(table).values(next_attempt_at=now_us() + HOUR))
    (waiting,) = rows(hub)
    now = now_us()
    found = retry(store, waiting.id, now)
    assert found.next_attempt_at == now
    assert (found.replay_of, found.attempt_count) == (None, waiting.attempt_count)


def test_what_waits_goes_where_it_is_told_to(store: Store) -> None:
    """Also a delivery that waits can be sent to the URL that it had."""
    hub = Hub(store)
    endpoint = hub.endpoint(url="https://one.example/")
    paid(hub)
    moved(hub, endpoint, "https://two.example/")
    (waiting,) = rows(hub)
    assert retry(store, waiting.id, now_us(), Goal.ORIGINAL).url == "https://one.example/"
    assert retry(store, waiting.id, now_us(), Goal.CURRENT).url is None


@pytest.mark.parametrize("state", ["delivered", "sending"])
def test_what_has_arrived_or_is_under_way_is_not_retried(store: Store, state: str) -> None:
    """It is refused with a sentence, and nothing changes."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub)
    ended(hub, state)
    (found,) = rows(hub)
    with pytest.raises(Refused, match="arrived" if state == "delivered" else "being sent"):
        retry(store, found.id, now_us())
    assert rows(hub) == [found]


def test_what_waits_for_its_turn_is_not_retried(store: Store) -> None:
    """In an order, one without a time is not let past those before it."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub)
    with store.database.write() as connection:
        connection.execute(sa.update(table).values(next_attempt_at=None))
    (found,) = rows(hub)
    with pytest.raises(Refused, match="earlier delivery of its key"):
        retry(store, found.id, now_us())


def test_what_is_skipped_is_over(store: Store) -> None:
    """It is cancelled, whether it waited or was dead; what has arrived cannot be skipped."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub)
    (found,) = rows(hub)
    assert skip(store, found.id, now_us()).state == "cancelled"
    with pytest.raises(Refused, match="cancelled"):
        skip(store, found.id, now_us())
    assert retry(store, found.id, now_us()).state == "pending"


def test_unknown_or_removed_is_refused(store: Store) -> None:
    """A delivery that is not there, or whose endpoint is gone."""
    hub = Hub(store)
    endpoint = hub.endpoint()
    paid(hub)
    ended(hub, "dead")
    with pytest.raises(NotFound):
        retry(store, "dlv_none", now_us())
    with store.database.write() as connection:
        endpoints.remove(connection, endpoint, now_us())
    (found,) = rows(hub)
    with pytest.raises(Refused, match="removed"):
        retry(store, found.id, now_us())
    assert count_dead(store, always()) == []
    assert recover(store, always(), now_us()).queued == 0


def test_recovering_reopens_the_dead_and_only_them(store: Store) -> None:
    """Each dead one once, however often it runs; what was delivered or cancelled stays."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub, CHUNK // 4)
    ended(hub, "delivered")
    paid(hub, 3)
    ended(hub, "cancelled")
    paid(hub, 5)
    ended(hub, "dead")
    (counted,) = count_dead(store, always())
    assert counted.number == 5
    assert recover(store, always(), now_us()) == (5, 0)
    assert len(rows(hub, state="pending")) == 5
    assert recover(store, always(), now_us()) == (0, 0)
    assert len(rows(hub, state="delivered")) == CHUNK // 4
    assert len(rows(hub, state="cancelled")) == 3


def test_more_than_a_chunk_is_recovered_whole(store: Store) -> None:
    """The chunks leave nothing out."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub)
    with store.database.write() as connection:
        (row,) = connection.execute(sa.select(table)).all()
        entries = [
            deliveries.Entry(
                row.merchant,
                f"dlv_{now_us() // 1000:012x}{n:016x}",
                row.notification,
                row.endpoint,
                now_us(),
                now_us(),
            )
            for n in range(2 * CHUNK)
        ]
        deliveries.insert(connection, entries)
    ended(hub, "dead")
    assert recover(store, always(), now_us()) == (2 * CHUNK + 1, 0)
    assert rows(hub, state="dead") == []


def test_the_span_and_the_filter_choose(store: Store) -> None:
    """By time, endpoint, cause and source; the rest is not touched."""
    hub = Hub(store)
    one, other = hub.endpoint(name="one"), hub.endpoint(name="other")
    paid(hub)
    ended(hub, "dead", "timeout")
    between = now_us()
    paid(hub)
    ended(hub, "dead", "server_error")
    source = hub.sources["kcb"].id
    assert [item.number for item in count_dead(store, always())] == [2, 2]
    assert sum(i.number for i in count_dead(store, always()._replace(since=between))) == 2
    assert sum(i.number for i in count_dead(store, always()._replace(until=between))) == 2
    assert sum(i.number for i in count_dead(store, always()._replace(cause="timeout"))) == 2
    assert sum(i.number for i in count_dead(store, always()._replace(source=source))) == 4
    assert count_dead(store, always()._replace(source="src_other")) == []
    assert count_dead(store, always()._replace(merchant="default:test")) == []
    chosen = always()._replace(endpoint=one.id, cause="timeout")
    assert recover(store, chosen, now_us()) == (1, 0)
    (reopened,) = rows(hub, state="pending")
    assert (reopened.endpoint, reopened.last_cause) == (one.id, "timeout")
    assert len(rows(hub, endpoint=other.id, state="dead")) == 2


def test_a_replay_is_a_new_delivery_of_the_same_notification(store: Store) -> None:
    """The first one stays as it is; a second replay waits until the first is over."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub, 2)
    ended(hub, "delivered")
    before = rows(hub)
    assert [item.number for item in count_delivered(store, always())] == [2]
    assert replay(store, always(), now_us()) == (2, 0)
    assert rows(hub, state="delivered") == before
    again = rows(hub, state="pending")
    assert [row.replay_of for row in again] == [row.id for row in before]
    assert [row.notification for row in again] == [row.notification for row in before]
    assert replay(store, always(), now_us()) == (0, 2)
    with pytest.raises(Refused, match="being replayed"):
        replay_one(store, before[0].id, now_us())


def test_a_replay_is_not_replayed(store: Store) -> None:
    """Replaying a span twice sends each of its notifications twice, not four times."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub)
    ended(hub, "delivered")
    for _ in range(3):
        assert replay(store, always(), now_us()) == (1, 0)
        ended(hub, "delivered")
    assert len(rows(hub)) == 4


def test_one_is_replayed_by_its_id(store: Store) -> None:
    """Only what has arrived: for the rest there is retry."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub)
    (first,) = rows(hub)
    with pytest.raises(Refused, match="retry"):
        replay_one(store, first.id, now_us())
    ended(hub, "delivered")
    made = replay_one(store, first.id, now_us())
    (again,) = rows(hub, state="pending")
    assert (again.id, again.replay_of) == (made, first.id)


def test_to_the_current_or_to_the_original_url(store: Store) -> None:
    """The original is that of when the delivery ended, however often it has changed since."""
    hub = Hub(store)
    endpoint = hub.endpoint(url="https://one.example/")
    paid(hub)
    ended(hub, "delivered")
    second = moved(hub, endpoint, "https://two.example/")
    paid(hub)
    ended(hub, "dead")
    moved(hub, second, "https://three.example/")
    replay(store, always(), now_us(), Goal.ORIGINAL)
    recover(store, always(), now_us(), Goal.ORIGINAL)
    assert {row.url for row in rows(hub, state="pending")} == {
        "https://one.example/",
        "https://two.example/",
    }
    ended(hub, "dead")
    recover(store, always(), now_us(), Goal.CURRENT)
    assert {row.url for row in rows(hub, state="pending")} == {None}


@pytest.mark.parametrize("url", ["https://callback.example/", "https://shop.example/"])
def test_a_url_of_its_own_is_kept(store: Store, url: str) -> None:
    """What was queued for an invoice's callback goes there again, wherever the endpoint is."""
    hub = Hub(store)
    endpoint = hub.endpoint(url="https://shop.example/")
    paid(hub)
    with store.database.write() as connection:
        connection.execute(sa.update(table).values(url=url))
    ended(hub, "delivered")
    moved(hub, endpoint, "https://moved.example/")
    again = replay_one(store, rows(hub)[0].id, now_us())
    assert {row.url for row in rows(hub, id=again)} == {url}


def test_a_url_of_its_own_is_kept_by_recovering(store: Store) -> None:
    """However often it dies."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub)
    with store.database.write() as connection:
        connection.execute(sa.update(table).values(url="https://callback.example/"))
    ended(hub, "dead")
    for _ in range(2):
        recover(store, always(), now_us())
        assert [row.url for row in rows(hub)] == ["https://callback.example/"]
        ended(hub, "dead")


def test_what_was_never_told_is_found(store: Store) -> None:
    """An endpoint that was made later, or wants more now, is told of what it missed, once."""
    hub = Hub(store)
    hub.endpoint(name="first")
    paid(hub, 3)
    late = hub.endpoint(name="late")
    narrow = hub.endpoint(name="narrow", currencies=frozenset({"UGX"}))
    (counted,) = missing(store, always(), now_us(), dry_run=True)
    assert (counted.endpoint, counted.number) == (late.id, 3)
    assert rows(hub, endpoint=late.id) == []
    missing(store, always(), now_us())
    queued = rows(hub, endpoint=late.id, state="pending")
    assert len(queued) == 3
    assert {row.replay_of for row in queued} == {None}
    assert missing(store, always(), now_us()) == []
    assert rows(hub, endpoint=narrow.id) == []


def test_each_act_is_in_the_audit_log(store: Store) -> None:
    """Who replays leaves a trace: what, how many, where to."""
    hub = Hub(store)
    hub.endpoint()
    paid(hub)
    ended(hub, "dead")
    recover(store, always(), now_us())
    ended(hub, "delivered")
    replay(store, always(), now_us())
    with store.database.read() as connection:
        acts = list(connection.execute(sa.select(audit.c.action)).scalars())
    assert {"delivery.recover", "delivery.replay"} <= set(acts)


def test_what_was_never_told_is_told_in_order(store: Store) -> None:
    """At an ordered endpoint the first of a key goes out, and the rest wait their turn."""
    hub = Hub(store)
    paid(hub, 3)
    late = hub.endpoint(name="late", manner=Manner(ordered="account"))
    missing(store, always(), now_us())
    queued = rows(hub, endpoint=late.id)
    assert [row.sequence for row in queued] == [1, 2, 3]
    assert [row.next_attempt_at is None for row in queued] == [False, True, True]
    assert [row.notification for row in queued] == [item.id for item in hub.notifications()]
