"""Words of a fixed list: enumerations in everything but the price of a look-up."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import pytest

from arifa.notification import Direction, Kind, State, Status
from arifa.outcome import Insertion, Outcome
from arifa.word import Word

LISTS = [Kind, Direction, Status, State, Outcome, Insertion]


@pytest.mark.parametrize("words", LISTS)
def test_a_member_is_the_one_that_its_name_and_its_text_find(words: type[Word]) -> None:
    for member in words:
        assert getattr(words, member.name) is words[member.name] is words(member.value) is member
        assert msgspec.json.decode(msgspec.json.encode(member), type=words) is member


@pytest.mark.parametrize("words", LISTS)
def test_a_value_is_a_plain_text(words: type[Word]) -> None:
    assert all(type(member.value) is str and str(member) == member for member in words)
    assert issubclass(words, StrEnum)


def test_a_member_is_a_plain_attribute_of_its_class() -> None:
    assert vars(Kind)["PAYMENT"] is Kind.PAYMENT


def test_a_member_cannot_be_another() -> None:
    with pytest.raises(AttributeError):
        Kind.PAYMENT = Kind.REVERSAL  # type: ignore[misc]
