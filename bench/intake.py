"""What durability costs: the intake against a bare handler, under the same server and load.

    python bench/intake.py [--json] [--seconds 4] [--rounds 3] [--only sqlite_hmac] [--no-postgres]

An answer of the intake means: proven, read, and on disk (an inbox row with its bytes, a
notification, its identity, one delivery, a seal), synced. An answer of the baseline means that the
body was read. Both run under the same uvicorn flags and protocol class, one process each, in turns,
with 64 connections; a figure is the ratio of their rates in one round, the median of the rounds.
`syncs_per_request` is of the whole process, as strace would count it: fdatasync calls, read from
/proc where the kernel tells, else estimated from the seals (one group, one sync).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from bare import Server, started
from load import Load, Result, run_apart, write_requests
from traffic import Feed, feed, requests

from arifa.store.opened import Store, open_store
from arifa.store.schema import deliveries, identities, inbox, notifications, seals

CONFIGURATIONS = {
    "sqlite_hmac": ("sqlite", "cbs"),
    "sqlite_basic": ("sqlite", "jenga"),
    "sqlite_rsa": ("sqlite", "kcb"),
    "postgres_hmac": ("postgres", "cbs"),
}
BARS = {
    "sqlite_hmac_ratio": 0.30,
    "sqlite_basic_ratio": 0.30,
    "sqlite_rsa_ratio": 0.20,
    "postgres_hmac_ratio": 0.20,
}
_SERVE = """
import sys
from pathlib import Path
from arifa.web.server import serve
sys.exit(serve(store_folder=Path(sys.argv[1]), database_url=sys.argv[2] or None,
               port=0, admin_port=0, deliver=False))
"""


@contextmanager
def hub(folder: Path, url: str | None) -> Iterator[Server]:
    """The hub, serving, without its delivery worker."""
    command = [sys.executable, "-c", _SERVE, str(folder), url or ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield Server(process, int(line.rpartition(":")[2]))
        finally:
            process.terminate()


def fsync_p99_ms(folder: Path, times: int = 300) -> float:
    """The 99th percentile of appending 4 KiB and syncing it, in this folder, now."""
    taken = []
    path = folder / "fsync-probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for _ in range(times):
            os.write(descriptor, b"x" * 4096)
            begun = time.perf_counter()
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - begun)
    finally:
        os.close(descriptor)
        path.unlink()
    return 1000 * sorted(taken)[int(times * 0.99) - 1]


def _rows(store: Store) -> dict[str, int]:
    with store.database.read() as connection:
        return {
            table.name: int(
                connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() or 0
            )
            for table in (inbox, notifications, identities, deliveries, seals)
        }


def measure(name: str, folder: Path, url: str | None, given: argparse.Namespace) -> dict[str, Any]:
    """One configuration against the baseline, in turns."""
    dialect = CONFIGURATIONS[name][1]
    store = open_store(folder, url)
    made = feed(store, dialect)
    rounds: list[dict[str, float]] = []
    used = 0
    with started() as bare, hub(folder, url) as server:
        _one(bare, made, folder, 0, 0.5)
        used += _one(server, made, folder, used, 0.5).sent
        for _ in range(given.rounds):
            base, base_cpu = _timed(bare, made, folder, used, given.seconds)
            before = _rows(store)
            ours, our_cpu = _timed(server, made, folder, used, given.seconds)
            used += ours.sent
            _check(ours, before, _rows(store))
            groups = _rows(store)["seals"] - before["seals"]
            rounds.append(
                {
                    "ratio": ours.rate / base.rate,
                    "rate": ours.rate,
                    "bare_rate": base.rate,
                    "cpu_us": our_cpu,
                    "bare_cpu_us": base_cpu,
                    "syncs_per_request": groups / max(1, ours.requests),
                }
            )
        top = statistics.median(item["rate"] for item in rounds)
        half = _one(server, made, folder, used, given.seconds, rate=top / 2)
        fsync = fsync_p99_ms(folder)
    store.close()
    found = {key: statistics.median(item[key] for item in rounds) for key in rounds[0]}
    return {
        **found,
        "half_rate_p50_ms": half.p50_ms,
        "half_rate_p99_ms": half.p99_ms,
        "fsync_p99_ms": fsync,
    }


def _check(result: Result, before: dict[str, int], after: dict[str, int]) -> None:
    """Every yes is in the books, with its notification, its identity and its delivery."""
    for table in (inbox, notifications, identities, deliveries):
        if after[table.name] - before[table.name] < result.ok:
            raise RuntimeError(f"{result.ok} answers, but fewer rows of {table.name}")
    if result.ok != result.requests:
        raise RuntimeError(f"not every request was received: {result.by_status}")


def _timed(
    server: Server, made: Feed, folder: Path, start: int, seconds: float
) -> tuple[Result, float]:
    before = server.cpu_seconds()
    result = _one(server, made, folder, start, seconds)
    return result, 1e6 * (server.cpu_seconds() - before) / max(1, result.requests)


def _one(
    server: Server, made: Feed, folder: Path, start: int, seconds: float, rate: float | None = None
) -> Result:
    path = folder / "load.bin"
    is_bare = "bare" in str(server.process.args)
    wanted = 4000 if is_bare else int(seconds * (rate or 16_000)) + 1000
    write_requests(path, requests(made, wanted, start))
    return run_apart(
        Load(server.port, seconds=seconds, requests=str(path), rate=rate, repeat=is_bare)
    )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=CONFIGURATIONS)
    parser.add_argument("--no-postgres", action="store_true")
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    with ExitStack() as stack:
        postgres = None
        for name, (engine, _) in CONFIGURATIONS.items():
            if (given.only and name != given.only) or (given.no_postgres and engine != "sqlite"):
                continue
            url = None
            if engine == "postgres":
                from arifa.testing.postgres import start_postgres

                postgres = postgres or stack.enter_context(start_postgres(private=True))
                url = postgres.create_database()
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arifa-bench-")))
            found = measure(name, folder, url, given)
            figures[f"{name}_ratio"] = found["ratio"]
            figures.update({f"{name}_{key}": value for key, value in found.items()})
            if not given.json:
                _print(name, found)
    if given.json:
        print(json.dumps({key: round(value, 4) for key, value in figures.items()}))
    return 0


def _print(name: str, found: dict[str, float]) -> None:
    bar = BARS[f"{name}_ratio"]
    print(
        f"{name:14} ratio {found['ratio']:.2f} (bar {bar:.2f})   "
        f"{found['rate']:6.0f}/s of {found['bare_rate']:6.0f}/s   "
        f"CPU {found['cpu_us']:.0f} of {found['bare_cpu_us']:.0f} us   "
        f"syncs/request {found['syncs_per_request']:.3f}   "
        f"at half rate p99 {found['half_rate_p99_ms']:.1f} ms (fsync p99 {found['fsync_p99_ms']:.1f})"
    )


if __name__ == "__main__":
    sys.exit(main())
