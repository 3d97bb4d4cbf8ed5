"""A compact JWS as the body."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode

import pytest
from joserfc import jws
from joserfc.jwk import RSAKey

from arifa.errors import Refused
from arifa.signing import Credentials, Jws
from arifa.signing.keys import new_rsa_key
from tests.signing.proofs import BODY, NOW_US, passes, refuses, request

BANK, BANK_PUBLIC = new_rsa_key()
OTHER, OTHER_PUBLIC = new_rsa_key()
PROOF = Jws()
SENDER = Credentials(private_key=BANK)
RECEIVER = Credentials(public_keys=(BANK_PUBLIC,))


def by(private: bytes, algorithm: str, **header: str) -> bytes:
    key = RSAKey.import_key(private)
    return jws.serialize_compact(
        {"alg": algorithm, **header}, BODY, key, algorithms=[algorithm]
    ).encode()


@pytest.mark.parametrize("body", [BODY, b"", b"\x00\xff" * 500])
def test_content_comes_back_whatever_it_is(body: bytes) -> None:
    one = PROOF.sign(request(body), SENDER, NOW_US)

    assert PROOF.verify(one, RECEIVER, {}, NOW_US) == body
    assert one.values(b"content-type") == [b"application/jose"]


def test_it_agrees_with_the_library() -> None:
    assert PROOF.verify(request(by(BANK, "RS256")), RECEIVER, {}, NOW_US) == BODY


def test_two_keys_of_the_sender_are_a_rotation() -> None:
    both = Credentials(public_keys=(OTHER_PUBLIC, BANK_PUBLIC))

    assert passes(PROOF, PROOF.sign(request(), SENDER, NOW_US), both)


def test_only_its_own_algorithm_and_key_count() -> None:
    """Another key, another algorithm, none, and the public key taken for a secret are refused."""
    none = urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=")
    content = urlsafe_b64encode(BODY).rstrip(b"=")
    head = urlsafe_b64encode(json.dumps({"alg": "HS256"}).encode()).rstrip(b"=") + b"." + content
    digest = hmac.digest(BANK_PUBLIC, head, "sha256")
    confused = head + b"." + urlsafe_b64encode(digest).rstrip(b"=")
    forged = [
        by(OTHER, "RS256"),
        by(BANK, "PS256"),
        by(BANK, "RS512"),
        confused,
        none + b"." + content + b".",
        by(BANK, "RS256")[:-4],
        BODY,
        b"",
        b"..",
        b"\xff.\xff.\xff",
    ]
    for body in forged:
        refuses(PROOF, request(body), RECEIVER)


def test_every_flipped_bit_is_refused() -> None:
    """A bit of the header, the content or the signature, decoded, cannot be changed."""
    genuine = by(BANK, "RS256")
    for position in range(0, len(genuine) - 2, 7):
        changed = bytearray(genuine)
        changed[position] ^= 1
        refuses(PROOF, request(bytes(changed)), RECEIVER)


def test_a_key_is_needed_to_sign() -> None:
    with pytest.raises(Refused, match="--private-key"):
        PROOF.sign(request(), Credentials(), NOW_US)
