"""The worker: everything is delivered or visibly dead, whatever the endpoints and workers do."""

from __future__ import annotations

import asyncio
import json

import pytest
import sqlalchemy as sa
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from arifa.clock import now_us
from arifa.delivery.worker import Pace
from arifa.errors import StoreBroken, Unavailable, UnknownCommit
from arifa.observe import Figures
from arifa.signing import Credentials
from arifa.store import alerts, changes, deliveries, endpoints
from arifa.store.schema import deliveries as deliveries_table
from arifa.store.schema import endpoints as endpoints_table
from arifa.store.schema import workers
from tests.delivery.hub import (
    ORIGINAL,
    SECOND,
    SECRET,
    Clock,
    Hub,
    LoopClock,
    Watch,
    claim_all,
    running,
    shop,
    status,
)

HOUR = 3600


def run(coroutine):
    return asyncio.run(coroutine)


# ---------------------------------------------------------------------------------- delivering


def test_delivered_once_and_signed(hub):
    """A delivery reaches the merchant once, verifies under the standard's own library, and ends."""

    async def main():
        async with shop() as merchant:
            ids = hub.queue(hub.endpoint(merchant.url), 3)
            worker = hub.worker()
            async with running(worker):
                await Watch(worker).until(lambda: hub.states(ids) == ["delivered"] * 3)
            return ids, merchant.requests

    ids, requests = run(main())
    assert len(requests) == 3
    for headers, body in requests:
        event = Webhook(SECRET.decode()).verify(body, headers)
        assert event["type"] == "payment.success"
        assert headers["webhook-id"] == event["data"]["id"]
        assert headers["user-agent"].startswith("arifa/")
        assert event["data"]["payer"]["phone"] == "2547****1111"
    assert len({headers["webhook-id"] for headers, _ in requests}) == 3
    for identity in ids:
        row = hub.row(identity)
        assert (row.attempt_count, row.last_status, row.last_cause) == (1, 200, "delivered")
        assert (row.next_attempt_at, row.worker) == (None, None)
        assert row.finished_at is not None
        assert [item.cause for item in hub.attempts(identity)] == ["delivered"]


def test_wake_needs_no_poll(hub):
    """What is queued while the worker rests goes out at `wake`, from any thread, without a poll."""

    async def main():
        async with shop() as merchant:
            endpoint = hub.endpoint(merchant.url)
            worker = hub.worker()
            async with running(worker):
                first = hub.queue(endpoint)
                await asyncio.to_thread(worker.wake)
                await merchant.received(1)
                second = hub.queue(endpoint)
                await asyncio.to_thread(worker.wake)
                await merchant.received(2)
            return hub.states(first + second)

    assert run(main()) == ["delivered", "delivered"]


def test_the_poll_finds_what_nobody_called_for(hub):
    """A delivery that another process queued is found without `wake`."""

    async def main():
        async with shop() as merchant:
            endpoint = hub.endpoint(merchant.url)
            async with running(hub.worker(pace=Pace(poll_seconds=0.02))):
                hub.queue(endpoint)
                await merchant.received(1)
                hub.queue(endpoint)
                await merchant.received(2)

    run(main())


def test_the_original_is_passed_on(hub):
    """An `as_received` endpoint gets the bank's bytes and headers, under our signature."""

    async def main():
        async with shop() as merchant:
            ids = hub.queue(hub.endpoint(merchant.url, dialect="as_received"))
            worker = hub.worker()
            async with running(worker):
                await merchant.received(1)
            return ids, merchant.requests

    ids, [(headers, body)] = run(main())
    assert body == ORIGINAL.body
    assert headers["signature"] == "c2lnbmVk"
    Webhook(SECRET.decode()).verify(body, headers)
    assert hub.states(ids) == ["delivered"]


# ---------------------------------------------------------------------------------- retrying


def test_retried_on_schedule_until_dead(hub):
    """A merchant that always fails is tried twelve times, each time when it is due; then dead."""
    clock = Clock()
    began = clock.now

    async def main():
        async with shop(status(500)) as merchant:
            [identity] = hub.queue(hub.endpoint(merchant.url))
            worker = hub.worker(clock=clock, ticks=clock.ticks, random=lambda: 0.5)
            watch = Watch(worker)
            due: list[int] = []
            async with running(worker):
                while True:
                    await watch.until(lambda: hub.row(identity).attempt_count == len(due) + 1)
                    row = hub.row(identity)
                    if row.next_attempt_at is None:
                        break
                    due.append(row.next_attempt_at)
                    # A moment before it is due nothing is sent.
                    clock.now = row.next_attempt_at - 1
                    worker.wake()
                    await watch.turn()
                    assert hub.row(identity).state == "pending"
                    clock.now = row.next_attempt_at
                    worker.wake()
            return identity, due, merchant.requests

    identity, due, requests = run(main())
    row = hub.row(identity)
    assert (row.state, row.attempt_count, row.last_cause) == ("dead", 12, "server_error")
    assert len(requests) == 12
    assert len({headers["webhook-id"] for headers, _ in requests}) == 1
    assert len({body for _, body in requests}) == 1
    assert due[-1] - began == 344_135 * SECOND
    attempts = hub.attempts(identity)
    assert [item.status for item in attempts] == [500] * 12
    assert "HTTP 500" in attempts[0].detail


def test_delivered_after_a_failure(hub):
    """One failure, then a yes: delivered, with both attempts kept."""
    answers = iter([500, 200])

    async def answer(_):
        return web.Response(status=next(answers))

    clock = Clock()

    async def main():
        async with shop(answer) as merchant:
            [identity] = hub.queue(hub.endpoint(merchant.url))
            worker = hub.worker(clock=clock)
            watch = Watch(worker)
            async with running(worker):
                await watch.until(lambda: hub.row(identity).attempt_count == 1)
                clock.forward(10)
                worker.wake()
                await watch.until(lambda: hub.row(identity).state == "delivered")
        return identity

    identity = run(main())
    assert [item.cause for item in hub.attempts(identity)] == ["server_error", "delivered"]


def test_retry_after_is_honoured(hub):
    """A merchant that asks for two hours makes the wait twice as long, and not longer."""
    clock = Clock()
    began = clock.now

    async def main():
        async with shop(status(429, retry_after="7200")) as merchant:
            [identity] = hub.queue(hub.endpoint(merchant.url))
            worker = hub.worker(clock=clock)
            async with running(worker):
                await Watch(worker).until(lambda: hub.row(identity).attempt_count == 1)
        return hub.row(identity)

    row = run(main())
    assert row.next_attempt_at == began + 10 * SECOND
    assert (row.state, row.last_cause) == ("pending", "throttled")


@pytest.mark.parametrize(
    ("code", "dialect", "state", "cause"),
    [
        (410, "standard_webhooks", "pending", "gone"),
        (200, "no_such_dialect", "pending", "misconfigured"),
    ],
)
def test_what_a_person_can_put_right_ends_nothing(sqlite_hub, code, dialect, state, cause):
    """An endpoint that is gone, or wrongly described, is a person's to put right: it waits."""
    hub = sqlite_hub

    async def main():
        async with shop(status(code)) as merchant:
            [identity] = hub.queue(hub.endpoint(merchant.url, dialect=dialect))
            worker = hub.worker()
            async with running(worker):
                await Watch(worker).until(lambda: hub.row(identity).attempt_count == 1)
        return hub.row(identity)

    row = run(main())
    assert (row.state, row.last_cause) == (state, cause)


# ---------------------------------------------------------------------------------- endpoints


def _set_endpoint_state(hub: Hub, endpoint, state: str) -> None:
    with hub.store.database.write() as connection:
        connection.execute(
            sa.update(endpoints_table)
            .where(endpoints_table.c.id == endpoint.id)
            .values(state=state)
        )
        changes.count(
            connection, merchant="default", action="test", subject=endpoint.id, now_us=now_us()
        )


def test_a_paused_endpoint_waits(hub):
    """Nothing is sent to a paused endpoint, others go on; once resumed, it gets what waited."""

    async def main():
        async with shop() as quiet, shop() as other:
            paused = hub.endpoint(quiet.url, name="paused")
            waiting = hub.queue(paused, 2)
            _set_endpoint_state(hub, paused, "paused")
            going = hub.queue(hub.endpoint(other.url, name="going"), 2)
            worker = hub.worker()
            watch = Watch(worker)
            async with running(worker):
                await watch.until(lambda: hub.states(going) == ["delivered"] * 2)
                assert hub.states(waiting) == ["pending"] * 2
                assert not quiet.requests
                _set_endpoint_state(hub, paused, "active")
                worker.wake()
                await watch.until(lambda: hub.states(waiting) == ["delivered"] * 2)

    run(main())


def test_a_removed_endpoint_cancels(hub):
    """What waits for an endpoint that was removed is cancelled, with the cause to be seen."""

    async def main():
        async with shop() as merchant:
            removed = hub.endpoint(merchant.url)
            [identity] = hub.queue(removed)
            _set_endpoint_state(hub, removed, "removed")
            worker = hub.worker()
            async with running(worker):
                await Watch(worker).until(lambda: hub.row(identity).state == "cancelled")
            assert not merchant.requests
        return identity

    identity = run(main())
    assert hub.row(identity).last_cause == "endpoint_removed"
    assert "removed" in hub.attempts(identity)[0].detail


def test_a_new_endpoint_is_known_at_once(hub):
    """An endpoint that was added while the worker runs is called, not taken for removed."""

    async def main():
        async with shop() as merchant:
            worker = hub.worker()
            watch = Watch(worker)
            async with running(worker):
                first = hub.queue(hub.endpoint(merchant.url, name="first"))
                worker.wake()
                await watch.until(lambda: hub.states(first) == ["delivered"])
                second = hub.queue(hub.endpoint(merchant.url, name="second"))
                worker.wake()
                await watch.until(lambda: hub.states(second) == ["delivered"])

    run(main())


def test_a_slow_endpoint_delays_nobody(hub):
    """With a hundred deliveries stuck at one endpoint, another's go out, and few are stuck."""
    release = asyncio.Event()

    async def answer(_):
        await release.wait()
        return web.Response()

    async def main():
        async with shop(answer) as slow, shop() as quick:
            stuck = hub.queue(hub.endpoint(slow.url, name="slow"), 100)
            going = hub.queue(hub.endpoint(quick.url, name="quick"), 20)
            worker = hub.worker(pace=Pace(overall=16, per_endpoint=4, poll_seconds=3600))
            watch = Watch(worker)
            async with running(worker):
                await slow.received(1)
                await watch.until(lambda: hub.states(going) == ["delivered"] * 20)
                assert len(slow.requests) <= 4
                assert sorted(set(hub.states(stuck))) == ["pending", "sending"]
                release.set()
                await watch.until(lambda: hub.states(stuck) == ["delivered"] * 100)

    run(main())


# ---------------------------------------------------------------------------------- stopping


def test_stop_lets_attempts_come_back(hub):
    """`stop` waits for the attempts that are out, records them, and claims no more."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def answer(_):
        arrived.set()
        await release.wait()
        return web.Response()

    async def main():
        async with shop(answer) as merchant:
            ids = [
                identity
                for name in ("one", "two")
                for identity in hub.queue(hub.endpoint(merchant.url, name=name), 3)
            ]
            worker = hub.worker(pace=Pace(poll_seconds=3600, grace=20))
            task = asyncio.create_task(worker.run())
            await merchant.received(2)
            stopping = asyncio.create_task(worker.stop())
            release.set()
            await stopping
            await task
            return ids, len(merchant.requests)

    ids, requests = run(main())
    assert requests == 2
    assert sorted(hub.states(ids)) == ["delivered"] * 2 + ["pending"] * 4


def test_stop_puts_back_what_does_not_come_back(hub):
    """After the grace an attempt is given up, and its delivery is due again at once."""

    async def answer(_):
        await asyncio.Event().wait()

    async def main():
        async with shop(answer) as merchant:
            ids = [
                hub.queue(hub.endpoint(merchant.url, name=name))[0]
                for name in ("one", "two", "three")
            ]
            worker = hub.worker()
            task = asyncio.create_task(worker.run())
            await merchant.received(3)
            await worker.stop(grace=0)
            await task
            return ids

    ids = run(main())
    assert hub.states(ids) == ["pending"] * 3
    for identity in ids:
        row = hub.row(identity)
        assert (row.worker, row.attempt_count) == (None, 0)
        assert row.next_attempt_at <= now_us()
    with hub.store.database.read() as connection:
        assert connection.execute(sa.select(workers)).all() == []


def test_stop_before_run(sqlite_hub):
    """A worker that is told to stop before it began does not begin."""

    async def main():
        worker = sqlite_hub.worker()
        await worker.stop()
        await worker.run()
        await worker.stop()

    run(main())


# ---------------------------------------------------------------------------------- dying


def _abandon(hub: Hub, name: str, *, is_expired: bool) -> list[deliveries.Claimed]:
    """What a worker leaves that was killed with deliveries in hand."""
    with hub.store.database.write() as connection:
        deliveries.beat(connection, name, now_us())
        claimed = claim_all(connection, name, now_us())
        if is_expired:
            connection.execute(sa.update(workers).where(workers.c.id == name).values(lease_until=1))
    return claimed


def test_abandoned_work_is_rerun_after_the_lease(hub):
    """What a killed worker was sending goes out again, by a worker that was running already."""

    async def main():
        async with shop() as merchant:
            endpoint = hub.endpoint(merchant.url)
            worker = hub.worker(pace=Pace(poll_seconds=0.05, lease_seconds=1))
            watch = Watch(worker)
            async with running(worker):
                first = hub.queue(endpoint)
                await watch.until(lambda: hub.states(first) == ["delivered"])
                # Due later than now, so that the running worker does not take them first.
                ids = hub.queue(endpoint, 3, due_at=now_us() + HOUR * SECOND)
                with hub.store.database.write() as connection:
                    deliveries.beat(connection, "killed", now_us())
                    taken = claim_all(connection, "killed", now_us() + HOUR * SECOND)
                    assert len(taken) == 3
                    connection.execute(sa.update(deliveries_table).values(next_attempt_at=now_us()))
                worker.wake()
                assert hub.states(ids) == ["sending"] * 3
                with hub.store.database.write() as connection:
                    connection.execute(
                        sa.update(workers).where(workers.c.id == "killed").values(lease_until=1)
                    )
                await watch.until(lambda: hub.states(ids) == ["delivered"] * 3)
        return ids

    ids = run(main())
    assert all(hub.row(identity).fence == 2 for identity in ids)


def test_a_live_lease_is_left_alone_on_postgres(hub):
    """On PostgreSQL a start takes nothing from a worker that lives; on SQLite nobody else can."""
    ids = hub.queue(hub.endpoint("http://127.0.0.1:9/"))
    assert len(_abandon(hub, "other", is_expired=False)) == 1
    worker = hub.worker()
    rescued, _ = worker._turns.start()
    if hub.store.database.is_sqlite:
        assert (rescued, hub.states(ids)) == (1, ["pending"])
    else:
        assert (rescued, hub.states(ids)) == (0, ["sending"])


def test_a_zombie_changes_nothing(hub):
    """A result that comes after its delivery was given to another is kept, and changes nothing."""
    [identity] = hub.queue(hub.endpoint("http://127.0.0.1:9/"))
    [late] = _abandon(hub, "zombie", is_expired=True)
    with hub.store.database.write() as connection:
        assert deliveries.rescue(connection) == 1
        assert deliveries.record(connection, "zombie", [_result(late, "delivered")]) == []
    assert hub.row(identity).state == "pending"
    [again] = _abandon(hub, "live", is_expired=False)
    with hub.store.database.write() as connection:
        deliveries.record(connection, "live", [_result(again, "server_error")])
    row = hub.row(identity)
    assert (row.state, row.attempt_count, row.last_cause) == ("pending", 1, "server_error")
    assert sorted((item.worker, item.fence) for item in hub.attempts(identity)) == [
        ("live", 2),
        ("zombie", 1),
    ]


def _result(claimed: deliveries.Claimed, cause: str) -> deliveries.AttemptResult:
    is_yes = cause == "delivered"
    return deliveries.AttemptResult(
        claimed=claimed,
        started_at=now_us(),
        finished_at=now_us(),
        status=200 if is_yes else 500,
        cause=cause,
        detail=None,
        state=deliveries.DeliveryState.DELIVERED if is_yes else deliveries.DeliveryState.PENDING,
        next_attempt_at=None if is_yes else now_us(),
    )


def test_two_nodes_deliver_each_once(open_again):
    """Two workers on one PostgreSQL share the queue, and no delivery is sent twice."""
    hubs = [Hub(open_again()), Hub(open_again())]
    if hubs[0].store.database.is_sqlite:
        pytest.skip("one process serves an SQLite file")

    async def main():
        async with shop() as merchant:
            ids = hubs[0].queue(hubs[0].endpoint(merchant.url), 60)
            workers_ = [hub.worker(pace=Pace(overall=5, poll_seconds=3600)) for hub in hubs]
            async with running(workers_[0]), running(workers_[1]):
                await merchant.received(60)
                watch = Watch(workers_[0])
                workers_[0].wake()
                workers_[1].wake()
                await watch.until(lambda: True)
            return ids, [json.loads(body)["data"]["id"] for _, body in merchant.requests]

    ids, received = run(main())
    assert len(received) == len(set(received)) == 60
    assert hubs[0].states(ids) == ["delivered"] * 60


# ---------------------------------------------------------------------------------- the store


def test_a_store_that_is_away_ends_nothing(hub):
    """While the store cannot be reached results wait; they are recorded once it is back."""

    async def main():
        async with shop() as merchant:
            [identity] = hub.queue(hub.endpoint(merchant.url))
            worker = hub.worker(pace=Pace(poll_seconds=0.01))
            watch = Watch(worker)
            take, failures = worker._turns.take, iter(range(3))

            def away(results, *rest):
                if results and next(failures, None) is not None:
                    raise Unavailable("the database cannot be reached")
                return take(results, *rest)

            worker._turns.take = away
            async with running(worker):
                await watch.until(lambda: hub.row(identity).state == "delivered")
            assert len(merchant.requests) == 1
        return identity

    assert len(hub.attempts(run(main()))) == 1


def test_an_unknown_commit_is_neither_lost_nor_doubled(hub):
    """A claim or a result whose commit came through unseen is taken up again, once."""

    async def main():
        async with shop() as merchant:
            ids = hub.queue(hub.endpoint(merchant.url), 4)
            worker = hub.worker(pace=Pace(poll_seconds=0.01))
            watch = Watch(worker)
            committed, doubts = worker._turns._committed, iter(range(2))

            def unseen(*args):
                found = committed(*args)
                if next(doubts, None) is not None:
                    worker._turns._is_doubtful = True
                    raise UnknownCommit("the connection went away during a commit")
                return found

            worker._turns._committed = unseen
            async with running(worker):
                await watch.until(lambda: hub.states(ids) == ["delivered"] * 4)
            assert len(merchant.requests) == 4
        return ids

    for identity in run(main()):
        assert [item.cause for item in hub.attempts(identity)] == ["delivered"]


def test_a_group_recorded_twice_is_recorded_once(hub):
    """The same result a second time, as after a commit whose fate is not known, adds nothing."""
    [identity] = hub.queue(hub.endpoint("http://127.0.0.1:9/"))
    [claimed] = _abandon(hub, "one", is_expired=False)
    for moved in (1, 0):
        with hub.store.database.write() as connection:
            result = _result(claimed, "delivered")
            assert len(deliveries.record(connection, "one", [result])) == moved
    assert hub.row(identity).attempt_count == 1
    assert len(hub.attempts(identity)) == 1


def test_a_broken_store_ends_the_worker(sqlite_hub):
    """A disk error is not waited out: `run` raises it, and the process can stop."""

    async def main():
        worker = sqlite_hub.worker()

        def broken(*_):
            raise StoreBroken("the disk failed")

        worker._turns.look = broken
        with pytest.raises(StoreBroken):
            await worker.run()
        await worker.stop()

    run(main())


def _refuse(hub: Hub, condition: str) -> None:
    """Let the database refuse attempts of which this holds."""
    with hub.store.database.write() as connection:
        if hub.store.database.is_sqlite:
            connection.exec_driver_sql(
                f"CREATE TRIGGER refusing BEFORE INSERT ON attempts WHEN {condition} "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
            return
        connection.exec_driver_sql(
            "CREATE FUNCTION refusing() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF {condition} THEN RAISE unique_violation; END IF; RETURN NEW; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER refusing BEFORE INSERT ON attempts FOR EACH ROW "
            "EXECUTE FUNCTION refusing()"
        )


@pytest.mark.parametrize(
    ("condition", "state", "cause"),
    [("NEW.status IS NOT NULL", "delivered", "delivered"), ("1 = 1", "dead", "internal")],
)
def test_a_result_that_the_database_refuses_ends(hub, condition, state, cause):
    """It is recorded without what came from outside, or else ended as our own fault: once sent."""
    _refuse(hub, condition)

    async def main():
        async with shop() as merchant:
            ids = hub.queue(hub.endpoint(merchant.url), 2)
            worker = hub.worker()
            async with running(worker):
                await Watch(worker).until(lambda: hub.states(ids) == [state] * 2)
            assert len(merchant.requests) == 2
            return ids

    for identity in run(main()):
        row = hub.row(identity)
        assert (row.last_cause, row.worker, row.next_attempt_at) == (cause, None, None)


@pytest.mark.parametrize("halts", [False, True])
def test_what_is_given_up_is_dead_like_any_other(hub, halts):
    """Operators hear of it; its order goes on, or halts behind it where it is to."""
    _refuse(hub, "1 = 1")
    expected = ["dead", "pending" if halts else "dead"]

    async def main():
        async with shop() as merchant:
            endpoint = hub.endpoint(merchant.url, ordered="account", halts=halts)
            ids = hub.queue(endpoint, 2, order_keys=["a"] * 2)
            worker = hub.worker()
            async with running(worker):
                await Watch(worker).until(lambda: hub.states(ids) == expected)
            return ids

    ids = run(main())
    with hub.store.database.read() as connection:
        said = [(row.kind, json.loads(row.data)) for row in alerts.listed(connection)]
    kinds = {"delivery.dead", "order.halted"} if halts else {"delivery.dead"}
    assert {(kind, data["cause"]) for kind, data in said} == {(kind, "internal") for kind in kinds}
    told = {one for kind, data in said if kind == "delivery.dead" for one in data["deliveries"]}
    assert told == set(ids[:1] if halts else ids)


# ---------------------------------------------------------------------------------- manner


def test_an_endpoint_has_its_own_schedule_and_time(hub):
    """Its delays go before its dialect's, and its deadline before the worker's."""
    from arifa.delivery.attempt import schedule_of
    from arifa.delivery.schedule import DEFAULT

    own = hub.endpoint("http://127.0.0.1:9/", name="own", delays=(0, 7), dialect="cbs")
    dialects_own = hub.endpoint("http://127.0.0.1:9/", name="cbs", dialect="cbs")
    usual = hub.endpoint("http://127.0.0.1:9/", name="usual")
    assert schedule_of(own, DEFAULT).delays == (0, 7)
    assert len(schedule_of(dialects_own, DEFAULT).delays) == 11
    assert schedule_of(usual, DEFAULT) is schedule_of(None, DEFAULT) is DEFAULT

    async def main():
        clock = LoopClock()

        async def answer(_):
            clock.forward(30)
            await asyncio.Event().wait()

        async with shop(answer) as merchant:
            [identity] = hub.queue(hub.endpoint(merchant.url, timeout=30.0, delays=(0,)))
            worker = hub.worker(pace=Pace(poll_seconds=3600, deadline=3600.0, grace=1))
            async with running(worker):
                await Watch(worker).until(lambda: hub.row(identity).state == "dead", 600)
        return identity

    assert hub.row(run(main())).last_cause == "timeout"


def test_the_receivers_own_id_is_kept(hub):
    """What an answer calls the notification stands with the attempt; and a replay says that it is
    one, and goes to its own URL."""

    async def answer(_):
        body = {"transactionID": "M-77", "statusCode": 0, "statusMessage": "Notification received"}
        return web.json_response(body)

    key = generated_key()

    async def main():
        async with shop(answer) as merchant:
            endpoint = hub.endpoint(
                "http://127.0.0.1:9/", dialect="kcb", credentials=Credentials(private_key=key)
            )
            [identity] = hub.queue(endpoint)
            with hub.store.database.write() as connection:
                connection.execute(
                    sa.update(deliveries_table).values(url=merchant.url, replay_of="dlv_before")
                )
            worker = hub.worker()
            async with running(worker):
                await Watch(worker).until(lambda: hub.row(identity).state == "delivered")
            [(headers, _)] = merchant.requests
            assert headers["arifa-replay"] == "dlv_before"
        return identity

    [attempt] = hub.attempts(run(main()))
    assert attempt.reference == "M-77"


def generated_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


# ---------------------------------------------------------------------------------- claiming


def test_a_claim_takes_the_longest_due_first(hub):
    """The order is that of being due; what is not due is not taken."""
    endpoint = hub.endpoint("http://127.0.0.1:9/")
    now = now_us()
    [later] = hub.queue(endpoint, due_at=now - SECOND)
    [first] = hub.queue(endpoint, due_at=now - 2 * SECOND)
    hub.queue(endpoint, due_at=now + HOUR * SECOND)
    with hub.store.database.write() as connection:
        assert [item.id for item in claim_all(connection, "w", now)] == [first, later]
    with hub.store.database.read() as connection:
        assert deliveries.next_due(connection) == (now + HOUR * SECOND, None)


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_what_is_held_is_not_overdue(hub, state):
    """What waits for an endpoint that is not told anything is said apart, and rings no alarm."""
    one, two = (hub.endpoint("http://127.0.0.1:9/", name=name) for name in ("one", "two"))
    now = now_us()
    hub.queue(one, due_at=now - HOUR * SECOND)
    hub.queue(two, due_at=now)
    with hub.store.database.write() as connection:
        assert deliveries.next_due(connection) == (now - HOUR * SECOND, None)
        endpoints.set_state(connection, one, state, now, reason="for the test")
    with hub.store.database.read() as connection:
        due = deliveries.next_due(connection)
    assert due == (now, now - HOUR * SECOND)
    text = Figures().rendered({}, *due)[1].decode()
    ages = dict(line.split() for line in text.splitlines() if line.startswith("arifa_outbox"))
    assert float(ages["arifa_outbox_oldest_age_seconds"]) < HOUR
    assert float(ages["arifa_outbox_held_oldest_age_seconds"]) >= HOUR


def test_a_claim_takes_of_each_endpoint_what_it_has_room_for(hub):
    """Up to so many of each that is named, those due longest first, and nothing of the others."""
    one, two, three = (
        hub.endpoint("http://127.0.0.1:9/", name=name) for name in ("one", "two", "three")
    )
    now = now_us()
    hub.queue(one, 10, due_at=now - 9)
    hub.queue(two, 10, due_at=now - 8)
    hub.queue(three, 10, due_at=now - 7)
    with hub.store.database.write() as connection:
        taken = deliveries.claim(connection, "w", now, [(two.id, 3), (one.id, 2)])
    assert [item.endpoint for item in taken] == [one.id] * 2 + [two.id] * 3
    with hub.store.database.write() as connection:
        rest = claim_all(connection, "w", now)
    assert len(rest) == 25
    assert not {item.id for item in rest} & {item.id for item in taken}


def test_the_heads_of_the_queue_are_found(hub):
    """For each endpoint with something pending, when the first of it is due."""
    one, two, none = (
        hub.endpoint("http://127.0.0.1:9/", name=name) for name in ("one", "two", "none")
    )
    now = now_us()
    hub.queue(one, 3, due_at=now - 9)
    hub.queue(one, 1, due_at=now - 10)
    hub.queue(two, 2, due_at=now + 5)
    hub.queue(none, 2, due_at=now)
    with hub.store.database.write() as connection:
        deliveries.claim(connection, "w", now, [(none.id, 9)])
    with hub.store.database.read() as connection:
        assert deliveries.heads(connection) == {one.id: now - 10, two.id: now + 5}


def test_a_prolonged_lease_survives_a_rescue(hub):
    """A worker that beats keeps its place and its work."""
    ids = hub.queue(hub.endpoint("http://127.0.0.1:9/"))
    _abandon(hub, "alive", is_expired=True)
    with hub.store.database.write() as connection:
        deliveries.beat(connection, "alive", now_us())
        assert deliveries.rescue(connection) == 0
    assert hub.states(ids) == ["sending"]
