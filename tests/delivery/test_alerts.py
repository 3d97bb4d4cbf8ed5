"""Alerts: a dead letter is announced, an endpoint that is gone is disabled, and nothing loops."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from standardwebhooks.webhooks import Webhook

from arifa.clock import now_us
from arifa.delivery import turn as turns
from arifa.delivery.alerts import AlertKind, News, written
from arifa.delivery.consequences import FAILING_SECONDS
from arifa.delivery.lanes import Turned
from arifa.store import alerts, deliveries, endpoints, troubles
from arifa.store.schema import alerts as table
from arifa.store.schema import deliveries as deliveries_table
from arifa.store.schema import endpoint_troubles
from tests.delivery.hub import SECRET, Clock, Hub, Watch, running, shop, status
from tests.dialects.json_schema import Schema

_ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((_ROOT / "schemas" / "alert.v1.json").read_text(encoding="utf-8"))
SCHEMA = Schema(DOCUMENT)


def told(hub: Hub) -> list[Any]:
    """Every alert, once."""
    with hub.store.database.read() as connection:
        return alerts.listed(connection)


def endpoint_named(hub: Hub, name: str) -> Any:
    with hub.store.database.read() as connection:
        return endpoints.get(connection, hub.store.vault, name)


def test_a_dead_letter_is_announced(hub: Hub) -> None:
    """To the operators' endpoints of the merchant and of the installation, signed, once each."""

    async def main() -> tuple[list[str], list[Any]]:
        async with shop(status(500)) as bad, shop() as operator:
            broken = hub.endpoint(bad.url, name="broken", delays=(0,))
            hub.endpoint(operator.url, name="mine", alerts=True)
            hub.endpoint(operator.url, name="other", merchant="other", alerts=True)
            ids = hub.queue(broken, 2)
            worker = hub.worker()
            async with running(worker):
                await Watch(worker).until(lambda: hub.states(ids) == ["dead"] * 2)
                await operator.received(len(told(hub)))
            return ids, operator.requests

    ids, requests = asyncio.run(main())
    heard = []
    for headers, body in requests:
        event = Webhook(SECRET.decode()).verify(body, headers)
        assert headers["webhook-id"] == event["data"]["id"]
        assert event["type"] == "delivery.dead"
        assert event["data"]["endpoint"]["name"] == "broken"
        assert event["data"]["cause"] == "server_error"
        assert "John" not in body.decode()
        assert SCHEMA.complaints(event) == []
        heard += event["data"]["deliveries"]
    assert sorted(heard) == sorted(ids)
    assert sum(json.loads(row.data)["count"] for row in told(hub)) == 2


def test_the_installation_hears_of_every_merchant() -> None:
    """Of a sandbox its own sandbox hears; a third merchant hears of nobody else."""
    from tests.delivery.test_lanes import endpoint

    def made(name: str, merchant: str, **changed: Any) -> Any:
        from dataclasses import replace

        return replace(endpoint(name), merchant=merchant, **changed)

    known = {
        item.id: item
        for item in (
            made("shop", "m"),
            made("shop:test", "m:test"),
            made("m", "m", alerts=True),
            made("m:test", "m:test", alerts=True),
            made("default", "default", alerts=True),
            made("default:test", "default:test", alerts=True),
            made("third", "third", alerts=True),
        )
    }
    for concerned, hearers in (
        ("shop", {"m", "default"}),
        ("shop:test", {"m:test", "default:test"}),
        ("m", set()),
    ):
        news = News(AlertKind.DEAD, known[concerned].merchant, concerned, "timeout", ["dlv_1"])
        made_rows = written([news], known, now_us(), is_mailed=True)
        assert {entry.endpoint for entry in made_rows.deliveries} == hearers
        assert sum(row.mail_at is not None for row in made_rows.alerts) == 1
        found = {(row.merchant, row.id) for row in made_rows.alerts}
        assert {(item.merchant, item.notification) for item in made_rows.deliveries} <= found


def test_an_alert_that_dies_makes_no_alert(hub: Hub) -> None:
    """The operator's own endpoint fails: its delivery is dead, and that is all."""

    async def main() -> None:
        async with shop(status(500)) as bad:
            broken = hub.endpoint(bad.url, name="broken", delays=(0,))
            operator = hub.endpoint(bad.url, name="operator", alerts=True, delays=(0,))
            hub.queue(broken)
            worker = hub.worker()

            def is_over() -> bool:
                with hub.store.database.read() as connection:
                    rows = deliveries.listed(connection, endpoint=operator.id)
                return [row.state for row in rows] == ["dead"]

            async with running(worker):
                await Watch(worker).until(is_over)

    asyncio.run(main())
    assert len(told(hub)) == 1


def test_gone_disables_and_nothing_dies(hub: Hub) -> None:
    """After a 410 all that is pending waits, visibly; resumed, it goes out."""
    answers = {"code": 410}

    async def answer(request: Any) -> Any:
        return await status(answers["code"])(request)

    async def main() -> list[str]:
        async with shop(answer) as merchant:
            endpoint = hub.endpoint(merchant.url, delays=(0,))
            ids = hub.queue(endpoint, 5)
            worker = hub.worker()
            watch = Watch(worker)
            async with running(worker):
                await watch.until(lambda: endpoint_named(hub, "shop").state == "disabled")
                assert set(hub.states(ids)) == {"pending"}
                came = len(merchant.requests)
                worker.wake()
                await watch.turn()
                assert len(merchant.requests) == came
                answers["code"] = 200
                with hub.store.database.write() as connection:
                    endpoints.set_state(connection, endpoint, "active", now_us())
                worker.wake()
                await watch.until(lambda: hub.states(ids) == ["delivered"] * 5)
            return ids

    asyncio.run(main())
    [alert] = told(hub)
    assert (alert.kind, json.loads(alert.data)["cause"]) == ("endpoint.disabled", "gone")
    assert SCHEMA.complaints(_event(alert)) == []


def _event(row: Any) -> Any:
    from arifa.delivery.alerts import event

    return event(row)


def test_gone_disables_nobody_who_has_moved(hub: Hub) -> None:
    """An answer of the old URL that comes after a person gave the new one changes nothing."""
    from dataclasses import replace

    endpoint = hub.endpoint("https://old.example/")
    [identity] = hub.queue(endpoint)
    taken = turns.Turns(hub.store, "w", clock=now_us)
    [prepared] = taken.take([], (), [(endpoint.id, 1)]).prepared
    with hub.store.database.write() as connection:
        moved = replace(endpoint, url="https://new.example/")
        endpoints.update(connection, hub.store.vault, moved, now_us())
    result = deliveries.AttemptResult(
        claimed=prepared.errand.claimed,
        started_at=now_us(),
        finished_at=now_us(),
        status=410,
        cause="gone",
        detail=None,
        state=deliveries.DeliveryState.PENDING,
        next_attempt_at=now_us(),
        gone="https://old.example/",
    )
    taken.take([result], (), [])
    assert endpoint_named(hub, "shop").state == "active"
    assert hub.row(identity).last_cause == "gone"
    assert told(hub) == []


def test_a_halted_order_is_announced(hub: Hub) -> None:
    """A dead head stops its key and says so; without `halts` the key goes on."""

    async def main() -> None:
        async with shop(status(500)) as bad:
            halting = hub.endpoint(
                bad.url, name="halting", delays=(0,), ordered="account", halts=True
            )
            going = hub.endpoint(bad.url, name="going", delays=(0,), ordered="account")
            waiting = hub.queue(halting, 3, order_keys=["a"] * 3)
            passing = hub.queue(going, 3, order_keys=["a"] * 3)
            worker = hub.worker()
            async with running(worker):
                await Watch(worker).until(lambda: hub.states(passing) == ["dead"] * 3)
                worker.wake()
                await Watch(worker).until(
                    lambda: hub.states(waiting) == ["dead", "pending", "pending"]
                )

    asyncio.run(main())
    kinds = [row.kind for row in told(hub)]
    assert kinds.count("order.halted") == 1
    for row in told(hub):
        assert SCHEMA.complaints(_event(row)) == []


def test_trouble_is_seen_and_announced_once(hub: Hub) -> None:
    """An open breaker stands in the store; after an hour operators hear of it, and of its end."""
    clock = Clock()
    endpoint = hub.endpoint("https://shop.example/")
    worker = turns.Turns(hub.store, "w", clock=clock)
    worker.start()
    worker.take([], (), [], [Turned(endpoint.id, is_open=True, cause="timeout")])
    with hub.store.database.read() as connection:
        [seen] = troubles.all_of(connection)
    assert (seen.endpoint, seen.cause, seen.since) == (endpoint.id, "timeout", clock.now)
    for _ in range(2):
        clock.forward(FAILING_SECONDS + 1)
        worker._beat_at = 0.0
        worker.take([], (), [])
    assert [row.kind for row in told(hub)] == ["endpoint.failing"]
    assert turns.Turns(hub.store, "later", clock=clock).start()[1] == [endpoint.id]
    worker.take([], (), [], [Turned(endpoint.id, is_open=False, cause="")])
    assert {row.kind for row in told(hub)} == {"endpoint.failing", "endpoint.recovered"}
    for row in told(hub):
        assert SCHEMA.complaints(_event(row)) == []
    with hub.store.database.read() as connection:
        assert connection.execute(sa.select(endpoint_troubles)).all() == []


def test_many_that_die_at_once_are_one_alert(hub: Hub) -> None:
    """With their number, and the ids of the first of them."""
    endpoint = hub.endpoint("https://shop.example/")
    hub.queue(endpoint, 60)
    worker = turns.Turns(hub.store, "w", clock=now_us)
    prepared = worker.take([], (), [(endpoint.id, 60)]).prepared
    results = [
        deliveries.AttemptResult(
            claimed=item.errand.claimed,
            started_at=now_us(),
            finished_at=now_us(),
            status=None,
            cause="timeout",
            detail=None,
            state=deliveries.DeliveryState.DEAD,
            next_attempt_at=None,
        )
        for item in prepared
    ]
    for _ in range(2):
        # The second time as after a commit whose fate was not known: nothing more is said.
        worker.take(results, (), [])
    [row] = told(hub)
    said = json.loads(row.data)
    assert (said["count"], len(said["deliveries"])) == (60, 50)
    with hub.store.database.read() as connection:
        query = sa.select(sa.func.count()).select_from(table)
        assert connection.execute(query).scalar() == 1
        states = connection.execute(sa.select(deliveries_table.c.state).distinct()).scalars().all()
    assert states == ["dead"]


def test_the_schema_names_every_alert() -> None:
    """No kind without its words, and the published example is one."""
    assert DOCUMENT["properties"]["type"]["enum"] == [kind.value for kind in AlertKind]
    for example in DOCUMENT["examples"]:
        assert SCHEMA.complaints(example) == []
