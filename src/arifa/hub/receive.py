"""Steps 4 to 7: a group of requests becomes rows, in one transaction, and then answers.

    know the current configuration → meet what is known → write → seal → commit → answer

A data error is bisected out; another node's claim of the same payment reruns the group; an error of
the infrastructure makes every answer UNAVAILABLE. What was answered is on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import structlog

from arifa.clock import now_us
from arifa.dialects.base import Result
from arifa.errors import (
    AlreadyClaimed,
    DataRefused,
    StoreBroken,
    StoreError,
    Unavailable,
    place_of,
)
from arifa.hub.judge import Judged
from arifa.hub.prepare import Prepared, is_proven, prepare, prepare_again
from arifa.hub.record import Draft, Group, Recorded, Sample
from arifa.outcome import STATUS, Insertion, Outcome
from arifa.store import changes, configuration, seals
from arifa.store.database import Connection, Urgency
from arifa.store.opened import Store
from arifa.wire import PLAIN, WireRequest, WireResponse

log: Final = structlog.get_logger("arifa")
RERUNS_MAX: Final = 5
RECORDED_MAX: Final = 64
"""Requests that `record` takes: it holds the event loop for some 50 microseconds for each."""


class Recording:
    """A group that is recorded in an open transaction, and not yet committed."""

    __slots__ = ("drafts", "previous", "recorded", "transaction")

    def __init__(self, drafts: list[Draft], recorded: Recorded, previous: seals.Seal) -> None:
        self.drafts = drafts
        self.recorded = recorded
        self.previous = previous
        self.transaction = ExitStack()


class Receiver:
    """Receives for one node. `prepare` may run anywhere; one group at a time is received.

    Attributes:
        delivered_to: called after a commit that queued deliveries.
    """

    def __init__(self, store: Store, clock: Callable[[], int] = now_us) -> None:
        self.store = store
        self.clock = clock
        self.delivered_to: Callable[[], None] = lambda: None
        with store.database.read() as connection:
            self.configuration = configuration.load(connection, store.vault)
            self._latest_us = seals.last_sealed_at(connection, store.writer)
        self._seal: seals.Seal | None = None
        self._head = seals.HeadFile(store.folder, store.writer)
        self._sample = Sample()
        self._expects_repeats = False

    def prepare(self, token: str, request: WireRequest) -> Prepared:
        """Prove and read by the configuration at hand."""
        return prepare(self.configuration, token, request)

    def receive(self, group: list[Prepared]) -> list[WireResponse | None]:
        """Commit a group, and give each request's answer; None where no source has its path."""
        try:
            return self._with_reruns(group)
        except DataRefused:
            return self._bisected(group)
        except StoreError:
            return [unavailable(prepared) for prepared in group]
        except Exception as error:  # noqa: BLE001 - one message must not cost the others their answer
            log.error("receive.failed", error=type(error).__name__, at=place_of(error))
            return self._bisected(group)

    def close(self) -> None:
        """Close the seal head's file."""
        self._head.close()

    def _with_reruns(self, group: list[Prepared]) -> list[WireResponse | None]:
        for rerun in range(RERUNS_MAX + 1):
            try:
                return self._committed(group)
            except AlreadyClaimed:
                # Not all was new, or another node was faster. The next group asks first as well.
                self._expects_repeats = True
            except DataRefused:
                # Another node may just have opened the same case: look again. A single request
                # that is refused twice in a row is at fault itself.
                if rerun == (RERUNS_MAX if len(group) == 1 else 1):
                    raise
            except Unavailable:
                if rerun == RERUNS_MAX or self.store.database.is_sqlite:
                    raise
        raise Unavailable("other nodes kept claiming the same payments at the same moment")

    def _bisected(self, group: list[Prepared]) -> list[WireResponse | None]:
        if len(group) > 1:
            middle = len(group) // 2
            return self.receive(group[:middle]) + self.receive(group[middle:])
        prepared = group[0]
        if prepared.outcome is not None or not prepared.readings:
            return [unavailable(prepared)]
        # Genuine, but not to be recorded as it was read: kept raw, to be read again after a fix.
        prepared.outcome, prepared.readings = Outcome.UNREADABLE, []
        prepared.reason = "a value of it could not be recorded; its bytes are kept"
        return self.receive(group)

    def record(self, group: list[Prepared]) -> Recording | None:
        """Record a group here and now, but for the commit; None where that takes more than that.

        On SQLite only: no statement waits for a disk or a network, and only the commit syncs. Where
        another program is writing, something repeats unexpectedly or anything is wrong, `receive`
        does it all.
        """
        database = self.store.database
        if not database.is_sqlite or len(group) > RECORDED_MAX:
            return None
        try:
            with ExitStack() as stack:
                connection = stack.enter_context(database.write(Urgency.INTAKE, waits=False))
                recording = self._recorded(connection, group)
                recording.transaction = stack.pop_all()
                return recording
        except AlreadyClaimed:
            self._expects_repeats = True
        except Exception as error:  # noqa: BLE001 - `receive` meets it again, and tells it apart
            log.debug("record.left", error=type(error).__name__)
        return None

    def commit(self, recording: Recording) -> list[WireResponse | None]:
        """Commit what was recorded, and give each request's answer; in any thread."""
        try:
            recording.transaction.close()
            return self._sealed(recording)
        except StoreError:
            return [unavailable(draft.prepared) for draft in recording.drafts]

    def _committed(self, group: list[Prepared]) -> list[WireResponse | None]:
        with self.store.database.write(Urgency.INTAKE) as connection:
            recording = self._recorded(connection, group)
        return self._sealed(recording)

    def _recorded(self, connection: Connection, group: list[Prepared]) -> Recording:
        previous, self._seal = self._seal, None
        self._keep_current(connection, group)
        if previous is None:
            previous = seals.last(connection, self.store.writer)
        drafts = [_drafted(prepared) for prepared in group]
        # Identifiers sort by time, and what follows the commits goes by them: where the clock was
        # set back, they go on by a millisecond a group until it has caught up.
        self._latest_us = max(self.clock(), self._latest_us + 1000)
        recorded = Group(
            connection,
            self.configuration,
            drafts,
            writer=self.store.writer,
            previous=previous,
            now_us=self.clock(),
            sorted_us=self._latest_us,
            sample=self._sample,
            expects_repeats=self._expects_repeats,
        ).record()
        return Recording(drafts, recorded, previous)

    def _sealed(self, recording: Recording) -> list[WireResponse | None]:
        """What there is to do when a group is on disk."""
        drafts, recorded = recording.drafts, recording.recorded
        self._seal = recorded.seal
        self._expects_repeats = any(
            item.insertion is not Insertion.CREATED for draft in drafts for item in draft.judged
        )
        if recorded.seal is not recording.previous:
            self._note(recorded.seal)
        if recorded.deliveries:
            self.delivered_to()
        return [draft.answer for draft in drafts]

    def _note(self, seal: seals.Seal) -> None:
        try:
            self._head.note(self.store.writer, seal)
        except OSError as error:
            self.store.database.broken = StoreBroken(
                f"the seal's head in {self.store.folder} cannot be written: {error.strerror}. "
                f"Look at the disk, and start again; nothing acknowledged is lost."
            )
            raise self.store.database.broken from error

    def _keep_current(self, connection: Connection, group: list[Prepared]) -> None:
        """See that each was prepared by the current configuration; else prepare it again.

        Each by itself: another group may have loaded the current one while this one waited.
        """
        if changes.number(connection) != self.configuration.number:
            self.configuration = configuration.load(connection, self.store.vault)
        for prepared in group:
            if prepared.configuration != self.configuration.number:
                prepare_again(self.configuration, prepared)


def _drafted(prepared: Prepared) -> Draft:
    source = prepared.source
    if source is None or not is_proven(prepared):
        return Draft(prepared, [], _refusal(prepared))
    return Draft(
        prepared, [Judged(prepared, source, reading) for reading in prepared.readings], None
    )


def _refusal(prepared: Prepared) -> WireResponse | None:
    if prepared.source is None or prepared.outcome is None:
        return None
    if prepared.is_forbidden:
        return WireResponse(403, b"This address is not allowed here.\n", (PLAIN,))
    if prepared.outcome is Outcome.UNAVAILABLE or prepared.dialect is None:
        return unavailable(prepared)
    return prepared.dialect.acknowledge(
        prepared.request, prepared.outcome, Result(), prepared.source.profile
    )


def unavailable(prepared: Prepared) -> WireResponse:
    """The bank's own failure answer: never stored, never repeated. It never fails."""
    plain = WireResponse(STATUS[Outcome.UNAVAILABLE], b"Try again later.\n", (PLAIN,))
    if prepared.dialect is None or prepared.source is None:
        return plain
    try:
        return prepared.dialect.acknowledge(
            prepared.request, Outcome.UNAVAILABLE, Result(), prepared.source.profile
        )
    except Exception as error:  # noqa: BLE001 - the last answer that there is
        log.error("answer.failed", error=type(error).__name__, at=place_of(error))
        return plain
