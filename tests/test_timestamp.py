"""Times as banks write them: matched in full, placed in a zone, doubted where the zone is odd."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arifa.errors import Refused
from arifa.testing.strategies import effort
from arifa.timestamp import (
    ISO_PATTERNS,
    from_rfc3339,
    micros,
    read_local,
    to_datetime,
    to_local,
    to_rfc3339,
    zone,
)

NAIROBI = "Africa/Nairobi"
BERLIN = "Europe/Berlin"
moments = st.datetimes(
    datetime(1000, 1, 1),  # noqa: DTZ001 - hypothesis wants them so
    datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
).map(micros)


@effort(200)
@given(moments)
@example(from_rfc3339("1000-01-01"))
@example(from_rfc3339("9998-12-31T23:59:59.999999Z"))
def test_rfc_3339_and_back(at_us: int) -> None:
    assert from_rfc3339(to_rfc3339(at_us)) == at_us
    assert micros(to_datetime(at_us)) == at_us


@effort(200)
@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - local on purpose
    st.sampled_from([NAIROBI, "Africa/Lagos", "UTC", BERLIN, "Africa/Casablanca", "Asia/Kolkata"]),
)
@example(datetime(2026, 10, 25, 2, 30), BERLIN)  # noqa: DTZ001
@example(datetime(2026, 3, 29, 2, 30), BERLIN)  # noqa: DTZ001
@example(datetime(2026, 3, 30, 0, 0), BERLIN)  # noqa: DTZ001
def test_local_time_agrees_with_zoneinfo(naive: datetime, name: str) -> None:
    """Each doubt is right too: twice where the clock goes back, never where it goes forward."""
    naive = naive.replace(microsecond=0)
    local = ZoneInfo(name)
    first, second = (naive.replace(tzinfo=local, fold=fold) for fold in (0, 1))
    exists = first.astimezone(UTC).astimezone(local).replace(tzinfo=None) == naive
    is_twofold = first.utcoffset() != second.utcoffset()

    at_us, doubt = read_local(
        naive.strftime("%Y%m%d%H%M%S").rjust(14, "0"), ["YYYYMMDDhhmmss"], name
    )

    assert at_us == micros(first)
    if not is_twofold:
        assert doubt is None
    else:
        assert doubt == (
            "is a local time that exists twice; read as the first"
            if exists
            else "is a local time that does not exist"
        )


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("20250519133054", "YYYYMMDDhhmmss", "2025-05-19T10:30:54Z"),
        ("202111110305", "YYYYMMDDhhmm", "2021-11-11T00:05:00Z"),
        ("2021111103005", "YYYYMMDDhhmms", "2021-11-11T00:00:05Z"),
        ("20260729", "YYYYMMDD", "2026-07-28T21:00:00Z"),
        ("Mon May 19 13:30:54 EAT 2025", "DDD MMM DD hh:mm:ss ZZZ YYYY", "2025-05-19T10:30:54Z"),
        ("Mon May 19 10:30:54 GMT 2025", "DDD MMM DD hh:mm:ss ZZZ YYYY", "2025-05-19T10:30:54Z"),
        ("13/04/2019 15:11:20", "DD/MM/YYYY hh:mm:ss", "2019-04-13T12:11:20Z"),
        ("2018-11-27 00:00:00.0", "YYYY-MM-DD hh:mm:ssff", "2018-11-26T21:00:00Z"),
        ("2026-07-29T08:15:30.250+03:00", "YYYY-MM-DDThh:mm:ssffZ", "2026-07-29T05:15:30.250000Z"),
        ("2026-07-29T08:15:30+0530", "YYYY-MM-DDThh:mm:ssffZ", "2026-07-29T02:45:30Z"),
        ("2026-07-29T08:15:30.123456789Z", "YYYY-MM-DDThh:mm:ssffZ", "2026-07-29T08:15:30.123456Z"),
    ],
)
def test_banks_form_is_read(text: str, pattern: str, expected: str) -> None:
    at_us, doubt = read_local(text, [pattern], NAIROBI)

    assert at_us is not None
    assert (to_rfc3339(at_us), doubt) == (expected, None)


@pytest.mark.parametrize(
    "text",
    ["2021111103005", "202111110305055", "20211111030505Z", " 20211111030505", "２０211111030505"],
)
def test_a_pattern_is_matched_in_full_and_by_count_of_digits(text: str) -> None:
    """`strptime` would read 13 digits as 14."""
    assert read_local(text, ["YYYYMMDDhhmmss"], NAIROBI) == (None, "is in no known form of a date")


@pytest.mark.parametrize(
    "text",
    [
        "20210230000000",
        "20211301000000",
        "20211111240000",
        "20211111006000",
        "20211111000060",
        "00000000000000",
    ],
)
def test_a_date_that_does_not_exist_is_doubted(text: str) -> None:
    assert read_local(text, ["YYYYMMDDhhmmss"], NAIROBI) == (None, "is a date that does not exist")


ZONES = ["Pacific/Kiritimati", "Pacific/Pago_Pago", NAIROBI]


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:59-23:59",
        "9999-12-31T23:59:59",
        "9998-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "0001-01-01T00:00:00",
        "0999-12-31T23:59:59Z",
        "1000-01-01T00:00:00+23:59",
    ],
)
def test_the_ends_of_the_calendar_are_doubted(text: str, name: str) -> None:
    assert read_local(text, ISO_PATTERNS, name) == (None, "is a date beyond the calendar")


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize(
    "text", ["9998-12-31T23:59:59.999999Z", "1000-01-01T00:00:00Z", "1000-01-02T00:00:00"]
)
def test_what_is_read_has_a_form_in_every_zone(text: str, name: str) -> None:
    at_us, _ = read_local(text, ISO_PATTERNS, name)

    assert at_us is not None
    assert from_rfc3339(to_rfc3339(at_us)) == at_us
    for other in ZONES:
        assert micros(to_local(at_us, other)) == at_us


def test_an_unknown_zone_name_is_read_as_local_with_a_doubt() -> None:
    at_us, doubt = read_local(
        "Mon May 19 13:30:54 XYZ 2025", ["DDD MMM DD hh:mm:ss ZZZ YYYY"], NAIROBI
    )

    assert at_us == from_rfc3339("2025-05-19T10:30:54Z")
    assert doubt == "names a time zone that is not known; read as local"


@effort(300)
@given(st.text(max_size=30) | st.text("0123456789:-+TZ .", max_size=30))
def test_any_text_is_read_or_doubted(text: str) -> None:
    patterns = (*ISO_PATTERNS, "YYYYMMDDhhmmss", "YYYYMMDDhhmms", "DDD MMM DD hh:mm:ss ZZZ YYYY")
    at_us, doubt = read_local(text, patterns, BERLIN)

    assert at_us is not None or doubt is not None


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-11-20 07:42:38 EAT", "1e9"])
def test_what_is_no_rfc_3339_time_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not a time"):
        from_rfc3339(text)


def test_rfc_3339_is_written_without_needless_digits() -> None:
    second = 1_000_000

    assert to_rfc3339(0) == "1970-01-01T00:00:00Z"
    assert to_rfc3339(second // 2) == "1970-01-01T00:00:00.500000Z"
    assert to_rfc3339(-second) == "1969-12-31T23:59:59Z"
    assert from_rfc3339("2026-11-20") == from_rfc3339("2026-11-20T00:00:00Z")


def test_local_form_is_what_the_bank_would_write() -> None:
    at_us = from_rfc3339("2025-05-19T10:30:54Z")

    assert to_local(at_us, NAIROBI).strftime("%Y%m%d%H%M%S") == "20250519133054"
    assert to_local(at_us, NAIROBI).utcoffset() == timedelta(hours=3)


@pytest.mark.parametrize("name", ["", "EAT", "Africa/Nowhere", "../etc/passwd", "Africa", "\x00"])
def test_unknown_zone_is_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(Refused, match="IANA time zone"):
        zone(name)
