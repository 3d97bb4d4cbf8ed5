"""Reading PEM keys in the forms that banks hand over. Loaded keys are kept: loading is slow."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from arifa.errors import Refused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

RSA_BITS_MIN: Final = 2048
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s*(.*?)\s*-----END \1-----", re.DOTALL)


def normal_pem(text: bytes) -> bytes:
    """The one PEM block of `text`, with real line ends.

    An environment variable often carries `\\n` as two characters, and a copy from a mail has
    `\\r\\n` or spaces about it (seen in integrations with KCB).

    Raises:
        Refused: there is no PEM block.
    """
    text = text.replace(b"\\r", b"").replace(b"\\n", b"\n").replace(b"\r\n", b"\n")
    match = _PEM.search(text)
    if match is None:
        raise Refused("this is not a PEM key; it should begin with '-----BEGIN PUBLIC KEY-----'")
    label, content = match.groups()
    lines = [line.strip() for line in content.split(b"\n") if line.strip()]
    return b"-----BEGIN %s-----\n%s\n-----END %s-----\n" % (label, b"\n".join(lines), label)


@lru_cache(maxsize=1024)
def rsa_public_key(pem: bytes) -> RSAPublicKey:
    """An RSA public key from SPKI, PKCS#1 or an X.509 certificate.

    Raises:
        Refused: it cannot be read, is not RSA, or is shorter than 2048 bits.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = normal_pem(pem)
    if b"PRIVATE KEY" in pem:
        raise Refused("this is a private key; the other side's public key is wanted here")
    try:
        if b"BEGIN CERTIFICATE" in pem:
            from cryptography.x509 import load_pem_x509_certificate

            key: object = load_pem_x509_certificate(pem).public_key()
        else:
            key = load_pem_public_key(pem)
    except Exception as error:
        raise Refused(
            "the public key cannot be read: its PEM block is damaged or of a kind not known"
        ) from error
    if not isinstance(key, RSAPublicKey):
        raise Refused("the public key is not an RSA key")
    _check_length(key)
    return key


@lru_cache(maxsize=1024)
def rsa_private_key(pem: bytes) -> RSAPrivateKey:
    """An RSA private key, PKCS#8 or PKCS#1, without a password.

    Raises:
        Refused: it cannot be read, is not RSA, or is shorter than 2048 bits.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(normal_pem(pem), password=None)
    except Refused:
        raise
    except Exception as error:
        raise Refused(
            "the private key cannot be read: it is damaged, of a kind not known, or has a password"
        ) from error
    if not isinstance(key, RSAPrivateKey):
        raise Refused("the private key is not an RSA key")
    _check_length(key)
    return key


def _check_length(key: RSAPublicKey | RSAPrivateKey) -> None:
    if key.key_size < RSA_BITS_MIN:
        raise Refused(f"the RSA key has {key.key_size} bits; at least {RSA_BITS_MIN} are wanted")


def public_fingerprint(pem: bytes) -> str:
    """`SHA256:` and the hash of the public key, by which two people compare it.

    Raises:
        Refused: as `rsa_public_key`.
    """
    return _fingerprint(rsa_public_key(pem))


def private_fingerprint(pem: bytes) -> str:
    """The fingerprint of the public half of a private key: what the other side should have.

    Raises:
        Refused: as `rsa_private_key`.
    """
    return _fingerprint(rsa_private_key(pem).public_key())


def public_half(pem: bytes) -> bytes:
    """The public key, SPKI PEM, that belongs to an RSA private key in PEM.

    Raises:
        Refused: as `rsa_private_key`.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = rsa_private_key(pem).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _fingerprint(key: RSAPublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    # Over the SubjectPublicKeyInfo: as `openssl pkey -pubin -outform DER | openssl sha256`.
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"SHA256:{sha256(der).hexdigest()}"


def new_rsa_key() -> tuple[bytes, bytes]:
    """A new RSA-2048 key pair: (private PKCS#8 PEM, public SPKI PEM)."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = generate_private_key(public_exponent=65537, key_size=RSA_BITS_MIN)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private, public
