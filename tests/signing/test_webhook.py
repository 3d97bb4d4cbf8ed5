"""Standard Webhooks, against the packages `standardwebhooks` and `svix` in both directions."""

from __future__ import annotations

import hmac
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from arifa.errors import Refused
from arifa.signing import Credentials, WebhookSignature
from arifa.signing.webhook import (
    SIGNATURES_MAX,
    new_key_pair,
    new_secret,
    public_half,
    secret_bytes,
)
from arifa.testing.alterations import flipped_bits
from arifa.testing.strategies import effort
from arifa.wire import WireRequest
from tests.signing.proofs import BODY, NOW_US, passes, refuses

PROOF = WebhookSignature()
SECRET, OLD = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OURS = Credentials(secrets=(SECRET,))
ID = b"msg_p5jXN8AQM9LWM0D4loKWxJek"

SEED = bytes(range(32))
ED25519 = Ed25519PrivateKey.from_private_bytes(SEED)
ED25519_PUBLIC = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
WHSK, WHPK = b"whsk_" + b64encode(SEED), b"whpk_" + b64encode(ED25519_PUBLIC)

PACKAGES: dict[str, type[Any]] = {
    "standardwebhooks": standardwebhooks.Webhook,
    "svix": svix.webhooks.Webhook,
}


def bare(body: bytes = BODY, identity: bytes = ID) -> WireRequest:
    return WireRequest(body=body, headers=((b"webhook-id", identity),))


def sent(body: bytes, identity: bytes, stamp: bytes, signature: bytes) -> WireRequest:
    return WireRequest(
        body=body,
        headers=(
            (b"Webhook-Id", identity),
            (b"Webhook-Timestamp", stamp),
            (b"Webhook-Signature", signature),
        ),
    )


def as_texts(request: WireRequest) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in request.headers}


def moment_of(now_us: int) -> datetime:
    return datetime.fromtimestamp(now_us // 1_000_000, tz=UTC)


class TestOracles:
    def test_vector_of_the_specification(self) -> None:
        at = 1614265330
        expected = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        body = b'{"test": 2432232314}'
        one = PROOF.sign(bare(body), OURS, at * 1_000_000)

        assert one.values(b"webhook-signature") == [expected]
        assert one.values(b"webhook-timestamp") == [b"1614265330"]
        assert passes(PROOF, sent(body, ID, b"1614265330", expected), OURS, at * 1_000_000)

    @pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
    @effort(40)
    @given(
        body=st.text(st.characters(exclude_categories=["Cs"])),
        secret=st.binary(min_size=24, max_size=64),
    )
    def test_packages_sign_what_we_verify(self, package, body: str, secret: bytes) -> None:
        text = "whsec_" + b64encode(secret).decode()
        at = moment_of(NOW_US)
        signature = package(text).sign(ID.decode(), at, body).encode()
        stamp = str(int(at.timestamp())).encode()

        one = sent(body.encode(), ID, stamp, signature)
        assert passes(PROOF, one, Credentials(secrets=(text.encode(),)))

    @pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
    def test_packages_verify_what_we_sign(self, package) -> None:
        """By the real clock, since theirs cannot be set."""
        now_us = int(datetime.now(tz=UTC).timestamp() * 1_000_000)
        one = PROOF.sign(bare(), Credentials(secrets=(OLD, SECRET)), now_us)

        for secret in (OLD, SECRET):
            package(secret.decode()).verify(one.body, as_texts(one))
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            package(new_secret()).verify(one.body, as_texts(one))

    @pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
    def test_packages_pass_over_ed25519_beside_theirs(self, package) -> None:
        now_us = int(datetime.now(tz=UTC).timestamp() * 1_000_000)
        one = PROOF.sign(bare(), Credentials(secrets=(WHSK, SECRET)), now_us)

        package(SECRET.decode()).verify(one.body, as_texts(one))

    def test_secret_without_its_padding_is_read_as_the_packages_do(self) -> None:
        padded = b"whsec_" + b64encode(b"0123456789abcdef0123456789abcdef")
        assert padded.endswith(b"=")

        one = PROOF.sign(bare(), Credentials(secrets=(padded.rstrip(b"="),)), NOW_US)
        assert passes(PROOF, one, Credentials(secrets=(padded,)))


class TestEd25519:
    def test_signature_is_the_one_that_the_library_makes(self) -> None:
        [value] = PROOF.sign(bare(), Credentials(secrets=(WHSK,)), NOW_US).values(
            b"webhook-signature"
        )
        message = b"%s.%d.%s" % (ID, NOW_US // 1_000_000, BODY)

        assert value == b"v1a," + b64encode(ED25519.sign(message))

    @pytest.mark.parametrize("key", [WHSK, WHPK], ids=["private", "public"])
    @pytest.mark.parametrize(
        "signing",
        [WHSK, b"whsk_" + b64encode(SEED + ED25519_PUBLIC)],
        ids=["seed", "seed and public"],
    )
    def test_both_halves_verify_and_both_forms_sign(self, key: bytes, signing: bytes) -> None:
        one = PROOF.sign(bare(), Credentials(secrets=(signing,)), NOW_US)

        assert passes(PROOF, one, Credentials(secrets=(key,)))

    def test_a_public_key_cannot_sign(self) -> None:
        with pytest.raises(Refused, match="whsk_"):
            PROOF.sign(bare(), Credentials(secrets=(WHPK,)), NOW_US)

    def test_a_version_does_not_stand_for_the_other(self) -> None:
        [signature] = PROOF.sign(bare(), Credentials(secrets=(WHSK,)), NOW_US).values(
            b"webhook-signature"
        )
        stamp = b"%d" % (NOW_US // 1_000_000)
        as_v1 = sent(BODY, ID, stamp, signature.replace(b"v1a,", b"v1,"))

        refuses(PROOF, as_v1, Credentials(secrets=(WHPK,)))
        # The public key as an HMAC key: whoever knows it could sign.
        digest = hmac.digest(ED25519_PUBLIC, b"%s.%s.%s" % (ID, stamp, BODY), "sha256")
        forged = sent(BODY, ID, stamp, b"v1," + b64encode(digest))
        refuses(PROOF, forged, Credentials(secrets=(WHPK,)))

    def test_every_flipped_bit_is_refused(self) -> None:
        stamp = b"%d" % (NOW_US // 1_000_000)
        signature = ED25519.sign(b"%s.%s.%s" % (ID, stamp, BODY))
        for flipped in flipped_bits(signature, 128):
            one = sent(BODY, ID, stamp, b"v1a," + b64encode(flipped))
            refuses(PROOF, one, Credentials(secrets=(WHPK,)))


class TestTolerance:
    @pytest.mark.parametrize("seconds", [-300, -299, 0, 299, 300])
    def test_five_minutes_on_both_sides_pass(self, seconds: int) -> None:
        one = PROOF.sign(bare(), OURS, NOW_US)

        assert passes(PROOF, one, OURS, NOW_US + seconds * 1_000_000)

    @pytest.mark.parametrize("seconds", [-3600, -301, 301, 86_400 * 365])
    def test_more_is_refused(self, seconds: int) -> None:
        one = PROOF.sign(bare(), OURS, NOW_US)

        refuses(PROOF, one, OURS, "five minutes", now_us=NOW_US + seconds * 1_000_000)


class TestRotation:
    def test_all_of_ours_sign_and_any_of_theirs_verifies(self) -> None:
        one = PROOF.sign(bare(), Credentials(secrets=(SECRET, OLD, WHSK)), NOW_US)
        [value] = one.values(b"webhook-signature")

        assert [item.partition(b",")[0] for item in value.split()] == [b"v1", b"v1", b"v1a"]
        for known in (SECRET, OLD, WHPK):
            assert passes(PROOF, one, Credentials(secrets=(known,)))

    def test_signatures_of_strangers_do_no_harm(self) -> None:
        one = PROOF.sign(bare(), OURS, NOW_US)
        [own] = one.values(b"webhook-signature")
        mixed = b"v2,xyz v1,!!! v1 v1, ,v1 " + own

        assert passes(PROOF, one.with_headers((b"webhook-signature", mixed)), OURS)

    def test_only_so_many_are_looked_at(self) -> None:
        one = PROOF.sign(bare(), OURS, NOW_US)
        [own] = one.values(b"webhook-signature")
        many = b"v1,AAAA " * SIGNATURES_MAX + own

        refuses(PROOF, one.with_headers((b"webhook-signature", many)), OURS)


class TestHostile:
    STAMP = b"%d" % (NOW_US // 1_000_000)

    def good(self) -> WireRequest:
        return PROOF.sign(bare(), OURS, NOW_US)

    @pytest.mark.parametrize("name", [b"webhook-id", b"webhook-timestamp", b"webhook-signature"])
    def test_missing_doubled_and_empty_headers_are_refused(self, name: bytes) -> None:
        one = self.good()
        [value] = one.values(name)
        others = tuple(item for item in one.headers if item[0] != name)

        refuses(PROOF, WireRequest(body=BODY, headers=others), OURS, "is missing")
        twice = (*one.headers, (name.upper(), value))
        refuses(PROOF, WireRequest(body=BODY, headers=twice), OURS, "2 times")
        refuses(PROOF, one.with_headers((name, b"")), OURS)

    @pytest.mark.parametrize(
        "stamp",
        [
            b"-1",
            b"1e9",
            b"1763624558.5",
            b" 1763624558",
            b"+1763624558",
            b"0x10",
            b"9" * 13,
            b"9" * 12,
            b"nan",
            b"inf",
            "١٧".encode(),
            b"\xff",
            b"1_000",
        ],
    )
    def test_hostile_timestamp_is_refused(self, stamp: bytes) -> None:
        refuses(PROOF, self.good().with_headers((b"webhook-timestamp", stamp)), OURS)

    @pytest.mark.parametrize(
        "value",
        [
            b"v1",
            b"v1,",
            b",",
            b" ",
            b"v1,=",
            b"v1,\xff",
            "v1,é".encode(),
            b"v1,AAAA",
            b"v1a,AAAA",
            b"v1a," + b64encode(bytes(64)),
            b"v1," * 10_000,
            b"v1,AAAA " * 10_000,
            b"\x00",
        ],
    )
    def test_hostile_signature_is_refused(self, value: bytes) -> None:
        both = Credentials(secrets=(SECRET, WHPK))

        refuses(PROOF, self.good().with_headers((b"webhook-signature", value)), both)

    def test_every_flipped_bit_of_id_time_and_body_is_refused(self) -> None:
        one = self.good()
        for name in (b"webhook-id", b"webhook-timestamp"):
            [value] = one.values(name)
            for flipped in flipped_bits(value, 1000):
                refuses(PROOF, one.with_headers((name, flipped)), OURS)
        for flipped in flipped_bits(BODY, 1000):
            refuses(PROOF, WireRequest(body=flipped, headers=one.headers), OURS)

    @effort(150)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"webhook-id", b"webhook-timestamp", b"webhook-signature"]),
                st.binary(max_size=30),
            ),
            max_size=5,
        )
    )
    def test_any_headers_are_refused_by_name(self, headers) -> None:
        one = WireRequest(body=BODY, headers=tuple(headers))

        refuses(PROOF, one, Credentials(secrets=(SECRET, WHPK)))


class TestSecrets:
    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"whsec_",
            b"whsec_====",
            b"whsec_!!!!",
            b"whsec_\xff",
            b"whsec_" + b64encode(bytes(23)),
            b"whsec_" + b64encode(bytes(300)),
            b"whpk_" + b64encode(bytes(31)),
            b"whsk_" + b64encode(bytes(33)),
            b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ],
    )
    def test_what_is_no_secret_is_refused_with_a_sentence(self, text: bytes) -> None:
        with pytest.raises(Refused, match=r"whsec_|bytes"):
            secret_bytes(text)

    def test_a_new_secret_is_one_and_never_the_same(self) -> None:
        assert len(secret_bytes(new_secret().encode())) == 32
        assert new_secret() != new_secret()

    @pytest.mark.parametrize(
        "identity", [b"", b"a.b", b"a b", b"a\r\nx: y", "é".encode(), b"x" * 256, b"\x7f"]
    )
    def test_an_id_that_cannot_stand_in_a_header_is_not_signed(self, identity: bytes) -> None:
        with pytest.raises(Refused, match="webhook-id"):
            PROOF.sign(bare(identity=identity), OURS, NOW_US)

    def test_signing_needs_an_id_and_a_secret(self) -> None:
        with pytest.raises(Refused, match="webhook-id"):
            PROOF.sign(WireRequest(body=BODY), OURS, NOW_US)
        with pytest.raises(Refused, match="--secret-file"):
            PROOF.sign(bare(), Credentials(), NOW_US)

    def test_a_new_pair_signs_and_verifies(self) -> None:
        """What the private half signs the public half proves, and no other pair's does."""
        private, public = new_key_pair()
        one = PROOF.sign(bare(), Credentials(secrets=(private,)), NOW_US)

        passes(PROOF, one, Credentials(secrets=(public,)))
        refuses(PROOF, one, Credentials(secrets=(new_key_pair()[1],)))
        assert public_half(WHSK) == WHPK

    def test_only_a_private_key_has_a_public_half(self) -> None:
        """A shared secret, or the public half itself, has none."""
        for text in (new_secret().encode(), WHPK):
            with pytest.raises(Refused, match="whsk_"):
                public_half(text)
