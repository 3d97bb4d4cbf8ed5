"""The URLs that NATS endpoints may have: what a text alone can tell.

nats://HOST[:4222]/SUBJECT[?stream=NAME]        in the clear, for a network of one's own
tls+nats://HOST[:4222]/SUBJECT[?stream=NAME]    under TLS, or not at all
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from yarl import URL

from arifa.delivery.addresses import is_address, is_public
from arifa.delivery.cause import SENTENCE, Cause
from arifa.delivery.target import URL_MAX, NotPublic
from arifa.errors import Refused
from arifa.host import check_host

DEFAULT_PORT: Final = 4222
DEFAULT_PORTS: Final = frozenset({DEFAULT_PORT})
SECURE: Final = "tls+nats"
OPEN: Final = "nats"
FORM: Final = f"write {SECURE}://HOST/SUBJECT"

_PRINTABLE: Final = re.compile(r"[!-~]+")
_SUBJECT: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_WILDCARDS: Final = re.compile(r"((\*|[A-Za-z0-9_-]+)\.)*(\*|>|[A-Za-z0-9_-]+)")
_STREAM: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_INNER_NAMES: Final = ("localhost", ".localhost", ".local", ".internal", ".lan", ".home.arpa")


class Place(NamedTuple):
    """Where an endpoint's URL leads.

    Attributes:
        is_secure: TLS or nothing.
        stream: the only one that may take the message; None for whichever keeps the subject.
    """

    host: str
    port: int
    is_secure: bool
    subject: str
    stream: str | None


def check(text: str) -> list[str]:
    """See that an endpoint may have this URL; notes say what `arifa serve` has to allow for it.

    Raises:
        Refused: it may not; the sentence says what to write instead.
    """
    place = target(text, allow_private=True)
    check_host(place.host)
    check_way(place)
    if _is_inner(place.host):
        return [f"{place.host} is a private address: it needs --allow-private on arifa serve"]
    if place.port not in DEFAULT_PORTS:
        return [f"port {place.port} needs --allow-port {place.port} on arifa serve"]
    return []


def check_way(place: Place) -> None:
    """See that nothing goes in the clear, but within a network of one's own.

    Raises:
        Refused: it would.
    """
    if not place.is_secure and not _is_inner(place.host):
        raise Refused(
            f"a broker at {place.host} needs {SECURE}://: over {OPEN}:// anybody on the way can "
            "read who paid what, and answer in the broker's place"
        )


@lru_cache(maxsize=1024)
def target(
    text: str,
    *,
    allow_private: bool = False,
    ports: frozenset[int] = DEFAULT_PORTS,
    is_listening: bool = False,
) -> Place:
    """Where the URL leads.

    Args:
        allow_private: also without TLS, to any port, and to addresses that are not public.
        ports: what may be called otherwise.
        is_listening: the subject may have wildcards.

    Raises:
        Refused: nowhere that may be called; the sentence says what to write instead.
    """
    url = _read(text)
    place = Place(
        url.raw_host or "",
        url.port or DEFAULT_PORT,
        url.scheme == SECURE,
        _subject(url, _WILDCARDS if is_listening else _SUBJECT),
        _stream(url),
    )
    if allow_private:
        return place
    if not place.is_secure:
        raise Refused(
            f"{OPEN}:// would send payments in the clear; use {SECURE}:// (for a broker in a "
            "network of your own, serve with --allow-private)"
        )
    if is_address(place.host) and not is_public(place.host):
        raise NotPublic(SENTENCE[Cause.ADDRESS])
    if place.port not in ports:
        raise Refused(
            f"port {place.port} is not called; give the broker the port {DEFAULT_PORT}, or serve "
            f"with --allow-port {place.port}"
        )
    return place


def _read(text: str) -> URL:
    if len(text) > URL_MAX:
        raise Refused(f"the URL has more than {URL_MAX} characters")
    if not _PRINTABLE.fullmatch(text) or "\\" in text:
        raise Refused(f"the URL has a space or a character that URLs do not have; {FORM}")
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError:
        raise Refused(f"the URL cannot be read; {FORM}") from None
    if url.scheme not in (OPEN, SECURE):
        raise Refused(f"the URL of a NATS broker begins with {SECURE}:// or {OPEN}://; {FORM}")
    if "@" in re.split(r"[/?#]", text.partition("//")[2], maxsplit=1)[0]:
        raise Refused(
            "the URL holds a user or a password, which end up in lists and logs; give them with "
            "--username U --password-file F"
        )
    if not host or port == 0:
        raise Refused(f"the URL has no host, or port 0; {FORM}")
    if "#" in text:
        raise Refused(f"the URL has a part behind '#', which means nothing here; {FORM}")
    return url


def _subject(url: URL, form: re.Pattern[str]) -> str:
    # yarl writes '>' as %3E.
    subject = url.raw_path.removeprefix("/").replace("%3E", ">")
    if not subject:
        raise Refused(
            "the URL names no subject; write it as the path, such as "
            f"{SECURE}://HOST/payments.received"
        )
    if not form.fullmatch(subject):
        wild = "" if form is _WILDCARDS else ", and none of the wildcards '*' and '>'"
        raise Refused(
            f"{subject!r} is not a subject for this: use letters, digits, '-' and '_', in parts "
            f"with '.' between them{wild}"
        )
    return subject


def _stream(url: URL) -> str | None:
    if set(url.query) - {"stream"} or len(url.query.getall("stream", [])) > 1:
        raise Refused("behind '?' the URL may say stream=NAME, once, and nothing else")
    stream = url.query.get("stream")
    if stream is not None and not _STREAM.fullmatch(stream):
        raise Refused(f"{stream!r} is not the name of a stream: use letters, digits, '-' and '_'")
    return stream


def _is_inner(host: str) -> bool:
    if is_address(host):
        return not is_public(host)
    # A name without a point is one that only the house's own resolver knows.
    return "." not in host or host.endswith(_INNER_NAMES)
