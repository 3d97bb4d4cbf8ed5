"""Each fault against a real hub: what is sent, what is answered, what is in the books after it."""

from __future__ import annotations

from collections import Counter

import pytest

from arifa import dialects
from arifa.errors import NotFound
from arifa.notification import Kind, Status
from arifa.outcome import Outcome
from arifa.simulator.bank import Answer, Bank
from arifa.simulator.faults import FAULTS, CannotShow, plan
from tests.simulator.hub import WAYS, Hub

PROVEN = [way for way in WAYS if way not in ("credit_bank by address", "xente by address")]
FIRST_CASE = {way: next(iter(dialects.get(dialect).cases)) for way, (dialect, *_) in WAYS.items()}


def play(bank: Bank, fault: str | None, case: str | None = None) -> list[Answer]:
    """Send it all, see that each answer is the expected one, and give the answers."""
    answers: list[Answer] = []
    for sending in plan(bank, bank.published(case), fault):
        answer = bank.send(sending.request)
        assert sending.is_answered_well(answer, answers), sending.what
        answers.append(answer)
    return answers


@pytest.mark.parametrize("way", WAYS)
def test_a_published_message_is_received(hub: Hub, way: str):
    """The first sample of every dialect, sent as published, is one accepted notification."""
    bank, source = hub.bank(way)
    (answer,) = play(bank, None)
    (notification,) = hub.notifications(source)
    assert answer.response.status == 200
    assert notification.state.value == "accepted"


@pytest.mark.parametrize("way", [way for way in WAYS if "keys" not in way])
def test_the_bytes_are_the_published_ones(hub: Hub, way: str):
    """What arrives is the sample byte for byte; where a hash is inside, only that differs."""
    bank, source = hub.bank(way)
    play(bank, None)
    sample = bank.dialect.cases[FIRST_CASE[way]].body
    (body,) = hub.bodies(source)
    differing = [(a, b) for a, b in zip(body, sample, strict=True) if a != b]
    assert len(differing) <= (44 if way == "cbs" else 0)


@pytest.mark.parametrize("way", PROVEN)
def test_bad_signature(hub: Hub, way: str):
    """A stranger's proof is refused in the bank's form, counted, and never a payment."""
    bank, source = hub.bank(way)
    (answer,) = play(bank, "bad-signature")
    assert answer.outcome is Outcome.NOT_GENUINE
    assert hub.counts(source)["refused"] == 1
    assert hub.notifications(source) == []


@pytest.mark.parametrize("way", [way for way in WAYS if way not in PROVEN])
def test_bad_signature_needs_a_signature(hub: Hub, way: str):
    """A feed that is proven by an address alone has no proof to get wrong."""
    bank, _ = hub.bank(way)
    with pytest.raises(CannotShow, match="address alone"):
        plan(bank, bank.published(), "bad-signature")


@pytest.mark.parametrize("way", ["kcb", "xente by keys", "cbs", "standard_webhooks"])
def test_changed_body_is_refused(hub: Hub, way: str):
    """An amount that a proof covers cannot be changed on its way."""
    bank, source = hub.bank(way)
    (answer,) = play(bank, "changed-body")
    assert answer.outcome is Outcome.NOT_GENUINE
    assert hub.notifications(source) == []


@pytest.mark.parametrize("way", ["jenga", "credit_bank by password", "xente by address"])
def test_changed_body_is_received(hub: Hub, way: str):
    """Where no proof covers the amount nobody can know, and the money is marked as unproven."""
    bank, source = hub.bank(way)
    play(bank, "changed-body")
    (notification,) = hub.notifications(source)
    assert notification.reading.amount != bank.published().reading.amount
    assert "amount" in notification.reading.unproven


@pytest.mark.parametrize("way", WAYS)
def test_duplicate(hub: Hub, way: str):
    """The same bytes twice are one notification and one answer."""
    bank, source = hub.bank(way)
    first, second = play(bank, "duplicate")
    assert first.response.body == second.response.body
    assert len(hub.notifications(source)) == 1


@pytest.mark.parametrize("way", WAYS)
def test_conflict(hub: Hub, way: str):
    """The same reference with another amount is received, and waits as a case."""
    bank, source = hub.bank(way)
    play(bank, "conflict")
    states = Counter(item.state.value for item in hub.notifications(source))
    assert states == {"accepted": 1, "held": 1}
    assert hub.cases(source) == ["likely_duplicate" if way == "cbs" else "conflict"]


def test_other_split(hub: Hub):
    """Under one Mac, another split of the text is a case and no second payment."""
    bank, source = hub.bank("cbs")
    first, second = plan(bank, bank.published(), "other-split")
    macs = {item.request.document()["Mac"] for item in (first, second)}
    play(bank, "other-split")
    assert len(macs) == 1
    assert hub.cases(source) == ["conflict"]


def test_other_split_needs_joined_fields(hub: Hub):
    """Only a proof over fields that are joined without a border can be split otherwise."""
    bank, _ = hub.bank("kcb")
    with pytest.raises(CannotShow, match="border"):
        plan(bank, bank.published(), "other-split")


def test_slow(hub: Hub):
    """A body in drops is received like any other."""
    bank, source = hub.bank("kcb")
    (sending,) = plan(bank, bank.published(), "slow")
    assert sending.pace.pieces > 1
    assert bank.send(sending.request, sending.pace).is_received
    assert len(hub.notifications(source)) == 1


@pytest.mark.parametrize("way", WAYS)
def test_late(hub: Hub, way: str):
    """An old message after others is the notification that it was, with the answer that it got."""
    bank, source = hub.bank(way)
    answers = play(bank, "late")
    assert answers[0].response.body == answers[-1].response.body
    assert len(hub.notifications(source)) == len(answers) - 1


@pytest.mark.parametrize("way", ["jenga", "xente by address", "xente by keys"])
def test_reordered_statuses(hub: Hub, way: str):
    """A failure that comes after the success is a second notification, and no conflict."""
    bank, source = hub.bank(way)
    play(bank, "reordered")
    statuses = [item.reading.status for item in hub.notifications(source)]
    assert sorted(statuses) == [Status.FAILED, Status.SUCCESS]
    assert hub.cases(source) == []


@pytest.mark.parametrize("way", ["cbs", "credit_bank by password"])
def test_reordered_reversal(hub: Hub, way: str):
    """A reversal before its payment waits, and the payment counts."""
    bank, source = hub.bank(way)
    play(bank, "reordered")
    payment, reversal = hub.notifications(source)
    assert (payment.state.value, reversal.state.value) == ("accepted", "held")
    assert reversal.reading.kind is Kind.REVERSAL


def test_reordered_payments(hub: Hub):
    """Where there is neither failure nor reversal, a later payment comes first; both count."""
    bank, source = hub.bank("kcb")
    play(bank, "reordered")
    second, first = hub.notifications(source)
    assert (first.reading.occurred_at or 0) > (second.reading.occurred_at or 0)


@pytest.mark.parametrize("way", ["cbs", "credit_bank by password", "standard_webhooks"])
def test_reversal(hub: Hub, way: str):
    """A reversal is held unless the proof covers that it is one."""
    bank, source = hub.bank(way)
    play(bank, "reversal")
    reversal, _ = hub.notifications(source)
    assert reversal.reading.kind is Kind.REVERSAL
    assert reversal.state.value == ("accepted" if way == "standard_webhooks" else "held")


@pytest.mark.parametrize("way", ["kcb", "jenga", "xente by address"])
def test_reversal_needs_a_word(hub: Hub, way: str):
    """A bank that has no word for a reversal cannot send one."""
    bank, _ = hub.bank(way)
    with pytest.raises(CannotShow, match="reversal"):
        plan(bank, bank.published(), "reversal")


def test_an_unknown_fault(hub: Hub):
    """The sentence names those that there are."""
    bank, _ = hub.bank("kcb")
    with pytest.raises(NotFound, match="bad-signature"):
        plan(bank, bank.published(), "bad")


def test_a_wrong_answer_is_seen(hub: Hub):
    """A forgery that got through, or a repeat that got another answer, is not as expected."""
    bank, _ = hub.bank("kcb")
    (forgery,) = plan(bank, bank.published(), "bad-signature")
    first, again = plan(bank, bank.published(), "duplicate")
    accepted = bank.send(first.request)
    other = bank.send(bank.signed(bank.renewed(bank.published()).request()))
    assert not forgery.is_answered_well(accepted, [])
    assert not again.is_answered_well(other, [accepted])
    assert again.is_answered_well(bank.send(again.request), [accepted])


def test_a_refusal_that_is_answered_with_200(hub: Hub):
    """The forgery is seen to be refused also where the source refuses by the body alone."""
    bank, _ = hub.bank("kcb", options={"refusal": "200"})
    (answer,) = play(bank, "bad-signature")
    assert answer.response.status == 200


def test_every_fault_is_tried_here():
    """A new fault needs a test."""
    assert list(FAULTS) == [
        *("bad-signature", "changed-body", "duplicate", "conflict", "other-split"),
        *("slow", "late", "reordered", "reversal"),
    ]
