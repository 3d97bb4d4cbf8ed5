"""What banks do wrong, and what is done in their name: each fault as the requests that show it.

A fault says what it sends, in how many requests, and what the right answer to each is. A fault that
a dialect, or this feed's proofs, have no means to show is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from arifa.errors import CannotExpress, NotFound, Refused
from arifa.notification import Kind, Status
from arifa.outcome import RECEIVED, Outcome
from arifa.signing import EVERYTHING, Basic, HmacFields
from arifa.simulator.bank import Answer, Bank
from arifa.simulator.exchange import AT_ONCE, Pace
from arifa.simulator.message import Message, reversal_of, with_more_money
from arifa.wire import WireRequest

SLOWLY: Final = Pace(pieces=20, seconds=2.0)
"""Well within the 20 seconds that a body may take."""

_OTHERS: Final = 2
_FIVE_MINUTES_US: Final = 300_000_000


class CannotShow(Refused):
    """The fault needs something that this dialect or this feed does not have."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Sending:
    """One request, and what is right to answer it.

    Attributes:
        what: what it is, for a person.
        expected: ACCEPTED stands for every outcome that is answered as received.
        same_as: the earlier sending of the same plan that must have got the very same answer.
    """

    what: str
    request: WireRequest
    expected: Outcome = Outcome.ACCEPTED
    pace: Pace = AT_ONCE
    same_as: int | None = None

    def is_answered_well(self, answer: Answer, before: list[Answer]) -> bool:
        """Whether the answer is the expected one; `before` are those to the earlier sendings."""
        if self.same_as is not None and not answer.is_the_same_as(before[self.same_as]):
            return False
        if self.expected in RECEIVED:
            return answer.is_received
        return answer.outcome is self.expected


def plan(bank: Bank, message: Message, fault: str | None) -> list[Sending]:
    """What to send for `message`, ill behaved in the way that `fault` says.

    Raises:
        NotFound: there is no such fault.
        CannotShow: this dialect or this feed has no means to show it.
        Refused: a credential is missing.
    """
    if fault is None:
        return [Sending("the message", bank.signed(message.request()))]
    make = FAULTS.get(fault)
    if make is None:
        raise NotFound(f"there is no fault {fault!r}; there are: {', '.join(FAULTS)}")
    try:
        return make(bank, message)
    except CannotExpress as error:
        raise CannotShow(f"{fault} cannot be shown with this message: {error}") from error


def bad_signature(bank: Bank, message: Message) -> list[Sending]:
    """The message with a proof made by a stranger; refused as not genuine."""
    if not bank.proofs:
        raise CannotShow(
            f"bad-signature cannot be shown: this feed of {bank.dialect.name} is proven by the "
            f"caller's address alone, and from here another address cannot be used"
        )
    forged = bank.forged(message.request())
    what = "the wrong password" if _is_basic_only(bank) else "a stranger's proof"
    return [Sending(f"the message with {what}", forged, _refusal(bank))]


def changed_body(bank: Bank, message: Message) -> list[Sending]:
    """A genuine message whose amount was changed on its way.

    Refused as not genuine where a proof covers the amount; else nobody can know, and it is received.
    """
    genuine = bank.signed(message.request())
    proof = next((p for p in bank.proofs if p.covers & (EVERYTHING | {"amount"})), None)
    other = with_more_money(message).request()
    if proof is None:
        changed = replace(genuine, body=other.body)
        note = f"the message with a changed amount, which no proof of {bank.dialect.name} covers"
        return [Sending(note, changed)]
    if isinstance(proof, HmacFields):
        changed = _with_member(bank.signed(other), genuine, proof.field)
    elif genuine.body != message.request().body:
        changed = replace(genuine, body=_with_one_character_changed(genuine.body))
    else:
        changed = replace(genuine, body=other.body)
    return [Sending("the message with a changed body", changed, _refusal(bank))]


def duplicate(bank: Bank, message: Message) -> list[Sending]:
    """The same bytes twice; the second time gets the same answer."""
    request = bank.signed(message.request())
    return [
        Sending("the message", request),
        Sending("the same bytes again", request, same_as=0),
    ]


def conflict(bank: Bank, message: Message) -> list[Sending]:
    """The same reference with another amount, genuinely signed; received, and kept as a case."""
    return [
        Sending("the message", bank.signed(message.request())),
        Sending(
            "the same reference with another amount",
            bank.signed(with_more_money(message).request()),
        ),
    ]


def other_split(bank: Bank, message: Message) -> list[Sending]:
    """The same signed text with another border between two fields; received, and kept as a case."""
    joined = {"end_to_end_id", "bank_reference"}
    if not any(isinstance(p, HmacFields) and joined <= p.covers for p in bank.proofs):
        raise CannotShow(
            f"other-split cannot be shown: no proof of {bank.dialect.name} is over fields that "
            f"are joined without a border"
        )
    first = bank.renewed(message)
    quoted, reference = first.reading.end_to_end_id or "", first.reading.bank_reference or ""
    if len(quoted) < 2:
        raise CannotShow("other-split needs a message with an end_to_end_id; see --set")
    second = first.with_reading(end_to_end_id=quoted[:-1], bank_reference=quoted[-1] + reference)
    return [
        Sending("a new payment", bank.signed(first.request())),
        Sending("the same signed text, split otherwise", bank.signed(second.request())),
    ]


def slow(bank: Bank, message: Message) -> list[Sending]:
    """The body in drops, within the time allowed; received."""
    return [Sending("the message, in drops", bank.signed(message.request()), pace=SLOWLY)]


def late(bank: Bank, message: Message) -> list[Sending]:
    """An old message again after others have come; it gets the answer that it got first."""
    request = bank.signed(message.request())
    others = [
        Sending("another payment", bank.signed(bank.renewed(message).request()))
        for _ in range(_OTHERS)
    ]
    again = Sending("the first message again, late", request, same_as=0)
    return [Sending("the message", request), *others, again]


def reordered(bank: Bank, message: Message) -> list[Sending]:
    """What happened later comes first: the end before the failure, the reversal before its payment.

    Where the dialect knows neither, a later payment comes before the message.
    """
    reading = message.reading
    words = bank.dialect.expresses
    if {Status.SUCCESS, Status.FAILED} <= words.statuses:
        failed = message.with_reading(status=Status.FAILED).in_a_new_envelope()
        succeeded = message.with_reading(status=Status.SUCCESS)
        first, second = ("success first", succeeded), ("then the failure before it", failed)
    elif Kind.REVERSAL in words.kinds:
        reversal = reversal_of(message, bank.random)
        first, second = ("the reversal first", reversal), ("then what it reverses", message)
    else:
        at = reading.occurred_at
        after = bank.renewed(message)
        after = after.with_reading(occurred_at=None if at is None else at + _FIVE_MINUTES_US)
        first, second = ("a later payment first", after), ("then the message", message)
    return [Sending(what, bank.signed(item.request())) for what, item in (first, second)]


def reversal(bank: Bank, message: Message) -> list[Sending]:
    """A payment and then its reversal; received, and held where no proof covers that it is one."""
    backwards = reversal_of(message, bank.random)
    return [
        Sending("the message", bank.signed(message.request())),
        Sending("its reversal", bank.signed(backwards.request())),
    ]


FAULTS: Final[dict[str, Callable[[Bank, Message], list[Sending]]]] = {
    "bad-signature": bad_signature,
    "changed-body": changed_body,
    "duplicate": duplicate,
    "conflict": conflict,
    "other-split": other_split,
    "slow": slow,
    "late": late,
    "reordered": reordered,
    "reversal": reversal,
}
"""By name, as `arifa trigger --fault` takes them."""


def _refusal(bank: Bank) -> Outcome:
    return bank.dialect.told_apart(Outcome.NOT_GENUINE)


def _is_basic_only(bank: Bank) -> bool:
    return all(isinstance(proof, Basic) for proof in bank.proofs)


def _with_member(request: WireRequest, other: WireRequest, name: str) -> WireRequest:
    """The request with the text member `name` of `other`'s body."""
    old, new = (f'"{item.document()[name]}"'.encode() for item in (request, other))
    return replace(request, body=request.body.replace(old, new))


def _with_one_character_changed(body: bytes) -> bytes:
    middle = len(body) // 2
    other = b"A" if body[middle : middle + 1] != b"A" else b"B"
    return body[:middle] + other + body[middle + 1 :]
