"""The time, read from the machine. Everything that thinks takes `now` as an argument instead."""

from __future__ import annotations

import time


def now_us() -> int:
    """The wall clock in microseconds since 1970, UTC. For display, windows and statements only."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Seconds of a clock that never jumps: for leases, deadlines and back-off."""
    return time.monotonic()
