"""A bank's day: published samples, new payments, and everything that goes wrong on the way.

    samples ─► payment ─► (again) (in a new envelope) (forged) (with other money) (reversed) (late)

The bank writes down what it sent and what it was told, in a book of its own. What a message means
is known when it is made, not found by the means of the hub: so the two books can be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from arifa.errors import ArifaError
from arifa.money import EXPONENT, Money
from arifa.notification import Kind, Status
from arifa.outcome import Outcome
from arifa.simulator.bank import Answer, Bank
from arifa.simulator.faults import Sending
from arifa.simulator.message import Message, reversal_of, with_more_money

# How often, of a hundred payments, each of these follows.
_AGAIN: Final = 15
_NEW_ENVELOPE: Final = 8
_FORGED: Final = 12
_OTHER_MONEY: Final = 5
_REVERSED: Final = 6
_FAILED: Final = 12
_LATE: Final = 6
_MAJOR_UNITS_MAX: Final = 50_000


class Meaning(StrEnum):
    """What a message is, in the bank's own eyes.

    AGAIN says nothing new; HELD must wait for a second proof; FORGED is not the bank's at all.
    """

    NEW = "new"
    AGAIN = "again"
    HELD = "held"
    FORGED = "forged"


class Announced(NamedTuple):
    """A payment as the bank announced it: what must be the same at the merchant's."""

    reference: str
    kind: str
    status: str
    amount: str
    currency: str


@dataclass(frozen=True, slots=True)
class Act:
    """One request of the day and its meaning; `message` is None for a forgery."""

    sending: Sending
    meaning: Meaning
    message: Message | None = None


@dataclass(slots=True)
class Book:
    """What one bank wrote down.

    Attributes:
        announced: the new payments, each by what it says.
        received: how many of its requests were answered as received; `refused`, as not genuine.
        surprises: sentences about answers that were not the expected ones.
    """

    meanings: Counter[Meaning] = field(default_factory=Counter)
    announced: Counter[Announced] = field(default_factory=Counter)
    received: int = 0
    refused: int = 0
    surprises: list[str] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """How many requests went out, forged ones among them."""
        return self.meanings.total()


def spend_day(bank: Bank, samples: Mapping[str, Meaning], payments: int) -> Book:
    """Send the day's requests one after the other, and write the book.

    Args:
        samples: the cases to send as published, in this order, and what each means.
        payments: how many new payments follow.
    """
    book = Book()
    answers: list[Answer | None] = []
    for act in _day(bank, samples, payments):
        book.meanings[act.meaning] += 1
        if act.meaning is Meaning.NEW and act.message is not None:
            book.announced[_announced(act.message)] += 1
        answers.append(_sent(bank, act, answers, book))
    return book


def _sent(bank: Bank, act: Act, answers: list[Answer | None], book: Book) -> Answer | None:
    sending = act.sending
    try:
        answer = bank.send(sending.request, sending.pace)
    except ArifaError as error:
        book.surprises.append(f"{sending.what}: {error}")
        return None
    book.received += answer.is_received
    book.refused += answer.outcome is Outcome.NOT_GENUINE
    before = [earlier or answer for earlier in answers]
    if not sending.is_answered_well(answer, before):
        book.surprises.append(
            f"{sending.what}: answered {answer.response.status} {answer.outcome.value}"
        )
    return answer


def _announced(message: Message) -> Announced:
    reading = message.reading
    assert reading.amount is not None
    return Announced(
        reading.bank_reference or "",
        reading.kind.value,
        reading.status.value,
        reading.amount.text(),
        reading.amount.currency,
    )


# ---------------------------------------------------------------------------------- the day


def _day(bank: Bank, samples: Mapping[str, Meaning], payments: int) -> Iterator[Act]:
    """All acts in the order of sending; `same_as` of each counts from the first."""
    acts: list[Act] = []
    templates: list[Message] = []
    for case, meaning in samples.items():
        message = bank.published(case)
        if meaning is not Meaning.HELD and message.reading.amount is not None:
            templates.append(message)
        acts.append(_act(bank, f"the published {case}", message, meaning))
        yield acts[-1]
    for number in range(payments):
        template = templates[number % len(templates)]
        payment = _payment(bank, template)
        acts.append(_act(bank, "a payment", payment, Meaning.NEW))
        yield acts[-1]
        for follower in _followers(bank, payment, acts):
            acts.append(follower)
            yield follower


def _act(bank: Bank, what: str, message: Message, meaning: Meaning) -> Act:
    return Act(Sending(what, bank.signed(message.request())), meaning, message)


def _payment(bank: Bank, template: Message) -> Message:
    """A new payment of some amount, which now and then fails where the bank has a word for that."""
    payment = bank.renewed(template)
    assert payment.reading.amount is not None
    currency = payment.reading.amount.currency
    major = bank.random.randint(1, _MAJOR_UNITS_MAX)
    payment = payment.with_reading(amount=Money(major * 10 ** EXPONENT[currency], currency))
    if Status.FAILED in bank.dialect.expresses.statuses and _happens(bank, _FAILED):
        return payment.with_reading(status=Status.FAILED)
    return payment


def _followers(bank: Bank, payment: Message, acts: list[Act]) -> Iterator[Act]:
    """What comes of one payment that was just sent, the last of `acts`."""
    sent = len(acts) - 1
    if _happens(bank, _AGAIN):
        again = Sending("the same bytes again", acts[sent].sending.request, same_as=sent)
        yield Act(again, Meaning.AGAIN, payment)
    if _happens(bank, _NEW_ENVELOPE):
        anew = payment.in_a_new_envelope()
        yield _act(bank, "the same payment announced anew", anew, Meaning.AGAIN)
    if bank.proofs and _happens(bank, _FORGED):
        forged = bank.forged(_payment(bank, payment).request())
        yield Act(Sending("a forgery", forged, Outcome.NOT_GENUINE), Meaning.FORGED)
    if _happens(bank, _OTHER_MONEY):
        yield _act(bank, "the same reference, other money", with_more_money(payment), Meaning.HELD)
    if Kind.REVERSAL in bank.dialect.expresses.kinds and _happens(bank, _REVERSED):
        yield _act(bank, "a reversal", reversal_of(payment, bank.random), Meaning.HELD)
    if payment.reading.status is Status.FAILED and _happens(bank, 50):
        succeeded = payment.with_reading(status=Status.SUCCESS)
        yield _act(bank, "a success after the failure", succeeded, Meaning.NEW)
    if _happens(bank, _LATE):
        yield from _late(bank, acts)


def _late(bank: Bank, acts: list[Act]) -> Iterator[Act]:
    """Some earlier payment of the day, its very bytes."""
    chosen = [number for number, act in enumerate(acts) if act.meaning is Meaning.NEW]
    number = bank.random.choice(chosen)
    late = Sending("an old message again", acts[number].sending.request, same_as=number)
    yield Act(late, Meaning.AGAIN, acts[number].message)


def _happens(bank: Bank, of_a_hundred: int) -> bool:
    return bank.random.randrange(100) < of_a_hundred
