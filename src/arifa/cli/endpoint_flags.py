"""The options of `endpoint add` and `endpoint edit`: what it is told of, and how it is called."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

from cyclopts import Parameter

from arifa.cli.arguments import Many, checked_by, words
from arifa.cli.context import Misused
from arifa.errors import Refused
from arifa.notification import Direction, Kind, Status

Word = TypeVar("Word", bound=StrEnum)

_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h|d)?", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> float:
    """The seconds of `90`, `90s`, `1.5m`, `2h` or `1d`.

    Raises:
        Refused: it is none of these.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise Refused(f"{text!r} is not a time; write such as 90s, 5m, 2h or 1d")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def delays(text: str) -> tuple[int, ...]:
    """The seconds of a schedule such as `0s 5s 30s 5m`, also with commas.

    Raises:
        Refused: a part of it is not a time, or not of whole seconds.
    """
    found = [seconds(part) for part in text.replace(",", " ").split()]
    if any(one != int(one) for one in found):
        raise Refused("a schedule is of whole seconds")
    return tuple(int(one) for one in found)


def shown_seconds(number: float) -> str:
    """`5s`, `30m`, `2h`, `1d`: in the largest unit that leaves no rest."""
    for unit in ("d", "h", "m"):
        if number and number % _SECONDS[unit] == 0:
            return f"{int(number) // _SECONDS[unit]}{unit}"
    return f"{number:g}s"


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise Refused(f"{text!r} is not a number") from None
    return number


Duration = Annotated[str | None, Parameter(validator=checked_by(seconds))]
Schedule = Annotated[str | None, Parameter(validator=checked_by(delays))]
Rate = Annotated[str | None, Parameter(validator=checked_by(_positive))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What an endpoint is told of. What is not given is not narrowed, or not changed.

    Attributes:
        success_only: only of payments that succeeded.
        statuses: only of these: success, failed, pending.
        kinds: only of these, such as payment reversal refund; see: arifa dialect show NAME.
        directions: only of these: credit, debit. Without, what the dialect can say.
        sources: only of what came from these, by name or id.
        currencies: only of amounts in these. Without, what the dialect can say.
        accounts: only of money of these accounts.
    """

    success_only: bool = False
    statuses: Many = ()
    kinds: Many = ()
    directions: Many = ()
    sources: Many = ()
    currencies: Many = ()
    accounts: Many = ()

    def given(self) -> dict[str, Any]:
        """The filter by the names of the hub, with what was given.

        Raises:
            Misused: a word is not known, or two say the same.
        """
        if self.success_only and self.statuses:
            raise Misused("--success-only and --statuses say the same; give one of them")
        statuses = [Status.SUCCESS] if self.success_only else _of(Status, self.statuses, "status")
        found: dict[str, Any] = {
            "statuses": frozenset(statuses),
            "kinds": frozenset(_of(Kind, self.kinds, "kind")),
            "directions": frozenset(_of(Direction, self.directions, "direction")),
            "currencies": frozenset(word.upper() for word in words(self.currencies)),
            "accounts": frozenset(words(self.accounts)),
            "sources": tuple(words(self.sources)),
        }
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """How an endpoint is called. What is not given is the default, or not changed.

    Attributes:
        header: 'Name: value', sent with every request; may come several times.
        timeout: how long one attempt may take: 1s to 30s.
        concurrency: attempts that may be out at one moment, 1 to 64.
        rate: attempts that may begin in a second, such as 5 or 0.5.
        schedule: the wait before each attempt, such as '0s 5s 30s 5m 2h'; 30 in 10 days at most.
        ordered: one after the other by this field: account, end_to_end_id, payer.phone and others.
        halt_on_dead: what is ordered waits behind a dead delivery, until that is decided.
    """

    header: tuple[str, ...] = ()
    timeout: Duration = None
    concurrency: int | None = None
    rate: Rate = None
    schedule: Schedule = None
    ordered: str | None = None
    halt_on_dead: bool = False

    def given(self) -> dict[str, Any]:
        """The manner by the names of the hub, with what was given; `headers` is a mapping.

        Raises:
            Misused: a header has no name, or comes twice.
        """
        found: dict[str, Any] = {
            "headers": self.headers(),
            "timeout": _read(self.timeout, seconds),
            "concurrency": self.concurrency,
            "rate": _read(self.rate, float),
            "delays": _read(self.schedule, delays),
            "ordered": self.ordered,
            "halts": self.halt_on_dead or None,
        }
        return {name: value for name, value in found.items() if value not in (None, {})}

    def headers(self) -> dict[str, str]:
        """The headers by name, in the order given."""
        found: dict[str, str] = {}
        for text in self.header:
            name, colon, value = text.partition(":")
            # The text is not shown: it may be a secret that was given without its name.
            if not colon or not name:
                raise Misused("--header wants 'Name: value'")
            if name.lower() in {one.lower() for one in found}:
                raise Misused(f"--header has {name!r} twice")
            found[name] = value.strip(" ")
        return found


FilterFlags = Annotated[Filter, Parameter(name="*")]
CallFlags = Annotated[Calls, Parameter(name="*")]
NO_FILTER: Final = Filter()
NO_CALLS: Final = Calls()

Value = TypeVar("Value")


def _read(text: str | None, read: Callable[[str], Value]) -> Value | None:
    return None if text is None else read(text)


def _of(kind: type[Word], given: tuple[str, ...], what: str) -> list[Word]:
    found = words(given)
    for word in found:
        if word not in set(kind):
            raise Misused(f"{word!r} is no {what}; there are {', '.join(kind)}")
    return [kind(word) for word in found]
