"""How a law says that it is broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from arifa.dialects.base import Verified
from arifa.errors import CannotExpress, NotGenuine
from arifa.feed import Profile
from arifa.notification import Notification, Query, Reading
from arifa.testing.genuine import Genuine, Subject
from arifa.wire import WireRequest


class LawBroken(AssertionError):
    """A dialect does what no dialect may."""


def insist(holds: object, sentence: str) -> None:
    """Say `sentence` unless it holds."""
    if not holds:
        raise LawBroken(sentence)


@contextmanager
def nothing_but(*allowed: type[Exception], doing: str) -> Iterator[None]:
    """Any error but these breaks the law."""
    try:
        yield
    except LawBroken:
        raise
    except Exception as error:
        if isinstance(error, allowed):
            raise
        raise LawBroken(f"{doing} raises {type(error).__name__}: {error}") from error


def verified(subject: Subject, sample: Genuine) -> Verified:
    """The sample, which must verify."""
    with nothing_but(doing=f"verify of a genuine {sample.name}"):
        return subject.dialect.verify(
            sample.request, sample.credentials, sample.profile, sample.now_us
        )


def insist_refused(subject: Subject, sample: Genuine, request: WireRequest, what: str) -> None:
    """`request`, which is the sample altered, must not verify."""
    with nothing_but(doing=f"verify with {what}"):
        try:
            subject.dialect.verify(request, sample.credentials, sample.profile, sample.now_us)
        except NotGenuine:
            return
    raise LawBroken(f"the genuine {sample.name} is accepted with {what}")


def rendered(
    subject: Subject, notification: Notification, profile: Profile, original: WireRequest
) -> WireRequest | None:
    """The notification as a request; None where the dialect has no words for it."""
    with nothing_but(CannotExpress, doing="render"):
        try:
            return subject.dialect.render(notification, profile, original)
        except CannotExpress:
            return None


def the_only(found: list[Reading] | Query) -> Reading:
    """The one reading of what was rendered from one notification."""
    if isinstance(found, Query) or len(found) != 1:
        raise LawBroken("what was rendered as one notification is read as something else")
    return found[0]


def field(reading: Reading, name: str) -> object:
    """A field by its name; `payer.name` for a part."""
    value: object = reading
    for part in name.split("."):
        value = getattr(value, part)
    return value
