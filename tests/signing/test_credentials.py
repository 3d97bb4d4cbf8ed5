"""Credentials show what they have, and never what it is."""

from __future__ import annotations

from arifa.signing import Credentials
from arifa.testing.genuine import full_credentials


def test_repr_names_what_is_there_and_shows_no_value() -> None:
    shown = repr(full_credentials())

    assert "passwords" in shown
    assert "secrets" in shown
    for value in ("horse", "whsec_", "BEGIN", "192.0.2", "bank"):
        assert value not in shown


def test_repr_of_none_says_so() -> None:
    assert repr(Credentials()) == "<Credentials: none>"
