"""One group: every row of it and the answer to each request, composed and then written."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from arifa.dialects.base import Dialect, Result
from arifa.errors import CannotExpress
from arifa.feed import Endpoint, Source
from arifa.hub.judge import Judged
from arifa.hub.prepare import Prepared
from arifa.hub.question import NOT_KNOWN, answer_to
from arifa.hub.queue import delivery, interested
from arifa.identifiers import Identifiers
from arifa.notification import Query, Reading, State
from arifa.outcome import Insertion, Outcome
from arifa.store import cases, identities, inbox, refusals, seals, sources
from arifa.store.configuration import Configuration
from arifa.store.database import Connection
from arifa.store.group import GroupRows
from arifa.store.identities import Key, Known
from arifa.wire import WireResponse

_OUTCOME: Final = {
    Insertion.CREATED: Outcome.ACCEPTED,
    Insertion.EXISTS: Outcome.DUPLICATE,
    Insertion.CONFLICT: Outcome.CONFLICT,
}
_PRECEDENCE: Final = list(Outcome)
_CREATED, _EXISTS, _CONFLICT = Insertion.CREATED, Insertion.EXISTS, Insertion.CONFLICT
_OUTCOME_TEXT: Final = {outcome: str(outcome) for outcome in Outcome}
Opened = dict[Key, tuple[str, str]]
"""By merchant and case key: the held notification of an open case, and whose it is."""
Answers = dict[tuple[str, str], tuple[bytes, WireResponse]]
"""By notification and source: the hash of the content it first came in, and the answer then."""

_ACCEPTED_OUTCOME: Final = Outcome.ACCEPTED
_ACCEPTED, _HELD = State.ACCEPTED.value, State.HELD.value
_NONE_COUNTED: Final = (0, 0, None)
SAMPLES_A_SECOND: Final = 5


class Draft:
    """One request on its way to self.rows. `answer` is None until there is one.

    `stored_as` is the inbox row of a request that was stored and answered when it came, and is
    read again: only what it says now is recorded.
    """

    __slots__ = ("answer", "body_hash", "head", "inbox_id", "is_stored", "judged", "prepared")

    def __init__(
        self,
        prepared: Prepared,
        judged: list[Judged],
        answer: WireResponse | None,
        stored_as: str | None = None,
    ) -> None:
        self.prepared = prepared
        self.judged = judged
        self.answer = answer
        self.is_stored = stored_as is not None
        self.inbox_id = stored_as or ""
        self.body_hash = self.head = b""
        if answer is None and stored_as is None and prepared.source is not None:
            self.body_hash = inbox.content_hash(prepared.request)
            self.head = inbox.pack_head(prepared.request)


class Sample:
    """Lets a few refused requests a second through to the ring, however many come."""

    def __init__(self) -> None:
        self._second, self._left = 0, 0

    def take(self, now_us: int) -> bool:
        """Whether this one is kept."""
        second = now_us // 1_000_000
        if second != self._second:
            self._second, self._left = second, SAMPLES_A_SECOND
        self._left -= 1
        return self._left >= 0


class Group:
    """The rows of one group, table by table, and the answers that go with them.

    `compose` makes them; `rows.write` puts them into the books. `now_us` is the clock; `sorted_us`
    is what identifiers sort by, and never goes back.

    Attributes:
        told: the endpoints that have something due by it.
    """

    def __init__(
        self,
        configuration: Configuration,
        drafts: list[Draft],
        *,
        writer: str,
        previous: seals.Seal,
        now_us: int,
        sorted_us: int,
        sample: Sample,
    ) -> None:
        self._configuration = configuration
        self._drafts = drafts
        self._writer = writer
        self._seal_number = previous.number + 1
        self.told: AbstractSet[str] = frozenset()
        self._now_us = now_us
        self._ids = Identifiers(sorted_us)
        self._sample = sample
        self.rows = GroupRows(
            writer=writer,
            previous=previous,
            sealed_at=sorted_us,
            also_plain=configuration.has_plain_identities,
        )
        self._tally: dict[tuple[str, str], tuple[int, int, int | None]] = {}
        self._endpoints: dict[tuple[str | None, ...], list[Endpoint]] = {}

    def compose(self, connection: Connection | None) -> None:
        """Make every row, and put each request's answer into its draft.

        Without a connection, as if the books knew nothing of it, which is mostly so: writing finds
        out. That takes no database, and no waiting.
        """
        opened = self._judge(connection)
        earlier = self._earlier_answers(connection)
        for draft in self._drafts:
            source = draft.prepared.source
            if source is None:
                continue
            if draft.answer is not None:
                self._refuse(draft, source)
                continue
            if not draft.is_stored:
                draft.inbox_id = self._ids.new("inb")
            for item in draft.judged:
                if item.insertion is not _EXISTS:
                    self._keep(draft, source, item, opened)
            if not draft.is_stored:
                self._answer(draft, source, earlier, connection)
        self._finish()

    # ------------------------------------------------------------------ judging

    def _judge(self, connection: Connection | None) -> Opened:
        """Meet each reading with what is known, and let the next see it, in order of arrival.

        Gives the cases that are open already for those in conflict.
        """
        known: dict[Key, Known] = {}
        if connection is not None:
            keys = [key for draft in self._drafts for item in draft.judged for key in item.keys]
            if keys:
                known = identities.find(
                    connection, keys, also_plain=self._configuration.has_plain_identities
                )
        conflicts: list[Judged] = []
        for draft in self._drafts:
            for item in draft.judged:
                item.meet(known)
                if item.insertion is _CREATED:
                    self._claim(item, known)
                elif item.insertion is _CONFLICT:
                    conflicts.append(item)
        return _known_cases(connection, conflicts)

    def _claim(self, item: Judged, known: dict[Key, Known]) -> None:
        item.notification = identity = self._ids.new("ntf")
        owner, money_hash = item.merchant, item.money_hash
        found = Known(identity, owner, money_hash)
        for key in item.keys:
            if key not in known:
                known[key] = found
                self.rows.identities.append((*key, identity, owner, money_hash))

    def _keep(self, draft: Draft, source: Source, item: Judged, opened: Opened) -> None:
        """The rows of one reading: its notification, and its deliveries or its case."""
        if item.insertion is _CONFLICT:
            key = _case_key(item)
            if key in opened:
                item.notification, item.merchant = opened[key]
                return
            item.notification = self._ids.new("ntf")
            opened[key] = (item.notification, item.merchant)
        merchant, identity, held = item.merchant, item.notification, item.held
        self.rows.notifications.append(
            (
                merchant,
                identity,
                source.id,
                source.dialect,
                draft.inbox_id,
                source.merchant,
                draft.prepared.request.received_at,
                _ACCEPTED if held is None else _HELD,
                item.money_hash,
                item.packed_as_held(),
            )
        )
        if held is not None:
            self._open_case(draft, source, item, held)
            return
        for endpoint in self._interested(merchant, source.id, item.reading):
            self.rows.deliveries.append(
                delivery(
                    merchant,
                    identity,
                    endpoint,
                    self._ids,
                    self._now_us,
                    source=source.id,
                    reading=item.reading,
                )
            )

    def _interested(self, merchant: str, source: str, reading: Reading) -> list[Endpoint]:
        """The endpoints that want such a reading; most readings of a group are alike."""
        key: tuple[str | None, ...] = (
            merchant,
            source,
            reading.kind,
            reading.direction,
            reading.status,
        )
        if self._configuration.is_selective:
            currency = None if reading.amount is None else reading.amount.currency
            key = (*key, currency, reading.account)
        found = self._endpoints.get(key)
        if found is None:
            found = interested(self._configuration, merchant, source, reading)
            self._endpoints[key] = found
        return found

    def _open_case(self, draft: Draft, source: Source, item: Judged, held: str) -> None:
        merchant, case_key = _case_key(item)
        against = item.against
        self.rows.cases.append(
            cases.Entry(
                merchant=merchant,
                id=self._ids.new("case"),
                case_key=case_key,
                kind=item.case_kind.value,
                reason=held,
                notification=item.notification,
                notification_merchant=item.merchant,
                against=None if against is None else against.notification,
                against_merchant=None if against is None else against.notification_merchant,
                source=source.id,
                inbox=draft.inbox_id,
                opened_at=self._now_us,
            )
        )

    # ------------------------------------------------------------------ answering

    def _earlier_answers(self, connection: Connection | None) -> Answers:
        """By notification: the hash of the body it first came in, and what was answered then."""
        if connection is None:
            return {}
        wanted = [
            (item.merchant, item.notification)
            for draft in self._drafts
            for item in draft.judged
            if item.insertion is _EXISTS
        ]
        return inbox.find_answers(connection, wanted) if wanted else {}

    def _answer(
        self, draft: Draft, source: Source, earlier: Answers, connection: Connection | None
    ) -> None:
        outcome = _outcome(draft)
        first = None
        if outcome is Outcome.DUPLICATE:
            first = earlier.get((draft.judged[0].notification, source.id))
        is_repeat = first is not None and first[0] == draft.body_hash
        if first is not None and is_repeat:
            answer = first[1]
        else:
            answer = _acknowledged(draft, source, outcome, connection)
        draft.answer = answer
        if outcome is _ACCEPTED_OUTCOME:
            # So that a byte-equal repeat within this very group gets the same answer.
            for item in draft.judged:
                earlier[item.notification, source.id] = (draft.body_hash, answer)
        self._keep_request(draft, source, _OUTCOME_TEXT[outcome], answer)
        request = draft.prepared.request
        if not is_repeat:
            self.rows.bodies.append((source.merchant, draft.inbox_id, draft.head, request.body))
        self._count(source, 1, 0, request.received_at)

    def _keep_request(
        self, draft: Draft, source: Source, outcome: str, answer: WireResponse
    ) -> None:
        prepared, identity, body_hash = draft.prepared, draft.inbox_id, draft.body_hash
        packed = inbox.pack_answer(answer)
        self.rows.inbox.append(
            (
                source.merchant,
                identity,
                source.id,
                prepared.request.received_at,
                prepared.request.peer,
                outcome,
                prepared.reason,
                body_hash,
                answer.status,
                packed,
                len(draft.judged),
                self._writer,
                self._seal_number,
            )
        )

    def _refuse(self, draft: Draft, source: Source) -> None:
        prepared = draft.prepared
        if prepared.outcome is not Outcome.NOT_GENUINE:
            return
        self._count(source, 0, 1, None)
        if not self._sample.take(self._now_us):
            return
        body = prepared.request.body
        self.rows.refusals.append(
            refusals.Entry(
                id=self._ids.new("ref"),
                merchant=source.merchant,
                source=source.id,
                refused_at=prepared.request.received_at,
                peer=prepared.request.peer,
                outcome=prepared.outcome.value,
                answer_status=0 if draft.answer is None else draft.answer.status,
                reason=prepared.reason or "",
                body_hash=inbox.content_hash(prepared.request),
                body_bytes=len(body),
                sample=refusals.masked_sample(body),
            )
        )

    def _count(self, source: Source, received: int, refused: int, at: int | None) -> None:
        key = (source.merchant, source.id)
        before = self._tally.get(key, _NONE_COUNTED)
        self._tally[key] = (before[0] + received, before[1] + refused, at or before[2])

    # ------------------------------------------------------------------ writing

    def _finish(self) -> None:
        """Count what has been made."""
        rows = self.rows
        rows.counted = [
            sources.Counted(merchant, source, self._writer, *counted)
            for (merchant, source), counted in self._tally.items()
        ]
        self.told = {entry.endpoint for entry in rows.deliveries}


def _known_cases(connection: Connection | None, conflicts: list[Judged]) -> Opened:
    """The cases that were opened before."""
    if connection is None or not conflicts:
        return {}
    found = cases.find(connection, [_case_key(item) for item in conflicts])
    return {key: (row.notification, row.notification_merchant) for key, row in found.items()}


def _case_key(item: Judged) -> tuple[str, bytes]:
    merchant, key = item.keys[0]
    return merchant, cases.key(identities.digest_of(key), item.money_hash)


def _outcome(draft: Draft) -> Outcome:
    """The outcome that comes first in precedence among those of the request's readings."""
    if draft.prepared.outcome is not None:
        return draft.prepared.outcome
    if len(draft.judged) == 1:
        return _OUTCOME[draft.judged[0].insertion]
    found = [_OUTCOME[item.insertion] for item in draft.judged]
    return min(found, key=_PRECEDENCE.index, default=Outcome.ACCEPTED)


def _acknowledged(
    draft: Draft, source: Source, outcome: Outcome, connection: Connection | None
) -> WireResponse:
    prepared = draft.prepared
    assert prepared.dialect is not None
    if prepared.query is not None:
        # A question is never answered without the books: `Receiver.compose` leaves it to `receive`.
        assert connection is not None
        return _told(prepared, prepared.dialect, prepared.query, source, connection)
    identity = draft.judged[0].notification if draft.judged else draft.inbox_id
    return prepared.dialect.acknowledge(
        prepared.request, outcome, Result(transaction_id=identity), source.profile
    )


def _told(
    prepared: Prepared, dialect: Dialect, query: Query, source: Source, connection: Connection
) -> WireResponse:
    """The answer to a question; "not known" where the bank has no words for what is."""
    try:
        told = answer_to(connection, source, query)
        return dialect.answer(prepared.request, query, told, source.profile)
    except CannotExpress:
        return dialect.answer(prepared.request, query, NOT_KNOWN, source.profile)
