"""The issuing side of a serving process: what was approved is processed, OKs are written down,
files in the watched folder are entered. Each in a loop and a thread of its own, so that a slow
processor delays no file. All of it may stop or die at any moment: `hub` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from arifa.clock import now_us
from arifa.errors import StoreBroken, StoreError, StoreUnfit
from arifa.hub import acknowledged
from arifa.hub.folder import Folder
from arifa.hub.process import Processing
from arifa.hub.processor import Processor
from arifa.observe import log
from arifa.store.opened import Store

POLL_SECONDS: Final = 1.0


class Issuing:
    """Runs until `stop`. `woken` is called when there is something to deliver."""

    def __init__(
        self,
        store: Store,
        processor: Processor,
        woken: Callable[[], None],
        folder: Folder | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._store = store
        self._processing = Processing(store, processor)
        self._processing.delivered_to = woken
        self._woken = woken
        self._folder = folder
        self._poll_seconds = poll_seconds
        self._stopping = asyncio.Event()
        self._after = ""
        self._has_taken_over = False
        if folder is not None:
            folder.is_stopping = self._stopping.is_set

    async def run(self) -> None:
        """Work until told to stop.

        Raises:
            StoreBroken, StoreUnfit: a person has to look. A store that cannot be reached is no
                reason to end.
        """
        steps = [self._process, self._follow]
        if self._folder is not None:
            steps.append(self._watch)
        await asyncio.gather(*(self._repeat(step) for step in steps))

    def stop(self) -> None:
        """Begin nothing more; `run` ends when what is under way has come to its end."""
        self._stopping.set()

    async def _repeat(self, step: Callable[[], int]) -> None:
        while not self._stopping.is_set():
            done = 0
            try:
                done = await asyncio.to_thread(step)
            except (StoreBroken, StoreUnfit):
                raise
            except StoreError as error:
                log.warning("issue.waiting", detail=str(error))
            if not done:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._stopping.wait()

    def _process(self) -> int:
        if not self._has_taken_over:
            self._processing.take_over()
            self._has_taken_over = True
        return self._processing.step()

    def _follow(self) -> int:
        recorded, self._after = acknowledged.record(self._store, self._after, now_us())
        # Only where something was written it goes on at once: those that nobody ever answers must
        # not keep it busy, and what a reader sees does not wait for it.
        return recorded

    def _watch(self) -> int:
        assert self._folder is not None
        taken = self._folder.step()
        if taken:
            self._woken()
        return taken
