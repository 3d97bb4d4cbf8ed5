"""What the tests of delivery share: a hub's store with deliveries in it, and merchants' servers."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from arifa.clock import now_us
from arifa.delivery.transport import Reach
from arifa.delivery.worker import Pace, Worker
from arifa.feed import Endpoint, Manner, Profile
from arifa.identifiers import identifier
from arifa.money import Money
from arifa.notification import Direction, Kind, Payer, Reading, State, Status
from arifa.signing import Credentials
from arifa.store import deliveries, endpoints, inbox, merchants, notifications
from arifa.store.opened import Store
from arifa.store.schema import deliveries as table
from arifa.wire import WireRequest, WireResponse

KEY = b64encode(bytes(range(32))).decode()
SECRET = b"whsec_" + b64encode(b"0123456789abcdef0123456789abcdef")
SIGNED = Credentials(secrets=(SECRET,))
SECOND = 1_000_000
MINUTE = 60 * SECOND

READING = Reading(
    kind=Kind.PAYMENT,
    direction=Direction.CREDIT,
    status=Status.SUCCESS,
    amount=Money(10_000, "KES"),
    bank_reference="FT00026252",
    end_to_end_id="INV-0001",
    account="JD001",
    payer=Payer(name="John Doe", phone="254711111111"),
)
ORIGINAL = WireRequest(
    body=b'{"the":"bank\'s own"}',
    headers=((b"content-type", b"application/json"), (b"signature", b"c2lnbmVk")),
)


class Clock:
    """A clock that a test sets; it begins at the real time, which signatures are checked by."""

    def __init__(self) -> None:
        self.now = now_us()

    def __call__(self) -> int:
        return self.now

    def ticks(self) -> float:
        """The same in seconds, for what goes by a clock that only goes forward."""
        return self.now / SECOND

    def forward(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


class LoopClock:
    """The clock of the running loop, which a test sets forward: a deadline ends when all is ready
    for it, and not sooner where the machine is slow. For Python's own loop.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        loop = asyncio.get_running_loop()
        really = loop.time
        loop.time = lambda: really() + self._ahead  # type: ignore[method-assign]

    def forward(self, seconds: float) -> None:
        """Let every timer of so many seconds be due."""
        self._ahead += seconds


class Hub:
    """A store, and what a test puts into it and reads from it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.database.write() as connection:
            merchants.check(connection, "default", now_us())

    def endpoint(
        self,
        url: str,
        *,
        name: str = "shop",
        dialect: str = "standard_webhooks",
        credentials: Credentials = SIGNED,
        merchant: str = "default",
        alerts: bool = False,
        **manner: Any,
    ) -> Endpoint:
        """Add an endpoint; `manner` is how it is called."""
        endpoint = Endpoint(
            id=identifier("end", now_us()),
            name=name,
            merchant=merchant,
            url=url,
            dialect=dialect,
            profile=Profile(currency="KES", timezone="Africa/Nairobi"),
            credentials=credentials,
            alerts=alerts,
            manner=Manner(**manner),
        )
        with self.store.database.write() as connection:
            endpoints.add(connection, self.store.vault, endpoint, now_us())
        return endpoint

    def queue(
        self,
        endpoint: Endpoint | str,
        count: int = 1,
        *,
        due_at: int | None = None,
        order_keys: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Store notifications with a delivery each, due for a minute; gives the deliveries' ids."""
        now = now_us()
        to = endpoint if isinstance(endpoint, str) else endpoint.id
        ids = [identifier("dlv", now) for _ in range(count)]
        with self.store.database.write() as connection:
            for delivery, key in zip(ids, order_keys or [None] * count, strict=True):
                notification = identifier("ntf", now)
                received = identifier("inb", now)
                self._receive(connection, notification, received, now)
                due = due_at or now - MINUTE
                entry = deliveries.Entry("default", delivery, notification, to, due, now)
                deliveries.insert(connection, [entry._replace(order_key=key)])
        return ids

    def _receive(self, connection: Any, notification: str, received: str, now: int) -> None:
        entry = inbox.Entry(
            merchant="default",
            id=received,
            source="src_1",
            received_at=now,
            peer=None,
            outcome="ACCEPTED",
            reason=None,
            body_hash=inbox.content_hash(ORIGINAL),
            answer_status=200,
            answer=inbox.pack_answer(WireResponse(200)),
            notifications=1,
            writer="test",
            seal=1,
        )
        body = inbox.Body("default", received, inbox.pack_head(ORIGINAL), ORIGINAL.body)
        inbox.insert(connection, [entry], [body])
        row = notifications.Entry(
            merchant="default",
            id=notification,
            source="src_1",
            dialect="kcb",
            inbox=received,
            inbox_merchant="default",
            received_at=now,
            state=State.ACCEPTED.value,
            money_hash=bytes(32),
            reading=notifications.pack_reading(READING),
        )
        notifications.insert(connection, [row])

    def row(self, delivery: str) -> Any:
        """The delivery as it stands."""
        with self.store.database.read() as connection:
            return deliveries.get(connection, delivery)

    def states(self, ids: list[str]) -> list[str]:
        """Where these deliveries stand."""
        with self.store.database.read() as connection:
            rows = connection.execute(
                sa.select(table.c.id, table.c.state).where(table.c.id.in_(ids))
            ).all()
        found = {row.id: row.state for row in rows}
        return [found[identity] for identity in ids]

    def attempts(self, delivery: str) -> list[Any]:
        """Its attempts, in order."""
        with self.store.database.read() as connection:
            return deliveries.attempts_of(connection, "default", delivery)

    def worker(self, **kwargs: Any) -> Worker:
        """A worker that may call this machine, and polls once an hour unless told."""
        pace = kwargs.pop("pace", Pace(poll_seconds=3600, grace=10))
        return Worker(self.store, reach=Reach(allow_private=True), pace=pace, **kwargs)


def claim_all(connection: Any, worker: str, now: int) -> list[deliveries.Claimed]:
    """Take whatever is due, of every endpoint."""
    heads = deliveries.heads(connection)
    return deliveries.claim(connection, worker, now, [(name, 100) for name in sorted(heads)])


class Watch:
    """Lets a test wait for the turns of a worker instead of sleeping."""

    def __init__(self, worker: Worker) -> None:
        self._turned = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        turns: Any = worker._turns
        turns.take, turns.look = self._watched(turns.take), self._watched(turns.look)

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            try:
                return call(*args)
            finally:
                self._loop.call_soon_threadsafe(self._turned.set)

        return watched

    async def turn(self) -> None:
        """Wait for the next turn."""
        self._turned.clear()
        async with asyncio.timeout(60):
            await self._turned.wait()

    async def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for a turn after which the condition holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._turned.clear()
                await self._turned.wait()


@asynccontextmanager
async def running(worker: Worker) -> Any:
    """The worker, running; stopped at the end, and its error raised if it had one."""
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await task


class Shop:
    """A merchant's server. `answer` makes the answers; what came is in `requests`."""

    def __init__(self, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        self.answer = answer
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.url = ""
        self._came = asyncio.Condition()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keep the request, and answer."""
        body = await request.read()
        async with self._came:
            headers = {name.lower(): value for name, value in request.headers.items()}
            self.requests.append((headers, body))
            self._came.notify_all()
        return await self.answer(request)

    async def received(self, count: int, seconds: float = 60) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(lambda: len(self.requests) >= count)


async def ok(_: web.Request) -> web.StreamResponse:
    """A well-behaved merchant."""
    return web.Response(text="ok")


def status(code: int, **headers: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A merchant that always answers so."""

    async def answer(_: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, headers=named)

    return answer


@asynccontextmanager
async def shop(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = ok,
) -> Any:
    """A merchant's server on this machine."""
    it = Shop(answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", it.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    it.url = f"http://127.0.0.1:{port}/hook"
    try:
        yield it
    finally:
        await runner.cleanup()
