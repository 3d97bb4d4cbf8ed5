"""What dead and dripping endpoints cost those that are well.

    python bench/endpoints.py [--json] [--engine sqlite] [--endpoints 2000] [--dead 1000]
                              [--dripping 50] [--rate 200] [--seconds 60]

The same notifications go twice to the endpoints that are well: once alone, once among the others.
Half of the dead refuse connections, half accept them and never answer; the dripping send a byte a
second. Each run is a worker in a process of its own, from an empty memory of who answers. A latency
is from the commit that queued the delivery to the end of the attempt that delivered it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from arifa.clock import now_us
from arifa.delivery.lanes import Pace
from arifa.delivery.transport import Reach
from arifa.delivery.worker import Worker
from arifa.feed import Endpoint, Profile
from arifa.hub.queue import delivery
from arifa.identifiers import Identifiers, identifier
from arifa.money import Money
from arifa.notification import Direction, Kind, Payer, Reading, Status
from arifa.signing import Credentials
from arifa.signing.webhook import new_secret
from arifa.store import deliveries, endpoints, notifications
from arifa.store.opened import Store, open_store
from arifa.store.schema import attempts
from arifa.store.schema import deliveries as table

BARS = {"p99_growth_s": 2.0, "memory_growth_mb": 200.0}
KINDS = ("well", "refusing", "silent", "dripping")
GROUP = 10
START_SECONDS = 3.0
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


async def receive() -> None:
    """Serve those that are well, silent and dripping; print their ports."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            await reader.readexactly(_length(head))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + bytes(1000):
            if writer.is_closing():
                return
            writer.write(bytes([byte]))
            await asyncio.sleep(1)

    servers = [
        await asyncio.start_server(quietly(serve), "127.0.0.1", 0, backlog=1024)
        for serve in (answer, hang, drip)
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def quietly(serve: Any) -> Any:
    """The same, without a word about those that go away."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return served


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


# ---------------------------------------------------------------------------------- one run


def kinds(told: argparse.Namespace) -> list[str]:
    """What each endpoint is, well mixed."""
    found = []
    for number in range(told.endpoints):
        if number % 2 and number // 2 < told.dead:
            found.append(KINDS[1 + number // 2 % 2])
        elif number % 2 == 0 and number // 2 < told.dripping:
            found.append("dripping")
        else:
            found.append("well")
    return found


def add(store: Store, told: argparse.Namespace, ports: dict[str, int]) -> dict[str, list[Endpoint]]:
    """Make the endpoints; gives them by kind."""
    made: dict[str, list[Endpoint]] = {kind: [] for kind in KINDS}
    with store.database.write() as connection:
        for number, kind in enumerate(kinds(told)):
            endpoint = Endpoint(
                id=identifier("end", now_us()),
                name=f"{kind} {number}",
                merchant="default",
                url=f"http://127.0.0.1:{ports[kind]}/{number}",
                dialect="standard_webhooks",
                profile=Profile(currency="KES", timezone="UTC"),
                credentials=Credentials(secrets=(new_secret().encode(),)),
            )
            endpoints.add(connection, store.vault, endpoint, now_us())
            made[kind].append(endpoint)
    return made


def queue(store: Store, group: list[Endpoint]) -> None:
    """Queue a notification for each of these."""
    now = now_us()
    ids = Identifiers(now)
    rows, entries = [], []
    for endpoint in group:
        name = ids.new("ntf")
        rows.append(
            notifications.Entry(
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
        )
        entries.append(delivery("default", name, endpoint, ids, now))
    with store.database.write() as connection:
        notifications.insert(connection, rows)
        deliveries.insert(connection, entries)


def feed(store: Store, worker: Worker, told: argparse.Namespace, to: list[Endpoint]) -> None:
    """Queue for all endpoints in turn, so many a second."""
    began, done = time.monotonic(), 0
    share = len(to) / told.endpoints
    while done < told.rate * told.seconds * share:
        group = [to[(done + number) % len(to)] for number in range(GROUP)]
        queue(store, group)
        worker.wake({endpoint.id for endpoint in group})
        done += GROUP
        time.sleep(max(0.0, began + done / (told.rate * share) - time.monotonic()))


def rss_mb() -> float:
    """The most memory that this process ever had."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def run(told: argparse.Namespace) -> dict[str, Any]:
    """One run, in this process."""
    ports = dict(zip(KINDS, json.loads(told.ports), strict=True))
    store = open_store(Path(told.data), told.url, None)
    made = add(store, told, ports)
    well = made["well"]
    mixed = [item for found in zip_all(list(made.values())) for item in found]
    to = well if told.alone else mixed

    async def main() -> None:
        worker = Worker(store, reach=Reach(allow_private=True), pace=Pace(grace=0))
        task = asyncio.create_task(worker.run())
        # It reads all its endpoints first, which is not what is measured.
        await asyncio.sleep(START_SECONDS)
        thread = threading.Thread(target=feed, args=(store, worker, told, to))
        thread.start()
        await asyncio.to_thread(thread.join)
        await until_delivered(store, {endpoint.id for endpoint in well})
        await worker.stop()
        await task

    asyncio.run(main())
    memory = rss_mb()
    waits = sorted(latencies(store, {endpoint.id for endpoint in well}))
    return {
        "delivered": len(waits),
        "p50_s": waits[len(waits) // 2],
        "p99_s": waits[int(len(waits) * 0.99)],
        "max_s": waits[-1],
        "memory_mb": memory,
    }


def zip_all(lists: list[list[Endpoint]]) -> list[list[Endpoint]]:
    """The lists, dealt out evenly: what there is more of comes oftener."""
    spread = [
        ((number + 0.5) / len(items), item) for items in lists for number, item in enumerate(items)
    ]
    return [[item for _, item in sorted(spread, key=lambda pair: pair[0])]]


async def until_delivered(store: Store, well: set[str]) -> None:
    """Wait until nothing is open to those that are well."""
    query = sa.select(table.c.endpoint).where(table.c.state.in_(("pending", "sending")))
    while True:
        with store.database.read() as connection:
            if not well & set(connection.execute(query).scalars()):
                return
        await asyncio.sleep(0.2)


def latencies(store: Store, well: set[str]) -> list[float]:
    """Seconds from the queue to the merchant, of each delivery to those that are well."""
    query = (
        sa.select(table.c.endpoint, attempts.c.finished_at - table.c.created_at)
        .join(attempts, attempts.c.delivery == table.c.id)
        .where(attempts.c.cause == "delivered")
    )
    with store.database.read() as connection:
        return [wait / 1e6 for name, wait in connection.execute(query) if name in well]


# ---------------------------------------------------------------------------------- the whole


def measure(told: argparse.Namespace) -> dict[str, Any]:
    """Both runs, and what the second has more than the first."""
    with ExitStack() as stack:
        receivers = subprocess.Popen(
            [sys.executable, __file__, "--role", "receive"], stdout=subprocess.PIPE, text=True
        )
        stack.callback(receivers.wait)
        stack.callback(receivers.kill)
        assert receivers.stdout is not None
        well, silent, dripping = json.loads(receivers.stdout.readline())
        closed = stack.enter_context(socket.socket())
        # Bound, and not listening: refused, and nobody else can take it.
        closed.bind(("127.0.0.1", 0))
        ports = [well, closed.getsockname()[1], silent, dripping]
        server = None
        if told.engine == "postgres":
            from arifa.testing.postgres import start_postgres

            server = stack.enter_context(start_postgres(private=True))
        found = {}
        for name in ("alone", "among"):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            command = [sys.executable, __file__, "--role", "run", "--data", folder]
            command += ["--ports", json.dumps(ports), "--engine", told.engine]
            for option in ("endpoints", "dead", "dripping", "rate", "seconds"):
                command += [f"--{option}", str(getattr(told, option))]
            command += ["--alone"] if name == "alone" else []
            command += ["--url", server.create_database()] if server is not None else []
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True
            )
            found[name] = json.loads(done.stdout.splitlines()[-1])
    return {
        "engine": told.engine,
        **found,
        "p99_growth_s": found["among"]["p99_s"] - found["alone"]["p99_s"],
        "memory_growth_mb": found["among"]["memory_mb"] - found["alone"]["memory_mb"],
    }


def main() -> int:
    """Run as told; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--endpoints", type=int, default=2000)
    parser.add_argument("--dead", type=int, default=1000)
    parser.add_argument("--dripping", type=int, default=50)
    parser.add_argument("--rate", type=int, default=200, help="notifications a second, to all")
    parser.add_argument("--seconds", type=int, default=60)
    for hidden in ("--role", "--data", "--ports", "--url"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.role == "receive":
        _allow_many_connections()
        asyncio.run(receive())
    if told.role == "run":
        _allow_many_connections()
        sys.stdout.write(json.dumps(run(told)) + "\n")
        return 0
    found = measure(told)
    sys.stdout.write(json.dumps(found) + "\n" if told.json else _table(found))
    return int(any(found[name] > bar for name, bar in BARS.items()))


def _table(found: dict[str, Any]) -> str:
    lines = [f"engine {found['engine']}, {os.cpu_count()} cores"]
    for name in ("alone", "among"):
        parts = (f"{key} {value:.3g}" for key, value in found[name].items())
        lines.append(f"{name:6} " + "  ".join(parts))
    lines += [f"{name} {found[name]:.3g} (at most {bar:g})" for name, bar in BARS.items()]
    return "\n".join(lines) + "\n"


def _allow_many_connections() -> None:
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
