"""Keys in every form that banks hand over; what is no such key is refused with a sentence."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from arifa.errors import Refused
from arifa.signing.keys import (
    new_rsa_key,
    normal_pem,
    private_fingerprint,
    public_fingerprint,
    rsa_private_key,
    rsa_public_key,
)

PRIVATE, SPKI = new_rsa_key()
KEY = rsa_private_key(PRIVATE)
NUMBERS = KEY.public_key().public_numbers()
PKCS1 = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)


def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bank.example")])
    start = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .sign(KEY, SHA256())
    )
    return built.public_bytes(Encoding.PEM)


FORMS = {
    "SPKI": SPKI,
    "PKCS#1": PKCS1,
    # Its dates are the bank's business: the key was handed over, not looked up.
    "X.509, expired": certificate(),
    "escaped line ends": SPKI.replace(b"\n", b"\\n"),
    "escaped, with carriage returns": SPKI.replace(b"\n", b"\\r\\n"),
    "carriage returns": SPKI.replace(b"\n", b"\r\n"),
    "indented, as in YAML": b"    " + SPKI.replace(b"\n", b"\n    "),
    "with text about it": b"Our key:\n" + SPKI + b"\nKind regards\n",
    "without a last line end": SPKI.strip(),
    "PKCS#1 escaped": PKCS1.replace(b"\n", b"\\n"),
}


@pytest.mark.parametrize("pem", FORMS.values(), ids=FORMS)
def test_public_key_is_read_in_every_form(pem: bytes) -> None:
    assert rsa_public_key(pem).public_numbers() == NUMBERS


@pytest.mark.parametrize(
    "pem",
    [
        PRIVATE,
        KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        PRIVATE.replace(b"\n", b"\\n"),
    ],
    ids=["PKCS#8", "PKCS#1", "escaped line ends"],
)
def test_private_key_is_read_in_every_form(pem: bytes) -> None:
    assert rsa_private_key(pem).public_key().public_numbers() == NUMBERS


def short(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def public(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


CURVE = ec.generate_private_key(ec.SECP256R1())
SHORT = short(1024)
BAD_PUBLIC = {
    "nothing": (b"", "not a PEM key"),
    "a file of another kind": (b"\x00\x01\x02", "not a PEM key"),
    "the private one": (PRIVATE, "private key"),
    "damaged": (SPKI.replace(b"MII", b"MIJ", 1), "cannot be read"),
    "not base64": (b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n", "cannot be read"),
    "an elliptic curve": (public(CURVE), "not an RSA key"),
    "too short": (public(SHORT), "1024 bits"),
    "cut": (SPKI[: len(SPKI) // 2], "not a PEM key"),
}
BAD_PRIVATE = {
    "nothing": (b"", "not a PEM key"),
    "the public one": (SPKI, "cannot be read"),
    "under a password": (
        KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
        "password",
    ),
    "an elliptic curve": (
        CURVE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "not an RSA key",
    ),
    "too short": (
        SHORT.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "1024 bits",
    ),
}


@pytest.mark.parametrize(("pem", "words"), BAD_PUBLIC.values(), ids=BAD_PUBLIC)
def test_bad_public_key_is_refused_with_a_sentence(pem: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        rsa_public_key(pem)


@pytest.mark.parametrize(("pem", "words"), BAD_PRIVATE.values(), ids=BAD_PRIVATE)
def test_bad_private_key_is_refused_with_a_sentence(pem: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        rsa_private_key(pem)


def test_normal_pem_keeps_the_block_alone() -> None:
    assert normal_pem(b"  x\n" + SPKI.replace(b"\n", b" \r\n") + b"y") == SPKI


def test_fingerprint_of_both_halves_and_all_forms_is_one() -> None:
    found = {public_fingerprint(pem) for pem in FORMS.values()}

    assert found == {private_fingerprint(PRIVATE)}
