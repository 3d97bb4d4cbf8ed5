"""What delivering for certain costs: the worker against the bare HTTP client, to the same server.

    python bench/delivery.py [--json] [--count 6000] [--rounds 3] [--only sqlite] [--no-latency]

A delivery of the worker is claimed, read, rendered, signed, sent, judged, and recorded with its
attempt, on disk: at the pace of `arifa serve`, to 32 endpoints at the one server. The baseline sends
the same bytes with a bare general client (aiohttp), 64 at a time, which keeps a core busy, and
reads the answer. Both run in a process of their own, and take turns; a figure is the ratio of their
rates in one round, the median of the rounds.

The latency is from the bank's request, at 300 a second, to the merchant's receipt, through the
whole hub; beside it that of an empty request to a bare server, and fsync's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from bare import started
from intake import fsync_p99_ms
from receiver import receiving, seen
from traffic import feed, requests

from arifa.clock import now_us
from arifa.feed import Endpoint, Profile
from arifa.hub.queue import delivery
from arifa.hub.receive import Receiver
from arifa.identifiers import Identifiers, identifier
from arifa.signing import Credentials
from arifa.store import deliveries, endpoints
from arifa.store.opened import Store, open_store
from arifa.store.schema import attempts, notifications
from arifa.store.schema import deliveries as table
from arifa.wire import read_request

BARS = {"sqlite_delivery_ratio": 0.5, "postgres_delivery_ratio": 0.4}
AT_ONCE = 64
RATE = 300
ENDPOINTS = 32

_WORKER = """
import sys, os, time
sys.path.insert(0, sys.argv[1])
import delivery
delivery.work(*sys.argv[2:])
"""
_CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
import delivery
delivery.call(*sys.argv[2:])
"""


# ---------------------------------------------------------------------------------- processes


def work(folder: str, url: str) -> None:
    """In a process of its own: deliver what waits in the store; prints seconds and CPU."""
    import uvloop

    from arifa import dialects
    from arifa.delivery import outbound
    from arifa.delivery.transport import Reach
    from arifa.delivery.worker import Worker
    from arifa.web.server import tune_interpreter

    # What a process loads once is not what a delivery costs.
    assert outbound
    assert dialects.get("standard_webhooks")
    store = open_store(Path(folder), url or None)
    tune_interpreter()

    async def run() -> None:
        worker = Worker(store, reach=Reach(allow_private=True))
        task = asyncio.create_task(worker.run())
        while await asyncio.to_thread(_waiting, store):  # noqa: ASYNC110  as another process would
            await asyncio.sleep(0.02)
        await worker.stop()
        await task

    begun, cpu = time.monotonic(), time.process_time()
    uvloop.run(run())
    print(time.monotonic() - begun, time.process_time() - cpu)


def _waiting(store: Store) -> bool:
    # As cheap as can be: this is asked within the process that is measured.
    query = "SELECT 1 FROM deliveries WHERE state IN ('pending', 'sending') LIMIT 1"
    with store.database.read() as connection:
        return connection.exec_driver_sql(query).first() is not None


def call(port: str, count: str, body: str) -> None:
    """In a process of its own: send the same request `count` times; prints seconds and CPU."""
    import aiohttp
    import uvloop

    content = Path(body).read_bytes()
    raw = read_request(content)
    headers = {
        name.decode(): value.decode()
        for name, value in raw.headers
        if name not in (b"host", b"content-length")
    }

    async def run() -> None:
        left = int(count)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        ) as session:

            async def one() -> None:
                nonlocal left
                while left > 0:
                    left -= 1
                    async with session.post(
                        f"http://127.0.0.1:{port}/hook",
                        data=raw.body,
                        headers=headers,
                        allow_redirects=False,
                    ) as response:
                        await response.read()

            await asyncio.gather(*(one() for _ in range(AT_ONCE)))

    begun, cpu = time.monotonic(), time.process_time()
    uvloop.run(run())
    print(time.monotonic() - begun, time.process_time() - cpu)


def _apart(program: str, *arguments: object) -> tuple[float, float]:
    """(seconds, CPU seconds) of one of the above."""
    command = [sys.executable, "-c", program, str(Path(__file__).parent), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    seconds, cpu = done.stdout.split()[-2:]
    return float(seconds), float(cpu)


# ---------------------------------------------------------------------------------- the ratio


def measure(folder: Path, url: str | None, given: argparse.Namespace) -> dict[str, float]:
    """One engine against the baseline, in turns."""
    store = open_store(folder, url)
    rounds = []
    with receiving() as server:
        made = _filled(store, server.port, given.count)
        sample = _sample(store, folder)
        _apart(_CLIENT, server.port, 500, sample)
        for _ in range(given.rounds):
            base, base_cpu = _apart(_CLIENT, server.port, given.count, sample)
            _queue(store, made)
            seen(server)
            ours, our_cpu = _apart(_WORKER, folder, url or "")
            _check(store, made)
            rounds.append(
                {
                    "ratio": base / ours,
                    "rate": given.count / ours,
                    "client_rate": given.count / base,
                    "cpu_us": 1e6 * our_cpu / given.count,
                    "client_cpu_us": 1e6 * base_cpu / given.count,
                }
            )
    store.close()
    return {key: statistics.median(item[key] for item in rounds) for key in rounds[0]}


def _filled(store: Store, port: int, count: int) -> list[tuple[str, str, Endpoint]]:
    """Notifications as the intake stores them, and endpoints at the server; nothing is queued."""
    made = feed(store, "kcb")
    receiver = Receiver(store, now_us)
    raw = [read_request(message, received_at=now_us()) for message in requests(made, count)]
    for begin in range(0, count, 64):
        group = raw[begin : begin + 64]
        receiver.receive([receiver.prepare(made.source.token, request) for request in group])
    receiver.close()
    shops = [_shop(store, number, port) for number in range(ENDPOINTS)]
    with store.database.write() as connection:
        connection.execute(sa.delete(table))
        rows = connection.execute(sa.select(notifications.c.merchant, notifications.c.id)).all()
    assert len(rows) == count, len(rows)
    return [(row[0], row[1], shops[number % ENDPOINTS]) for number, row in enumerate(rows)]


def _shop(store: Store, number: int, port: int) -> Endpoint:
    endpoint = Endpoint(
        id=identifier("end", now_us()),
        name=f"shop-{number}",
        merchant="default",
        url=f"http://127.0.0.1:{port}/hook",
        dialect="standard_webhooks",
        profile=Profile(currency="KES", timezone="UTC"),
        credentials=Credentials(secrets=(b"whsec_" + b"A" * 32,)),
        # Told of nothing by itself: the benchmark queues.
        alerts=True,
    )
    with store.database.write() as connection:
        endpoints.add(connection, store.vault, endpoint, now_us())
    return endpoint


def _queue(store: Store, made: list[tuple[str, str, Endpoint]]) -> None:
    ids = Identifiers(now_us())
    with store.database.write() as connection:
        connection.execute(sa.delete(attempts))
        connection.execute(sa.delete(table))
        rows = [delivery(owner, item, endpoint, ids, now_us()) for owner, item, endpoint in made]
        for begin in range(0, len(rows), 1000):
            deliveries.insert(connection, rows[begin : begin + 1000])


def _sample(store: Store, folder: Path) -> Path:
    """One of the very requests that the worker sends."""
    from arifa import dialects
    from arifa.store.notifications import built

    with store.database.read() as connection:
        found = built(connection.execute(sa.select(notifications).limit(1)).one())
    dialect = dialects.get("standard_webhooks")
    profile = Profile(currency="KES", timezone="UTC")
    request = dialect.render(found, profile)
    secret = Credentials(secrets=(b"whsec_" + b"A" * 32,))
    path = folder / "sample.http"
    path.write_bytes(dialect.sign(request, secret, now_us()).to_bytes())
    return path


def _check(store: Store, made: list[tuple[str, str, Endpoint]]) -> None:
    with store.database.read() as connection:
        states = {
            row[0]: row[1]
            for row in connection.execute(
                sa.select(table.c.state, sa.func.count()).group_by(table.c.state)
            )
        }
        tried = connection.execute(sa.select(sa.func.count()).select_from(attempts)).scalar()
    if states != {"delivered": len(made)} or tried != len(made):
        raise RuntimeError(f"not every delivery was made once: {states}, {tried} attempts")


# ---------------------------------------------------------------------------------- latency

_SERVE = """
import sys
from pathlib import Path
from arifa.web.server import serve
sys.exit(serve(store_folder=Path(sys.argv[1]), database_url=sys.argv[2] or None,
               port=0, admin_port=0, allow_private=True))
"""


def latency(folder: Path, url: str | None, seconds: float) -> dict[str, float]:
    """From a bank's request to the merchant's receipt, in milliseconds."""
    store = open_store(folder, url)
    made = feed(store, "kcb")
    count = int(RATE * seconds)
    with ExitStack() as stack:
        merchant, bare = stack.enter_context(receiving()), stack.enter_context(started())
        with store.database.write() as connection:
            for endpoint in endpoints.listed(connection, store.vault):
                endpoints.remove(connection, endpoint, now_us())
        shop = _shop(store, 0, merchant.port)
        with store.database.write() as connection:
            from dataclasses import replace

            endpoints.update(connection, store.vault, replace(shop, alerts=False), now_us())
        command = [sys.executable, "-c", _SERVE, str(folder), url or ""]
        hub = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(hub.terminate)
        assert hub.stdout is not None
        port = int(hub.stdout.readline().rpartition(":")[2])
        empty = asyncio.run(_sent(bare.port, [_EMPTY] * count))
        messages = list(requests(made, count))
        sent = asyncio.run(_sent(port, messages))
        time.sleep(2)
        arrived = seen(merchant)
    store.close()
    taken = [
        (arrived[name] - begun) / 1e6
        for number, (begun, _) in enumerate(sent)
        if (name := f"FT{number:010d}") in arrived
    ]
    if len(taken) != count:
        raise RuntimeError(f"{count} were sent, {len(taken)} arrived")
    return {
        "receipt_p50_ms": _part(taken, 0.50),
        "receipt_p99_ms": _part(taken, 0.99),
        "answer_p99_ms": _part([(end - begun) / 1e6 for begun, end in sent], 0.99),
        "empty_p50_ms": _part([(end - begun) / 1e6 for begun, end in empty], 0.50),
        "empty_p99_ms": _part([(end - begun) / 1e6 for begun, end in empty], 0.99),
        "receipt_fsync_p99_ms": fsync_p99_ms(folder),
    }


_EMPTY = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"


def _part(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


async def _sent(port: int, messages: list[bytes]) -> list[tuple[int, int]]:
    """Send at the rate, each when it is due; (due, answered) in monotonic nanoseconds."""
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(AT_ONCE):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    begun = time.monotonic_ns() + 100_000_000

    async def one(number: int, message: bytes) -> tuple[int, int]:
        due = begun + number * 1_000_000_000 // RATE
        await asyncio.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        reader, writer = await free.get()
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        size = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(size))
        free.put_nowait((reader, writer))
        return due, time.monotonic_ns()

    return list(await asyncio.gather(*(one(n, item) for n, item in enumerate(messages))))


# ---------------------------------------------------------------------------------- main


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the latency's load")
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    parser.add_argument("--no-latency", action="store_true")
    given = parser.parse_args()
    figures: dict[str, float] = {}
    with ExitStack() as stack:
        for engine in ("sqlite", "postgres"):
            if given.only not in (None, engine):
                continue
            postgres = None
            if engine == "postgres":
                from arifa.testing.postgres import start_postgres

                postgres = stack.enter_context(start_postgres(private=True))

            def place(postgres: Any = postgres) -> tuple[Path, str | None]:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="arifa-bench-"))
                return Path(folder), None if postgres is None else postgres.create_database()

            found = measure(*place(), given)
            if not given.no_latency:
                found.update(latency(*place(), given.seconds))
            named = {
                key if key.startswith("receipt") else f"delivery_{key}": value
                for key, value in found.items()
            }
            figures.update({f"{engine}_{key}": value for key, value in named.items()})
    if given.json:
        print(json.dumps({key: round(value, 4) for key, value in figures.items()}))
    else:
        for key, value in figures.items():
            bar = f"   (bar {BARS[key]:.2f})" if key in BARS else ""
            print(f"{key:32} {value:10.2f}{bar}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
