"""The worker: claim, attempt, record, again; inside the loop of the process that serves.

    wake / poll / a result ──► one turn at the store (a thread) ──► attempts (tasks) ──► results

There is no timer that gathers: what comes back while a turn runs is recorded by the next. Who may be
called, and how much at once, `lanes` says, so that a bad endpoint delays nobody else. Whatever
happens to a worker, its deliveries are rerun: by itself, or by another when its lease has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import random as random_module
from collections import Counter, deque
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import structlog

from arifa.clock import monotonic, now_us
from arifa.delivery import schedule as schedules
from arifa.delivery.attempt import Prepared, attempt
from arifa.delivery.lanes import DEFAULT_PACE, Lanes, Out, Pace, Turned
from arifa.delivery.schedule import Schedule
from arifa.delivery.transport import DEFAULT_REACH, Reach, Transports
from arifa.delivery.turn import Seen, Taken, Turns
from arifa.errors import StoreBroken, StoreError, StoreUnfit
from arifa.identifiers import identifier
from arifa.store.deliveries import AttemptResult
from arifa.store.opened import Store

log: Final = structlog.get_logger("arifa")

LOOK_REST: Final = 4.0
"""How many times as long as a look took nobody looks again."""

T = TypeVar("T")


class Worker:
    """Delivers for one process. `wake` may be called from any thread, the rest from the loop.

    Attributes:
        name: its name in the store; new at every start.
    """

    def __init__(
        self,
        store: Store,
        *,
        reach: Reach = DEFAULT_REACH,
        clock: Callable[[], int] = now_us,
        ticks: Callable[[], float] = monotonic,
        random: Callable[[], float] = random_module.random,
        pace: Pace = DEFAULT_PACE,
        schedule: Schedule = schedules.DEFAULT,
        is_mailed: bool = False,
    ) -> None:
        self.name = identifier("wrk", now_us())
        self._reach = reach
        self._clock = clock
        self._random = random
        self._pace = pace
        self._schedule = schedule
        self._turns = Turns(
            store,
            self.name,
            clock=clock,
            lease_seconds=pace.lease_seconds,
            is_mailed=is_mailed,
        )
        self._lanes = Lanes(pace, clock=clock, ticks=ticks, random=random)
        self._thread: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signal = asyncio.Event()
        self._ended = asyncio.Event()
        self._is_called = True
        self._told: deque[Collection[str]] = deque()
        self._is_look_wanted = True
        self._looked_at = float("-inf")
        self._look_seconds = 0.0
        self._is_stopping = False
        self._grace = pace.grace
        self._in_hand: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: list[AttemptResult] = []
        self._turned: list[Turned] = []

    # ------------------------------------------------------------------ from outside

    def wake(self, endpoints: Collection[str] | None = None) -> None:
        """Say that something may be due: after a commit that queued deliveries.

        Costs next to nothing, and never fails: a call that is lost is made up for by the next poll.

        Args:
            endpoints: the ids of those that have something due; None where the caller does not
                know, which takes a look at the queue.
        """
        if endpoints is not None:
            self._told.append(endpoints)
        else:
            self._is_look_wanted = True
        if self._is_called:
            return
        self._is_called = True
        loop = self._loop
        if loop is not None:
            # A loop that is closed has nothing more to deliver.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._signal.set)

    async def stop(self, grace: float | None = None) -> None:
        """Claim no more, let the attempts that are out come back, and put back what does not.

        Returns when `run` has ended. `grace` is in seconds; the pace's by default.
        """
        if grace is not None:
            self._grace = grace
        self._is_stopping = True
        self._signal.set()
        if self._loop is not None:
            await self._ended.wait()

    async def run(self) -> None:
        """Deliver until `stop`.

        Raises:
            StoreBroken, StoreUnfit: a person has to look. A store that cannot be reached is no
                reason to end.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "arifa-delivery")
        try:
            async with Transports(self._reach) as transports:
                try:
                    await self._deliver(transports)
                finally:
                    await self._let_go()
        finally:
            self._thread.shutdown(wait=True)
            self._ended.set()

    # ------------------------------------------------------------------ the loop

    async def _deliver(self, transports: Transports) -> None:
        if not await self._started():
            return
        while not self._is_stopping:
            await self._rest(await self._turn(transports))
        await self._drain(transports)

    async def _started(self) -> bool:
        """Register; False where `stop` was called before the store could be reached."""
        while not self._is_stopping:
            try:
                rescued, troubled = await self._in_thread(self._turns.start)
            except (StoreBroken, StoreUnfit):
                raise
            except StoreError as error:
                log.warning("delivery.waiting", detail=str(error))
                await self._rest(self._pace.poll_seconds)
                continue
            if rescued:
                log.info("delivery.rescued", of_others=rescued)
            self._lanes.troubled(troubled)
            return True
        return False

    async def _turn(self, transports: Transports) -> float:
        """One turn at the store, and its attempts begun; gives the seconds to rest at most."""
        # In this order: whoever calls between the two lines sets the signal again.
        self._signal.clear()
        self._is_called = False
        results, self._results = self._results, []
        wanted: list[tuple[str, int]] = []
        try:
            await self._look()
            if not self._is_stopping:
                wanted = self._lanes.wanted()
            if wanted or results or self._turns.is_beat_due():
                await self._take(transports, results, wanted)
        except (StoreBroken, StoreUnfit):
            raise
        except StoreError as error:
            log.warning("delivery.waiting", detail=str(error))
            # Recorded or not, they come again: their fence makes the second time harmless.
            self._results = results + self._results
            self._lanes.taken(wanted, dict(wanted))
            self._is_look_wanted = True
            await self._back_off()
        return self._pause()

    async def _look(self) -> None:
        """Learn what is due: from those who called, and by a look where that is not enough."""
        told: set[str] = set()
        while self._told:
            told.update(self._told.popleft())
        if self._look_in() <= 0 and not self._is_stopping:
            self._is_look_wanted = False
            began_at = monotonic()
            self._apply(await self._in_thread(self._turns.look))
            self._looked_at = monotonic()
            self._look_seconds = self._looked_at - began_at
        if told:
            self._lanes.told(told)

    def _look_in(self) -> float:
        """Seconds until the queue is to be looked at: what that costs, it may not cost always."""
        rest = LOOK_REST * self._look_seconds
        if not self._is_look_wanted:
            rest = max(rest, self._pace.poll_seconds)
        return max(0.0, self._looked_at + rest - monotonic())

    def _apply(self, seen: Seen) -> None:
        if seen.endpoints is not None:
            self._lanes.configure(seen.endpoints)
        self._lanes.seen(seen.heads)

    async def _take(
        self,
        transports: Transports,
        results: list[AttemptResult],
        wanted: list[tuple[str, int]],
    ) -> None:
        turned = self._turned = self._turned + self._lanes.turned()
        taken = await self._in_thread(
            lambda: self._turns.take(results, frozenset(self._in_hand), wanted, turned)
        )
        self._turned = []
        self._in_hand.difference_update(result.claimed.id for result in results)
        claimed = Counter(item.errand.claimed.endpoint for item in taken.prepared)
        if not self._is_stopping:
            # Told to stop meanwhile: what is not begun goes back.
            for item in taken.prepared:
                self._begin(item, transports)
        self._lanes.taken(wanted, claimed)
        self._note(taken)

    def _note(self, taken: Taken) -> None:
        if taken.endpoints is not None:
            self._lanes.configure(taken.endpoints)
        if taken.due:
            self._lanes.told(taken.due)
        if taken.endpoints is not None or taken.is_stirred:
            self._is_look_wanted = True

    def _begin(self, prepared: Prepared, transports: Transports) -> None:
        claimed = prepared.errand.claimed
        self._in_hand.add(claimed.id)
        out = self._lanes.begun(claimed.endpoint)
        task = asyncio.create_task(self._attempted(prepared, out, transports))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attempted(self, prepared: Prepared, out: Out, transports: Transports) -> None:
        try:
            found = await attempt(
                prepared,
                transports,
                self._schedule,
                self._clock,
                self._random,
                deadline=self._pace.deadline,
            )
            self._results.append(found)
            self._lanes.judged(out, found)
        finally:
            self._lanes.back(out)
            self._signal.set()

    # ------------------------------------------------------------------ resting, ending

    def _pause(self) -> float:
        due_in = self._lanes.due_in()
        pause = min(self._look_in(), self._turns.beat_seconds)
        return pause if due_in is None else min(pause, due_in)

    async def _rest(self, seconds: float) -> None:
        """Until something calls, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._signal.wait()

    async def _back_off(self) -> None:
        """Whatever calls: the store has just failed."""
        until = monotonic() + self._pace.poll_seconds
        while not self._is_stopping and (left := until - monotonic()) > 0:
            await self._rest(left)
            self._signal.clear()

    async def _drain(self, transports: Transports) -> None:
        """Record what comes back within the grace, as it comes."""
        until = monotonic() + self._grace
        while self._tasks and (left := until - monotonic()) > 0:
            await self._rest(left)
            if self._results:
                await self._turn(transports)
            else:
                self._signal.clear()
        await self._let_go()
        try:
            left_over = await self._in_thread(lambda: self._turns.leave(self._results))
        except StoreError as error:
            log.warning("delivery.left", detail=f"{error}; the rest is rerun after the lease")
            return
        if left_over:
            log.info("delivery.put_back", deliveries=left_over)

    async def _let_go(self) -> None:
        """End the attempts that are still out."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        assert self._loop is not None
        return await self._loop.run_in_executor(self._thread, call)


__all__ = ["DEFAULT_PACE", "Pace", "Worker"]
