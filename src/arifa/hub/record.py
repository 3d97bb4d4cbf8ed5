"""One group: every row of it and the answer to each request, composed and then written."""

from __future__ import annotations

from typing import Final, NamedTuple

from arifa.dialects.base import Result
from arifa.feed import Source
from arifa.hub.judge import Judged
from arifa.hub.prepare import Prepared
from arifa.identifiers import Identifiers
from arifa.notification import QueryAnswer, Reading, State
from arifa.outcome import Insertion, Outcome
from arifa.store import (
    cases,
    deliveries,
    identities,
    inbox,
    notifications,
    refusals,
    seals,
    sources,
)
from arifa.store.configuration import Configuration
from arifa.store.database import Connection
from arifa.store.identities import Key, Known
from arifa.wire import WireResponse

_OUTCOME: Final = {
    Insertion.CREATED: Outcome.ACCEPTED,
    Insertion.EXISTS: Outcome.DUPLICATE,
    Insertion.CONFLICT: Outcome.CONFLICT,
}
_PRECEDENCE: Final = list(Outcome)
Answers = dict[tuple[str, str], tuple[bytes, WireResponse]]
"""By notification and source: the hash of the content it first came in, and the answer then."""

_ACCEPTED, _HELD = State.ACCEPTED.value, State.HELD.value
SAMPLES_A_SECOND: Final = 5


class Draft:
    """One request on its way to rows. `answer` is None until there is one.

    `stored_as` is the inbox row of a request that was stored and answered when it came, and is
    read again: only what it says now is recorded.
    """

    __slots__ = ("answer", "body_hash", "inbox_id", "is_stored", "judged", "prepared")

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
        self.body_hash = b""


class Recorded(NamedTuple):
    """What a group came to."""

    seal: seals.Seal
    deliveries: int


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

    `compose` makes them, `write` puts the rows into the books. `now_us` is the clock; `sorted_us`
    is what identifiers sort by, and never goes back.
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
        self._previous = previous
        self._now_us = now_us
        self._sorted_us = sorted_us
        self._ids = Identifiers(sorted_us)
        self._sample = sample
        self._inbox: list[inbox.Entry] = []
        self._bodies: list[inbox.Body] = []
        self._notifications: list[notifications.Entry] = []
        self._identities: list[identities.Entry] = []
        self._cases: list[cases.Entry] = []
        self._deliveries: list[deliveries.Entry] = []
        self._refusals: list[refusals.Entry] = []
        self._tally: dict[tuple[str, str], tuple[int, int, int | None]] = {}
        self._parts: list[tuple[str, bytes]] = []
        self._endpoints: dict[tuple[str, ...], list[str]] = {}

    def compose(self, connection: Connection | None) -> None:
        """Make every row, and put each request's answer into its draft.

        Without a connection, as if the books knew nothing of it, which is mostly so: `write` finds
        out. That takes no database, and no waiting.
        """
        self._judge(connection)
        earlier = self._earlier_answers(connection)
        for draft in self._drafts:
            source = draft.prepared.source
            if source is None or draft.is_stored:
                continue
            if draft.answer is not None:
                self._refuse(draft, source)
            else:
                self._answer(draft, source, earlier)

    # ------------------------------------------------------------------ judging

    def _judge(self, connection: Connection | None) -> None:
        """Meet each reading with what is known, and let the next see it, in order of arrival."""
        judged = [item for draft in self._drafts for item in draft.judged]
        known: dict[Key, Known] = {}
        if judged and connection is not None:
            known = identities.find(connection, [key for item in judged for key in item.keys])
        conflicts: list[Judged] = []
        for item in judged:
            item.meet(known)
            if item.insertion is Insertion.CONFLICT:
                conflicts.append(item)
            elif item.insertion is Insertion.CREATED:
                self._claim(item, known)
        opened = _known_cases(connection, conflicts)
        for draft in self._drafts:
            if draft.answer is None and draft.prepared.source is not None:
                if not draft.is_stored:
                    draft.inbox_id = self._ids.new("inb")
                    draft.body_hash = inbox.content_hash(draft.prepared.request)
                for item in draft.judged:
                    self._keep(draft, draft.prepared.source, item, opened)

    def _claim(self, item: Judged, known: dict[Key, Known]) -> None:
        item.notification = self._ids.new("ntf")
        found = Known(item.notification, item.merchant, item.money_hash)
        for merchant, digest in item.keys:
            if (merchant, digest) not in known:
                known[merchant, digest] = found
                self._identities.append(
                    identities.Entry(
                        merchant, digest, item.notification, item.merchant, item.money_hash
                    )
                )

    def _keep(
        self, draft: Draft, source: Source, item: Judged, opened: dict[Key, tuple[str, str]]
    ) -> None:
        """The rows of one reading: its notification, and its deliveries or its case."""
        if item.insertion is Insertion.EXISTS:
            return
        if item.insertion is Insertion.CONFLICT:
            key = _case_key(item)
            if key in opened:
                item.notification, item.merchant = opened[key]
                return
            item.notification = self._ids.new("ntf")
            opened[key] = (item.notification, item.merchant)
        self._notifications.append(
            notifications.Entry(
                merchant=item.merchant,
                id=item.notification,
                source=source.id,
                dialect=source.dialect,
                inbox=draft.inbox_id,
                inbox_merchant=source.merchant,
                received_at=draft.prepared.request.received_at,
                state=_ACCEPTED if item.held is None else _HELD,
                money_hash=item.money_hash,
                reading=notifications.pack_reading(item.reading_as_held()),
            )
        )
        if item.held is None:
            for endpoint in self._interested(item.merchant, source.id, item.reading):
                self._deliveries.append(
                    delivery(item.merchant, item.notification, endpoint, self._ids, self._now_us)
                )
        else:
            self._open_case(draft, source, item, item.held)

    def _interested(self, merchant: str, source: str, reading: Reading) -> list[str]:
        """The endpoints that want such a reading; most readings of a group are alike."""
        key = (merchant, source, reading.kind, reading.direction, reading.status)
        found = self._endpoints.get(key)
        if found is None:
            found = interested(self._configuration, merchant, source, reading)
            self._endpoints[key] = found
        return found

    def _open_case(self, draft: Draft, source: Source, item: Judged, held: str) -> None:
        merchant, case_key = _case_key(item)
        against = item.against
        self._cases.append(
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
        wanted = [
            (item.merchant, item.notification)
            for draft in self._drafts
            for item in draft.judged
            if item.insertion is Insertion.EXISTS
        ]
        if connection is None or not wanted:
            return {}
        return inbox.find_answers(connection, wanted)

    def _answer(self, draft: Draft, source: Source, earlier: Answers) -> None:
        outcome = _outcome(draft)
        first = None
        if outcome is Outcome.DUPLICATE:
            first = earlier.get((draft.judged[0].notification, source.id))
        is_repeat = first is not None and first[0] == draft.body_hash
        if first is not None and is_repeat:
            answer = first[1]
        else:
            answer = _acknowledged(draft, source, outcome)
        draft.answer = answer
        if outcome is Outcome.ACCEPTED:
            # So that a byte-equal repeat within this very group gets the same answer.
            for item in draft.judged:
                earlier[item.notification, source.id] = (draft.body_hash, answer)
        self._keep_request(draft, source, outcome, answer, is_repeat=is_repeat)
        self._count(source, received=1, at=draft.prepared.request.received_at)

    def _keep_request(
        self,
        draft: Draft,
        source: Source,
        outcome: Outcome,
        answer: WireResponse,
        *,
        is_repeat: bool,
    ) -> None:
        request = draft.prepared.request
        packed = inbox.pack_answer(answer)
        self._inbox.append(
            inbox.Entry(
                merchant=source.merchant,
                id=draft.inbox_id,
                source=source.id,
                received_at=request.received_at,
                peer=request.peer,
                outcome=str(outcome),
                reason=draft.prepared.reason,
                body_hash=draft.body_hash,
                answer_status=answer.status,
                answer=packed,
                notifications=len(draft.judged),
                writer=self._writer,
                seal=self._previous.number + 1,
            )
        )
        if not is_repeat:
            head = inbox.pack_head(request)
            self._bodies.append(inbox.Body(source.merchant, draft.inbox_id, head, request.body))
        part = seals.part(draft.inbox_id, outcome, draft.body_hash, packed)
        self._parts.append((draft.inbox_id, part))

    def _refuse(self, draft: Draft, source: Source) -> None:
        prepared = draft.prepared
        if prepared.outcome is not Outcome.NOT_GENUINE:
            return
        self._count(source, refused=1)
        if not self._sample.take(self._now_us):
            return
        body = prepared.request.body
        self._refusals.append(
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

    def _count(
        self, source: Source, *, received: int = 0, refused: int = 0, at: int | None = None
    ) -> None:
        key = (source.merchant, source.id)
        before = self._tally.get(key, (0, 0, None))
        self._tally[key] = (before[0] + received, before[1] + refused, at or before[2])

    # ------------------------------------------------------------------ writing

    def write(self, connection: Connection) -> Recorded:
        """Put the rows into the books.

        Raises:
            AlreadyClaimed: not all was as new as it was composed: compose it again, and ask.
        """
        seal = self._previous
        # Keys go first: where nodes collide, or something repeats, it shows here.
        if self._identities:
            identities.claim(connection, self._identities)
        if self._cases:
            cases.insert(connection, self._cases)
        if self._inbox:
            inbox.insert(connection, self._inbox, self._bodies)
            seal = seals.append(connection, self._writer, seal, self._parts, self._sorted_us)
        if self._notifications:
            notifications.insert(connection, self._notifications)
        if self._deliveries:
            deliveries.insert(connection, self._deliveries)
        if self._refusals:
            refusals.insert(connection, self._refusals)
        if self._tally:
            sources.count(connection, self._writer, self._tally)
        return Recorded(seal, len(self._deliveries))


def _known_cases(
    connection: Connection | None, conflicts: list[Judged]
) -> dict[Key, tuple[str, str]]:
    """(merchant, case key) → the held notification of a case that was opened before."""
    if connection is None or not conflicts:
        return {}
    found = cases.find(connection, [_case_key(item) for item in conflicts])
    return {key: (row.notification, row.notification_merchant) for key, row in found.items()}


def _case_key(item: Judged) -> tuple[str, bytes]:
    merchant, digest = item.keys[0]
    return merchant, cases.key(digest, item.money_hash)


def _outcome(draft: Draft) -> Outcome:
    """The outcome that comes first in precedence among those of the request's readings."""
    if draft.prepared.outcome is not None:
        return draft.prepared.outcome
    found = [_OUTCOME[item.insertion] for item in draft.judged]
    return min(found, key=_PRECEDENCE.index, default=Outcome.ACCEPTED)


def _acknowledged(draft: Draft, source: Source, outcome: Outcome) -> WireResponse:
    prepared = draft.prepared
    assert prepared.dialect is not None
    if prepared.query is not None:
        # Nothing here knows the merchant's invoices yet: an honest "not known" stops the payer.
        return prepared.dialect.answer(
            prepared.request, prepared.query, QueryAnswer(found=False), source.profile
        )
    identity = draft.judged[0].notification if draft.judged else draft.inbox_id
    return prepared.dialect.acknowledge(
        prepared.request, outcome, Result(transaction_id=identity), source.profile
    )


def queued(
    configuration: Configuration,
    ids: Identifiers,
    *,
    merchant: str,
    notification: str,
    source: str,
    reading: Reading,
    now_us: int,
) -> list[deliveries.Entry]:
    """One delivery for each of the merchant's endpoints that wants to hear of this reading."""
    return [
        delivery(merchant, notification, endpoint, ids, now_us)
        for endpoint in interested(configuration, merchant, source, reading)
    ]


def interested(
    configuration: Configuration, merchant: str, source: str, reading: Reading
) -> list[str]:
    """The ids of the merchant's endpoints that want such a reading from this source."""
    return [
        endpoint.id
        for endpoint in configuration.endpoints.get(merchant, ())
        if endpoint.wants(
            source=source,
            kind=reading.kind,
            direction=reading.direction,
            status=reading.status,
        )
    ]


def delivery(
    merchant: str, notification: str, endpoint: str, ids: Identifiers, now_us: int
) -> deliveries.Entry:
    """A delivery that is due at once."""
    return deliveries.Entry(
        merchant=merchant,
        id=ids.new("dlv"),
        notification=notification,
        endpoint=endpoint,
        next_attempt_at=now_us,
        created_at=now_us,
    )
