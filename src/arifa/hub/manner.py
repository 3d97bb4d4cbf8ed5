"""How an endpoint is called: what may be set about it, and why the rest is refused.

An endpoint is somebody's own machine: what is set here bounds what we do to it, and what it can make
us do. Headers that say who we are, how the body ends, or what was signed are ours alone.
"""

from __future__ import annotations

import re
from typing import Final

from arifa.dialects.base import Dialect
from arifa.errors import Refused
from arifa.feed import Endpoint, Manner
from arifa.hub.queue import ORDERED_BY

TIMEOUT_MIN, TIMEOUT_MAX = 1.0, 30.0
CONCURRENCY_MAX: Final = 64
RATE_MIN, RATE_MAX = 0.01, 1000.0
ATTEMPTS_MAX: Final = 30
SCHEDULE_SECONDS_MAX: Final = 10 * 86_400
HEADERS_MAX: Final = 10
NAME_CHARACTERS_MAX: Final = 64
VALUE_CHARACTERS_MAX: Final = 1024
HEADERS_CHARACTERS_MAX: Final = 4096

ORDER_FIELDS: Final = tuple(sorted(ORDERED_BY))
"""What may tie notifications together that must arrive one after the other."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
# RFC 9110, 7.6.1: they speak of one connection, or of where and how the message ends.
_OF_THE_CONNECTION: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding"}
    | {"expect", "upgrade", "accept-encoding", "content-encoding", "content-type", "user-agent"}
    | {"cookie", "set-cookie", "forwarded", "via", "signature", "signature-input"}
)
_OURS: Final = ("webhook-", "proxy-", "x-forwarded-", "arifa-", "nats-", ":")


def check_manner(dialect: Dialect, endpoint: Endpoint) -> None:
    """See that an endpoint can be called in this manner.

    Raises:
        Refused: it cannot; the sentence says which bound it breaks.
    """
    manner = endpoint.manner
    _check_pace(manner)
    if manner.delays is not None:
        check_delays(manner.delays)
    if manner.ordered is not None and manner.ordered not in ORDER_FIELDS:
        raise Refused(
            f"notifications cannot be ordered by {manner.ordered!r}; there are "
            f"{', '.join(ORDER_FIELDS)}"
        )
    if manner.halts and manner.ordered is None:
        raise Refused(
            "an endpoint without an order has nothing to halt: give --ordered KEY with "
            "--halt-on-dead"
        )
    _check_headers(dialect, endpoint)


def _check_pace(manner: Manner) -> None:
    timeout, concurrency, rate = manner.timeout, manner.concurrency, manner.rate
    # Written so that what is not a number is out of bounds too.
    if timeout is not None and not TIMEOUT_MIN <= timeout <= TIMEOUT_MAX:
        raise Refused(f"a time-out is from {TIMEOUT_MIN:g} to {TIMEOUT_MAX:g} seconds")
    if concurrency is not None and not 1 <= concurrency <= CONCURRENCY_MAX:
        raise Refused(f"a concurrency is from 1 to {CONCURRENCY_MAX} attempts at a time")
    if rate is not None and not RATE_MIN <= rate <= RATE_MAX:
        raise Refused(f"a rate is from {RATE_MIN:g} to {RATE_MAX:g} attempts a second")


def check_delays(delays: tuple[int, ...]) -> None:
    """See that a schedule can be kept: seconds before each attempt, from the end of the last.

    A later wait may well be the shorter one: our own schedule ends so.

    Raises:
        Refused: the sentence says which part of it cannot be.
    """
    if not delays:
        raise Refused("a schedule needs one attempt at least; write such as '0s 5s 30s 5m'")
    if delays[0] != 0:
        raise Refused(
            "a schedule begins with 0s: the first attempt is made at once; what follows are the "
            "waits before the attempts after it"
        )
    if len(delays) > ATTEMPTS_MAX:
        raise Refused(f"a schedule has at most {ATTEMPTS_MAX} attempts; this one has {len(delays)}")
    for number, delay in enumerate(delays[1:], start=2):
        if delay < 1:
            raise Refused(f"attempt {number} would follow without a wait: let it be 1s at least")
    total = sum(delays)
    if total > SCHEDULE_SECONDS_MAX:
        raise Refused(
            f"the schedule would go on for {total / 86_400:.1f} days; it ends within "
            f"{SCHEDULE_SECONDS_MAX // 86_400}, and what is dead then can be replayed"
        )


# ---------------------------------------------------------------------------------- headers


def _check_headers(dialect: Dialect, endpoint: Endpoint) -> None:
    headers = endpoint.manner.headers
    if len(headers) > HEADERS_MAX:
        raise Refused(f"an endpoint has at most {HEADERS_MAX} headers of its own")
    if sum(len(name) + len(value) for name, value in headers) > HEADERS_CHARACTERS_MAX:
        raise Refused(f"the headers are longer than {HEADERS_CHARACTERS_MAX} characters together")
    seen: set[str] = set()
    for name, value in headers:
        _check_header(dialect, endpoint, name, value)
        if name.lower() in seen:
            raise Refused(f"the header {name} comes twice")
        seen.add(name.lower())


def _check_header(dialect: Dialect, endpoint: Endpoint, name: str, value: str) -> None:
    # A value may be a secret, so no sentence shows it; a name that is none may be one too.
    if not _TOKEN.fullmatch(name) or len(name) > NAME_CHARACTERS_MAX:
        raise Refused(
            f"a header's name has letters, digits and '-', {NAME_CHARACTERS_MAX} at most; "
            f"write --header 'Name: value'"
        )
    if not _VALUE.fullmatch(value) or len(value) > VALUE_CHARACTERS_MAX:
        raise Refused(
            f"the value of the header {name} must be of printable ASCII, "
            f"{VALUE_CHARACTERS_MAX} characters at most, with no line end"
        )
    lower = name.lower()
    if lower in _OF_THE_CONNECTION or lower.startswith(_OURS):
        raise Refused(f"the header {name} is not for an endpoint to set: each request has its own")
    if lower in _signed_headers(dialect):
        raise Refused(f"the header {name} carries the proof of {dialect.name}: it cannot be set")
    if lower == "authorization" and endpoint.credentials.username:
        raise Refused(
            "the Authorization header is made of --username and --password-file here; give one "
            "of the two"
        )


def _signed_headers(dialect: Dialect) -> set[str]:
    found = (getattr(proof, "header", b"") for proof in dialect.proofs)
    return {header.decode("ascii") for header in found if header}
