"""What is printed: aligned, in JSON, and never able to steer a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arifa.cli.output import Output, as_json, printable, shown

ROWS: list[dict[str, Any]] = [
    {"id": "a", "amount": {"amount": "100.00", "currency": "KES"}, "note": None},
    {"id": "abc", "amount": {"amount": "5", "currency": "UGX"}, "note": "x"},
]


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns stand below each other; money has its currency; nothing is a dash."""
    Output().rows(ROWS, ("id", "amount", "note"))
    assert capsys.readouterr().out == (
        "ID   AMOUNT      NOTE\na    100.00 KES  -\nabc  5 UGX       x\n"
    )


def test_json_has_all_members_on_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are for people only."""
    Output(as_json=True).rows(ROWS, ("id",))
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS


def test_details_are_keys_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    """Nested members are named with a point; a list of things is counted."""
    Output().one({"a": {"b": 1, "c": []}, "d": [{"e": True}], "f": ["x", "y"]})
    assert capsys.readouterr().out == "a.b:   1\na.c:   -\nd.1.e: yes\nf:     x, y\n"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Wanjikũ 王", "Wanjikũ 王"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\nb", "a\\nb"),
        ("\u202egnp", "\\u202egnp"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_a_payer_cannot_steer_the_terminal(text: str, safe: str) -> None:
    """Escapes, line ends and marks that turn the writing round are shown as what they are."""
    assert printable(text) == shown(text) == safe


def test_half_a_character_is_still_json() -> None:
    """A lone surrogate, which UTF-8 has not, is escaped."""
    assert json.loads(as_json({"name": "a\ud800"})) == {"name": "a\ud800"}


def test_errors_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """As a sentence for a person, as one object for a program."""
    Output().error("Not found", "there is none", 404)
    Output(as_json=True).error("Not found", "there is none", 404)
    out, err = capsys.readouterr()
    sentence, document = err.splitlines()
    assert out == ""
    assert sentence == "arifa: there is none"
    assert json.loads(document) == {
        "error": {"title": "Not found", "detail": "there is none", "status": 404}
    }
