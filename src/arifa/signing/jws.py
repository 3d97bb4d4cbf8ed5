"""A compact JWS as the body (RFC 7515): what is signed is what is read.

RS256 with the sender's RSA key. The algorithm is fixed here, never taken from the message; a key
or a certificate that the message brings along is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from arifa.errors import NotGenuine, Refused
from arifa.signing.credentials import Credentials
from arifa.signing.keys import normal_pem, rsa_private_key, rsa_public_key
from arifa.signing.proof import Proof
from arifa.wire import WireRequest

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey
    from joserfc.jws import JWSRegistry

ALGORITHM: Final = "RS256"
AUDIENCE: Final = "aud"
CONTENT_TYPE: Final = b"application/jose"


class Jws(Proof):
    """The body is a JWS by the other side's key; any of the public keys may have made it."""

    is_envelope = True
    verifies_with = ("public_keys",)
    signs_with = ("private_key",)

    def __init__(self, *, is_optional: bool = False) -> None:
        self.is_optional = is_optional

    def verify(
        self,
        request: WireRequest,
        credentials: Credentials,
        options: Mapping[str, str],
        now_us: int,
    ) -> bytes | None:
        """Prove the signature; gives the signed content.

        Raises:
            NotGenuine: not a JWS, or not signed by a known key.
        """
        return signed_content(request.body, credentials)

    def sign(self, request: WireRequest, credentials: Credentials, now_us: int) -> WireRequest:
        """The request with its body as the content of a JWS by our key.

        Raises:
            Refused: there is no private key.
        """
        return replace(request, body=signed(request.body, credentials)).with_headers(
            (b"content-type", CONTENT_TYPE)
        )


def signed_content(text: bytes, credentials: Credentials, audience: str | None = None) -> bytes:
    """The content of a compact JWS by one of the public keys.

    Args:
        audience: whom it must have been signed for, if anybody in particular.

    Raises:
        NotGenuine: it is none, or was signed for somebody else.
    """
    from joserfc import jws

    for pem in credentials.public_keys:
        try:
            found = jws.deserialize_compact(text, public_jwk(pem), registry=_registry())
        except Exception:  # noqa: BLE001, S112 - the next key may fit; the refusal is below
            continue
        if audience is not None and found.headers().get(AUDIENCE) != audience:
            raise NotGenuine("what is within was signed for another receiver")
        return bytes(found.payload)
    raise NotGenuine("there is nothing signed by a known key")


def signed(content: bytes, credentials: Credentials, audience: str | None = None) -> bytes:
    """The compact JWS of `content` by our key, for `audience` if it is for one receiver alone.

    Raises:
        Refused: there is no private key.
    """
    from joserfc import jws

    if credentials.private_key is None:
        raise Refused("our private key is needed; give it with --private-key FILE")
    key = private_jwk(credentials.private_key)
    header = {"alg": ALGORITHM} if audience is None else {"alg": ALGORITHM, AUDIENCE: audience}
    text: str = jws.serialize_compact(header, content, key, registry=_registry())
    return text.encode("ascii")


@cache
def _registry() -> JWSRegistry:
    from joserfc.jws import JWSRegistry
    from joserfc.registry import HeaderParameter

    return JWSRegistry({AUDIENCE: HeaderParameter("Audience", "str")}, [ALGORITHM])


# Loading a private key proves its numbers, which takes longer than using it (30 ms, measured).
@lru_cache(maxsize=1024)
def private_jwk(pem: bytes) -> RSAKey:
    """Our key as the JOSE library has it."""
    from joserfc.jwk import RSAKey

    rsa_private_key(pem)
    return RSAKey.import_key(normal_pem(pem))


@lru_cache(maxsize=1024)
def public_jwk(pem: bytes) -> RSAKey:
    """The other side's key as the JOSE library has it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from joserfc.jwk import RSAKey

    key = rsa_public_key(pem)
    return RSAKey.import_key(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
