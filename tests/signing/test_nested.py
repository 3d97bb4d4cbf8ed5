"""A JWS by the sender's key inside a JWE to the receiver's."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from dataclasses import replace

import pytest
from joserfc import jwe, jws
from joserfc.jwk import RSAKey

from arifa.errors import NotGenuine, Refused
from arifa.signing import Credentials, SignedThenEncrypted
from arifa.signing.keys import new_rsa_key, public_fingerprint
from arifa.wire import WireRequest
from tests.signing.proofs import BODY, NOW_US, passes, refuses, request

BANK, BANK_PUBLIC = new_rsa_key()
HUB, HUB_PUBLIC = new_rsa_key()
OTHER, OTHER_PUBLIC = new_rsa_key()
PROOF = SignedThenEncrypted()
SENDER = Credentials(private_key=BANK, public_keys=(HUB_PUBLIC,))
RECEIVER = Credentials(private_key=HUB, public_keys=(BANK_PUBLIC,))


def sealed(content: bytes, header: dict[str, str], key: bytes = HUB_PUBLIC) -> WireRequest:
    algorithms = ["RSA-OAEP-256", "RSA-OAEP", "dir", "A256GCM", "A128CBC-HS256"]
    text = jwe.encrypt_compact(header, content, RSAKey.import_key(key), algorithms=algorithms)
    return request(text.encode())


GOOD = {"alg": "RSA-OAEP-256", "enc": "A256GCM"}


def signed(
    content: bytes,
    private: bytes = BANK,
    algorithm: str = "RS256",
    audience: str | None = public_fingerprint(HUB_PUBLIC),
) -> bytes:
    key = RSAKey.import_key(private)
    header = {"alg": algorithm} if audience is None else {"alg": algorithm, "aud": audience}
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return jws.serialize_compact(header, content, key, registry=registry).encode()


@pytest.mark.parametrize("body", [BODY, b"", b"\x00\xff" * 500])
def test_content_comes_back_whatever_it_is(body: bytes) -> None:
    one = PROOF.sign(request(body), SENDER, NOW_US)

    assert PROOF.verify(one, RECEIVER, {}, NOW_US) == body
    assert BODY not in one.body
    assert one.values(b"content-type") == [b"application/jose"]


def test_it_agrees_with_the_library() -> None:
    assert PROOF.verify(sealed(signed(BODY), GOOD), RECEIVER, {}, NOW_US) == BODY


def test_two_keys_of_the_sender_are_a_rotation() -> None:
    both = Credentials(private_key=HUB, public_keys=(OTHER_PUBLIC, BANK_PUBLIC))

    assert passes(PROOF, PROOF.sign(request(), SENDER, NOW_US), both)


@pytest.mark.parametrize(
    "one",
    [
        sealed(signed(BODY, OTHER), GOOD),
        sealed(signed(BODY), GOOD, OTHER_PUBLIC),
        sealed(signed(BODY), {"alg": "RSA-OAEP", "enc": "A256GCM"}),
        sealed(signed(BODY), {"alg": "RSA-OAEP-256", "enc": "A128CBC-HS256"}),
        sealed(signed(BODY, algorithm="RS512"), GOOD),
        sealed(signed(BODY, audience=None), GOOD),
        sealed(signed(BODY, audience=public_fingerprint(OTHER_PUBLIC)), GOOD),
        sealed(BODY, GOOD),
        sealed(b"", GOOD),
        request(signed(BODY)),
        request(BODY),
        request(b""),
        request(b"...."),
        request(b"a.b.c.d.e"),
        request(b"\xff" * 100),
        request(b"." * 100_000),
    ],
    ids=[
        "signed by a stranger",
        "sealed to a stranger",
        "another key wrap",
        "another cipher",
        "another signature",
        "for nobody in particular",
        "for a stranger",
        "sealed but not signed",
        "nothing in it",
        "signed but not sealed",
        "plain",
        "empty",
        "four points",
        "five words",
        "not ASCII",
        "points",
    ],
)
def test_anything_else_is_refused(one: WireRequest) -> None:
    refuses(PROOF, one, RECEIVER)


def test_a_receiver_cannot_pass_it_on() -> None:
    """What the bank has signed for one receiver, that one cannot seal anew for another."""
    to_other = PROOF.sign(request(), Credentials(private_key=BANK, public_keys=(OTHER_PUBLIC,)), 0)
    opened = jwe.decrypt_compact(
        to_other.body, RSAKey.import_key(OTHER), algorithms=["RSA-OAEP-256", "A256GCM"]
    )

    assert opened.plaintext is not None
    refuses(PROOF, sealed(opened.plaintext, GOOD), RECEIVER)


def in_url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def compact(header: bytes, signature: bytes) -> bytes:
    return b".".join(map(in_url, (header, BODY, signature)))


def test_no_algorithm_of_the_senders_choice() -> None:
    """`none`, and HMAC with the public key as its secret: the two classic ways round a JWS."""
    bare = compact(b'{"alg":"none"}', b"")
    content = compact(b'{"alg":"HS256"}', b"")[:-1]
    confused = content + b"." + in_url(hmac.digest(BANK_PUBLIC, content, "sha256"))

    for content in (bare, confused):
        refuses(PROOF, sealed(content, GOOD), RECEIVER)


def test_a_changed_character_anywhere_is_refused_or_means_the_same() -> None:
    one = PROOF.sign(request(), SENDER, NOW_US)
    for place in range(0, len(one.body), 37):
        other = b"A" if one.body[place : place + 1] != b"A" else b"B"
        changed = replace(one, body=one.body[:place] + other + one.body[place + 1 :])
        try:
            assert PROOF.verify(changed, RECEIVER, {}, NOW_US) == BODY
            assert place == len(one.body) - 1
        except NotGenuine:
            pass


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials(public_keys=(HUB_PUBLIC,)), "--private-key"),
        (Credentials(private_key=BANK), "--public-key"),
    ],
)
def test_what_cannot_sign_says_what_to_do(credentials: Credentials, words: str) -> None:
    with pytest.raises(Refused, match=words):
        PROOF.sign(request(), credentials, NOW_US)


def test_it_applies_where_both_keys_are_there() -> None:
    optional = SignedThenEncrypted(is_optional=True)

    assert optional.applies(RECEIVER)
    assert not optional.applies(Credentials(private_key=HUB))
    assert not optional.applies(Credentials(public_keys=(BANK_PUBLIC,)))
