"""Columns packed for PostgreSQL are what psycopg would have sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer

from arifa.store import arrays

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def column(values: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
    """Columns, also those whose values are all the same or partly missing."""
    same = st.tuples(values, st.integers(1, 40)).map(lambda given: [given[0]] * given[1])
    return (
        st.lists(values, min_size=1, max_size=40)
        | st.lists(values | st.none(), min_size=1, max_size=40)
        | same
        | st.just([None, None])
    )


def as_psycopg(values: list[object], kind: str) -> bytes:
    """What psycopg makes of the same list, its element type put right where it has to guess."""
    (dumped,) = Transformer().dump_sequence([values], [PyFormat.BINARY])
    made = bytearray(dumped or b"")
    made[8:12] = {"Text": 25, "BigInteger": 20, "LargeBinary": 17}[kind].to_bytes(4, "big")
    return bytes(made)


@given(column(TEXTS))
def test_texts(values: list[object]) -> None:
    """A column of texts, Unicode and absent ones too."""
    if any(value is not None for value in values):
        assert arrays.PACKERS["Text"](values) == as_psycopg(values, "Text")


@given(column(st.binary(max_size=20)))
def test_blobs(values: list[object]) -> None:
    """A column of bytes, empty and absent ones too."""
    if any(value is not None for value in values):
        assert arrays.PACKERS["LargeBinary"](values) == as_psycopg(values, "LargeBinary")


@given(column(INTEGERS))
def test_integers(values: list[int | None]) -> None:
    """A column of integers, to the ends of their range: each reads back as it was."""
    packed = arrays.integers(values)
    assert packed[:4] == b"\0\0\0\1"
    assert packed[12:16] == len(values).to_bytes(4, "big")
    place, found = 20, []
    for _ in values:
        size = int.from_bytes(packed[place : place + 4], "big", signed=True)
        place += 4
        found.append(
            None if size < 0 else int.from_bytes(packed[place : place + 8], "big", signed=True)
        )
        place += max(size, 0)
    assert (found, place) == (values, len(packed))


def test_what_does_not_fit_is_refused() -> None:
    """A number of more than 64 bits is an error, not another number."""
    with pytest.raises(OverflowError):
        arrays.integers([1, 2**63])
