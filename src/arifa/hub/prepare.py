"""Steps 2 and 3 of a request's path: prove it and read it. Pure, but for what is cached.

A request is prepared by the configuration at hand, before its group's transaction; the transaction
looks whether that was still the current one, and prepares it again if not.
"""

from __future__ import annotations

from arifa import dialects
from arifa.dialects.base import Dialect
from arifa.errors import NotGenuine, Refused, Unreadable
from arifa.feed import Source
from arifa.notification import Query, Reading
from arifa.outcome import Outcome
from arifa.signing.credentials import is_within
from arifa.store.configuration import Configuration
from arifa.wire import WireRequest


class Prepared:
    """One request, judged as far as that goes without the books.

    Attributes:
        source, dialect: None where no source has this path, or no installed package the dialect.
        outcome: NOT_GENUINE, UNREADABLE or UNAVAILABLE (paused); None where the books decide.
        reason: a sentence about the outcome, for the operator.
        is_forbidden: the caller's address is not in the source's list: no bank to speak to.
        configuration: the number of the configuration that it was judged by.
    """

    __slots__ = (
        "configuration",
        "dialect",
        "is_forbidden",
        "outcome",
        "query",
        "readings",
        "reason",
        "request",
        "source",
        "token",
    )

    def __init__(self, token: str, request: WireRequest) -> None:
        self.token = token
        self.request = request
        self.configuration = -1
        self.source: Source | None = None
        self.dialect: Dialect | None = None
        self.outcome: Outcome | None = None
        self.is_forbidden = False
        self.reason: str | None = None
        self.readings: list[Reading] = []
        self.query: Query | None = None

    def clear(self) -> None:
        """Forget the judgement."""
        Prepared.__init__(self, self.token, self.request)


def prepare(configuration: Configuration, token: str, request: WireRequest) -> Prepared:
    """Find the source of `token`, prove the request, read it."""
    return _judged(configuration, Prepared(token, request))


def prepare_again(configuration: Configuration, prepared: Prepared) -> Prepared:
    """Judge the same request by another configuration. Whoever waits for its answer sees it too."""
    prepared.clear()
    return _judged(configuration, prepared)


def _judged(configuration: Configuration, prepared: Prepared) -> Prepared:
    prepared.configuration = configuration.number
    request, source = prepared.request, configuration.sources.get(prepared.token)
    if source is None:
        return prepared
    prepared.source = source
    try:
        prepared.dialect = dialect = dialects.get(source.dialect)
    except Refused as error:
        # It came with a package that is gone: no words to answer in until that is back.
        prepared.outcome, prepared.reason = Outcome.UNAVAILABLE, str(error)
        return prepared
    if source.credentials.addresses and not is_within(request.peer, source.credentials.addresses):
        prepared.is_forbidden, prepared.outcome = True, Outcome.NOT_GENUINE
        prepared.reason = "the caller's address is not in the list of the source"
        return prepared
    if source.paused:
        prepared.outcome, prepared.reason = Outcome.UNAVAILABLE, "the source is paused"
        return prepared
    try:
        verified = dialect.verify(request, source.credentials, source.profile, request.received_at)
        read = dialect.parse(verified, source.profile)
    except NotGenuine as error:
        prepared.outcome, prepared.reason = Outcome.NOT_GENUINE, str(error)
    except Unreadable as error:
        prepared.outcome, prepared.reason = Outcome.UNREADABLE, str(error)
    else:
        if isinstance(read, Query):
            prepared.query = read
        else:
            prepared.readings = read
    return prepared


def is_proven(prepared: Prepared) -> bool:
    """Whether the request may be stored: it is from whom it says, whatever it says."""
    return prepared.source is not None and prepared.outcome not in (
        Outcome.NOT_GENUINE,
        Outcome.UNAVAILABLE,
    )
