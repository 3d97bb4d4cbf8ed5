"""Whether the hub slows down or swells as its books grow.

    python bench/growth.py [--json] [--to 1000000] [--engine sqlite|postgres] [--scattered]

Notifications are made in groups through `store.write()`, each with its inbox row and bytes, its
identity, a delivery and the group's seal, as the intake makes them; proving and HTTP are left out.
`growth_ratio` is the rate of the last fifth (800,000 to 1,000,000) over that of the second tenth
(100,000 to 200,000), and `growth_cpu_ratio` the same of the CPU that each takes here, which a busy
machine disturbs less; `…_kib_written` is what one wrote, on SQLite, which nothing disturbs; `rss_growth_mb` how much memory the process took between them. The banks'
references count up, as most banks' do; `--scattered` has them in no order at all.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs
from traffic import Feed, feed

from arifa import dialects
from arifa.clock import now_us
from arifa.hub.prepare import Prepared
from arifa.hub.receive import Receiver
from arifa.store import notifications
from arifa.store.opened import open_store
from arifa.wire import WireRequest

GROUP = 64
RATIO_BAR = 0.85


@dataclass(frozen=True)
class Mark:
    """Where the run stood: how many notifications, when, and with how much memory."""

    count: int
    at: float
    cpu: float
    written: int
    rss_mb: float


def _mark(count: int) -> Mark:
    return Mark(count, time.perf_counter(), time.process_time(), written(), rss_mb())


def rss_mb() -> float:
    """The resident memory of this process (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def written() -> int:
    """The bytes that this process has given to write calls, log and checkpoints (Linux)."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    return 0


def run(engine: str, until: int, *, is_scattered: bool) -> dict[str, float]:
    """Fill a new store up to `until` notifications."""
    with ExitStack() as stack:
        url = None
        if engine == "postgres":
            from arifa.testing.postgres import start_postgres

            url = stack.enter_context(start_postgres(private=True)).create_database()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arifa-growth-")))
        store = open_store(folder, url)
        made = feed(store, "jenga")
        receiver = Receiver(store)
        marks = {0: _mark(0)}
        wanted = [until * part // 10 for part in (1, 2, 8, 10)]
        count = 0
        for mark in wanted:
            while count < mark:
                numbers = range(count, count + GROUP)
                receiver.receive(
                    [
                        _prepared(receiver, made, _scattered(number) if is_scattered else number)
                        for number in numbers
                    ]
                )
                count += GROUP
            marks[mark] = _mark(count)
        with store.database.read() as connection:
            if notifications.count(connection) != count:
                raise RuntimeError("not every notification is in the books: this measured nothing")
        store.close()
    first, second, eighth, last = (marks[mark] for mark in wanted)
    early = (second.count - first.count) / (second.at - first.at)
    late = (last.count - eighth.count) / (last.at - eighth.at)
    return {
        "notifications": count,
        "early_rate": early,
        "late_rate": late,
        "growth_ratio": late / early,
        "growth_cpu_ratio": _cpu_us(first, second) / _cpu_us(eighth, last),
        "early_cpu_us": _cpu_us(first, second),
        "late_cpu_us": _cpu_us(eighth, last),
        "early_kib_written": _kib(first, second),
        "late_kib_written": _kib(eighth, last),
        "rss_mb": last.rss_mb,
        "rss_growth_mb": last.rss_mb - second.rss_mb,
    }


def _kib(begin: Mark, end: Mark) -> float:
    return (end.written - begin.written) / (end.count - begin.count) / 1024


def _scattered(number: int) -> int:
    """Another number for each: 12 digits in no order. The factor shares none with ten."""
    return number * 618_033_988_749 % 10**12


def _cpu_us(begin: Mark, end: Mark) -> float:
    return 1e6 * (end.cpu - begin.cpu) / (end.count - begin.count)


_JENGA = dialects.get("jenga")
_BODY = next(iter(_JENGA.cases.values())).body


def _prepared(receiver: Receiver, made: Feed, number: int) -> Prepared:
    """A payment of its own, as the intake would have it after proving and reading."""
    global _template  # noqa: PLW0603 - read once: this measures the store
    at = now_us()
    request = WireRequest(
        body=_BODY.replace(b"328411183176", b"%012d" % number),
        headers=_JENGA.headers,
        target="/ipn/",
        peer="127.0.0.1",
        received_at=at,
    )
    prepared = Prepared(made.source.token, request)
    prepared.source, prepared.dialect = made.source, _JENGA
    prepared.configuration = receiver.configuration.number
    if _template is None:
        signed = _JENGA.sign(replace(request), made.bank, at)
        read = _JENGA.receive(signed, made.source.credentials, made.source.profile, at)
        assert isinstance(read, list)
        _template = read[0]
    prepared.readings = [structs.replace(_template, bank_reference=f"{number:012d}")]
    return prepared


_template = None


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--to", type=int, default=1_000_000)
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--scattered", action="store_true")
    given = parser.parse_args()
    found = run(given.engine, given.to, is_scattered=given.scattered)
    if given.json:
        print(json.dumps({key: round(value, 4) for key, value in found.items()}))
    else:
        print(
            f"{given.engine}: {found['late_rate']:.0f}/s at the end, {found['early_rate']:.0f}/s "
            f"at the beginning, ratio {found['growth_ratio']:.2f} (bar {RATIO_BAR}), "
            f"of CPU {found['growth_cpu_ratio']:.2f}; {found['late_kib_written']:.1f} and "
            f"{found['early_kib_written']:.1f} KiB written for each; memory "
            f"{found['rss_mb']:.0f} MB, {found['rss_growth_mb']:+.0f} MB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
