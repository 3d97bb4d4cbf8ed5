"""Who may be called now, and how much: a lane for each endpoint. For the event loop alone.

A bad endpoint must delay nobody else, so an attempt is counted three ways:

- *by its endpoint*: one at first, one more for each quick yes, half as many after a failure, and
  never more than its concurrency; the breaker and the rate say whether any may begin at all;
- *by its slot*: there are `Pace.overall`. An attempt that has no answer after a quarter of a second
  leaves its slot and lingers, so that what hangs fills no slot; `Pace.lingering` may do so;
- *by its reputation*: endpoints that failed last have a quarter of the slots at most, together with
  those that were never tried three quarters. The rest is for those that answer; but a few slots
  are kept for each of the others that wait.

Nothing here walks over all endpoints but `seen`, which comes once a second. A lane is in a queue if
it may be called, in the heap of timers if it may be later, and else nowhere.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from arifa.delivery.breaker import Breaker
from arifa.delivery.cause import Cause
from arifa.delivery.transport import DEADLINE_SECONDS
from arifa.feed import Endpoint
from arifa.store.deliveries import LEASE_SECONDS, AttemptResult, DeliveryState

LINGER_SECONDS: Final = 0.25
SLOW_SECONDS: Final = 2.0
"""An answer that takes longer makes the lane narrower; one that is awaited longer stops it."""
SLOW_MAX: Final = 4.0
"""How wide the lane of an endpoint stays that answers, but slowly."""
QUIET_MAX_SECONDS: Final = 60.0
ASKED_MAX_SECONDS: Final = 3600.0
"""For how long a `Retry-After` may keep the whole endpoint from being called."""
BURST_SECONDS: Final = 0.2
MICROSECONDS: Final = 1_000_000

THROTTLING: Final = frozenset({429, 502, 503, 504})
OURS: Final = frozenset(
    {
        Cause.INEXPRESSIBLE.value,
        Cause.MISSING.value,
        Cause.MISCONFIGURED.value,
        Cause.ENDPOINT_REMOVED.value,
        Cause.INTERNAL.value,
    }
)
"""Causes that say nothing about the endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much at once, how often, how long.

    Attributes:
        overall: attempts that are out at one moment, but for those that linger.
        lingering: attempts that have been out for longer than a quarter of a second.
        per_endpoint: attempts that are out to one endpoint, where it says nothing of its own.
        poll_seconds: how often the store is asked where nobody has called `wake`.
        lease_seconds: how long after its worker's death a delivery waits for another.
        deadline: seconds that one attempt may take, from the name's look-up to the last byte.
        grace: seconds that `stop` waits for the attempts that are out.
    """

    overall: int = 256
    lingering: int = 2048
    per_endpoint: int = 32
    poll_seconds: float = 1.0
    lease_seconds: int = LEASE_SECONDS
    deadline: float = DEADLINE_SECONDS
    grace: float = DEADLINE_SECONDS + 1


DEFAULT_PACE: Final = Pace()


class Reputation(IntEnum):
    """What is to be expected of an endpoint, by how its last attempt ended."""

    PROVEN = 0
    NEW = 1
    SUSPECT = 2


_SHARE: Final = {Reputation.PROVEN: 1.0, Reputation.NEW: 0.75, Reputation.SUSPECT: 0.25}
_KEPT: Final = {Reputation.PROVEN: 0.0, Reputation.NEW: 0.125, Reputation.SUSPECT: 0.0625}


class _Stage(IntEnum):
    FRESH = 0
    LINGERING = 1
    SLOW = 2
    OVER = 3


class Turned(NamedTuple):
    """A breaker that has opened or closed."""

    endpoint: str
    is_open: bool
    cause: str


class Lane:
    """What is known of one endpoint. `head_at` is when its first delivery is due; None: none is."""

    __slots__ = (
        "breaker",
        "busy",
        "ceiling",
        "cut_at",
        "endpoint",
        "head_at",
        "is_active",
        "is_queued",
        "limit",
        "quiet_until",
        "rate",
        "reputation",
        "slow",
        "succeeded_at",
        "threshold",
        "throttles",
        "timer_at",
        "tokens",
        "tokens_at",
        "url",
    )

    def __init__(self, endpoint: str, random: Callable[[], float]) -> None:
        self.endpoint = endpoint
        self.url: str | None = None
        self.is_active = True
        self.ceiling = 1.0
        self.rate: float | None = None
        self.tokens = 1.0
        self.tokens_at = 0.0
        self.busy = self.slow = 0
        self.head_at: int | None = None
        self.is_queued = False
        self.timer_at: float | None = None
        self.begin_anew(random)

    def begin_anew(self, random: Callable[[], float]) -> None:
        """Forget how it has answered: it is another one now."""
        self.breaker = Breaker(random)
        self.reputation = Reputation.NEW
        self.limit = 1.0
        self.threshold = float("inf")
        self.cut_at = self.quiet_until = self.succeeded_at = float("-inf")
        self.throttles = 0

    def room(self, now: float) -> int:
        """How many more attempts it may have out."""
        if self.breaker.is_open:
            return 1 - self.busy
        hangs = self.slow and now - self.succeeded_at > SLOW_SECONDS
        return (1 if hangs else int(self.limit)) - self.busy

    def refill(self, now: float) -> None:
        """Let the time that went by count for its rate."""
        if self.rate is not None:
            room = max(1.0, self.rate * BURST_SECONDS)
            self.tokens = min(room, self.tokens + (now - self.tokens_at) * self.rate)
            self.tokens_at = now

    def widen(self, seconds: float) -> None:
        """After a yes that took so long."""
        if seconds > SLOW_SECONDS and self.limit > SLOW_MAX:
            self.limit = max(SLOW_MAX, self.limit * 0.8)
        else:
            # Quickly up to where it once became too much, and with care beyond.
            is_careful = seconds > SLOW_SECONDS or self.limit >= self.threshold
            self.limit += 1 / self.limit if is_careful else 1
        self.limit = min(self.limit, self.ceiling)

    def narrow(self, began_at: float, now: float) -> bool:
        """After a failure: half as wide. False for what was out already when it was narrowed."""
        if began_at <= self.cut_at:
            return False
        self.limit = self.threshold = max(1.0, self.limit / 2)
        self.cut_at = now
        return True


class Out:
    """One attempt that is out."""

    __slots__ = ("began_at", "lane", "reputation", "stage")

    def __init__(self, lane: Lane, now: float) -> None:
        self.lane = lane
        self.began_at = now
        self.stage = _Stage.FRESH
        self.reputation = lane.reputation


class Lanes:
    """All lanes of one worker."""

    def __init__(
        self,
        pace: Pace,
        *,
        clock: Callable[[], int],
        ticks: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._pace = pace
        self._clock = clock
        self._ticks = ticks
        self._random = random
        self._endpoints: Mapping[str, Endpoint] = {}
        self._lanes: dict[str, Lane] = {}
        self._ready: tuple[deque[Lane], ...] = tuple(deque() for _ in Reputation)
        self._timers: list[tuple[float, str]] = []
        self._fresh: deque[Out] = deque()
        self._lingering: deque[Out] = deque()
        self._fresh_by = [0] * len(Reputation)
        self._out = 0
        self._turned: list[Turned] = []

    # ------------------------------------------------------------------ what becomes known

    def configure(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Take these endpoints as they are described now."""
        self._endpoints = endpoints
        for lane in self._lanes.values():
            self._describe(lane)
            self._offer(lane)

    def troubled(self, endpoints: Iterable[str]) -> None:
        """The breakers of these were open in an earlier run: probe each of them soon."""
        for name in endpoints:
            breaker = self._lane(name).breaker
            breaker.open(self._ticks())
            breaker.until = self._ticks() + self._random()

    def told(self, endpoints: Iterable[str]) -> None:
        """Something is due to each of these."""
        now_us = self._clock()
        for name in endpoints:
            lane = self._lane(name)
            lane.head_at = now_us if lane.head_at is None else min(lane.head_at, now_us)
            self._offer(lane)

    def seen(self, heads: Mapping[str, int]) -> None:
        """By endpoint, when the first of its pending deliveries is due: all there are."""
        for name, lane in list(self._lanes.items()):
            if name not in heads:
                lane.head_at = None
                if name not in self._endpoints and not lane.busy:
                    del self._lanes[name]
        for name, head_at in heads.items():
            lane = self._lane(name)
            lane.head_at = head_at
            self._offer(lane)

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, self._random)
            self._describe(lane)
        return lane

    def _describe(self, lane: Lane) -> None:
        endpoint = self._endpoints.get(lane.endpoint)
        if endpoint is None:
            # Removed: what is left of it is cancelled, which calls nobody.
            lane.is_active, lane.ceiling, lane.rate = True, float(self._pace.per_endpoint), None
            return
        is_another = lane.url not in (None, endpoint.url)
        if is_another or (endpoint.active and not lane.is_active):
            if lane.breaker.is_open:
                self._turned.append(Turned(lane.endpoint, is_open=False, cause=""))
            lane.begin_anew(self._random)
        lane.url, lane.is_active = endpoint.url, endpoint.active
        lane.ceiling = float(endpoint.manner.concurrency or self._pace.per_endpoint)
        lane.limit = min(lane.limit, lane.ceiling)
        if lane.rate != endpoint.manner.rate:
            lane.rate, lane.tokens, lane.tokens_at = endpoint.manner.rate, 1.0, self._ticks()

    # ------------------------------------------------------------------ who may be called

    def _offer(self, lane: Lane) -> None:
        """Put a lane where it belongs: into a queue, among the timers, or nowhere."""
        if lane.is_queued or lane.head_at is None or not lane.is_active:
            return
        now = self._ticks()
        if lane.room(now) <= 0:
            return
        wait = self._wait(lane, now)
        if wait <= 0:
            lane.is_queued = True
            self._ready[lane.reputation].append(lane)
        elif lane.timer_at is None or now + wait < lane.timer_at:
            lane.timer_at = now + wait
            heapq.heappush(self._timers, (lane.timer_at, lane.endpoint))

    def _wait(self, lane: Lane, now: float) -> float:
        """Seconds until it may be called, were there room."""
        assert lane.head_at is not None
        wait = max((lane.head_at - self._clock()) / MICROSECONDS, lane.quiet_until - now)
        if lane.breaker.is_open:
            wait = max(wait, lane.breaker.until - now)
        if lane.rate is not None:
            lane.refill(now)
            if lane.tokens < 1:
                wait = max(wait, (1 - lane.tokens) / lane.rate)
        return wait

    def wanted(self) -> list[tuple[str, int]]:
        """Whose deliveries are to be claimed, and how many of each at most."""
        now = self._ticks()
        self._age(now)
        while self._timers and self._timers[0][0] <= now:
            at, name = heapq.heappop(self._timers)
            lane = self._lanes.get(name)
            if lane is not None and lane.timer_at == at:
                lane.timer_at = None
                self._offer(lane)
        room = min(
            self._pace.overall - sum(self._fresh_by),
            self._pace.overall + self._pace.lingering - self._out,
        )
        found: list[tuple[str, int]] = []
        for reputation in Reputation:
            most = round(self._pace.overall * _SHARE[reputation]) - sum(self._fresh_by[reputation:])
            mine = min(room - self._kept_from(reputation), most)
            room -= self._grant(self._ready[reputation], mine, now, found)
        return found

    def _kept_from(self, reputation: Reputation) -> int:
        """The slots that are kept for those behind this reputation, where any of them wait."""
        return sum(
            max(0, max(1, round(self._pace.overall * _KEPT[other])) - self._fresh_by[other])
            for other in Reputation
            if other > reputation and self._ready[other]
        )

    def _grant(
        self, ready: deque[Lane], room: int, now: float, found: list[tuple[str, int]]
    ) -> int:
        left = room
        for _ in range(len(ready)):
            if left <= 0:
                break
            lane = ready.popleft()
            lane.is_queued = False
            mine = min(lane.room(now), left)
            if lane.head_at is None or not lane.is_active or mine <= 0:
                continue
            if self._wait(lane, now) > 0:
                self._offer(lane)
                continue
            if lane.rate is not None:
                mine = min(mine, int(lane.tokens))
            found.append((lane.endpoint, mine))
            left -= mine
        return max(room, 0) - max(left, 0)

    def taken(self, wanted: Iterable[tuple[str, int]], claimed: Mapping[str, int]) -> None:
        """What the claims came to: by endpoint, how many deliveries were claimed."""
        for name, asked in wanted:
            lane = self._lane(name)
            got = claimed.get(name, 0)
            lane.tokens -= got
            if got < asked:
                lane.head_at = None
            self._offer(lane)

    def due_in(self) -> float | None:
        """Seconds until `wanted` may have more to say; None if only news can change that."""
        now = self._ticks()
        waits = []
        if self._timers:
            waits.append(self._timers[0][0] - now)
        if any(self._ready):
            first = next((out for out in self._fresh if out.stage is _Stage.FRESH), None)
            waits.append(0.0 if first is None else first.began_at + LINGER_SECONDS - now)
        return max(0.0, min(waits)) if waits else None

    # ------------------------------------------------------------------ attempts

    def begun(self, endpoint: str) -> Out:
        """An attempt goes out."""
        lane = self._lane(endpoint)
        out = Out(lane, self._ticks())
        lane.busy += 1
        self._out += 1
        self._fresh_by[out.reputation] += 1
        self._fresh.append(out)
        return out

    def _age(self, now: float) -> None:
        """Take what hangs out of its slot, and note whose it is."""
        while self._fresh:
            out = self._fresh[0]
            if out.stage is _Stage.FRESH:
                is_full = self._out - sum(self._fresh_by) >= self._pace.lingering
                if is_full or now - out.began_at < LINGER_SECONDS:
                    break
                out.stage = _Stage.LINGERING
                self._fresh_by[out.reputation] -= 1
                self._lingering.append(out)
            self._fresh.popleft()
        while self._lingering:
            out = self._lingering[0]
            if out.stage is _Stage.LINGERING:
                if now - out.began_at < SLOW_SECONDS:
                    break
                out.stage = _Stage.SLOW
                out.lane.slow += 1
            self._lingering.popleft()

    def back(self, out: Out) -> None:
        """The attempt is over, however it ended."""
        lane = out.lane
        lane.busy -= 1
        self._out -= 1
        if out.stage is _Stage.FRESH:
            self._fresh_by[out.reputation] -= 1
        elif out.stage is _Stage.SLOW:
            lane.slow -= 1
        out.stage = _Stage.OVER
        self._offer(lane)

    def judged(self, out: Out, result: AttemptResult) -> None:
        """Learn from what the attempt came to; before `back`."""
        lane = out.lane
        if result.state is DeliveryState.PENDING and result.next_attempt_at is not None:
            known = lane.head_at
            lane.head_at = min(result.next_attempt_at, known or result.next_attempt_at)
        # What goes to a URL of its own says nothing about the endpoint's.
        if result.cause in OURS or result.claimed.url is not None:
            return
        now = self._ticks()
        if result.cause == Cause.DELIVERED.value:
            self._answered(lane, now - out.began_at, now)
        elif result.cause == Cause.GONE.value:
            # It is disabled with the result; nothing more may go out meanwhile.
            lane.is_active = False
        else:
            self._failed(lane, out, result, now)

    def _answered(self, lane: Lane, seconds: float, now: float) -> None:
        lane.reputation, lane.succeeded_at, lane.throttles = Reputation.PROVEN, now, 0
        lane.widen(seconds)
        if lane.breaker.succeeded(now):
            self._turned.append(Turned(lane.endpoint, is_open=False, cause=""))

    def _failed(self, lane: Lane, out: Out, result: AttemptResult, now: float) -> None:
        is_first = lane.narrow(out.began_at, now)
        if result.status in THROTTLING:
            lane.throttles += is_first
            pause = min(2.0 ** min(max(lane.throttles - 1, 0), 6), QUIET_MAX_SECONDS)
            asked = min(result.retry_after or 0.0, ASKED_MAX_SECONDS)
            lane.quiet_until = max(lane.quiet_until, now + max(pause, asked))
        if result.cause == Cause.THROTTLED.value:
            # It answers, and says what is too much.
            return
        lane.reputation = Reputation.SUSPECT
        if lane.breaker.failed(now):
            self._turned.append(Turned(lane.endpoint, is_open=True, cause=result.cause))

    def turned(self) -> list[Turned]:
        """The breakers that have opened or closed since the last call."""
        found, self._turned = self._turned, []
        return found
