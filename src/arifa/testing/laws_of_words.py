"""Laws of parse and render, acknowledge and answer: nothing is lost, and nothing is a lie."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from arifa.dialects.base import Dialect, Result
from arifa.errors import CannotExpress, Unreadable
from arifa.feed import Profile
from arifa.money import Money
from arifa.notification import Direction, Kind, Notification, Query, Reading, Status
from arifa.outcome import RECEIVED, Outcome
from arifa.testing.genuine import NOW_US, ORIGINAL, PEER, Subject, plain_notification
from arifa.testing.strategies import (
    CURRENCIES,
    effort,
    hostile_bodies,
    notifications,
    originals,
    outcomes,
    query_answers,
    readings,
    responses,
    results,
    wild_readings,
)
from arifa.testing.verdict import field, insist, nothing_but, rendered, the_only
from arifa.wire import WireRequest, WireResponse, read_response

Words = tuple[Kind, Direction, Status]

_PAID: Final[Words] = (Kind.PAYMENT, Direction.CREDIT, Status.SUCCESS)
_MONEY: Final = frozenset({"kind", "direction", "status", "amount"})
_NAMES: Final = frozenset({"bank_reference", "end_to_end_id", "account"})


def _declared(dialect: Dialect) -> list[Words]:
    words = dialect.expresses
    return [
        (kind, direction, status)
        for kind in Kind
        for direction in Direction
        for status in Status
        if kind in words.kinds and direction in words.directions and status in words.statuses
    ]


# -------------------------------------------------------------------------- parse and render


def parse_gives_back_what_render_wrote(subject: Subject) -> None:
    """parse∘render on the fields that the dialect says it carries, with every option and word."""
    dialect, declared = subject.dialect, _declared(subject.dialect)
    currency = dialect.defaults.currency

    @effort(100)
    @given(
        notifications(readings(currency=currency)),
        st.sampled_from(declared),
        st.sampled_from(subject.profiles),
        originals,
    )
    def law(
        notification: Notification, words: Words, profile: Profile, original: WireRequest
    ) -> None:
        _check_round_trip(subject, _with_words(notification, words), profile, original)

    for profile in subject.profiles:
        for words in declared:
            _check_round_trip(subject, _plain(currency, words), profile, ORIGINAL)
    law()


def _check_round_trip(
    subject: Subject, notification: Notification, profile: Profile, original: WireRequest
) -> None:
    request = rendered(subject, notification, profile, original)
    carried = sorted(subject.dialect.carried(profile))
    if request is None or not carried:
        return
    back = _received(subject, request, profile)
    for name in carried:
        said, heard = field(notification.reading, name), field(back, name)
        insist(said == heard, f"{name}: {said!r} was rendered, and is read back as {heard!r}")


def _with_words(notification: Notification, words: Words) -> Notification:
    kind, direction, status = words
    reading = structs.replace(notification.reading, kind=kind, direction=direction, status=status)
    return structs.replace(notification, reading=reading)


def _plain(currency: str, words: Words) -> Notification:
    return _with_words(plain_notification(amount=Money(123450, currency)), words)


def _received(subject: Subject, request: WireRequest, profile: Profile) -> Reading:
    dialect, credentials = subject.dialect, subject.credentials
    signed = dialect.sign(replace(request, peer=PEER), credentials, NOW_US)
    with nothing_but(doing="receive of what was rendered"):
        return the_only(dialect.receive(signed, credentials, profile, NOW_US))


def render_never_lies(subject: Subject) -> None:
    """What has no words is `CannotExpress`; whatever is rendered means the same money.

    Kind, direction, status and amount must come back even if the dialect does not name them among
    the fields that it carries: a message about money always says them, if only by its silence.
    """
    dialect, declared = subject.dialect, st.sampled_from(_declared(subject.dialect))
    currency = dialect.defaults.currency
    wild = notifications(wild_readings(currency=currency))

    @effort(300)
    @given(
        st.builds(_with_words, wild, declared)
        | wild
        | notifications(_any_words(readings(currency=currency))),
        st.sampled_from(subject.profiles),
        originals,
    )
    def law(notification: Notification, profile: Profile, original: WireRequest) -> None:
        request = rendered(subject, notification, profile, original)
        carried = dialect.carried(profile)
        if request is None or not carried:
            return
        back = _received(subject, request, profile)
        for name in sorted(_MONEY | (_NAMES & carried)):
            said, heard = field(notification.reading, name), field(back, name)
            insist(said == heard, f"a message says that {name} is {heard!r}, where it is {said!r}")

    law()


@st.composite
def _any_words(draw: st.DrawFn, plain: st.SearchStrategy[Reading]) -> Reading:
    """A plain reading of any kind, direction, status and currency."""
    reading = draw(plain)
    assert reading.amount is not None
    return structs.replace(
        reading,
        kind=draw(st.sampled_from(Kind)),
        direction=draw(st.sampled_from(Direction)),
        status=draw(st.sampled_from(Status)),
        amount=Money(reading.amount.minor, draw(st.sampled_from(CURRENCIES))),
    )


def render_says_what_is_declared(subject: Subject) -> None:
    """A plain payment is always rendered, and no declared word is an empty promise."""
    dialect = subject.dialect
    currency = dialect.defaults.currency

    @effort(40)
    @given(notifications(readings(currency=currency)), st.sampled_from(subject.profiles))
    def law(notification: Notification, profile: Profile) -> None:
        with nothing_but(doing="render of a plain payment"):
            dialect.render(notification, profile, ORIGINAL)

    for profile in subject.profiles:
        unknown = dialect.carried(profile) - _field_names()
        insist(not unknown, f"it carries what is no field of a reading: {sorted(unknown)}")
    if _PAID in _declared(dialect):
        law()
    said: set[str] = set()
    for words in _declared(dialect):
        if rendered(subject, _plain(currency, words), dialect.defaults, ORIGINAL) is not None:
            said.update(words)
    declared = {*dialect.expresses.kinds, *dialect.expresses.directions}
    unsaid = {str(word) for word in declared | {*dialect.expresses.statuses}} - said
    insist(not unsaid, f"it declares words that it never renders: {sorted(unsaid)}")


def _field_names() -> set[str]:
    return {*Reading.__struct_fields__, "payer.name", "payer.phone", "payer.reference"}


# ------------------------------------------------------------------ acknowledge and answer


def read_acknowledgement_gives_back_what_acknowledge_said(subject: Subject) -> None:
    """read_acknowledgement∘acknowledge, as far as `told_apart` says that outcomes are told apart.

    Received and not received are always told apart: a yes to a payment that is not in the books
    loses it, a no to one that is brings it twice.
    """
    dialect = subject.dialect
    requests = [sample.request for sample in subject.samples]

    @effort(100)
    @given(
        st.sampled_from([*requests, WireRequest(body=b"not JSON")]),
        outcomes,
        results,
        st.sampled_from(subject.profiles),
    )
    def law(request: WireRequest, outcome: Outcome, result: Result, profile: Profile) -> None:
        response = dialect.acknowledge(request, outcome, result, profile)
        heard = dialect.read_acknowledgement(read_response(response.to_bytes()), profile)
        told = dialect.told_apart(outcome)
        insist(heard.outcome is told, f"{outcome.value} is heard as {heard.outcome.value}")
        insist(
            heard.transaction_id in (None, "", result.transaction_id),
            f"the transaction id {result.transaction_id!r} is heard as {heard.transaction_id!r}",
        )

    for outcome in Outcome:
        told = dialect.told_apart(outcome)
        insist(
            (told in RECEIVED) == (outcome in RECEIVED),
            f"told_apart makes {told.value} of {outcome.value}",
        )
    law()


def every_request_gets_an_answer(subject: Subject) -> None:
    """acknowledge is total: whatever came, for every outcome; so is reading anyone's answer."""
    dialect = subject.dialect
    bodies = [sample.request.body for sample in subject.samples]

    @effort(150)
    @given(hostile_bodies(bodies), outcomes, results, st.sampled_from(subject.profiles), responses)
    def law(
        body: bytes, outcome: Outcome, result: Result, profile: Profile, other: WireResponse
    ) -> None:
        with nothing_but(doing="acknowledge"):
            response = dialect.acknowledge(WireRequest(body=body), outcome, result, profile)
        insist(200 <= response.status < 600, f"{response.status} is no status of an answer")
        with nothing_but(doing="read_acknowledgement"):
            heard = dialect.read_acknowledgement(other, profile)
        is_success = 200 <= other.status < 300
        insist(is_success or not heard.is_received, f"{other.status} is heard as received")

    law()


def read_answer_gives_back_what_answer_said(subject: Subject) -> None:
    """read_answer∘answer, for banks that ask before a payment; the others refuse both."""
    dialect, profile = subject.dialect, subject.dialect.defaults
    query = Query(request_id="1234", reference="INV-0001", account="777777")

    @effort(50)
    @given(query_answers(profile.currency), responses)
    def law(answer: Any, other: WireResponse) -> None:
        refusals = (CannotExpress, Unreadable)
        with suppress(*refusals), nothing_but(*refusals, doing="read_answer"):
            dialect.read_answer(other, profile)
        try:
            response = dialect.answer(WireRequest(body=b"{}"), query, answer, profile)
        except CannotExpress:
            return
        heard = dialect.read_answer(read_response(response.to_bytes()), profile)
        insist(heard == answer, f"{answer!r} is heard as {heard!r}")

    law()
