"""Promise 1, tried: kill -9 at a random moment, and look whether every yes is in the books once.

    python bench/kill.py [--runs 20] [--engine sqlite|postgres|both] [--server] [--json]

Each run sends distinct notifications over 64 connections, kills the hub (with `--server`, for
PostgreSQL, the database server instead) at a random moment of a random group, which is before the
load's end on a fast machine and after its beginning on a slow one, with at least 32 requests open,
starts it again, and compares what the client's own process recorded as acknowledged with the books: each
is there once, with its delivery; nothing is there twice; the chain of seals is whole. In every
second run the process that writes for the hub, if there is one, is killed a moment before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from intake import hub
from load import Load, Result, run_apart, write_requests
from traffic import Feed, feed, requests

from arifa.notification import Reading
from arifa.store import seals
from arifa.store.opened import Store, check_sealed, open_store
from arifa.store.schema import deliveries, notifications

REQUESTS_A_RUN = 12_000
GROUPS = 10, 120  # of 64 requests at most
BEGIN_SECONDS = 60
OPEN_MIN = 32
TRIES_MAX = 3


@dataclass
class Found:
    """What the runs came to."""

    engine: str
    runs: int = 0
    acknowledged: int = 0
    lost: int = 0
    without_delivery: int = 0
    twice: int = 0
    open_at_kill: list[int] = field(default_factory=list)
    clerks_killed: int = 0

    @property
    def is_good(self) -> bool:
        """Nothing acknowledged was lost, and nothing counted twice."""
        return (
            self.runs > 0
            and self.acknowledged > 0
            and not (self.lost or self.without_delivery or self.twice)
        )


def run(engine: str, runs: int, *, seed: int = 1, kills_server: bool = False) -> Found:
    """Kill and compare `runs` times on this engine."""
    chance = random.Random(seed)
    found = Found(engine)
    with ExitStack() as stack:
        postgres, url = None, None
        if engine == "postgres":
            from arifa.testing.postgres import start_postgres

            postgres = stack.enter_context(start_postgres(private=True))
            url = postgres.create_database()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arifa-kill-")))
        store = open_store(folder, url)
        made = feed(store, "cbs")
        store.close()
        for attempt in range(TRIES_MAX * runs):
            start = attempt * REQUESTS_A_RUN
            result = _killed(
                folder,
                url,
                made,
                start,
                chance,
                postgres=postgres if kills_server else None,
                found=found if attempt % 2 else None,
            )
            _compare(found, folder, url, result, start)
            if found.runs == runs:
                break
    return found


def _killed(
    folder: Path,
    url: str | None,
    made: Feed,
    start: int,
    chance: random.Random,
    *,
    postgres: Any,
    found: Found | None,
) -> Result:
    """One run: the load's own record of what was acknowledged until the kill.

    With `found` the clerk is killed before, and counted there.
    """
    path = folder / "load.bin"
    write_requests(path, requests(made, REQUESTS_A_RUN, start))
    results: list[Result] = []
    with hub(folder, url) as server:
        load = Load(server.port, seconds=30, requests=str(path), acknowledged=True)
        client = threading.Thread(target=lambda: results.append(run_apart(load)))
        # Its clerk is up by then, or is not.
        time.sleep(chance.uniform(0, 1.5))
        begun = _groups(folder)
        client.start()
        goal = begun + chance.randint(*GROUPS)
        patience = time.monotonic() + BEGIN_SECONDS
        while _groups(folder) < goal and client.is_alive() and time.monotonic() < patience:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        if found is not None:
            for clerk in server.children():
                os.kill(clerk, signal.SIGKILL)
                found.clerks_killed += 1
            time.sleep(chance.uniform(0, 0.3))
        if postgres is not None:
            postgres.kill()
            time.sleep(0.3)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        client.join()
    if postgres is not None:
        postgres.restart()
    if not results:
        raise RuntimeError("the load did not come through: nothing can be said of this run")
    return results[0]


def _groups(folder: Path) -> int:
    """How many groups the hub has acknowledged, as it notes beside its data."""
    noted = (path.read_text() for path in folder.glob(f"{seals.HEAD_PREFIX}*"))
    return sum(int(number[1]) for text in noted if (number := re.match(r"\S+ (\d+) ", text)))


def _compare(found: Found, folder: Path, url: str | None, result: Result, start: int) -> None:
    store = open_store(folder, url)
    try:
        check_sealed(store)
        with store.database.read() as connection:
            checked, wrong = seals.verify(connection, store.writer)
        if wrong is not None:
            raise RuntimeError(f"after {checked} seals: {wrong}")
        references, delivered = _books(store)
    finally:
        store.close()
    found.acknowledged += len(result.acknowledged)
    if result.open_at_loss >= OPEN_MIN:
        # Else it was killed in a quiet moment: looked at all the same, but not counted.
        found.runs += 1
        found.open_at_kill.append(result.open_at_loss)
    found.twice = sum(count - 1 for count in references.values())
    for index in result.acknowledged:
        reference = f"PR-{start + index:08d}"
        found.lost += reference not in references
        found.without_delivery += reference in references and delivered[reference] != 1


def _books(store: Store) -> tuple[Counter[str], Counter[str]]:
    """By bank reference: how many notifications, and how many deliveries, there are."""
    import msgspec

    read = msgspec.json.Decoder(Reading).decode
    with store.database.read() as connection:
        rows = connection.execute(sa.select(notifications.c.id, notifications.c.reading)).all()
        queued = Counter(connection.execute(sa.select(deliveries.c.notification)).scalars())
    by_id = {row.id: read(row.reading).bank_reference or "" for row in rows}
    delivered: Counter[str] = Counter()
    for identity, count in queued.items():
        delivered[by_id[identity]] += count
    return Counter(by_id.values()), delivered


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--engine", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--server", action="store_true", help="kill PostgreSQL, and then the hub")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    engines = ("sqlite", "postgres") if given.engine == "both" else (given.engine,)
    everything = []
    for engine in engines:
        kills_server = given.server and engine == "postgres"
        everything.append(run(engine, given.runs, seed=given.seed, kills_server=kills_server))
    for found in everything:
        if not given.json:
            print(
                f"{found.engine}: {found.runs} kills, {found.acknowledged} acknowledged, "
                f"{found.lost} lost, {found.without_delivery} without their delivery, "
                f"{found.twice} twice; open at the kill: {min(found.open_at_kill)} or more; "
                f"{found.clerks_killed} clerks killed before"
            )
    if given.json:
        print(json.dumps([asdict(found) for found in everything]))
    return 0 if all(found.is_good for found in everything) else 1


if __name__ == "__main__":
    sys.exit(main())
