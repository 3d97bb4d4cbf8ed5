"""Writing one group: every row of it, and the answer to each request, in the open transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy.engine import Connection

from arifa.dialects.base import Result
from arifa.feed import Source
from arifa.hub.judge import Judged
from arifa.hub.prepare import Prepared
from arifa.identifiers import identifier
from arifa.notification import QueryAnswer, State
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
from arifa.store.identities import Key, Known
from arifa.wire import WireResponse

_OUTCOME: Final = {
    Insertion.CREATED: Outcome.ACCEPTED,
    Insertion.EXISTS: Outcome.DUPLICATE,
    Insertion.CONFLICT: Outcome.CONFLICT,
}
_PRECEDENCE: Final = list(Outcome)
SAMPLES_A_SECOND: Final = 5


class Draft:
    """One request on its way to rows. `answer` is None until there is one."""

    __slots__ = ("answer", "body_hash", "inbox_id", "judged", "prepared")

    def __init__(
        self, prepared: Prepared, judged: list[Judged], answer: WireResponse | None
    ) -> None:
        self.prepared = prepared
        self.judged = judged
        self.answer = answer
        self.inbox_id = ""
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


class _Rows:
    """The rows of a group, table by table."""

    def __init__(self) -> None:
        self.inbox: list[inbox.Entry] = []
        self.bodies: list[inbox.Body] = []
        self.notifications: list[notifications.Entry] = []
        self.identities: list[identities.Entry] = []
        self.cases: list[cases.Entry] = []
        self.deliveries: list[deliveries.Entry] = []
        self.refusals: list[refusals.Entry] = []
        self.tally: dict[tuple[str, str], tuple[int, int, int | None]] = {}
        self.parts: list[tuple[str, bytes]] = []


def record(
    connection: Connection,
    writer: str,
    configuration: Configuration,
    drafts: list[Draft],
    known: Mapping[Key, Known],
    previous: seals.Seal,
    now_us: int,
    sample: Sample,
) -> Recorded:
    """Write the group, and put each request's answer into its draft."""
    rows = _Rows()
    _judge(connection, rows, configuration, drafts, dict(known), now_us)
    earlier = _earlier_answers(connection, drafts)
    for draft in drafts:
        source = draft.prepared.source
        if source is None:
            continue
        if draft.answer is not None:
            _refuse(rows, draft, source, now_us, sample)
            continue
        _answer(rows, draft, source, earlier, writer, previous.number + 1)
    return _written(connection, rows, writer, previous, now_us)


# ---------------------------------------------------------------------------------- judging


def _judge(
    connection: Connection,
    rows: _Rows,
    configuration: Configuration,
    drafts: list[Draft],
    known: dict[Key, Known],
    now_us: int,
) -> None:
    """Meet each reading with what is known, and let the next see it, in order of arrival."""
    conflicts: list[Judged] = []
    for draft in drafts:
        if draft.answer is None and draft.prepared.source is not None:
            draft.inbox_id = identifier("inb", now_us)
            draft.body_hash = inbox.body_hash(draft.prepared.request.body)
        for item in draft.judged:
            item.meet(known)
            if item.insertion is Insertion.CONFLICT:
                conflicts.append(item)
            elif item.insertion is Insertion.CREATED:
                item.notification = identifier("ntf", now_us)
                found = Known(item.notification, item.merchant, item.money_hash)
                for key in item.keys:
                    if key not in known:
                        known[key] = found
                        rows.identities.append(identities.Entry(*key, *found))
    opened = _known_cases(connection, conflicts)
    for draft in drafts:
        for item in draft.judged:
            _keep(rows, configuration, draft, item, opened, now_us)


def _known_cases(connection: Connection, conflicts: list[Judged]) -> dict[Key, tuple[str, str]]:
    """(merchant, case key) → the held notification of a case that is open or decided already."""
    if not conflicts:
        return {}
    found = cases.find(connection, [_case_key(item) for item in conflicts])
    return {key: (row.notification, row.notification_merchant) for key, row in found.items()}


def _case_key(item: Judged) -> tuple[str, bytes]:
    merchant, digest = item.keys[0]
    return merchant, cases.key(digest, item.money_hash)


def _keep(
    rows: _Rows,
    configuration: Configuration,
    draft: Draft,
    item: Judged,
    opened: dict[Key, tuple[str, str]],
    now_us: int,
) -> None:
    """The rows of one reading: its notification, and its deliveries or its case."""
    source = draft.prepared.source
    if item.insertion is Insertion.EXISTS or source is None:
        return
    key = _case_key(item)
    if item.insertion is Insertion.CONFLICT:
        if key in opened:
            item.notification, item.merchant = opened[key]
            return
        item.notification = identifier("ntf", now_us)
        opened[key] = (item.notification, item.merchant)
    state = State.ACCEPTED if item.held is None else State.HELD
    rows.notifications.append(
        notifications.Entry(
            merchant=item.merchant,
            id=item.notification,
            source=source.id,
            dialect=source.dialect,
            inbox=draft.inbox_id,
            inbox_merchant=source.merchant,
            received_at=draft.prepared.request.received_at,
            state=state.value,
            money_hash=item.money_hash,
            reading=notifications.pack_reading(item.reading_as_held()),
        )
    )
    if item.held is None:
        queue(rows.deliveries, configuration, item, source.id, now_us)
    else:
        rows.cases.append(_case(item, key, source, draft, item.held, now_us))


def queue(
    queued: list[deliveries.Entry],
    configuration: Configuration,
    item: Judged,
    source: str,
    now_us: int,
) -> None:
    """One delivery per endpoint that wants to hear of it."""
    for endpoint in configuration.endpoints.get(item.merchant, ()):
        reading = item.reading
        if endpoint.wants(source=source, kind=reading.kind.value, status=reading.status.value):
            queued.append(
                deliveries.Entry(
                    merchant=item.merchant,
                    id=identifier("dlv", now_us),
                    notification=item.notification,
                    endpoint=endpoint.id,
                    next_attempt_at=now_us,
                    created_at=now_us,
                )
            )


def _case(
    item: Judged, key: tuple[str, bytes], source: Source, draft: Draft, held: str, now_us: int
) -> cases.Entry:
    against = item.against
    return cases.Entry(
        merchant=key[0],
        id=identifier("case", now_us),
        case_key=key[1],
        kind=item.case_kind.value,
        reason=held,
        notification=item.notification,
        notification_merchant=item.merchant,
        against=None if against is None else against.notification,
        against_merchant=None if against is None else against.notification_merchant,
        source=source.id,
        inbox=draft.inbox_id,
        opened_at=now_us,
    )


# ---------------------------------------------------------------------------------- answering


def _earlier_answers(
    connection: Connection, drafts: list[Draft]
) -> dict[str, tuple[bytes, WireResponse]]:
    """By notification: the hash of the body it first came in, and what was answered then."""
    wanted = [
        (item.merchant, item.notification)
        for draft in drafts
        for item in draft.judged
        if item.insertion is Insertion.EXISTS
    ]
    return inbox.find_answers(connection, wanted) if wanted else {}


def _answer(
    rows: _Rows,
    draft: Draft,
    source: Source,
    earlier: dict[str, tuple[bytes, WireResponse]],
    writer: str,
    seal: int,
) -> None:
    prepared = draft.prepared
    outcome = prepared.outcome or min(
        (_OUTCOME[item.insertion] for item in draft.judged),
        key=_PRECEDENCE.index,
        default=Outcome.ACCEPTED,
    )
    is_repeat = False
    answer: WireResponse | None = None
    if outcome is Outcome.DUPLICATE:
        first = earlier.get(draft.judged[0].notification)
        if first is not None and first[0] == draft.body_hash:
            is_repeat, answer = True, first[1]
    if answer is None:
        answer = _acknowledged(draft, source, outcome)
    draft.answer = answer
    if outcome is Outcome.ACCEPTED:
        # So that a byte-equal repeat within this very group gets the same answer.
        for item in draft.judged:
            earlier[item.notification] = (draft.body_hash, answer)
    request = prepared.request
    packed = inbox.pack_answer(answer)
    rows.inbox.append(
        inbox.Entry(
            merchant=source.merchant,
            id=draft.inbox_id,
            source=source.id,
            received_at=request.received_at,
            peer=request.peer,
            outcome=outcome.value,
            reason=prepared.reason,
            body_hash=draft.body_hash,
            answer_status=answer.status,
            answer=packed,
            notifications=len(draft.judged),
            writer=writer,
            seal=seal,
        )
    )
    if not is_repeat:
        head = inbox.pack_head(request)
        rows.bodies.append(inbox.Body(source.merchant, draft.inbox_id, head, request.body))
    rows.parts.append(
        (draft.inbox_id, seals.part(draft.inbox_id, outcome.value, draft.body_hash, packed))
    )
    _tally(rows, source, received=1, at=request.received_at)


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


def _refuse(rows: _Rows, draft: Draft, source: Source, now_us: int, sample: Sample) -> None:
    prepared = draft.prepared
    if prepared.outcome is not Outcome.NOT_GENUINE:
        return
    _tally(rows, source, refused=1)
    if sample.take(now_us):
        body = prepared.request.body
        rows.refusals.append(
            refusals.Entry(
                id=identifier("ref", now_us),
                merchant=source.merchant,
                source=source.id,
                refused_at=prepared.request.received_at,
                peer=prepared.request.peer,
                outcome=prepared.outcome.value,
                reason=prepared.reason or "",
                body_hash=inbox.body_hash(body),
                body_bytes=len(body),
                sample=refusals.masked_sample(body),
            )
        )


def _tally(
    rows: _Rows, source: Source, *, received: int = 0, refused: int = 0, at: int | None = None
) -> None:
    key = (source.merchant, source.id)
    before = rows.tally.get(key, (0, 0, None))
    rows.tally[key] = (before[0] + received, before[1] + refused, at or before[2])


# ---------------------------------------------------------------------------------- writing


def _written(
    connection: Connection, rows: _Rows, writer: str, previous: seals.Seal, now_us: int
) -> Recorded:
    """Insert everything. Keys go first, in sorted order: where nodes collide, they collide there."""
    seal = previous
    if rows.identities:
        identities.insert(connection, rows.identities)
    if rows.cases:
        cases.insert(connection, rows.cases)
    if rows.inbox:
        inbox.insert(connection, rows.inbox, rows.bodies)
        seal = seals.append(connection, writer, previous, rows.parts, now_us)
    if rows.notifications:
        notifications.insert(connection, rows.notifications)
    if rows.deliveries:
        deliveries.insert(connection, rows.deliveries)
    if rows.refusals:
        refusals.insert(connection, rows.refusals)
    if rows.tally:
        sources.count(connection, writer, rows.tally)
    return Recorded(seal, len(rows.deliveries))
