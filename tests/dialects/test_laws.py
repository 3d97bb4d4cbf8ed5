"""Every dialect of the registry passes every law."""

from __future__ import annotations

import pytest

from arifa import dialects
from arifa.testing.laws import LAWS, Law, LawBroken, check_dialect, check_law, name_of, subjects


@pytest.mark.parametrize("law", LAWS, ids=name_of)
@pytest.mark.parametrize("name", dialects.names())
def test_dialect_keeps_the_law(name: str, law: Law) -> None:
    check_law(law, dialects.get(name))


@pytest.mark.parametrize("name", dialects.names())
def test_laws_have_something_to_judge(name: str) -> None:
    """A law over no sample, or in no way of proving, would hold of anything."""
    ways = subjects(dialects.get(name))

    assert ways
    assert all(subject.samples for subject in ways.values())
    assert all(sample.bare for subject in ways.values() for sample in subject.samples)


def test_check_dialect_runs_every_law(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        "arifa.testing.laws.check_law", lambda law, dialect: seen.append(name_of(law))
    )
    check_dialect(dialects.get("kcb"))

    assert seen == [name_of(law) for law in LAWS]


def test_a_broken_law_says_who_broke_which() -> None:
    def forbids(subject: object) -> None:
        """Nothing is allowed."""
        raise LawBroken("it is there")

    with pytest.raises(LawBroken) as caught:
        check_law(forbids, dialects.get("kcb"))

    assert caught.value.__notes__ == ["kcb (alone) breaks forbids: Nothing is allowed."]
