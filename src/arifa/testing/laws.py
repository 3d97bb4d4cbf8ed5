"""The laws that every dialect must pass, and how to run them over one's own.

    from arifa.testing.laws import check_dialect

    def test_my_bank() -> None:
        check_dialect(MyBank())

or one test for each law, so that a failure has a name:

    @pytest.mark.parametrize("law", LAWS, ids=name_of)
    def test_law(law: Law) -> None:
        check_law(law, MyBank())

A law is a function of one `Subject`: a dialect with credentials that are their own twins. It says
what is wrong by `LawBroken`, an `AssertionError`. Laws of proof run in each way in which a feed of
the dialect can be proven (`subjects`): with what it needs, with its optional proofs, and behind
user, password and address list. A proof of your own that takes special credentials gets them by
`Subject(MyBank(), credentials)`.

`refuses_flipped_bits` and `never_posts_twice` also judge one captured request. What the laws are
tried with is in `strategies`; `ARIFA_HYPOTHESIS=heavy` tries thirty times as much, and anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from arifa.dialects.base import Dialect
from arifa.testing.genuine import Genuine, Subject, subjects
from arifa.testing.laws_of_proof import (
    refuses_flipped_bits,
    verify_accepts_what_sign_made,
    verify_refuses_flipped_bits,
    verify_refuses_what_is_not_proven,
)
from arifa.testing.laws_of_safety import (
    hostile_input_has_two_errors,
    identity_is_of_the_payment,
    knows_no_input_and_no_clock,
    never_posts_twice,
    unproven_fields_never_post_twice,
)
from arifa.testing.laws_of_words import (
    every_request_gets_an_answer,
    parse_gives_back_what_render_wrote,
    read_acknowledgement_gives_back_what_acknowledge_said,
    read_answer_gives_back_what_answer_said,
    render_never_lies,
    render_says_what_is_declared,
)
from arifa.testing.verdict import LawBroken

Law = Callable[[Subject], None]

OF_PROOF: Final[tuple[Law, ...]] = (
    verify_accepts_what_sign_made,
    verify_refuses_what_is_not_proven,
    verify_refuses_flipped_bits,
    unproven_fields_never_post_twice,
    hostile_input_has_two_errors,
)
OF_WORDS: Final[tuple[Law, ...]] = (
    parse_gives_back_what_render_wrote,
    render_never_lies,
    render_says_what_is_declared,
    read_acknowledgement_gives_back_what_acknowledge_said,
    every_request_gets_an_answer,
    read_answer_gives_back_what_answer_said,
    identity_is_of_the_payment,
    knows_no_input_and_no_clock,
)
LAWS: Final[tuple[Law, ...]] = OF_PROOF + OF_WORDS


def name_of(law: Law) -> str:
    """The law's name, for the id of a test."""
    return getattr(law, "__name__", repr(law))


def check_law(law: Law, dialect: Dialect) -> None:
    """Judge `dialect` by one law: by a law of proof in every way, by one of words in the first.

    Raises:
        LawBroken: it does not hold; a note names dialect, law and way.
    """
    ways = subjects(dialect)
    if not ways:
        raise LawBroken(f"no credentials that there are would prove a feed of {dialect.name}")
    for way, subject in ways.items():
        try:
            law(subject)
        except LawBroken as broken:
            broken.add_note(f"{dialect.name} ({way}) breaks {name_of(law)}: {law.__doc__}")
            raise
        if law not in OF_PROOF:
            return


def check_dialect(dialect: Dialect) -> None:
    """Judge `dialect` by every law.

    Raises:
        LawBroken: the first law that does not hold.
    """
    for law in LAWS:
        check_law(law, dialect)


__all__ = [
    "LAWS",
    "OF_PROOF",
    "OF_WORDS",
    "Genuine",
    "Law",
    "LawBroken",
    "Subject",
    "check_dialect",
    "check_law",
    "name_of",
    "never_posts_twice",
    "refuses_flipped_bits",
    "subjects",
]
