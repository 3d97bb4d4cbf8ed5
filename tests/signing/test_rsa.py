"""RSA-SHA256 over the raw body, against signatures made by `cryptography` itself."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from hypothesis import given
from hypothesis import strategies as st

from arifa.document import decode_object, encode
from arifa.errors import NotGenuine, Refused
from arifa.signing import Credentials, RsaSha256
from arifa.signing.keys import new_rsa_key, rsa_private_key
from arifa.testing.alterations import flipped_bits
from arifa.testing.strategies import effort
from tests.signing.proofs import BODY, NOW_US, passes, refuses, request

PRIVATE, PUBLIC = new_rsa_key()
OLD_PRIVATE, OLD_PUBLIC = new_rsa_key()
PROOF = RsaSha256("Signature")
OURS = Credentials(private_key=PRIVATE)
THEIRS = Credentials(public_keys=(PUBLIC,))


def signature(body: bytes = BODY) -> bytes:
    return rsa_private_key(PRIVATE).sign(body, PKCS1v15(), SHA256())


def signed(value: bytes, body: bytes = BODY):
    return request(body, (b"Signature", value))


@effort(30)
@given(st.binary(max_size=300))
def test_what_is_signed_verifies_whatever_the_body(body: bytes) -> None:
    assert passes(PROOF, PROOF.sign(request(body), OURS, NOW_US), THEIRS)


def test_signature_is_the_one_that_the_library_makes() -> None:
    [value] = PROOF.sign(request(), OURS, NOW_US).values(b"signature")

    assert value == b64encode(signature())


def test_white_space_in_the_header_is_dropped() -> None:
    text = b64encode(signature())

    assert passes(PROOF, signed(text[:76] + b"\t " + text[76:] + b" "), THEIRS)


def test_spare_bits_of_the_last_character_are_let_be() -> None:
    """The sample in the bank's own file has them set."""
    text = b64encode(signature())
    assert text.endswith(b"==")
    spare = text[:-3] + bytes([text[-3] + 1]) + b"=="
    assert b64decode(spare) == signature()

    assert passes(PROOF, signed(spare), THEIRS)


def test_two_keys_at_once_are_a_rotation() -> None:
    both = Credentials(public_keys=(PUBLIC, OLD_PUBLIC))

    new, old = (
        PROOF.sign(request(), Credentials(private_key=private), NOW_US)
        for private in (PRIVATE, OLD_PRIVATE)
    )
    assert passes(PROOF, new, both)
    assert passes(PROOF, old, both)
    assert not passes(PROOF, old, THEIRS)


def test_every_flipped_bit_of_the_signature_is_refused() -> None:
    for flipped in flipped_bits(signature(), 256):
        assert not passes(PROOF, signed(b64encode(flipped)), THEIRS)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([], "is missing"),
        ([b""], "was not made"),
        ([b"=", b"="], "comes 2 times"),
        ([b64encode(signature())] * 2, "comes 2 times"),
        ([b"not base64!"], "not base64"),
        ([b"\xff\xfe"], "not base64"),
        (["é".encode()], "not base64"),
        ([b"AAAA"], "was not made"),
        ([b"A" * 20_000], "was not made"),
        ([b64encode(b"\x00" * 256)], "was not made"),
        ([signature().hex().encode()], "was not made"),
    ],
)
def test_hostile_header_is_refused(headers: list[bytes], words: str) -> None:
    refuses(PROOF, request(BODY, *((b"signature", value) for value in headers)), THEIRS, words)


def test_other_paddings_and_hashes_are_refused() -> None:
    key = rsa_private_key(PRIVATE)
    pss = key.sign(BODY, PSS(MGF1(SHA256()), 32), SHA256())
    sha1 = key.sign(BODY, PKCS1v15(), SHA1())

    assert not passes(PROOF, signed(b64encode(pss)), THEIRS)
    assert not passes(PROOF, signed(b64encode(sha1)), THEIRS)


def test_without_any_key_everything_is_refused() -> None:
    refuses(PROOF, signed(b64encode(signature())), Credentials())


def test_signing_without_a_key_says_what_to_do() -> None:
    with pytest.raises(Refused, match="--private-key"):
        PROOF.sign(request(), Credentials(), NOW_US)


def test_an_older_signature_is_replaced() -> None:
    one = PROOF.sign(signed(b"old"), OURS, NOW_US)

    assert len(one.values(b"signature")) == 1


class TestOtherBytes:
    """`also_over`, which KCB has for one integration, where the source says so explicitly."""

    PROOF = RsaSha256(
        "signature",
        also_over=lambda one, options: encode(one.document()) if options.get("other") else None,
    )
    SPACED = b'{"a": 1}'

    def sign(self, body: bytes):
        return request(self.SPACED, (b"signature", b64encode(signature(body))))

    def test_raw_bytes_always_count(self) -> None:
        for options in ({}, {"other": "yes"}):
            self.PROOF.verify(self.sign(self.SPACED), THEIRS, options, NOW_US)

    def test_other_bytes_count_only_if_the_option_says_so(self) -> None:
        one = self.sign(encode(decode_object(self.SPACED)))

        self.PROOF.verify(one, THEIRS, {"other": "yes"}, NOW_US)
        refuses(self.PROOF, one, THEIRS)

    @pytest.mark.parametrize("body", [b"not JSON", b'{"a":1,"a":1}', b'{"a":"\\ud800"}'])
    def test_a_body_without_other_bytes_is_refused_by_name(self, body: bytes) -> None:
        one = replace(self.sign(self.SPACED), body=body)

        with pytest.raises(NotGenuine):
            self.PROOF.verify(one, THEIRS, {"other": "yes"}, NOW_US)
