"""Five hundred receivers that misbehave, at once: does each attempt end in time, and memory stay?

    python bench/receivers.py [--at-once 500] [--deadline 3] [--seconds-over 0.5] [--json]

The receivers (`arifa.simulator.hostile`) run in a process of their own. First all behaviours
together, then 500 of each that sends much. Printed are the largest time beyond the deadline, the
growth of this process's memory at its highest, the longest time that the loop stood still, and
how many attempts ended with another cause than the kit says. Ends with 1 where one of them is
more than it may be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

from arifa.delivery.bounds import BODY_MAX
from arifa.delivery.cause import NoAnswer
from arifa.delivery.outbound import Outbound
from arifa.delivery.transport import Reach
from arifa.simulator.behaviours import BEHAVIOURS
from arifa.wire import WireRequest

REQUEST = WireRequest(b'{"type": "payment.success"}' * 20, ((b"webhook-id", b"ntf_1"),))
GROWTH_MAX_MB = 20.0
ALL = "all together"
SAMPLE_SECONDS = 0.02
PAGE = os.sysconf("SC_PAGE_SIZE")
# Behind a certificate that is believed: here nobody knows the receivers' authority.
TRUSTED = ("asks-for-a-certificate", "hangs-behind-tls", "resets-behind-tls", "well-behaved")
TOGETHER = [name for name in BEHAVIOURS if name not in TRUSTED]
ALONE = ["endless-body", "endless-chunks", "huge-header", "wide-headers", "interim-flood"]
ALONE += ["chunk-extensions", "gzip-bomb", "drips-body", "hangs-at-once", "silent"]
NO_ANSWER = frozenset(
    {"timeout", "slow_answer", "cut_short", "too_much", "not_http", "reset", "unreachable"}
    | {"connect_timeout", "tls", "tls_version", "tls_handshake"}
)


@dataclass
class Found:
    """What one round came to."""

    behaviours: str
    attempts: int
    over_deadline_s: float
    growth_mb: float
    stood_still_s: float
    wrong_causes: dict[str, int]

    def is_good(self, over: float) -> bool:
        """Whether all of it is within bounds; alone, each may hold a whole body at the same time."""
        bodies = 0.0 if self.behaviours == ALL else self.attempts * BODY_MAX / 1e6
        return (
            self.over_deadline_s <= over
            and self.growth_mb <= GROWTH_MAX_MB + bodies
            and not self.wrong_causes
        )


def memory_mb() -> float:
    """What this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


@contextmanager
def receivers() -> Iterator[dict[str, str]]:
    """Every behaviour in a process of its own: its URL by its name."""
    command = [sys.executable, "-m", "arifa.simulator.hostile"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        urls = {}
        for _ in BEHAVIOURS:
            url, name = serving.stdout.readline().split()[:2]
            urls[name.rstrip(":")] = url
        try:
            yield urls
        finally:
            serving.terminate()


class Watch:
    """Samples memory, and how late the loop comes to do so."""

    def __init__(self) -> None:
        self.before = memory_mb()
        self.highest = self.before
        self.stood_still = 0.0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(SAMPLE_SECONDS)
            late = time.perf_counter() - began - SAMPLE_SECONDS
            self.stood_still = max(self.stood_still, late)
            self.highest = max(self.highest, memory_mb())


async def attempt(client: Outbound, name: str, url: str, deadline: float) -> tuple[float, str]:
    """One attempt: its seconds, and what it ended with where that is not what the kit says."""
    began, cause = time.perf_counter(), "answered"
    try:
        await client.send(url, REQUEST, identity="ntf_1", deadline=deadline)
    except NoAnswer as error:
        cause = error.cause.value
    expected = BEHAVIOURS[name].cause_of(0)
    if expected not in NO_ANSWER:
        expected = "answered"
    return time.perf_counter() - began, "" if cause == expected else f"{name}: {cause}"


async def measure(names: list[str], urls: dict[str, str], at_once: int, deadline: float) -> Found:
    """So many attempts at once at these behaviours in turn."""
    async with Outbound(Reach(allow_private=True)) as client:
        watch = Watch()
        watching = asyncio.create_task(watch.run())
        found = await asyncio.gather(
            *(attempt(client, name, urls[name], deadline) for name in islice(cycle(names), at_once))
        )
        watching.cancel()
    return Found(
        behaviours=names[0] if len(names) == 1 else ALL,
        attempts=at_once,
        over_deadline_s=max(0.0, max(seconds for seconds, _ in found) - deadline),
        growth_mb=watch.highest - watch.before,
        stood_still_s=watch.stood_still,
        wrong_causes=Counter(wrong for _, wrong in found if wrong),
    )


async def rounds(given: argparse.Namespace, urls: dict[str, str]) -> list[Found]:
    """All rounds, after one that loads what is loaded once."""
    await measure(TOGETHER, urls, len(TOGETHER), given.deadline)
    found = []
    chosen = [[given.only]] if given.only else [TOGETHER, *([name] for name in ALONE)]
    for names in chosen:
        found.append(await measure(names, urls, given.at_once, given.deadline))
        if not given.json:
            print(shown(found[-1]), flush=True)
    return found


def shown(found: Found) -> str:
    """One line."""
    return (
        f"{found.behaviours:18} {found.attempts:5} at once   "
        f"over the deadline {found.over_deadline_s:5.2f} s   memory +{found.growth_mb:5.1f} MB   "
        f"loop stood still {found.stood_still_s:5.2f} s   wrong causes {dict(found.wrong_causes) or 0}"
    )


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--at-once", type=int, default=500)
    parser.add_argument("--deadline", type=float, default=3.0)
    parser.add_argument("--seconds-over", type=float, default=0.5)
    parser.add_argument("--only", help="one behaviour")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with receivers() as urls:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(rounds(given, urls))
    if given.json:
        print(json.dumps([asdict(item) for item in found]))
    return 0 if all(item.is_good(given.seconds_over) for item in found) else 1


if __name__ == "__main__":
    sys.exit(main())
