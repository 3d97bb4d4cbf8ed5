"""HMAC over the body, and over fields in the body."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arifa.document import JsonObject, decode_object
from arifa.errors import Refused, Unreadable
from arifa.signing import Credentials, HmacBody, HmacFields
from arifa.signing.mac import keyed_hash
from arifa.testing.alterations import flipped_bits
from arifa.testing.strategies import effort
from tests.signing.proofs import BODY, NOW_US, passes, refuses, request

CREDENTIALS = Credentials(secrets=(b"new \xff secret", b"old secret"))
NEW, OLD = CREDENTIALS.secrets


@effort(100)
@given(
    st.binary(max_size=300),
    st.binary(min_size=1, max_size=300),
    st.sampled_from(["md5", "sha1", "sha256", "sha384", "sha512", "sha3_256", "blake2b"]),
)
def test_the_keyed_hash_is_that_of_the_standard_library(
    message: bytes, key: bytes, algorithm: str
) -> None:
    for _ in range(2):
        assert keyed_hash(key, message, algorithm) == hmac.digest(key, message, algorithm)


class TestBody:
    PROOF = HmacBody("X-Signature", prefix="sha256=")

    def header(self, secret: bytes = NEW, body: bytes = BODY) -> tuple[bytes, bytes]:
        digest = hmac.new(secret, body, hashlib.sha256).hexdigest()
        return b"x-signature", b"sha256=" + digest.encode()

    @effort(30)
    @given(st.binary(max_size=200), st.binary(min_size=1, max_size=100))
    def test_what_is_signed_verifies_whatever_body_and_key(self, body: bytes, key: bytes) -> None:
        credentials = Credentials(secrets=(key,))

        assert passes(self.PROOF, self.PROOF.sign(request(body), credentials, NOW_US), credentials)

    @pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
    @pytest.mark.parametrize("encoding", ["hex", "base64"])
    def test_it_agrees_with_the_standard_library(self, algorithm: str, encoding) -> None:
        proof = HmacBody("x-signature", algorithm=algorithm, encoding=encoding)
        digest = hmac.new(NEW, BODY, algorithm).digest()
        expected = digest.hex().encode() if encoding == "hex" else b64encode(digest)

        assert proof.sign(request(), CREDENTIALS, NOW_US).values(b"x-signature") == [expected]
        assert passes(proof, request(BODY, (b"x-signature", expected)), CREDENTIALS)

    def test_both_secrets_of_a_rotation_count_and_the_newest_signs(self) -> None:
        assert passes(self.PROOF, request(BODY, self.header(NEW)), CREDENTIALS)
        assert passes(self.PROOF, request(BODY, self.header(OLD)), CREDENTIALS)
        assert self.PROOF.sign(request(), CREDENTIALS, NOW_US).headers == (self.header(NEW),)

    def test_hexadecimal_capitals_are_read(self) -> None:
        name, value = self.header()
        capitals = b"sha256=" + value.removeprefix(b"sha256=").upper()

        assert passes(self.PROOF, request(BODY, (name, capitals)), CREDENTIALS)

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (b"", "prefix"),
            (b"sha256=", "was not made"),
            (b"sha256=0", "not hex"),
            (b"sha256=zz", "not hex"),
            (b"sha256=\xff", "not hex"),
            ("sha256=é".encode(), "not hex"),
            (b"sha256=00", "was not made"),
            (b"sha256=" + b"0" * 20_000, "was not made"),
            (b"sha1=00", "prefix"),
        ],
    )
    def test_anything_else_is_refused(self, value: bytes, words: str) -> None:
        refuses(self.PROOF, request(BODY, (b"x-signature", value)), CREDENTIALS, words)

    def test_missing_and_doubled_headers_are_refused(self) -> None:
        refuses(self.PROOF, request(), CREDENTIALS, "is missing")
        refuses(self.PROOF, request(BODY, self.header(), self.header()), CREDENTIALS, "2 times")

    def test_every_flipped_bit_is_refused(self) -> None:
        digest = hmac.new(NEW, BODY, hashlib.sha256).digest()
        for flipped in flipped_bits(digest, 256):
            value = b"sha256=" + flipped.hex().encode()
            refuses(self.PROOF, request(BODY, (b"x-signature", value)), CREDENTIALS)

    @pytest.mark.parametrize("credentials", [Credentials(), Credentials(secrets=(b"",))])
    def test_no_secret_and_an_empty_one_prove_nothing(self, credentials: Credentials) -> None:
        refuses(self.PROOF, request(BODY, self.header(b"")), credentials)
        with pytest.raises(Refused, match="--secret-file"):
            self.PROOF.sign(request(), credentials, NOW_US)


def texts(document: JsonObject) -> list[bytes]:
    amount = str(document.get("amount"))
    return [f"{document['name']}{text}".encode() for text in (amount, f"{amount}0")]


class TestFields:
    PROOF = HmacFields("mac", texts, covers=frozenset({"amount"}))

    def signed(self, message: str, secret: bytes = NEW, **others: str):
        mac = b64encode(hmac.new(secret, message.encode(), hashlib.sha256).digest()).decode()
        members = {**decode_object(BODY), "mac": mac, **others}
        written = ",".join(f'"{name}":"{value}"' for name, value in members.items())
        return request(f"{{{written}}}".encode())

    def test_signing_puts_the_hash_into_its_field_and_the_rest_stays(self) -> None:
        one = self.PROOF.sign(request(), CREDENTIALS, NOW_US)

        assert passes(self.PROOF, one, CREDENTIALS)
        assert {**one.document(), "mac": None} == {**decode_object(BODY), "mac": None}
        assert one.document()["mac"] == self.signed("Wanjikũ100.00").document()["mac"]

    def test_any_of_the_texts_counts_and_any_secret(self) -> None:
        assert passes(self.PROOF, self.signed("Wanjikũ100.00"), CREDENTIALS)
        assert passes(self.PROOF, self.signed("Wanjikũ100.000"), CREDENTIALS)
        assert passes(self.PROOF, self.signed("Wanjikũ100.00", OLD), CREDENTIALS)

    def test_a_field_that_is_not_hashed_may_change_and_one_that_is_may_not(self) -> None:
        assert passes(self.PROOF, self.signed("Wanjikũ100.00", other="x"), CREDENTIALS)
        refuses(self.PROOF, self.signed("Wanjikũ100.00", amount="900.00"), CREDENTIALS)

    @pytest.mark.parametrize(
        "mac", ['"é"', '""', '"AAAA"', '"====="', "null", "1", "[]", "true", '"\\ud800"']
    )
    def test_hostile_hash_is_refused(self, mac: str) -> None:
        body = f'{{"name": "A", "amount": "1", "mac": {mac}}}'.encode()

        refuses(self.PROOF, request(body), CREDENTIALS)

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"mac":1,"mac":2}', b"\xff", b"null"])
    def test_hostile_body_is_refused(self, body: bytes) -> None:
        refuses(self.PROOF, request(body), CREDENTIALS, "nothing can be proven")

    def test_a_missing_hash_is_refused(self) -> None:
        refuses(self.PROOF, request(), CREDENTIALS, "has no mac")

    def test_what_cannot_be_signed_says_why(self) -> None:
        with pytest.raises(Refused, match="--secret-file"):
            self.PROOF.sign(request(), Credentials(), NOW_US)
        with pytest.raises(Unreadable):
            self.PROOF.sign(replace(request(), body=b"not JSON"), CREDENTIALS, NOW_US)
