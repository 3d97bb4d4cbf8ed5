"""Certificates for a server that is tried out: good ones, and ones that nobody should accept.

An authority is made for one run and lives in memory; nothing trusts it but who asks for `trust`.
"""

from __future__ import annotations

import os
import ssl
import tempfile
import warnings
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from arifa.clock import now_us

_DAY: Final = timedelta(days=1)
_NAME: Final = x509.NameOID.COMMON_NAME


class Authority:
    """Issues certificates for servers of this process."""

    def __init__(self) -> None:
        self._now = datetime.fromtimestamp(now_us() / 1_000_000, UTC)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(_NAME, "Arifa's authority for trying out")])
        self._certificate = self._signed(self._name, self._key, None, (-_DAY, _DAY))

    def trust(self) -> ssl.SSLContext:
        """What a client needs to believe this authority, and it alone."""
        pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
        context = ssl.create_default_context(cadata=pem)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def server(
        self, host: str, *, valid: tuple[timedelta, timedelta] = (-_DAY, _DAY)
    ) -> ssl.SSLContext:
        """A server's side for `host`, a name or an address; `valid` counts from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(_NAME, host)])
        return _context(self._signed(name, key, host, valid), key)

    def expired(self, host: str) -> ssl.SSLContext:
        """One whose time is over."""
        return self.server(host, valid=(-3 * _DAY, -_DAY))

    def not_yet(self, host: str) -> ssl.SSLContext:
        """One whose time has not come."""
        return self.server(host, valid=(_DAY, 3 * _DAY))

    def old(self, host: str) -> ssl.SSLContext:
        """One that speaks TLS 1.0 and 1.1 only."""
        context = self.server(host)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            # It is deprecated, which is the point.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context

    def asking(self, host: str) -> ssl.SSLContext:
        """One that wants a certificate of the client's."""
        context = self.server(host)
        context.verify_mode = ssl.CERT_REQUIRED
        # In TLS 1.3 the client's handshake is over before the server can refuse it.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _signed(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        host: str | None,
        valid: tuple[timedelta, timedelta],
    ) -> x509.Certificate:
        begin, end = valid
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now + begin)
            .not_valid_after(self._now + end)
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            names = x509.SubjectAlternativeName([_general_name(host)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _context(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    # The library reads a chain from a file only; it is there, readable by us alone, for a moment.
    handle, path = tempfile.mkstemp(prefix="arifa-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        context.load_cert_chain(path)
    finally:
        Path(path).unlink()
    return context
