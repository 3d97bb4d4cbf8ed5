"""What may arrive, all of it: the whole hostile corpus and random mutations through the receiver.

    python bench/hostile.py [--engine sqlite|postgres|both] [--mutations 100000] [--seed 1]
                            [--banks kcb,cbs] [--json]

Every body of the corpus, on every case of every dialect, proven as its bank would and unproven; then
mutations of genuine bodies: bytes out of place, members of other types, parts of other messages.
Each request must get one answer that its dialect reads back, never UNAVAILABLE, for less than 50 ms
of CPU, and on both engines the same. Exits 1 where one did not.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from arifa import dialects
from arifa.hub.prepare import Prepared
from arifa.outcome import RECEIVED, STATUS, Outcome
from arifa.store.opened import open_store
from arifa.wire import WireRequest, WireResponse
from tests.hub.bank import Hub
from tests.web import hostile

GROUP = 64
CPU_SECONDS = 0.05
IDS = re.compile(rb"(ntf|inb|case|dlv)_[0-9a-z]+")


@dataclass
class Found:
    """What one engine came to. `wrong` names the first requests that went wrong, and how."""

    engine: str
    corpus: int = 0
    mutations: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    slowest_ms: float = 0.0
    slowest: str = ""
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def corpus(banks: list[str]) -> Iterator[tuple[str, str, bytes]]:
    """(bank, name, body) of every odd body on every case."""
    for bank in banks:
        for case in dialects.get(bank).cases:
            for item in hostile.bodies(bank, case):
                yield bank, f"{bank} {case}: {item.name}", item.body


def mutations(
    banks: list[str], count: int, chance: random.Random
) -> Iterator[tuple[str, str, bytes]]:
    """(bank, name, body) of genuine bodies that something was done to."""
    cases = [(bank, case) for bank in banks for case in dialects.get(bank).cases.values()]
    texts = (*hostile.TEXTS, *hostile.AMOUNTS, *hostile.CURRENCIES)
    for number in range(count):
        bank, case = chance.choice(cases)
        body = case.body
        if chance.random() < 0.6:
            for _ in range(chance.randint(1, 3)):
                document = json.loads(body)
                path = chance.choice(list(hostile.leaves(document)))
                raw = chance.choice(
                    [json.dumps(chance.choice(texts)), chance.choice(hostile.VALUES)]
                )
                try:
                    body = json.dumps(json.loads(hostile.replaced(document, path, raw))).encode()
                except ValueError:
                    break
        body = hostile.fresh(body, number % 1_000_000)
        if chance.random() < 0.6:
            body = _spoiled(body, chance, cases)
        yield bank, f"{bank} mutation {number}", body


def _spoiled(body: bytes, chance: random.Random, cases: list[tuple[str, Any]]) -> bytes:
    for _ in range(chance.randint(1, 4)):
        at, size = chance.randint(0, len(body)), chance.choice((0, 0, 1, 1, 8, 80))
        other = chance.choice(cases)[1].body
        start = chance.randint(0, len(other))
        put = chance.choice(
            (
                b"",
                bytes([chance.randrange(256)]),
                chance.choice(
                    (b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\x00", b"\\u0000")
                ),
                chance.choice((b"\\ud800", b"\xed\xa0\x80", b"\xff", b"1e999", b"NaN", b"-")),
                other[start : start + 60],
            )
        )
        body = body[:at] + put + body[at + size :]
    return body


def run(engine: str, url: str | None, given: argparse.Namespace) -> tuple[Found, list[Any]]:
    """Everything on one engine; gives what each request was answered, without ids."""
    found, verdicts = Found(engine), []
    statuses: Counter[str] = Counter()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="arifa-hostile-") as folder:
        store = open_store(Path(folder), url)
        hub = Hub(store)
        hub.endpoint()
        for bank, credentials in hostile.HUB.items():
            hub.source(bank, credentials=credentials)
        chance = random.Random(given.seed)
        for kind, items in (
            ("corpus", corpus(given.banks)),
            ("mutations", mutations(given.banks, given.mutations, chance)),
        ):
            while group := list(islice(items, GROUP)):
                requests = [
                    (bank, name, request)
                    for bank, name, body in group
                    for request in _both(bank, body)
                ]
                answers = _answered(hub, requests, found)
                for (bank, name, _), answer in zip(requests, answers, strict=True):
                    statuses[f"{bank} {answer.status}"] += 1
                    verdicts.append((name, answer.status, IDS.sub(b"", answer.body)))
                    _check(bank, name, answer, found)
                setattr(found, kind, getattr(found, kind) + len(group))
        store.close()
    found.statuses = dict(sorted(statuses.items()))
    found.seconds = round(time.monotonic() - begun, 1)
    return found, verdicts


def _both(bank: str, body: bytes) -> Iterator[WireRequest]:
    request = hostile.genuine(bank, body)
    yield request
    yield replace(request, headers=())


def _answered(
    hub: Hub, requests: list[tuple[str, str, WireRequest]], found: Found
) -> list[WireResponse]:
    group: list[Prepared] = []
    for bank, name, request in requests:
        begun = time.thread_time()
        group.append(hub.receiver.prepare(hub.sources[bank].token, request))
        taken = time.thread_time() - begun
        if taken * 1000 > found.slowest_ms:
            found.slowest_ms, found.slowest = round(taken * 1000, 1), name
        if taken > CPU_SECONDS:
            _note(found, f"{name}: {taken * 1000:.0f} ms of CPU")
    return [answer or WireResponse(404) for answer in hub.receiver.receive(group)]


def _check(bank: str, name: str, answer: WireResponse, found: Found) -> None:
    dialect = dialects.get(bank)
    by_status = {status: outcome for outcome, status in STATUS.items()}
    expected = by_status.get(answer.status)
    if expected is None or expected is Outcome.UNAVAILABLE:
        _note(found, f"{name}: answered {answer.status}")
        return
    read = dialect.read_acknowledgement(answer, dialect.defaults)
    if read.is_received != (expected in RECEIVED):
        _note(found, f"{name}: the answer reads as {read.outcome.value}")


def _note(found: Found, sentence: str) -> None:
    if len(found.wrong) < 20:
        found.wrong.append(sentence)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--banks", type=lambda text: text.split(","), default=sorted(hostile.HUB))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results: list[Found] = []
    verdicts: list[list[Any]] = []
    with ExitStack() as stack:
        for engine in ("sqlite", "postgres") if given.engine == "both" else (given.engine,):
            url = None
            if engine == "postgres":
                from arifa.testing.postgres import start_postgres

                url = stack.enter_context(start_postgres(private=True)).create_database()
            found, answered = run(engine, url, given)
            results.append(found)
            verdicts.append(answered)
    if len(verdicts) == 2:
        for one, other in zip(*verdicts, strict=True):
            if one != other:
                _note(results[1], f"{one[0]}: {one[1:]} on SQLite, {other[1:]} on PostgreSQL")
    for found in results:
        if not given.json:
            print(
                f"{found.engine}: {found.corpus} bodies and {found.mutations} mutations in "
                f"{found.seconds} s; slowest {found.slowest_ms} ms of CPU ({found.slowest}); "
                f"{len(found.wrong)} wrong"
            )
            print("\n".join(found.wrong))
    if given.json:
        print(json.dumps([asdict(found) for found in results]))
    return 0 if all(found.corpus and not found.wrong for found in results) else 1


if __name__ == "__main__":
    sys.exit(main())
