"""A bank's day against a real hub: what it wrote down is what the hub has."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from arifa.cli.demo_banks import CAST, Part
from arifa.simulator.traffic import Meaning, spend_day
from tests.simulator.hub import Hub

WAY = {
    "kcb": "kcb",
    "credit-bank": "credit_bank by password",
    "jenga": "jenga",
    "xente": "xente by address",
    "cbs": "cbs",
}
ALONE = [part for part in CAST if part.after is None]


@pytest.mark.parametrize("part", ALONE, ids=lambda part: part.name)
def test_the_two_books_agree(hub: Hub, part: Part):
    """Each message meant to the hub what it meant to the bank, and each answer was the right one."""
    bank, source = hub.bank(WAY[part.name])
    bank.random = Random(5)
    book = spend_day(bank, part.samples, 40)
    counted = hub.counts(source)
    states = Counter(item.state.value for item in hub.notifications(source))
    assert book.surprises == []
    assert (counted["received"], counted["refused"]) == (book.received, book.refused)
    assert book.refused == book.meanings[Meaning.FORGED]
    assert states["accepted"] == book.meanings[Meaning.NEW] == book.announced.total()
    assert states["held"] == book.meanings[Meaning.HELD] == len(hub.cases(source))


def test_every_sample_of_every_bank_is_in_the_demonstration():
    """What a bank publishes is what is shown."""
    from arifa import dialects

    for part in ALONE:
        assert list(part.samples) == list(dialects.get(part.dialect).cases), part.name


def test_a_wrong_answer_is_a_surprise(hub: Hub):
    """A bank whose key the hub does not know writes down that nothing was received."""
    bank, _ = hub.bank("kcb")
    stranger, _ = hub.bank("jenga")
    bank.url = stranger.url
    book = spend_day(bank, {"account": Meaning.NEW}, 0)
    assert book.surprises == ["the published account: answered 401 NOT_GENUINE"]


def test_nobody_answers_is_a_surprise(hub: Hub):
    """And the day goes on."""
    bank, _ = hub.bank("kcb")
    bank.url = "http://127.0.0.1:9/"
    book = spend_day(bank, {"account": Meaning.NEW, "till": Meaning.NEW}, 0)
    assert len(book.surprises) == 2
