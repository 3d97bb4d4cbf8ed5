"""Taking over from a listener that was there before: what it handled is known here, and told nobody.

`arifa notification import FILE --already-handled`: each line is a notification that the merchant's
own systems have booked. It is stored with its identity, so that the bank's repeat of it is answered
as one, and counts; but no endpoint is told of it, now or in a replay of what is missing. However
often a file is imported, each of its lines is stored once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import Final, NamedTuple

from msgspec import structs

from arifa import dialects
from arifa.document import decode_object
from arifa.errors import ArifaError, DataRefused, Unreadable
from arifa.feed import Source
from arifa.hub.judge import Judged
from arifa.hub.prepare import Prepared
from arifa.hub.record import Draft, Group, Sample
from arifa.notification import Query, Reading, reading_from_json
from arifa.outcome import Insertion
from arifa.store import configuration, seals
from arifa.store.notifications import IMPORTED
from arifa.store.opened import Store
from arifa.wire import WireRequest

CHUNK: Final = 100
_UNSEALED: Final = seals.Seal(0, seals.GENESIS)


class Form(StrEnum):
    """What a line is: a notification as `--json` prints it, or a bank's own body."""

    NOTIFICATION = "notification"
    BODY = "body"


class Line(NamedTuple):
    """One line that could not be taken, and the sentence why."""

    number: int
    reason: str


@dataclass(slots=True)
class TakenOver:
    """What became of the lines.

    Attributes:
        imported: notifications that are known from now on; known: those that were before.
        held: those that contradict or resemble what is here: each waits as a case.
        refused: the lines that cannot be read.
    """

    imported: int = 0
    known: int = 0
    held: int = 0
    refused: list[Line] = field(default_factory=list)


def take_over(
    store: Store,
    source: Source,
    lines: Iterable[bytes],
    form: Form,
    now_us: int,
    *,
    advance: Callable[[int], None] | None = None,
) -> TakenOver:
    """Store what these lines say, as if this source had received it, and tell nobody.

    Args:
        advance: is told after each commit how many lines it was for.

    Raises:
        StoreError: the store cannot take it; what was stored before that stays.
    """
    total = TakenOver()
    for chunk in _chunks(lines):
        found = (_read(source, line, form, now_us, total) for line in chunk)
        read = [item for item in found if item is not None]
        if read:
            try:
                _count(_recorded(store, source, read, now_us), total)
            except DataRefused:
                # One of them has what the database will not have, or a node was quicker.
                for item in read:
                    _one(store, source, item, now_us, total)
        if advance is not None:
            advance(len(chunk))
    return total


class _Read(NamedTuple):
    number: int
    request: WireRequest
    readings: list[Reading]


def _chunks(lines: Iterable[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    numbered = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    full = (item for item in numbered if item[1])
    while chunk := list(islice(full, CHUNK)):
        yield chunk


def _read(
    source: Source, numbered: tuple[int, bytes], form: Form, now_us: int, total: TakenOver
) -> _Read | None:
    number, line = numbered
    request = WireRequest(body=line, received_at=now_us)
    try:
        found = _readings(source, request, form, now_us)
    except ArifaError as error:
        total.refused.append(Line(number, str(error)))
        return None
    # It was handled: whatever a second proof was to be for, the merchant had it.
    return _Read(number, request, [structs.replace(reading, held=None) for reading in found])


def _readings(source: Source, request: WireRequest, form: Form, now_us: int) -> list[Reading]:
    dialect = dialects.get(source.dialect)
    if form is Form.BODY:
        read = dialect.reread(request, source.credentials, source.profile, now_us)
        if isinstance(read, Query):
            raise Unreadable("the line is a question before a payment, not a notification")
        return read
    row = decode_object(request.body)
    try:
        reading = reading_from_json(row)
    except KeyError as error:
        raise Unreadable(f"the line has no member {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise Unreadable("the line is not a notification as --json prints it") from error
    if not reading.bank_reference or reading.amount is None:
        raise Unreadable("the line needs a bank_reference and an amount, to be known again by")
    return [reading]


def _one(store: Store, source: Source, item: _Read, now_us: int, total: TakenOver) -> None:
    reason = ""
    for _ in range(2):
        try:
            _count(_recorded(store, source, [item], now_us), total)
        except DataRefused as error:
            reason = str(error)
        else:
            return
    total.refused.append(Line(item.number, reason))


def _recorded(store: Store, source: Source, read: list[_Read], now_us: int) -> list[Judged]:
    drafts = []
    for item in read:
        prepared = Prepared(source.token, item.request)
        prepared.source, prepared.dialect = source, dialects.get(source.dialect)
        prepared.readings = item.readings
        judged = [Judged(prepared, source, reading) for reading in item.readings]
        drafts.append(Draft(prepared, judged, None, stored_as=IMPORTED))
    with store.database.write() as connection:
        settings = configuration.load(connection, store.vault)
        group = Group(
            # Nobody is told.
            replace(settings, endpoints={}),
            drafts,
            writer=store.writer,
            previous=_UNSEALED,
            now_us=now_us,
            sorted_us=now_us,
            sample=Sample(),
        )
        group.compose(connection)
        group.rows.write(connection)
    return [item for draft in drafts for item in draft.judged]


def _count(judged: list[Judged], total: TakenOver) -> None:
    for item in judged:
        if item.insertion is Insertion.EXISTS:
            total.known += 1
        elif item.held is None:
            total.imported += 1
        else:
            total.held += 1
