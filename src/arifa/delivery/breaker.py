"""The breaker of one endpoint: pure, the time is an argument.

    closed ──10 failures in a row, or 70 % of 10 in 5 minutes──► open
      ▲                                                           │ pause
      └──────── a yes ──────── half open: one probe at a time ◄───┘
                                  │ a failure: open again, for twice as long

While it is open nothing is sent, and so nothing uses its attempts up. Times are seconds of a clock
that never goes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

IN_A_ROW: Final = 10
WINDOW_SECONDS: Final = 300.0
WINDOW_MIN: Final = 10
WINDOW_SHARE: Final = 0.7
WINDOW_MAX: Final = 200
"""Results that are remembered: those of the last five minutes, but not more than so many."""
PAUSE_SECONDS: Final = 5.0
PAUSE_MAX_SECONDS: Final = 300.0
JITTER: Final = 0.2


class Breaker:
    """Whether an endpoint is called.

    Attributes:
        is_open: it has failed too much, and is only probed.
        until: when the next probe may go out, where it is open.
    """

    __slots__ = ("_failures", "_pause", "_random", "_results", "_row", "is_open", "until")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._results: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._row = 0
        self._pause = 0.0
        self.is_open = False
        self.until = 0.0

    def succeeded(self, now: float) -> bool:
        """Note a yes; true where this closes it."""
        self._row = 0
        if not self.is_open:
            self._note(now, is_failure=False)
            return False
        self.is_open, self._pause = False, 0.0
        self._results.clear()
        self._failures = 0
        return True

    def failed(self, now: float) -> bool:
        """Note a failure; true where this opens it."""
        self._row += 1
        self._note(now, is_failure=True)
        if self.is_open:
            # What was out when it opened comes back too; only a probe makes the pause longer.
            if now >= self.until:
                self._wait(now)
            return False
        if self._row < IN_A_ROW and not self._is_mostly_failing():
            return False
        self.open(now)
        return True

    def open(self, now: float) -> None:
        """Open it, whatever it has seen: it was open in an earlier run."""
        self.is_open, self._pause = True, 0.0
        self._wait(now)

    def _wait(self, now: float) -> None:
        self._pause = min(max(self._pause * 2, PAUSE_SECONDS), PAUSE_MAX_SECONDS)
        self.until = now + self._pause * (1 - JITTER + 2 * JITTER * self._random())

    def _note(self, now: float, *, is_failure: bool) -> None:
        self._results.append((now, is_failure))
        self._failures += is_failure
        while len(self._results) > WINDOW_MAX or self._results[0][0] < now - WINDOW_SECONDS:
            _, was_failure = self._results.popleft()
            self._failures -= was_failure

    def _is_mostly_failing(self) -> bool:
        seen = len(self._results)
        return seen >= WINDOW_MIN and self._failures >= WINDOW_SHARE * seen
