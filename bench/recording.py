"""What recording costs: microseconds of CPU a request, stage by stage, without HTTP and proofs.

    python bench/recording.py [--json] [--groups 400] [--dialect cbs] [--engine sqlite]

`compose` makes the rows and answers of a group; `write` puts the rows into the books; `commit` is
the rest of the transaction: beginning it, the configuration's number, COMMIT, the seal's note. CPU
of this process's threads, not time, so that a busy machine and a slow disk do not show; the CPU of
a PostgreSQL server does not either. A figure is the least tenth of the repeats, and its spread the
median over that. `pages` are those that a group adds to SQLite's log.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from traffic import Feed, feed, requests

from arifa.clock import now_us
from arifa.hub.prepare import Prepared
from arifa.hub.receive import Receiver
from arifa.hub.record import Group
from arifa.store.opened import Store, open_store
from arifa.wire import WireRequest, read_request

SIZES = (1, 8, 32, 64)
DIALECTS = ("cbs", "jenga", "kcb")
STAGES = ("compose", "write", "commit")
_PAGE_HEADER = 24


class Watch:
    """CPU seconds of one group, by stage."""

    def __init__(self) -> None:
        self.write = 0.0

    @contextmanager
    def on(self) -> Iterator[None]:
        """Time `Group.write` wherever it is called from."""
        plain: Callable[..., Any] = Group.write

        def timed(*given: Any, **named: Any) -> Any:
            begun = time.thread_time()
            try:
                return plain(*given, **named)
            finally:
                self.write = time.thread_time() - begun

        Group.write = timed  # type: ignore[method-assign]
        try:
            yield
        finally:
            Group.write = plain  # type: ignore[method-assign]


def measure(store: Store, dialect: str, groups: int) -> dict[str, float]:
    """Every size of group in turns, so that no size has a quieter machine than another."""
    made = feed(store, dialect)
    receiver, watch = Receiver(store), Watch()
    taken: dict[str, list[float]] = {f"{stage}_{size}": [] for stage in STAGES for size in SIZES}
    coming = _prepared(receiver, made, groups * sum(SIZES) + 1)
    receiver.receive([next(coming)])  # knows the chain's end from here on
    with watch.on():
        for _ in range(groups):
            for size in SIZES:
                found = _group(receiver, watch, [next(coming) for _ in range(size)])
                for stage, seconds in zip(STAGES, found, strict=True):
                    taken[f"{stage}_{size}"].append(1e6 * seconds / size)
    figures = {name: _least(values) for name, values in taken.items()}
    if store.database.is_sqlite:
        figures["pages_32"] = _pages(store, receiver, made, groups * sum(SIZES) + 1)
    receiver.close()
    return figures


def _group(receiver: Receiver, watch: Watch, group: list[Prepared]) -> tuple[float, float, float]:
    begun = time.thread_time()
    composed = receiver.compose(group)
    compose = time.thread_time() - begun
    if composed is None:
        raise RuntimeError("the group was not composed without the books: this measured nothing")
    begun = time.thread_time()
    answers = receiver.commit(composed)
    commit = time.thread_time() - begun
    if any(answer is None or answer.status != 200 for answer in answers):
        raise RuntimeError("not every request was received")
    return compose, watch.write, commit - watch.write


def _least(values: list[float]) -> float:
    """Of CPU time on a shared machine, the undisturbed: the mean of the lowest tenth."""
    low = sorted(values)[: max(1, len(values) // 10)]
    return statistics.fmean(low)


def _pages(store: Store, receiver: Receiver, made: Feed, start: int) -> float:
    """Pages in the log for a group of 32, the mean of 20 groups after a checkpoint."""
    with store.database.write() as connection:
        size = int(connection.exec_driver_sql("PRAGMA page_size").scalar() or 0)
    with store.database.read() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
    coming = _prepared(receiver, made, 21 * 32, start)
    frames = []
    log = Path(f"{store.database.url.database}-wal")
    receiver.receive([next(coming) for _ in range(32)])
    for _ in range(20):
        before = _frames(log, size)
        receiver.receive([next(coming) for _ in range(32)])
        frames.append(_frames(log, size) - before)
    return statistics.fmean(frames)


def _frames(log: Path, page: int) -> int:
    """How many frames of the log carry its current salt."""
    data = log.read_bytes()
    salt, step = data[16:24], page + _PAGE_HEADER
    return sum(data[at + 8 : at + 16] == salt for at in range(32, len(data) - page, step))


def _prepared(receiver: Receiver, made: Feed, count: int, start: int = 0) -> Iterator[Prepared]:
    """Payments of their own, proven and read as the intake does."""
    token = made.source.token
    for message in requests(made, count, start):
        read = read_request(message, peer="127.0.0.1", received_at=now_us())
        request = WireRequest(
            body=read.body,
            headers=read.headers,
            target="/ipn/",
            peer=read.peer,
            received_at=read.received_at,
        )
        yield receiver.prepare(token, request)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--groups", type=int, default=300, help="groups of each size")
    parser.add_argument("--dialect", choices=DIALECTS)
    parser.add_argument("--engine", choices=("sqlite", "postgres"))
    given = parser.parse_args()
    figures: dict[str, float] = {}
    with ExitStack() as stack:
        postgres = None
        for engine in (given.engine,) if given.engine else ("sqlite", "postgres"):
            if engine == "postgres":
                from arifa.testing.postgres import start_postgres

                postgres = stack.enter_context(start_postgres(private=True))
            for dialect in (given.dialect,) if given.dialect else DIALECTS:
                url = None if postgres is None else postgres.create_database()
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arifa-")))
                store = open_store(folder, url)
                found = measure(store, dialect, given.groups)
                store.close()
                figures.update({f"{engine}_{dialect}_{key}": it for key, it in found.items()})
                if not given.json:
                    _print(f"{engine} {dialect}", found)
    if given.json:
        print(json.dumps({key: round(value, 2) for key, value in figures.items()}))
    return 0


def _print(name: str, found: dict[str, float]) -> None:
    print(name, f"{found['pages_32']:.0f} pages" if "pages_32" in found else "")
    for size in SIZES:
        each = [found[f"{stage}_{size}"] for stage in STAGES]
        said = "   ".join(f"{stage} {it:6.1f}" for stage, it in zip(STAGES, each, strict=True))
        print(f"  groups of {size:2}:   {said}   all {sum(each):6.1f} us a request", flush=True)


if __name__ == "__main__":
    sys.exit(main())
