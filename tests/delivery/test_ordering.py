"""Ordered endpoints: for each key one after the other, whatever fails, dies or is claimed twice."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arifa.clock import now_us
from arifa.hub.queue import ORDERED_BY, order_key
from arifa.identifiers import identifier
from arifa.notification import Payer, Reading
from arifa.store import deliveries, ordering, replays
from arifa.store.deliveries import AttemptResult, Claimed, DeliveryState, Entry
from arifa.store.opened import Store
from arifa.store.ordering import Key
from arifa.store.schema import deliveries as table
from arifa.store.schema import workers
from tests.delivery.hub import READING, Hub, Watch, claim_all, running, shop

SECOND = 1_000_000
KEYS = ("a", "b")
WORKERS = ("one", "two")


def queued(hub: Hub, endpoint: str, keys: list[str]) -> list[str]:
    """Queue one delivery for each of these keys; gives their ids."""
    now = now_us()
    entries = [
        Entry("default", identifier("dlv", now), identifier("ntf", now), endpoint, now, now)
        for _ in keys
    ]
    entries = [entry._replace(order_key=key) for entry, key in zip(entries, keys, strict=True)]
    with hub.store.database.write() as connection:
        deliveries.insert(connection, entries)
    return [entry.id for entry in entries]


def taken(hub: Hub, worker: str = "one") -> list[Claimed]:
    """Claim whatever is due, in an hour."""
    with hub.store.database.write() as connection:
        deliveries.beat(connection, worker, now_us())
        return claim_all(connection, worker, now_us() + 3600 * SECOND)


def ended(hub: Hub, claimed: Claimed, state: DeliveryState, worker: str = "one") -> bool:
    """Record that an attempt came to this, as a turn does; whether it moved the delivery."""
    is_pending = state is DeliveryState.PENDING
    result = AttemptResult(
        claimed=claimed,
        started_at=now_us(),
        finished_at=now_us(),
        status=None,
        cause="delivered" if state is DeliveryState.DELIVERED else "timeout",
        detail=None,
        state=state,
        next_attempt_at=now_us() if is_pending else None,
    )
    with hub.store.database.write() as connection:
        moved = deliveries.record(connection, worker, [result])
        if moved and not is_pending:
            key = Key(claimed.merchant, claimed.endpoint, claimed.order_key or "")
            ordering.release(connection, [key], now_us())
    return bool(moved)


def test_only_the_first_of_a_key_is_due(hub: Hub) -> None:
    """The rest wait without a time, each key by itself, and are let go one by one."""
    ids = queued(hub, "end_1", ["a", "b", "a", "a"])
    later = queued(hub, "end_1", ["b", "c"])
    [a, b, c] = sorted(taken(hub), key=lambda item: item.order_key or "")
    assert [a.id, b.id, c.id] == [ids[0], ids[1], later[1]]
    assert [hub.row(identity).sequence for identity in ids + later] == [1, 1, 2, 3, 2, 1]
    assert taken(hub) == []
    ended(hub, a, DeliveryState.PENDING)
    [again] = taken(hub)
    assert again.id == ids[0]
    ended(hub, again, DeliveryState.DEAD)
    [second] = taken(hub)
    assert second.id == ids[2]
    ended(hub, second, DeliveryState.DELIVERED)
    assert [item.id for item in taken(hub)] == [ids[3]]


def test_a_key_that_is_free_is_due_at_once(hub: Hub) -> None:
    """When all that came before has ended, the next goes out as if it were the first."""
    queued(hub, "end_1", ["a"])
    [first] = taken(hub)
    ended(hub, first, DeliveryState.DELIVERED)
    [second] = queued(hub, "end_1", ["a"])
    assert [item.id for item in taken(hub)] == [second]
    assert hub.row(second).sequence == 2


def test_a_halted_key_waits_for_a_person(hub: Hub) -> None:
    """Behind a dead delivery nothing goes out, also what comes later, until it is skipped."""
    ids = queued(hub, "end_1", ["a", "a", "b"])
    a, b = sorted(taken(hub), key=lambda item: item.order_key or "")
    key = Key("default", "end_1", "a")
    with hub.store.database.write() as connection:
        connection.execute(sa.update(table).where(table.c.id == a.id).values(state="dead"))
        ordering.halt(connection, {key: a.id})
    ended(hub, b, DeliveryState.DELIVERED)
    ids += queued(hub, "end_1", ["a"])
    assert taken(hub) == []
    with hub.store.database.write() as connection:
        assert deliveries.skip(connection, hub.row(a.id), now_us())
    [second] = taken(hub)
    assert second.id == ids[1]
    ended(hub, second, DeliveryState.DELIVERED)
    assert [item.id for item in taken(hub)] == [ids[3]]
    assert hub.row(a.id).state == "cancelled"


def test_an_older_one_does_not_free_a_halted_key(hub: Hub) -> None:
    """What was skipped before the dead one may be sent after all; what is behind goes on waiting."""
    ids = queued(hub, "end_1", ["a"] * 3)
    key = Key("default", "end_1", "a")
    [first] = taken(hub)
    ended(hub, first, DeliveryState.PENDING)
    with hub.store.database.write() as connection:
        assert deliveries.skip(connection, hub.row(first.id), now_us())
    [second] = taken(hub)
    with hub.store.database.write() as connection:
        connection.execute(sa.update(table).where(table.c.id == second.id).values(state="dead"))
        ordering.halt(connection, {key: second.id})
        assert replays.reopen(connection, deliveries.get(connection, first.id), now_us(), None)
    [again] = taken(hub)
    assert again.id == ids[0]
    ended(hub, again, DeliveryState.DELIVERED)
    assert taken(hub) == []
    with hub.store.database.write() as connection:
        assert replays.reopen(connection, deliveries.get(connection, second.id), now_us(), None)
    [retried] = taken(hub)
    assert retried.id == ids[1]
    ended(hub, retried, DeliveryState.DELIVERED)
    assert [item.id for item in taken(hub)] == [ids[2]]


@pytest.mark.parametrize("is_out", [False, True])
def test_what_is_reopened_is_not_overtaken(hub: Hub, is_out: bool) -> None:
    """A later one that waits between two attempts, or is out and fails, waits for it."""
    ids = queued(hub, "end_1", ["a"] * 2)
    [first] = taken(hub)
    ended(hub, first, DeliveryState.DEAD)
    [second] = taken(hub)
    if not is_out:
        ended(hub, second, DeliveryState.PENDING)
    with hub.store.database.write() as connection:
        assert replays.reopen(connection, deliveries.get(connection, first.id), now_us(), None)
    if is_out:
        ended(hub, second, DeliveryState.PENDING)
        with hub.store.database.write() as connection:
            ordering.hold_back(connection, [Key("default", "end_1", "a")])
    [again] = taken(hub)
    assert again.id == ids[0]
    ended(hub, again, DeliveryState.DELIVERED)
    assert [item.id for item in taken(hub)] == [ids[1]]


def test_what_is_reopened_keeps_its_order(hub: Hub) -> None:
    """Of three dead ones of a key that are recovered together, one goes out after the other."""
    queued(hub, "end_1", ["a"] * 3)
    dead = []
    for _ in range(3):
        [item] = taken(hub)
        ended(hub, item, DeliveryState.DEAD)
        dead.append(item.id)
    with hub.store.database.write() as connection:
        for identity in dead:
            assert replays.reopen(connection, deliveries.get(connection, identity), now_us(), None)
    again = []
    while claimed := taken(hub):
        [item] = claimed
        again.append(item.id)
        ended(hub, item, DeliveryState.DELIVERED)
    assert again == dead


def test_a_lost_head_is_found(hub: Hub) -> None:
    """A key of which every delivery waits is found, and goes on; a halted one is left alone."""
    queued(hub, "end_1", ["a", "a", "b", "c", "c"])
    with hub.store.database.write() as connection:
        connection.execute(sa.update(table).values(next_attempt_at=None))
        ordering.halt(connection, {Key("default", "end_1", "b"): "dlv_none"})
    with hub.store.database.write() as connection:
        lost, after = ordering.lost(connection, ordering.BEFORE_ALL, 2, {"end_1"})
        assert (lost, after.order_key) == ([Key("default", "end_1", "a")], "b")
        more, after = ordering.lost(connection, after, 2, {"end_1"})
        assert more == [Key("default", "end_1", "c")]
        assert after == ordering.BEFORE_ALL
        ordering.release(connection, lost + more, now_us())
        unhalted, _ = ordering.lost(connection, ordering.BEFORE_ALL, 9, set())
        assert unhalted == [Key("default", "end_1", "b")]
    assert {item.order_key for item in taken(hub)} == {"a", "c"}


# ---------------------------------------------------------------------------------- the law

_ACTS = st.one_of(
    st.tuples(st.just("queue"), st.lists(st.sampled_from(KEYS), min_size=1, max_size=4)),
    st.tuples(st.just("claim"), st.sampled_from(WORKERS)),
    st.tuples(
        st.just("end"),
        st.integers(0, 9),
        st.sampled_from([DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.PENDING]),
    ),
    st.tuples(st.just("die"), st.sampled_from(WORKERS)),
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(acts=st.lists(_ACTS, max_size=30))
def test_successes_of_a_key_are_in_sequence(hub: Hub, acts: list[tuple]) -> None:
    """Whatever fails, dies, is abandoned, or comes back late from a worker without a lease."""
    _emptied(hub.store)
    out: list[tuple[str, Claimed]] = []
    sent: dict[str, list[int]] = defaultdict(list)
    for act, *rest in acts:
        if act == "queue":
            queued(hub, "end_1", rest[0])
        elif act == "claim":
            out += [(rest[0], item) for item in taken(hub, rest[0])]
        elif act == "end" and out:
            _end(hub, *out.pop(rest[0] % len(out)), rest[1], sent)
        elif act == "die":
            with hub.store.database.write() as connection:
                connection.execute(
                    sa.update(workers).where(workers.c.id == rest[0]).values(lease_until=1)
                )
                deliveries.rescue(connection)
        _check_one_at_a_time(hub)
    # Whatever is left goes out in the end: nothing is forgotten.
    with hub.store.database.write() as connection:
        connection.execute(sa.update(workers).values(lease_until=1))
        deliveries.rescue(connection)
    while claims := taken(hub, "last"):
        for item in claims:
            _end(hub, "last", item, DeliveryState.DELIVERED, sent)
    with hub.store.database.read() as connection:
        left = connection.execute(sa.select(table.c.state).distinct()).scalars().all()
    assert set(left) <= {"delivered", "dead"}
    for numbers in sent.values():
        assert numbers == sorted(set(numbers))


def _end(
    hub: Hub, worker: str, claimed: Claimed, state: DeliveryState, sent: dict[str, list[int]]
) -> None:
    if ended(hub, claimed, state, worker) and state is DeliveryState.DELIVERED:
        sent[claimed.order_key or ""].append(hub.row(claimed.id).sequence)


def _check_one_at_a_time(hub: Hub) -> None:
    is_active = sa.or_(table.c.state == "sending", table.c.next_attempt_at.is_not(None))
    query = (
        sa.select(table.c.order_key, sa.func.count())
        .where(table.c.state.in_(("pending", "sending")), is_active)
        .group_by(table.c.order_key)
    )
    open_ = sa.select(table.c.order_key).where(table.c.state.in_(("pending", "sending")))
    with hub.store.database.read() as connection:
        counted = {row.order_key: row[1] for row in connection.execute(query)}
        keys = set(connection.execute(open_).scalars())
    assert counted == dict.fromkeys(keys, 1)


def _emptied(store: Store) -> None:
    with store.database.write() as connection:
        for name in ("deliveries", "attempts", "delivery_orders", "workers"):
            connection.exec_driver_sql(f"DELETE FROM {name}")


def test_two_nodes_that_queue_and_end_do_not_wait_for_each_other(
    open_again: Callable[[], Store],
) -> None:
    """Keys are locked in one order, in whatever order they are named."""
    hubs = [Hub(open_again()), Hub(open_again())]
    names = [f"key {number:02}" for number in range(20)]

    async def main() -> None:
        jobs: list[Awaitable[object]] = []
        for round_ in range(10):
            for hub, keys in zip(hubs, (names, names[::-1]), strict=True):
                jobs.append(asyncio.to_thread(queued, hub, "end_1", keys))
                wanted = [Key("default", "end_1", key) for key in keys]
                jobs.append(asyncio.to_thread(_released, hub, wanted))
            if round_ % 5 == 4:
                await asyncio.gather(*jobs)
                jobs = []

    asyncio.run(main())
    with hubs[0].store.database.read() as connection:
        query = sa.select(table.c.order_key, table.c.sequence)
        found = defaultdict(list)
        for key, number in connection.execute(query):
            found[key].append(number)
    assert {key: sorted(numbers) for key, numbers in found.items()} == {
        name: list(range(1, 21)) for name in names
    }


def _released(hub: Hub, keys: list[Key]) -> None:
    with hub.store.database.write() as connection:
        ordering.release(connection, keys, now_us())


# ---------------------------------------------------------------------------------- the whole


def test_one_after_the_other_over_http(hub: Hub) -> None:
    """A receiver that fails now and then hears of each key in order; two keys go side by side."""
    came: list[str] = []
    answers = iter([500, 200] * 50)

    async def answer(request: web.Request) -> web.StreamResponse:
        code = next(answers)
        if code == 200:
            came.append(request.headers["webhook-id"])
        return web.Response(status=code)

    async def main() -> list[str]:
        async with shop(answer) as merchant:
            endpoint = hub.endpoint(merchant.url, delays=(0,) * 20)
            ids = hub.queue(endpoint, 12, order_keys=["a", "b", "c"] * 4)
            worker = hub.worker()
            async with running(worker):
                await Watch(worker).until(lambda: set(hub.states(ids)) == {"delivered"}, 60)
            return ids

    ids = asyncio.run(main())
    notifications = [hub.row(identity).notification for identity in ids]
    for key in range(3):
        mine = notifications[key::3]
        assert [name for name in came if name in mine] == mine


# ---------------------------------------------------------------------------------- keys


@pytest.mark.parametrize("field", sorted(ORDERED_BY))
def test_each_field_makes_a_key(field: str) -> None:
    """Notifications that share the field share the key, others do not; without it there is none."""
    from msgspec import structs

    def reading(text: str | None) -> Reading:
        payer = Payer(reference=text, phone=text)
        names = ("account", "end_to_end_id", "bank_reference", "short_code", "related_reference")
        values = dict.fromkeys(names, text)
        return structs.replace(READING, payer=payer, **values)

    one, other, none = reading("1"), reading("2"), reading(None)
    assert order_key(field, "src_1", one) == order_key(field, "src_1", one) is not None
    if field == "all":
        assert order_key(field, "src_1", one) == order_key(field, "src_2", none)
    elif field == "source":
        assert order_key(field, "src_1", one) == order_key(field, "src_1", other)
        assert order_key(field, "src_1", one) != order_key(field, "src_2", one)
    else:
        assert order_key(field, "src_1", one) != order_key(field, "src_1", other)
        assert order_key(field, "src_1", none) is None


@pytest.mark.parametrize("text", ["x" * 8000, "a\x00b", "\ud800", "Jane Doe 254700000000"])
def test_a_key_is_short_and_plain(text: str) -> None:
    """Whatever a bank writes there, the database takes it; a payer's own datum does not show."""
    from msgspec import structs

    reading = structs.replace(READING, account=text, payer=Payer(reference=text))
    key = order_key("account", "src_1", reading)
    assert key is not None
    assert len(key) < 200
    assert key.isprintable()
    assert "254700000000" not in (order_key("payer", "src_1", reading) or "")
