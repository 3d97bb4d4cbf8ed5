"""Entering events from JSON lines: one object a line, in chunks of a short transaction each.

A bad line is noted with its number and passed over; the others are entered. What is cut short is
simply entered again: what is in the books already is known by its reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import IO, Final

from arifa.clock import now_us
from arifa.errors import Unavailable, UnknownCommit
from arifa.hub.announce import Announcer
from arifa.hub.issue import EventOutcome, Verdict, accept_events
from arifa.hub.order import BYTES_MAX
from arifa.store.opened import Store
from arifa.store.transactions import CORE

CHUNK: Final = 25
"""Events in one commit: about 15 ms where three endpoints are told of each."""
REASONS_MAX: Final = 1000
TRIES: Final = 3


@dataclass(slots=True)
class Entered:
    """What became of the lines so far; `reasons` has (line number, sentence), the first thousand."""

    lines: int = 0
    entered: int = 0
    known: int = 0
    refused: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)

    def count(self, number: int, verdict: Verdict) -> None:
        """Add the verdict on the line of this number."""
        self.lines += 1
        if verdict.outcome is EventOutcome.ENTERED:
            self.entered += 1
        elif verdict.outcome is EventOutcome.KNOWN:
            self.known += 1
        else:
            self.refused += 1
            if len(self.reasons) < REASONS_MAX:
                self.reasons.append((number, verdict.reason or ""))

    def sentences(self) -> list[str]:
        """One for each bad line, and one for those that are not shown."""
        said = [f"line {number}: {reason}" for number, reason in self.reasons]
        if self.refused > len(self.reasons):
            said.append(f"and {self.refused - len(self.reasons)} more lines")
        return said


def numbered(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number, line) of each line that is not blank; of one that is too long, its beginning."""
    number = 0
    while line := file.readline(BYTES_MAX + 2):
        number += 1
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(BYTES_MAX)):
            pass
        # A byte order mark is what some systems begin their files with.
        text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if text:
            yield number, text


def enter(
    store: Store,
    lines: Iterable[tuple[int, bytes]],
    *,
    merchant: str,
    origin: str = CORE,
    clock: Callable[[], int] = now_us,
    after_chunk: Callable[[Entered], bool] = lambda _: True,
) -> Entered:
    """Enter every line; what is wrong with one is in `reasons`.

    Args:
        after_chunk: called after each commit; where it gives False, nothing more is read.

    Raises:
        Refused: merchant or origin cannot be.
        StoreError: the store fails; what was entered stays.
    """
    done, announcer, waiting = Entered(), Announcer(store), iter(lines)
    accept = partial(accept_events, store, merchant=merchant, origin=origin, announcer=announcer)
    while chunk := list(islice(waiting, CHUNK)):
        bodies = [body for _, body in chunk]
        found = _tried(partial(accept, bodies), clock)
        for (number, _), verdict in zip(chunk, found, strict=True):
            done.count(number, verdict)
        if not after_chunk(done):
            break
    return done


def _tried(accept: Callable[..., list[Verdict]], clock: Callable[[], int]) -> list[Verdict]:
    """Safe to say again, whatever became of it: what was entered is known."""
    for _ in range(TRIES - 1):
        with suppress(Unavailable, UnknownCommit):
            return accept(now_us=clock())
    return accept(now_us=clock())
