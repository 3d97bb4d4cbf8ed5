"""Times as the banks write them, and as we keep them: microseconds since 1970, UTC.

Pure conversion; the module that reads the clock is `arifa.clock`. A pattern here is matched in
full and by count of digits: `strptime("%Y%m%d%H%M%S")` reads a 13-digit and a 14-digit text to the
same second without a word (measured).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from arifa.errors import Refused

_TEXT_MAX: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Far from the ends of what `datetime` holds, so that no zone's form of it can overflow, and of four
# digits also where `strftime` does not pad.
_FIRST_YEAR, _LAST_YEAR = 1000, 9998
_BEYOND: Final = "is a date beyond the calendar"
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        start=1,
    )
}
_PIECE: Final = {
    "YYYY": r"(?P<year>[0-9]{4})",
    "MMM": r"(?P<month_name>[A-Za-z]{3})",
    "MM": r"(?P<month>[0-9]{2})",
    "DDD": r"[A-Za-z]{3}",
    "DD": r"(?P<day>[0-9]{2})",
    "hh": r"(?P<hour>[0-9]{2})",
    "mm": r"(?P<minute>[0-9]{2})",
    "ss": r"(?P<second>[0-9]{2})",
    "s": r"(?P<second>[0-9])",
    "ff": r"(?:\.(?P<fraction>[0-9]{1,9}))?",
    "ZZZ": r"(?P<zone_name>[A-Z]{3,4})",
    "Z": r"(?P<offset>Z|[+-][0-9]{2}:?[0-9]{2})",
}
_TOKEN: Final = re.compile("|".join(_PIECE))

# The names that Java's Date.toString writes for the zones of the region; any other is doubted.
_ZONE_HOURS: Final = {"EAT": 3, "CAT": 2, "WAT": 1, "SAST": 2, "UTC": 0, "GMT": 0}


class Patterns(tuple[str, ...]):
    """Patterns in the order in which they are tried.

    Told apart as objects, so that what is remembered is found without a look at each of them.
    """

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


ISO_PATTERNS: Final = Patterns(
    (
        "YYYY-MM-DDThh:mm:ssffZ",
        "YYYY-MM-DDThh:mm:ssff",
        "YYYY-MM-DD hh:mm:ssffZ",
        "YYYY-MM-DD hh:mm:ssff",
        "YYYY-MM-DDThh:mmZ",
        "YYYY-MM-DDThh:mm",
        "YYYY-MM-DD hh:mm",
    )
)


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """The IANA zone of this name.

    Raises:
        Refused: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except Exception as error:
        raise Refused(
            f"{name!r} is not an IANA time zone; use a name such as Africa/Nairobi"
        ) from error


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    position, pieces = 0, []
    for token in _TOKEN.finditer(pattern):
        pieces.append(re.escape(pattern[position : token.start()]))
        pieces.append(_PIECE[token.group()])
        position = token.end()
    pieces.append(re.escape(pattern[position:]))
    return re.compile("".join(pieces), re.ASCII)


def read_local(
    text: str, patterns: Iterable[str], local_zone: str
) -> tuple[int | None, str | None]:
    """Read `text` by the first pattern that fits it whole; a text without a zone is local.

    Returns:
        (microseconds UTC, doubt): no time with a doubt where no pattern fits or the date does not
        exist; a time with a doubt where that local time exists twice or not at all.
    """
    if len(text) > _TEXT_MAX:
        return None, "is in no known form of a date"
    known = patterns if type(patterns) is Patterns else tuple(patterns)
    return _read(text, known, local_zone)


@lru_cache(maxsize=4096)
def _read(text: str, patterns: tuple[str, ...], local_zone: str) -> tuple[int | None, str | None]:
    # Remembered, since many notifications of a busy source carry the same second.
    for pattern in patterns:
        match = _compiled(pattern).fullmatch(text)
        if match is not None:
            return _from_match(match.groupdict(), local_zone)
    return None, "is in no known form of a date"


def _from_match(part: dict[str, str | None], local_zone: str) -> tuple[int | None, str | None]:
    month = _MONTHS.get((part.get("month_name") or "").lower()) or int(part.get("month") or 0)
    fraction = (part.get("fraction") or "0").ljust(6, "0")[:6]
    try:
        naive = datetime(  # noqa: DTZ001 - its zone is found below
            int(part.get("year") or 0),
            month,
            int(part.get("day") or 0),
            int(part.get("hour") or 0),
            int(part.get("minute") or 0),
            int(part.get("second") or 0),
            int(fraction),
        )
    except ValueError:
        return None, "is a date that does not exist"
    if not _FIRST_YEAR <= naive.year <= _LAST_YEAR:
        return None, _BEYOND
    at, doubt = _placed(naive, part.get("offset"), part.get("zone_name"), local_zone)
    # What is read here is written in UTC and read again: that must lie within the years too.
    return (at, doubt) if _FIRST_YEAR <= to_datetime(at).year <= _LAST_YEAR else (None, _BEYOND)


def _placed(
    naive: datetime, offset: str | None, zone_name: str | None, local_zone: str
) -> tuple[int, str | None]:
    if offset is not None:
        minutes = 0
        if offset != "Z":
            digits = offset[1:].replace(":", "")
            minutes = int(digits[:2]) * 60 + int(digits[2:])
            minutes = -minutes if offset[0] == "-" else minutes
        return micros((naive - timedelta(minutes=minutes)).replace(tzinfo=UTC)), None
    if zone_name is not None:
        hours = _ZONE_HOURS.get(zone_name)
        if hours is not None:
            return micros((naive - timedelta(hours=hours)).replace(tzinfo=UTC)), None
        at, doubt = _local(naive, zone(local_zone))
        return at, doubt or "names a time zone that is not known; read as local"
    return _local(naive, zone(local_zone))


def _local(naive: datetime, local: ZoneInfo) -> tuple[int, str | None]:
    offset = _steady_offset_us(naive.year, naive.month, naive.day, local)
    if offset is not None:
        return micros(naive.replace(tzinfo=UTC)) - offset, None
    first = naive.replace(tzinfo=local, fold=0)
    second = naive.replace(tzinfo=local, fold=1)
    at = micros(first)
    if first.utcoffset() == second.utcoffset():
        return at, None
    if first.astimezone(UTC).astimezone(local).replace(tzinfo=None) == naive:
        return at, "is a local time that exists twice; read as the first"
    return at, "is a local time that does not exist"


@lru_cache(maxsize=1024)
def _steady_offset_us(year: int, month: int, day: int, local: ZoneInfo) -> int | None:
    """The zone's offset on a day on which, and around which, it does not change; else None.

    Most days are like that, and notifications of one day ask again and again.
    """
    noon = datetime(year, month, day, 12, tzinfo=local)
    around = (noon - timedelta(days=1), noon, noon + timedelta(days=1))
    offsets = {moment.utcoffset() for moment in around}
    offset = offsets.pop()
    if offsets or offset is None:
        return None
    return offset // timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware `datetime`, exactly."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def to_datetime(at_us: int) -> datetime:
    """The aware UTC `datetime` of `at_us`."""
    return _EPOCH + timedelta(microseconds=at_us)


def to_local(at_us: int, local_zone: str) -> datetime:
    """The aware `datetime` of `at_us` in this zone: what a bank would write down."""
    return to_datetime(at_us).astimezone(zone(local_zone))


def to_rfc3339(at_us: int) -> str:
    """`2026-11-20T07:42:38.000123Z`; whole seconds carry no fraction."""
    seconds, micro = divmod(at_us, 1_000_000)
    text = _to_the_second(seconds)
    return f"{text}.{micro:06}Z" if micro else f"{text}Z"


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> str:
    # Remembered, as times that are read are.
    return to_datetime(seconds * 1_000_000).replace(tzinfo=None).isoformat(timespec="seconds")


def from_rfc3339(text: str) -> int:
    """Microseconds of an RFC 3339 time; a date alone is its midnight, UTC.

    Raises:
        Refused: not such a time.
    """
    patterns = (*ISO_PATTERNS, "YYYY-MM-DD")
    at, doubt = read_local(text.strip().replace("z", "Z").replace("t", "T"), patterns, "UTC")
    if at is None or doubt is not None:
        raise Refused(f"{text!r} is not a time; write 2026-11-20T07:42:38Z")
    return at
