"""Steps 4 to 7: a group of requests becomes rows, in one transaction, and then answers.

    compose the rows and the answers → know the current configuration → write → seal → commit → answer

`compose` and `commit` are the way of most groups, where all is new. `receive` begins anew where it
is not: it asks what the books know. A data error is bisected out; another node's claim of the same
payment reruns the group; an error of the infrastructure makes every answer UNAVAILABLE. What was
answered is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import structlog

from arifa.clock import monotonic, now_us
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
from arifa.hub.record import Draft, Group, Sample
from arifa.outcome import STATUS, Insertion, Outcome
from arifa.store import changes, configuration, seals
from arifa.store.database import Connection, Urgency
from arifa.store.group import GroupRows, Outdated
from arifa.store.opened import Store
from arifa.wire import PLAIN, WireRequest, WireResponse

log: Final = structlog.get_logger("arifa")
RERUNS_MAX: Final = 5
TRY_AGAIN: Final = WireResponse(STATUS[Outcome.UNAVAILABLE], b"Try again later.\n", (PLAIN,))
Written = seals.Seal | Exception
"""What became of rows: the last seal when they are on disk, or why they are not."""


class Composed:
    """A group whose rows and answers are made, and that is to be written."""

    __slots__ = ("drafts", "group")

    def __init__(self, group: Group, drafts: list[Draft]) -> None:
        self.group = group
        self.drafts = drafts

    @property
    def rows(self) -> GroupRows:
        """What is to be written."""
        return self.group.rows

    @property
    def prepared(self) -> list[Prepared]:
        """The requests that it is made of."""
        return [draft.prepared for draft in self.drafts]


class Receiver:
    """Receives for one node. `prepare` may run anywhere; one group at a time is received.

    Attributes:
        delivered_to: called after a commit that queued deliveries, with their endpoints' ids.
    """

    def __init__(self, store: Store, clock: Callable[[], int] = now_us) -> None:
        self.store = store
        self.clock = clock
        self.delivered_to: Callable[[Collection[str]], None] = lambda _: None
        with store.database.read() as connection:
            self.configuration = configuration.load(connection, store.vault)
            self._latest_us = seals.last_sealed_at(connection, store.writer)
        self._seal: seals.Seal | None = None
        self._head = seals.HeadFile(store.folder, store.writer)
        self._sample = Sample()
        self._expects_repeats = False
        self._unsaid = 0
        self._silent_until = 0.0

    def prepare(self, token: str, request: WireRequest) -> Prepared:
        """Prove and read by the configuration at hand."""
        return prepare(self.configuration, token, request)

    def receive(self, group: list[Prepared]) -> list[WireResponse | None]:
        """Commit a group, and give each request's answer; None where no source has its path."""
        try:
            return self._with_reruns(group)
        except DataRefused:
            return self._bisected(group)
        except StoreError as error:
            return self._put_off(group, error)
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

    def draft(self, prepared: Prepared) -> Draft | None:
        """What of composing is about this request alone; None where that fails, by a dialect's bug.

        It may be done while another group is being written, and is half of the work.
        """
        try:
            return _drafted(prepared)
        except Exception as error:  # noqa: BLE001 - `receive` meets it again, and tells it apart
            log.debug("draft.left", error=type(error).__name__)
            return None

    def compose(
        self, group: list[Prepared], drafts: list[Draft | None] | None = None
    ) -> Composed | None:
        """Make the rows and answers of a group without the books; None where they must be asked.

        It takes no waiting, and so may be done by the event loop, while nothing else is under way.
        `drafts` are those of the group, where they have been made beforehand.
        """
        if self._expects_repeats or self._seal is None or _asks(group):
            return None
        number = self.configuration.number
        if any(prepared.configuration != number for prepared in group):
            return None
        try:
            made = [self.draft(prepared) for prepared in group] if drafts is None else drafts
            ready = [draft for draft in made if draft is not None]
            if len(ready) < len(group):
                return None
            composed = self._composed(None, ready, self._seal)
        except Exception as error:  # noqa: BLE001 - `receive` meets it again, and tells it apart
            log.debug("compose.left", error=type(error).__name__)
            return None
        # It may move before they are written.
        composed.rows.configuration = number
        # Known again when they are.
        self._seal = None
        return composed

    def commit(self, composed: Composed) -> list[WireResponse | None]:
        """Write and commit what was composed, and give each request's answer; in any thread."""
        written: Written
        try:
            with self.store.database.write(Urgency.INTAKE) as connection:
                written = composed.rows.write(connection)
        except (Outdated, StoreError) as error:
            written = error
        answers = self.committed(composed, written)
        return self.receive(composed.prepared) if answers is None else answers

    def committed(self, composed: Composed, written: Written) -> list[WireResponse | None] | None:
        """The answers to a group whose rows were committed by whoever, or failed to be.

        None: it has to be received from the beginning, for the books must be asked.
        """
        if isinstance(written, seals.Seal):
            return self._sealed(composed, written)
        if isinstance(written, DataRefused):
            # Not all was new, or one of them is at fault.
            self._expects_repeats = True
        elif not isinstance(written, Outdated):
            return self._put_off(composed.prepared, written)
        return None

    def _committed(self, group: list[Prepared]) -> list[WireResponse | None]:
        previous, self._seal = self._seal, None
        with self.store.database.write(Urgency.INTAKE) as connection:
            self._keep_current(connection, group)
            if previous is None:
                previous = seals.last(connection, self.store.writer)
            asked = connection if self._expects_repeats or _asks(group) else None
            composed = self._composed(asked, [_drafted(prepared) for prepared in group], previous)
            seal = composed.rows.write(connection)
        return self._sealed(composed, seal)

    def _composed(
        self, connection: Connection | None, drafts: list[Draft], previous: seals.Seal
    ) -> Composed:
        # Identifiers sort by time, and what follows the commits goes by them: where the clock was
        # set back, they go on by a millisecond a group until it has caught up.
        self._latest_us = max(self.clock(), self._latest_us + 1000)
        group = Group(
            self.configuration,
            drafts,
            writer=self.store.writer,
            previous=previous,
            now_us=self.clock(),
            sorted_us=self._latest_us,
            sample=self._sample,
        )
        group.compose(connection)
        return Composed(group, drafts)

    def _sealed(self, composed: Composed, seal: seals.Seal) -> list[WireResponse | None]:
        """What there is to do when a group is on disk."""
        self._seal = seal
        self._expects_repeats = any(
            item.insertion is not Insertion.CREATED
            for draft in composed.drafts
            for item in draft.judged
        )
        if seal != composed.rows.previous:
            self._note(seal)
        if composed.group.told:
            self.delivered_to(composed.group.told)
        return [draft.answer for draft in composed.drafts]

    def _put_off(self, group: list[Prepared], error: Exception) -> list[WireResponse | None]:
        """Tell all to come again; the log says why, once a second at most."""
        self._unsaid += len(group)
        now = monotonic()
        if now >= self._silent_until:
            log.warning("receive.unavailable", requests=self._unsaid, detail=str(error))
            self._unsaid, self._silent_until = 0, now + 1.0
        return [unavailable(prepared) for prepared in group]

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


def _asks(group: list[Prepared]) -> bool:
    """Whether one of them is a question, which only the books can answer."""
    return any(prepared.query is not None for prepared in group)


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
    if prepared.dialect is None or prepared.source is None:
        return TRY_AGAIN
    try:
        return prepared.dialect.acknowledge(
            prepared.request, Outcome.UNAVAILABLE, Result(), prepared.source.profile
        )
    except Exception as error:  # noqa: BLE001 - the last answer that there is
        log.error("answer.failed", error=type(error).__name__, at=place_of(error))
        return TRY_AGAIN
