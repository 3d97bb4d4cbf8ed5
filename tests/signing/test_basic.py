"""HTTP Basic (RFC 7617)."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arifa.errors import Refused
from arifa.signing import Basic, Credentials
from arifa.testing.strategies import effort
from tests.signing.proofs import BODY, NOW_US, passes, refuses, request

PROOF = Basic()
CREDENTIALS = Credentials(username="jenga", passwords=("correct: horse é", "the old one"))


def authorized(value: bytes):
    return request(BODY, (b"Authorization", value))


def pair(user: str, password: str) -> bytes:
    return b"Basic " + b64encode(f"{user}:{password}".encode())


@effort(40)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":"), min_size=1),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_what_is_signed_verifies_whatever_user_and_password(user: str, password: str) -> None:
    credentials = Credentials(username=user, passwords=(password,))

    assert passes(PROOF, PROOF.sign(request(), credentials, NOW_US), credentials)


def test_header_is_the_one_of_the_rfc() -> None:
    """RFC 7617, 2 and 2.1: Aladdin in ASCII, and test with a pound sign in UTF-8."""
    for user, password, expected in (
        ("Aladdin", "open sesame", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("test", "123£", b"Basic dGVzdDoxMjPCow=="),
    ):
        credentials = Credentials(username=user, passwords=(password,))
        [value] = PROOF.sign(request(), credentials, NOW_US).values(b"authorization")
        assert value == expected


@pytest.mark.parametrize("scheme", [b"Basic", b"basic", b"BASIC"])
def test_scheme_is_read_in_any_letters(scheme: bytes) -> None:
    assert passes(
        PROOF, authorized(pair("jenga", "the old one").replace(b"Basic", scheme)), CREDENTIALS
    )


def test_both_passwords_of_a_rotation_count_and_the_newest_signs() -> None:
    assert passes(PROOF, authorized(pair("jenga", "correct: horse é")), CREDENTIALS)
    assert passes(PROOF, authorized(pair("jenga", "the old one")), CREDENTIALS)
    assert PROOF.sign(request(), CREDENTIALS, NOW_US).values(b"authorization") == [
        pair("jenga", "correct: horse é")
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "not Basic"),
        (b"Basic", "not the one agreed"),
        (b"Basic ", "not the one agreed"),
        (b"Bearer abc", "not Basic"),
        (b"Basic 67ew8n31me", "base64"),
        (b"Basic \xff\xfe", "base64"),
        (b"Basic " + "é".encode(), "base64"),
        (b"Basic " + b64encode(b"jenga"), "agreed"),
        (b"Basic " + b64encode(b"\xff\xfe:\x00"), "agreed"),
        (pair("Jenga", "the old one"), "agreed"),
        (pair("jenga", "the old on"), "agreed"),
        (pair("jenga", "the old one "), "agreed"),
        (pair("None", "the old one"), "agreed"),
        (b"Basic " + b"A" * 20_000, "agreed"),
    ],
)
def test_anything_else_is_refused(value: bytes, words: str) -> None:
    refuses(PROOF, authorized(value), CREDENTIALS, words)


def test_missing_and_doubled_headers_are_refused() -> None:
    header = (b"authorization", pair("jenga", "the old one"))

    refuses(PROOF, request(), CREDENTIALS, "is missing")
    refuses(PROOF, request(BODY, header, header), CREDENTIALS, "2 times")


@pytest.mark.parametrize("credentials", [Credentials(), Credentials(passwords=("",))])
def test_without_a_user_everything_is_refused(credentials: Credentials) -> None:
    for user in ("", "None"):
        refuses(PROOF, authorized(pair(user, "")), credentials)


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials(), "--username"),
        (Credentials(username="x"), "--password-file"),
        (Credentials(username="a:b", passwords=("c",)), "colon"),
    ],
)
def test_what_cannot_sign_says_what_to_do(credentials: Credentials, words: str) -> None:
    with pytest.raises(Refused, match=words):
        PROOF.sign(request(), credentials, NOW_US)
