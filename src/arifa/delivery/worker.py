"""The worker: claim, attempt, record, again; inside the loop of the process that serves.

    wake / poll / a result ──► one turn at the store (a thread) ──► attempts (tasks) ──► results

There is no timer that gathers: what comes back while a turn runs is recorded by the next. An
endpoint has a bounded number of attempts open, so that a slow one delays nobody else. Whatever
happens to a worker, its deliveries are rerun: by itself, or by another when its lease has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import random as random_module
import ssl
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from arifa.clock import monotonic, now_us
from arifa.delivery import schedule as schedules
from arifa.delivery.attempt import Prepared, attempt
from arifa.delivery.outbound import DEADLINE_SECONDS, Outbound
from arifa.delivery.schedule import Schedule
from arifa.delivery.turn import Turns
from arifa.errors import StoreBroken, StoreError, StoreUnfit
from arifa.identifiers import identifier
from arifa.store.deliveries import LEASE_SECONDS, AttemptResult
from arifa.store.opened import Store

log: Final = structlog.get_logger("arifa")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much at once, how often, how long.

    Attributes:
        overall, per_endpoint: attempts that are out at one moment.
        poll_seconds: how often the store is asked where nobody has called `wake`.
        lease_seconds: how long after its worker's death a delivery waits for another.
        deadline: seconds that one attempt may take, from the name's look-up to the last byte.
        grace: seconds that `stop` waits for the attempts that are out.
    """

    overall: int = 64
    per_endpoint: int = 8
    poll_seconds: float = 1.0
    lease_seconds: int = LEASE_SECONDS
    deadline: float = DEADLINE_SECONDS
    grace: float = DEADLINE_SECONDS + 1


DEFAULT_PACE: Final = Pace()


class Worker:
    """Delivers for one process. `wake` may be called from any thread, the rest from the loop.

    Attributes:
        name: its name in the store; new at every start.
    """

    def __init__(
        self,
        store: Store,
        *,
        allow_private: bool = False,
        clock: Callable[[], int] = now_us,
        random: Callable[[], float] = random_module.random,
        pace: Pace = DEFAULT_PACE,
        schedule: Schedule = schedules.DEFAULT,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.name = identifier("wrk", now_us())
        self._allow_private = allow_private
        self._clock = clock
        self._random = random
        self._pace = pace
        self._schedule = schedule
        self._trust = trust
        self._turns = Turns(
            store,
            self.name,
            clock=clock,
            lease_seconds=pace.lease_seconds,
            per_endpoint=pace.per_endpoint,
        )
        self._thread: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signal = asyncio.Event()
        self._ended = asyncio.Event()
        self._is_called = True
        self._is_stopping = False
        self._grace = pace.grace
        self._in_hand: set[str] = set()
        self._busy: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: list[AttemptResult] = []

    # ------------------------------------------------------------------ from outside

    def wake(self) -> None:
        """Say that something may be due: after a commit that queued deliveries. Costs next to
        nothing, and never fails: a call that is lost is made up for by the next poll."""
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
            async with Outbound(
                allow_private=self._allow_private, deadline=self._pace.deadline, trust=self._trust
            ) as outbound:
                try:
                    await self._deliver(outbound)
                finally:
                    await self._let_go()
        finally:
            self._thread.shutdown(wait=True)
            self._ended.set()

    # ------------------------------------------------------------------ the loop

    async def _deliver(self, outbound: Outbound) -> None:
        if not await self._started():
            return
        while not self._is_stopping:
            await self._rest(await self._turn(outbound))
        await self._drain(outbound)

    async def _started(self) -> bool:
        """Register; False where `stop` was called before the store could be reached."""
        while not self._is_stopping:
            try:
                rescued = await self._in_thread(self._turns.start)
            except (StoreBroken, StoreUnfit):
                raise
            except StoreError as error:
                log.warning("delivery.waiting", detail=str(error))
                await self._rest(self._pace.poll_seconds)
                continue
            if rescued:
                log.info("delivery.rescued", of_others=rescued)
            return True
        return False

    async def _turn(self, outbound: Outbound) -> float:
        """One turn at the store, and its attempts begun; gives the seconds to rest at most."""
        # In this order: whoever calls between the two lines sets the signal again.
        self._signal.clear()
        is_called, self._is_called = self._is_called, False
        results, self._results = self._results, []
        try:
            if not (results or is_called or self._turns.is_beat_due()):
                due_in = await self._in_thread(self._turns.due_in)
                if due_in is None or due_in > 0:
                    return self._pause(due_in)
            await self._take(outbound, results)
        except (StoreBroken, StoreUnfit):
            raise
        except StoreError as error:
            log.warning("delivery.waiting", detail=str(error))
            # Recorded or not, they come again: their fence makes the second time harmless.
            self._results = results + self._results
            self._is_called = True
            await self._back_off()
        return self._pause(None)

    async def _take(self, outbound: Outbound, results: list[AttemptResult]) -> None:
        recorded = {result.claimed.id for result in results}
        room = 0
        if not self._is_stopping:
            room = self._pace.overall - len(self._in_hand) + len(recorded)
        prepared = await self._in_thread(
            lambda: self._turns.take(results, frozenset(self._in_hand), room, dict(self._busy))
        )
        self._in_hand -= recorded
        if self._is_stopping:
            # Told to stop meanwhile: what is not begun goes back.
            return
        for item in prepared:
            self._begin(item, outbound)

    def _begin(self, prepared: Prepared, outbound: Outbound) -> None:
        claimed = prepared.errand.claimed
        self._in_hand.add(claimed.id)
        self._busy[claimed.endpoint] += 1
        task = asyncio.create_task(self._attempted(prepared, outbound))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attempted(self, prepared: Prepared, outbound: Outbound) -> None:
        endpoint = prepared.errand.claimed.endpoint
        try:
            found = await attempt(prepared, outbound, self._schedule, self._clock, self._random)
            self._results.append(found)
        finally:
            self._busy[endpoint] -= 1
            if not self._busy[endpoint]:
                del self._busy[endpoint]
            self._signal.set()

    # ------------------------------------------------------------------ resting, ending

    def _pause(self, due_in: float | None) -> float:
        pause = min(self._pace.poll_seconds, self._turns.beat_seconds)
        return pause if due_in is None else max(0.0, min(pause, due_in))

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

    async def _drain(self, outbound: Outbound) -> None:
        """Record what comes back within the grace, as it comes."""
        until = monotonic() + self._grace
        while self._tasks and (left := until - monotonic()) > 0:
            await self._rest(left)
            if self._results:
                await self._turn(outbound)
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
