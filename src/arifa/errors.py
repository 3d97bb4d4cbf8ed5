"""Every error of Arifa, on one page.

    ArifaError
    ├── NotGenuine           the caller could not be proven            sender   401
    ├── Unreadable           genuine, but not a message we can read    sender   400
    ├── CannotExpress        a dialect has no words for this           us       422
    ├── Refused              the settings or arguments are wrong       operator 422
    │   ├── NotFound         the named thing does not exist            operator 404
    │   ├── AlreadyExists    the name is taken                         operator 409
    │   └── NotADialect      no such dialect                           operator 404
    └── StoreError           the books could not take it               us       503
        ├── DataRefused      one row is at fault; the others are not   us       422
        │   └── AlreadyClaimed  a payment's key is taken: look again   us       422
        ├── Unavailable      the database cannot be reached or is busy us       503
        ├── UnknownCommit    the commit's fate is not known            us       503
        ├── StoreBroken      disk or corruption: stop, a person looks  us       503
        └── StoreUnfit       not our database, or unsafe settings      operator 503

`whose` says who has to act; `status` is the HTTP form; `exit_code` the shell's. The text
of an error is a sentence for a person: what is wrong, where, and what to do. It never
carries a secret, a whole body or a payer's data.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Whose = Literal["sender", "us", "operator", "receiver"]


class ArifaError(Exception):
    """The root of the tree: anything that Arifa itself has to say."""

    whose: ClassVar[Whose] = "us"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False


class NotGenuine(ArifaError):
    """The request could not be proven to come from whom it says.

    The text names the reason for the operator's eyes; the caller only learns that it was refused.
    """

    whose = "sender"
    status = 401
    exit_code = 4


class Unreadable(ArifaError):
    """The request is genuine, but it is not a message that the dialect can read."""

    whose = "sender"
    status = 400


class CannotExpress(ArifaError):
    """The dialect has no words for this notification, and a message must never lie."""

    status = 422


class Refused(ArifaError):
    """What was asked for is wrong in itself: an argument, a setting, a file, a combination."""

    whose = "operator"
    status = 422


class NotFound(Refused):
    """The thing that was named does not exist."""

    status = 404
    exit_code = 3


class AlreadyExists(Refused):
    """A thing of this name exists already."""

    status = 409


class NotADialect(NotFound):
    """No dialect has this name."""


class StoreError(ArifaError):
    """The books could not take it."""

    status = 503


class DataRefused(StoreError):
    """The database refused this very data; other rows of the group are not at fault."""

    status = 422


class AlreadyClaimed(DataRefused):
    """A key that was to be claimed stands for a notification already: roll back and look again."""


class Unavailable(StoreError):
    """The database cannot be reached, is locked or is busy. Trying again later may help."""

    retryable = True


class UnknownCommit(StoreError):
    """The connection went away between COMMIT and its answer: the rows may or may not be there."""

    retryable = True


class StoreBroken(StoreError):
    """A disk or corruption error. Nothing more is taken until a person has looked."""


class StoreUnfit(StoreError):
    """The database is not Arifa's, is newer than this program, or is set unsafely."""

    whose = "operator"


def place_of(error: BaseException) -> str:
    """Where an unforeseen error arose: its text may hold anybody's data, its place does not."""
    trace, place = error.__traceback__, "?"
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
