"""Proofs: how a message shows who sent it. Declared by a dialect, not coded in it.

Each proof has `verify` and its twin `sign`. Comparison is in constant time and on bytes. Whatever
trouble a header or a body makes, the error is `NotGenuine`.
"""

from arifa.signing.address import AddressList
from arifa.signing.basic import CHALLENGE, Basic
from arifa.signing.credentials import Credentials
from arifa.signing.jws import Jws
from arifa.signing.mac import HmacBody, HmacFields
from arifa.signing.nested import SignedThenEncrypted
from arifa.signing.proof import EVERYTHING, NOTHING, Proof, Unproven
from arifa.signing.rsa import RsaSha256
from arifa.signing.webhook import WebhookSignature

__all__ = [
    "CHALLENGE",
    "EVERYTHING",
    "NOTHING",
    "AddressList",
    "Basic",
    "Credentials",
    "HmacBody",
    "HmacFields",
    "Jws",
    "Proof",
    "RsaSha256",
    "SignedThenEncrypted",
    "Unproven",
    "WebhookSignature",
]
