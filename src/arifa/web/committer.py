"""Requests that wait at the same moment share one transaction and one disk sync.

No timer: a group is what has gathered while the last commit ran. The event loop makes the rows and
the answers of a group, as if all of it were new, which it mostly is and which takes no database;
a thread writes and commits them, and where something repeats after all, makes them again. Two
threads that both think hinder each other more than they help (measured): this one waits for the
database most of its time. A client that gives up, or our deadline, ends the waiting, never the
write.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from functools import partial
from queue import SimpleQueue
from typing import Final

from arifa.clock import monotonic
from arifa.errors import StoreBroken, place_of
from arifa.hub.prepare import Prepared
from arifa.hub.receive import Composed, Receiver, Written, unavailable
from arifa.hub.record import Draft
from arifa.observe import log
from arifa.store.database import Urgency
from arifa.web.clerk import Clerk
from arifa.wire import WireResponse

GROUP_MAX: Final = 256
WAITING_MAX: Final = 4096
ANSWER_SECONDS: Final = 5.0
_SWEEP_SECONDS: Final = 0.25


Done = Callable[[WireResponse | None], None]
Asked = tuple[Prepared, Done]
"""A request that was proven and read, and who is to be told its answer."""


class Waiting:
    """One request that waits for its answer; `done` is called with it once, in the event loop."""

    __slots__ = ("done", "draft", "is_answered", "prepared", "since")

    def __init__(self, prepared: Prepared, draft: Draft | None, done: Done) -> None:
        self.prepared = prepared
        self.draft = draft
        self.done = done
        self.is_answered = False
        self.since = monotonic()

    def answer(self, answer: WireResponse | None) -> None:
        """Answer, unless it has been answered already."""
        if not self.is_answered:
            self.is_answered = True
            self.done(answer)


class Committer:
    """Commits groups, one at a time. `submit` belongs to the event loop.

    `on_broken` is called in the loop when the disk or the database failed: stop serving.
    """

    def __init__(
        self,
        receiver: Receiver,
        loop: asyncio.AbstractEventLoop,
        on_broken: Callable[[str], None],
        answer_seconds: float = ANSWER_SECONDS,
        clerk: Clerk | None = None,
    ) -> None:
        self._receiver = receiver
        self._clerk = clerk
        self._loop = loop
        self._on_broken = on_broken
        self._answer_seconds = answer_seconds
        self._waiting: list[Waiting] = []
        self._in_commit: list[Waiting] = []
        self._commit_since = monotonic()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._work: SimpleQueue[tuple[list[Waiting], Composed | None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="arifa-commit", daemon=True)
        self._sweep: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to commit."""
        if self._clerk is not None:
            self._clerk.start()
        self._thread.start()
        self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._look_for_late)

    def submit(self, asked: Iterable[Asked]) -> None:
        """Queue requests; each `done` gets its answer, or None where no source has its path."""
        for prepared, done in asked:
            if self._stopping or len(self._waiting) >= WAITING_MAX:
                _tell(Waiting(prepared, None, done), unavailable(prepared))
            else:
                # While the group before is being written there is nothing else to do.
                self._waiting.append(Waiting(prepared, self._receiver.draft(prepared), done))
        if self._waiting and self._idle.is_set():
            # Not at once: what else has arrived by now belongs to the same group.
            self._idle.clear()
            self._loop.call_soon(self._take)

    async def stop(self) -> None:
        """Commit what waits, and end the thread."""
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self._answer_seconds)
        if self._sweep is not None:
            self._sweep.cancel()
        if self._clerk is not None:
            await self._clerk.stop()
        self._work.put(None)
        await asyncio.to_thread(self._thread.join, self._answer_seconds)

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            group, composed = work
            answers = self._committed(group, composed)
            broken = self._receiver.store.database.broken
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._answer, group, answers, broken)

    def _committed(
        self, group: list[Waiting], composed: Composed | None
    ) -> list[WireResponse | None]:
        try:
            if composed is not None:
                return self._receiver.commit(composed)
            return self._receiver.receive([waiting.prepared for waiting in group])
        except BaseException as error:  # noqa: BLE001 - whatever it is, every client gets an answer
            log.error("receive.failed", error=type(error).__name__, at=place_of(error))
            return [unavailable(waiting.prepared) for waiting in group]

    # ------------------------------------------------------------------ in the loop

    def _take(self) -> None:
        """Take what has gathered as the next group, if anything has."""
        if not self._waiting:
            self._in_commit = []
            self._idle.set()
            return
        group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
        self._in_commit, self._commit_since = group, monotonic()
        composed = self._receiver.compose(
            [waiting.prepared for waiting in group], [waiting.draft for waiting in group]
        )
        if composed is None or self._clerk is None or not self._clerk.is_ready:
            self._work.put((group, composed))
        else:
            self._clerk.write(composed.rows, partial(self._written, group, composed))

    def _written(self, group: list[Waiting], composed: Composed, written: Written) -> None:
        """The clerk has written a group, or could not."""
        database = self._receiver.store.database
        if isinstance(written, StoreBroken):
            database.broken = written
        try:
            answers = self._receiver.committed(composed, written)
        except Exception as error:  # noqa: BLE001 - whatever it is, every client gets an answer
            log.error("receive.failed", error=type(error).__name__, at=place_of(error))
            answers = [unavailable(waiting.prepared) for waiting in group]
        if answers is None:
            # Not all is as new as it seemed, or as the configuration was: the thread asks the books.
            self._work.put((group, None))
        else:
            self._answer(group, answers, database.broken)

    def _answer(
        self,
        group: list[Waiting],
        answers: list[WireResponse | None],
        broken: StoreBroken | None,
    ) -> None:
        if broken is not None:
            self._on_broken(str(broken))
        # The next group first: it is written while these hear their answers.
        self._take()
        for waiting, answer in zip(group, answers, strict=True):
            _tell(waiting, answer)

    def _look_for_late(self) -> None:
        """Answer UNAVAILABLE to whoever has waited too long; what is being written goes on."""
        self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._look_for_late)
        now = monotonic()
        late = now - self._answer_seconds
        in_commit = self._in_commit
        for waiting in (*in_commit, *self._waiting):
            if waiting.since < late and not waiting.is_answered:
                _tell(waiting, unavailable(waiting.prepared))
        # Who is late behind a long queue is no reason to disturb a commit that has just begun.
        if in_commit and self._commit_since < late:
            self._commit_since = now
            self._receiver.store.database.abandon(Urgency.INTAKE)
            if self._clerk is not None:
                self._clerk.abandon()


def _tell(waiting: Waiting, answer: WireResponse | None) -> None:
    """Answer one request; what goes wrong with its connection must not cost the others theirs."""
    try:
        waiting.answer(answer)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is about this connection only
        log.error("answer.failed", error=type(error).__name__, at=place_of(error))
