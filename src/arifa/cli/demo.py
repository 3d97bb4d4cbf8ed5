"""`arifa demo`: simulated banks, the real hub, a merchant; then everybody's books are compared.

The hub is a process of its own, and is set up and asked through the command line only. The banks
and the merchant count for themselves. It ends with 0 only if all of them agree.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from arifa import dialects
from arifa.cli.context import Given
from arifa.cli.demo_banks import CAST, Part
from arifa.cli.demo_hub import DemoHub, Feed
from arifa.cli.demo_issuer import Issuer
from arifa.cli.demo_process import Patience
from arifa.cli.demo_report import Comparison, Issued, compare, lines_of
from arifa.clock import monotonic
from arifa.simulator.bank import Bank
from arifa.simulator.merchant import Failure, Kept, Merchant
from arifa.simulator.traffic import Book, spend_day

QUIET_SECONDS: Final = 15.0
"""What is still on its way when nothing has arrived for so long is missing. An event that the
merchant failed to take comes again after 6 seconds at most."""

RATES: Final = {Failure.BROKEN: 0.03, Failure.DROPPED: 0.02, Failure.SLOW: 0.03}


def demo(*, serve: bool = False, seed: int = 1, context: Given) -> int:
    """Run the demonstration: simulated banks, the hub, a merchant; exit 0 if their books agree.

    Args:
        serve: keep it up afterwards, with its data, until Ctrl-C.
        seed: another number makes other traffic.
    """
    began = monotonic()
    folder = Path(tempfile.mkdtemp(prefix="arifa-demo-"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_sigterm_as_ctrl_c())
        if not serve:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        hub = DemoHub(folder)
        random = Random(seed)  # noqa: S311 - the same traffic for the same seed
        merchant = stack.enter_context(Merchant(rates=RATES, random=Random(seed)))  # noqa: S311
        feeds = {part.name: hub.add_source(part) for part in CAST}
        merchant.secret = hub.add_endpoint(merchant.url)
        url = stack.enter_context(hub.serving())
        issuer = Issuer(folder, Random(seed))  # noqa: S311
        days = stack.enter_context(_spending_days(feeds, url, random))
        issuer.register([part for part in CAST if part.account], feeds, url)
        stack.enter_context(issuer.serving())
        issuer.issue()
        books = {name: day.result() for name, day in days.items()}
        patience = Patience(QUIET_SECONDS)
        issuer.settle(patience)
        issuer.see_it_runs()
        issued = issuer.says()
        made = _compared(hub, merchant, books, issued, patience)
        seconds = monotonic() - began
        if context.output.as_json:
            context.output.line({**made.as_json(), "seed": seed, "seconds": round(seconds, 1)})
        else:
            _print(made, merchant.kept, f"seed {seed}, {seconds:.0f} s")
            _print_next(folder if serve else None, url)
        if serve:
            hub.wait()
    return 0 if made.agrees else 1


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Whoever ends us by SIGTERM gets the same tidying up as by Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ---------------------------------------------------------------------------------- the play


@contextlib.contextmanager
def _spending_days(
    feeds: Mapping[str, Feed], url: str, random: Random
) -> Iterator[dict[str, Future[Book]]]:
    """Let every simulated bank spend its day, all at the same time; gives their books to be."""
    days: dict[str, Future[Book]] = {}
    with ThreadPoolExecutor(max_workers=len(CAST)) as pool:
        for part in CAST:
            bank = _bank(part, feeds[part.name], url, Random(random.random()))  # noqa: S311
            earlier = None if part.after is None else days[part.after]
            days[part.name] = pool.submit(_spend_day_after, earlier, bank, part)
        yield days


def _bank(part: Part, feed: Feed, url: str, random: Random) -> Bank:
    return Bank(
        dialects.get(part.dialect),
        credentials=feed.credentials,
        url=url + feed.path,
        random=random,
    )


def _spend_day_after(earlier: Future[Book] | None, bank: Bank, part: Part) -> Book:
    if earlier is not None:
        earlier.result()
    return spend_day(bank, part.samples, part.payments)


def _compared(
    hub: DemoHub,
    merchant: Merchant,
    books: Mapping[str, Book],
    issued: Mapping[str, Issued],
    patience: Patience,
) -> Comparison:
    """Wait until the merchant has all that was announced, and compare."""
    announced = sum(book.announced.total() for book in books.values())
    announced += sum(item.announced.total() for item in issued.values())
    _wait_for_events(merchant, announced, patience)
    hub.settle(patience)
    hub.see_it_runs()
    titles = {part.name: part.title for part in CAST}
    return compare(titles, books, issued, merchant.kept, hub.says())


def _wait_for_events(merchant: Merchant, count: int, patience: Patience) -> None:
    """Wait until the merchant has so many, for as long as one comes now and then."""
    while (has := len(merchant.kept.events)) < count and (left := patience.seconds_left(has)):
        merchant.wait_for(partial(_has_more, has), left)


def _has_more(before: int, kept: Kept) -> bool:
    return len(kept.events) > before


# ---------------------------------------------------------------------------------- the report


def _print(made: Comparison, kept: Kept, how: str) -> None:
    sent = sum(theirs.sent for _, theirs, _ in made.feeds)
    print(f"banks and a bank's hub, {sent} requests, the hub, one merchant ({how})")
    print("\n".join(lines_of(made, kept)))
    if made.agrees:
        print("Everybody's books agree.")
    else:
        print(f"NOT in agreement: {'; '.join(made.differing()) or 'answers to the banks'}")


def _print_next(folder: Path | None, url: str) -> None:
    arifa = _program()
    if folder is None:
        print(f"Next: {arifa} demo --serve")
        print(f"      {arifa} source add kcb --dialect kcb --generate-key; {arifa} serve")
        print(f"      {arifa} trigger kcb --source kcb --fault duplicate")
        return
    print(f"The hub stays up at {url} until Ctrl-C, with its data in {folder}", flush=True)
    print(f"Next: {arifa} --data {folder} trigger kcb --source kcb --repeat 3")
    print(f"      {arifa} --data {folder} notification list")
    print(f"      {arifa} --data {folder} case list", flush=True)


def _program() -> str:
    """How this installation's `arifa` is called from here."""
    beside = Path(sys.executable).with_name("arifa")
    if not beside.exists():
        return "arifa"
    relative = os.path.relpath(beside)
    return relative if len(relative) < len(str(beside)) else str(beside)
