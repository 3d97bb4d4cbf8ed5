"""The URLs that HTTP endpoints may have: what a text alone can tell.

It is little: a name may lead anywhere. The wall is where connections are made (`dial`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from yarl import URL

from arifa.delivery.addresses import is_address, is_public
from arifa.delivery.cause import SENTENCE, Cause
from arifa.errors import Refused
from arifa.host import check_host

URL_MAX: Final = 2_048
HTTPS_ONLY: Final = frozenset({443})

_PRINTABLE: Final = re.compile(r"[!-~]+")
_AUTHORITY_END: Final = re.compile(r"[/?#]")
_INNER_NAMES: Final = ("localhost", ".localhost", ".local", ".internal", ".lan", ".home.arpa")


class NotPublic(Refused):
    """A URL whose host is written as an address that is not called."""


def check(text: str) -> list[str]:
    """See that an endpoint may have this URL; notes say what `arifa serve` has to allow for it.

    Plain http is for addresses within the house only: a payer's name and number must not cross the
    internet in the clear.

    Raises:
        Refused: it may not; the sentence says what to write instead.
    """
    url = _read(text)
    host = url.raw_host or ""
    check_host(host)
    if "#" in text:
        raise Refused("the URL has a fragment (behind '#'), which is never sent; leave it out")
    if _is_inner(host):
        return [f"{host} is a private address: it needs --allow-private on arifa serve"]
    if url.scheme == "http":
        raise Refused(
            f"an endpoint at {host} needs https: over http anybody on the way can read who paid "
            f"what, and answer in the merchant's place"
        )
    if url.port not in HTTPS_ONLY:
        return [f"port {url.port} needs --allow-port {url.port} on arifa serve"]
    return []


@lru_cache(maxsize=4096)
def target(text: str, *, allow_private: bool = False, ports: frozenset[int] = HTTPS_ONLY) -> URL:
    """The URL of an endpoint, as it is called.

    Args:
        allow_private: for development: http, any port, and addresses that are not public are
            allowed too.
        ports: what may be called otherwise.

    Raises:
        Refused: it cannot be called; the sentence says what to write instead.
    """
    url = _read(text)
    if allow_private:
        return url.with_fragment(None)
    if url.scheme != "https":
        raise Refused(
            "http:// would send payments in the clear; use https:// (for development, serve with "
            "--allow-private)"
        )
    host = url.raw_host or ""
    if is_address(host) and not is_public(host):
        raise NotPublic(SENTENCE[Cause.ADDRESS])
    if url.port not in ports:
        raise Refused(
            f"port {url.port} is not called; give the endpoint the port 443, or serve with "
            f"--allow-port {url.port}"
        )
    return url.with_fragment(None)


def _read(text: str) -> URL:
    if len(text) > URL_MAX:
        raise Refused(f"the URL has more than {URL_MAX} characters")
    if not _PRINTABLE.fullmatch(text) or "\\" in text:
        raise Refused(
            "the URL has a space or a character that URLs do not have; write those as %20 or "
            "the like, and a host name in its xn-- form"
        )
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError:
        raise Refused("the URL cannot be read; write https://HOST/PATH") from None
    if url.scheme not in ("https", "http"):
        raise Refused("the URL must begin with https://")
    if "@" in _AUTHORITY_END.split(text.partition("//")[2], 1)[0] or url.raw_user is not None:
        raise Refused(
            "the URL holds a user or a password, which end up in lists and logs; give them with "
            "--username U --password-file F"
        )
    if not host or port == 0:
        raise Refused("the URL has no host, or port 0; write https://HOST/PATH")
    return url


def _is_inner(host: str) -> bool:
    if is_address(host):
        return not is_public(host)
    # A name without a point is one that only the house's own resolver knows.
    return "." not in host or host.endswith(_INNER_NAMES)
