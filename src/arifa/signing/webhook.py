"""Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`.

v1 is HMAC-SHA256 with a `whsec_` secret, v1a is Ed25519 (`whsk_` signs, `whpk_` verifies); both
over `id.timestamp.body`. Several signatures may come, separated by spaces: one that fits is
enough. https://github.com/standard-webhooks/standard-webhooks, spec of 1.0.0.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from functools import lru_cache
from secrets import token_bytes
from typing import Final

from arifa.errors import NotGenuine, Refused
from arifa.signing.credentials import Credentials
from arifa.signing.mac import keyed_hash
from arifa.signing.proof import Proof, the_only
from arifa.wire import WireRequest

TOLERANCE_SECONDS: Final = 300
SIGNATURES_MAX: Final = 32
SECRET_BYTES: Final = 32
SEED_BYTES: Final = 32
ID, TIMESTAMP, SIGNATURE = b"webhook-id", b"webhook-timestamp", b"webhook-signature"
_HMAC, _ED25519_PRIVATE, _ED25519_PUBLIC = b"whsec_", b"whsk_", b"whpk_"
_SECONDS: Final = re.compile(rb"[0-9]{1,12}")
# Visible ASCII without the point: it stands between id, time and body in what is signed.
_IDENTITY: Final = re.compile(rb"[!-\-/-~]{1,255}")
# The specification asks for 24 to 64 bytes; Ed25519 has a seed of 32, alone or with its public key.
_LENGTHS: Final = {_HMAC: range(24, 257), _ED25519_PRIVATE: (32, 64), _ED25519_PUBLIC: (32,)}


@lru_cache(maxsize=1024)
def secret_bytes(text: bytes) -> bytes:
    """The key that a `whsec_`, `whsk_` or `whpk_` text stands for; padding may be missing.

    Raises:
        Refused: it does not begin so, is not base64 behind that, or is too short.
    """
    for prefix, lengths in _LENGTHS.items():
        if text.startswith(prefix):
            written = text[len(prefix) :].rstrip(b"=")
            try:
                key = b64decode(written + b"=" * (-len(written) % 4), validate=True)
            except (binascii.Error, ValueError):
                break
            if len(key) not in lengths:
                raise Refused(
                    f"the key behind {prefix.decode('ascii')!r} has {len(key)} bytes; "
                    f"at least {min(lengths)} are wanted"
                )
            return key
    raise Refused("the secret of a Standard Webhooks feed is 'whsec_' and base64")


def new_secret() -> str:
    """A new `whsec_` secret of 32 random bytes; the specification asks for 24 to 64."""
    return (_HMAC + b64encode(token_bytes(SECRET_BYTES))).decode("ascii")


def new_key_pair() -> tuple[bytes, bytes]:
    """A new Ed25519 pair: (`whsk_` text that signs, `whpk_` text that verifies)."""
    private = _ED25519_PRIVATE + b64encode(token_bytes(SEED_BYTES))
    return private, public_half(private)


def is_private_key(secret: bytes) -> bool:
    """Whether it is a `whsk_` text: there is a public half, for the other side."""
    return secret.startswith(_ED25519_PRIVATE)


def public_half(private: bytes) -> bytes:
    """The `whpk_` text that belongs to a `whsk_` one.

    Raises:
        Refused: it is no such text.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not is_private_key(private):
        raise Refused("this is not a private key that begins with 'whsk_'")
    key = Ed25519PrivateKey.from_private_bytes(secret_bytes(private)[:SEED_BYTES])
    return _ED25519_PUBLIC + b64encode(key.public_key().public_bytes_raw())


class WebhookSignature(Proof):
    """Any of the configured secrets and keys may have signed; all of ours sign, for rotation."""

    is_plural = True
    verifies_with = ("secrets",)
    signs_with = ("secrets",)

    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        """Prove id, time and body.

        Raises:
            NotGenuine: a header is missing or doubled, the time is more than five minutes off, or
                no signature fits.
        """
        identity, stamp = the_only(request, ID), the_only(request, TIMESTAMP)
        if not identity or not _SECONDS.fullmatch(stamp):
            raise NotGenuine("the webhook-id or the webhook-timestamp cannot be read")
        if abs(now_us // 1_000_000 - int(stamp)) > TOLERANCE_SECONDS:
            raise NotGenuine("the webhook-timestamp is more than five minutes off")
        message = b"%s.%s.%s" % (identity, stamp, request.body)
        given = list(_signatures(the_only(request, SIGNATURE)))
        fits = False
        for secret in credentials.secrets:
            key = secret_bytes(secret)
            if secret.startswith(_HMAC):
                expected = keyed_hash(key, message)
                for version, value in given:
                    fits |= version == b"v1" and hmac.compare_digest(expected, value)
            else:
                fits |= any(
                    _is_ed25519(secret, key, value, message)
                    for version, value in given
                    if version == b"v1a"
                )
        if not fits:
            raise NotGenuine("none of the webhook signatures fits")
        return None

    def sign(self, request: WireRequest, credentials: Credentials, now_us: int) -> WireRequest:
        """The request with time and signatures; its `webhook-id` must be there already.

        Raises:
            Refused: no secret, or no id.
        """
        if not credentials.secrets:
            raise Refused("a secret is needed to sign; give it with --secret-file FILE")
        found = request.values(ID)
        if len(found) != 1 or not _IDENTITY.fullmatch(found[0]):
            raise Refused("a webhook needs one webhook-id, of ASCII without a point or a space")
        stamp = b"%d" % (now_us // 1_000_000)
        message = b"%s.%s.%s" % (found[0], stamp, request.body)
        signatures = b" ".join(_signed(secret, message) for secret in credentials.secrets)
        return request.with_headers((TIMESTAMP, stamp), (SIGNATURE, signatures))


def _signatures(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    for item in header.split()[:SIGNATURES_MAX]:
        version, comma, text = item.partition(b",")
        if not comma:
            continue
        try:
            yield version, b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue


def _signed(secret: bytes, message: bytes) -> bytes:
    key = secret_bytes(secret)
    if secret.startswith(_HMAC):
        return b"v1," + b64encode(keyed_hash(key, message))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not secret.startswith(_ED25519_PRIVATE):
        raise Refused("a public key (whpk_) cannot sign; the private one (whsk_) is needed")
    # The reference libraries keep seed and public key together (64 bytes) in a whsk_ text.
    return b"v1a," + b64encode(Ed25519PrivateKey.from_private_bytes(key[:32]).sign(message))


def _is_ed25519(secret: bytes, key: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    if secret.startswith(_ED25519_PRIVATE):
        public = Ed25519PrivateKey.from_private_bytes(key[:32]).public_key()
    else:
        public = Ed25519PublicKey.from_public_bytes(key)
    try:
        public.verify(signature, message)
    except InvalidSignature:
        return False
    return True
