"""Kills of a worker that holds leases: everything is rerun, nothing is forgotten.

    python bench/leases.py [--runs 100] [--held 50] [--engine sqlite] [--json]

A worker, a process of its own with a lease of one second, is killed (SIGKILL) while it has requests
out: about half of them are never answered. Another takes over: on PostgreSQL when the lease has
ended, on SQLite as the only process on its file. It must send again what had no result, within the
lease and a second, and nothing else, all with the same webhook-id. It is the next to be killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from arifa import dialects
from arifa.clock import monotonic, now_us
from arifa.delivery import transport
from arifa.delivery.transport import Reach
from arifa.delivery.worker import Pace, Worker
from arifa.feed import Endpoint, Profile
from arifa.hub.queue import delivery
from arifa.identifiers import Identifiers, identifier
from arifa.money import Money
from arifa.notification import Direction, Kind, Reading, Status
from arifa.signing import Credentials
from arifa.signing.webhook import new_secret
from arifa.store import deliveries, endpoints, notifications
from arifa.store.opened import Store, open_store
from arifa.store.schema import deliveries as table

LEASE_SECONDS = 1
WITHIN_SECONDS = LEASE_SECONDS + 1.0
PATIENCE_SECONDS = 60
READING = Reading(
    kind=Kind.PAYMENT,
    direction=Direction.CREDIT,
    status=Status.SUCCESS,
    amount=Money(10_000, "KES"),
    bank_reference="FT00026252",
)


def work(data: str, url: str | None) -> None:
    """One worker, in this process: it begins when a line comes, and ends when it is killed."""
    # Loaded by now in a process that has served for a while.
    dialects.get("standard_webhooks")
    transport.check("http://127.0.0.1/")
    store = open_store(Path(data), url, None)

    async def main() -> None:
        pace = Pace(lease_seconds=LEASE_SECONDS, poll_seconds=0.2)
        await Worker(store, reach=Reach(allow_private=True), pace=pace).run()

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    asyncio.run(main())


class Receiver:
    """The merchants' server. While it `holds`, it answers about every other request only."""

    def __init__(self) -> None:
        self.holds = True
        self.came: dict[str, list[float]] = {}
        self.url = ""
        self._news = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await reader.readexactly(int(lines["content-length"]))
                async with self._news:
                    self.came.setdefault(lines["webhook-id"], []).append(monotonic())
                    self._news.notify_all()
                if self.holds and random.random() < 0.5:
                    await reader.read()
                    return
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def have(self, ids: set[str]) -> None:
        """Wait until each of these has come."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._news:
            await self._news.wait_for(lambda: ids <= self.came.keys())


@dataclass
class Found:
    """What the kills came to."""

    kills: int = 0
    held: int = 0
    sent_twice: int = 0
    slowest_s: float = 0.0
    late: int = 0
    faults: list[str] = field(default_factory=list)


class Trial:
    """One store, one receiver, and workers that are killed one after the other."""

    def __init__(self, data: Path, url: str | None, held: int) -> None:
        self._data, self._url, self._held = data, url, held
        self._store = open_store(data, url, None)
        self._receiver = Receiver()
        self._endpoints: list[str] = []
        self.found = Found()

    async def run(self, runs: int) -> Found:
        """Kill so many."""
        server = await asyncio.start_server(self._receiver.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self._endpoints = add_endpoints(self._store, f"http://127.0.0.1:{port}/", self._held)
        worker, heir = await self._started(), await self._started()
        try:
            await _go(worker)
            for _ in range(runs):
                await self._killed(worker, heir)
                worker, heir = heir, await self._started()
        finally:
            for process in (worker, heir):
                process.kill()
                await process.wait()
            server.close()
            self._store.close()
        return self.found

    async def _started(self) -> asyncio.subprocess.Process:
        arguments = [sys.executable, __file__, "--role", "work", "--data", str(self._data)]
        arguments += ["--url", self._url] if self._url is not None else []
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
        )
        assert process.stdout is not None
        await process.stdout.readline()
        return process

    async def _killed(
        self, worker: asyncio.subprocess.Process, heir: asyncio.subprocess.Process
    ) -> None:
        receiver, found = self._receiver, self.found
        receiver.holds, receiver.came = True, {}
        ids = await asyncio.to_thread(queue, self._store, self._endpoints)
        # Not always at the same point: now and then before all of them are out.
        await receiver.have(set(random.sample(sorted(ids), random.choice([1, len(ids)]))))
        await asyncio.sleep(random.random() / 10)
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
        killed_at = monotonic()
        out = await asyncio.to_thread(states, self._store, ids, "sending")
        receiver.holds = False
        before = Counter({name: len(times) for name, times in receiver.came.items()})
        await _go(heir)
        await self._all_delivered(ids)
        again = {name for name, times in receiver.came.items() if len(times) > before[name] > 0}
        rerun_at = [receiver.came[name][-1] for name in out if name in receiver.came]
        found.kills += 1
        found.held += len(out)
        found.sent_twice += len(again)
        slowest = max((at - killed_at for at in rerun_at), default=0.0)
        found.slowest_s = max(found.slowest_s, slowest)
        if not again <= out:
            found.faults.append(f"{len(again - out)} were sent again though they had a result")
        found.late += slowest > WITHIN_SECONDS
        if any(len(times) > 2 for times in receiver.came.values()):
            found.faults.append("something was sent more than twice")
        if receiver.came.keys() != ids:
            found.faults.append("a webhook-id came that nobody queued, or one never came")

    async def _all_delivered(self, ids: set[str]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            # Another process commits it, and tells nobody.
            while await asyncio.to_thread(states, self._store, ids, "delivered") != ids:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def _go(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    await process.stdin.drain()


def add_endpoints(store: Store, url: str, count: int) -> list[str]:
    """So many endpoints at one URL; gives their ids."""
    made = []
    with store.database.write() as connection:
        for number in range(count):
            endpoint = Endpoint(
                id=identifier("end", now_us()),
                name=f"shop {number}",
                merchant="default",
                url=url,
                dialect="standard_webhooks",
                profile=Profile(currency="KES", timezone="UTC"),
                credentials=Credentials(secrets=(new_secret().encode(),)),
            )
            endpoints.add(connection, store.vault, endpoint, now_us())
            made.append(endpoint)
    _known.update({endpoint.id: endpoint for endpoint in made})
    return [endpoint.id for endpoint in made]


_known: dict[str, Endpoint] = {}


def queue(store: Store, to: list[str]) -> set[str]:
    """Queue one notification for each of these endpoints; gives the notifications' ids."""
    now = now_us()
    ids = Identifiers(now)
    names = [ids.new("ntf") for _ in to]
    with store.database.write() as connection:
        notifications.insert(connection, [_row(name, now) for name in names])
        deliveries.insert(
            connection,
            [
                delivery("default", name, _known[endpoint], ids, now)
                for name, endpoint in zip(names, to, strict=True)
            ],
        )
    return set(names)


def _row(name: str, now: int) -> notifications.Entry:
    return notifications.Entry(
        merchant="default",
        id=name,
        source="src_bench",
        dialect="kcb",
        inbox="",
        inbox_merchant="",
        received_at=now,
        state="accepted",
        money_hash=bytes(32),
        reading=notifications.pack_reading(READING),
    )


def states(store: Store, ids: set[str], state: str) -> set[str]:
    """Which of these notifications have their delivery in this state."""
    query = sa.select(table.c.notification).where(table.c.state == state)
    with store.database.read() as connection:
        return ids & set(connection.execute(query).scalars())


def measure(engine: str, runs: int, held: int) -> Found:
    """Kill so many workers, each with so many deliveries out."""
    with ExitStack() as stack:
        url = None
        if engine == "postgres":
            from arifa.testing.postgres import start_postgres

            url = stack.enter_context(start_postgres(private=True)).create_database()
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        return asyncio.run(Trial(Path(folder), url, held).run(runs))


def main() -> int:
    """Run as told; 1 where anything was lost, late or doubled without need."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--held", type=int, default=50)
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--json", action="store_true")
    for hidden in ("--role", "--data", "--url"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.role == "work":
        work(told.data, told.url)
        return 0
    found = measure(told.engine, told.runs, told.held)
    shown: dict[str, Any] = {"engine": told.engine, **vars(found)}
    sys.stdout.write((json.dumps(shown) if told.json else _sentence(shown)) + "\n")
    return int(bool(found.faults or found.late))


def _sentence(shown: dict[str, Any]) -> str:
    faults = "; ".join(shown["faults"]) or "no faults"
    return (
        f"{shown['engine']}: {shown['kills']} kills, {shown['held']} deliveries held, "
        f"{shown['sent_twice']} sent twice, the slowest rerun {shown['slowest_s']:.2f} s after its "
        f"kill, {shown['late']} kills with one later than {WITHIN_SECONDS:g} s: {faults}"
    )


if __name__ == "__main__":
    sys.exit(main())
