"""The times of the attempts."""

from __future__ import annotations

import pytest

from arifa.delivery.schedule import DAY_SECONDS, DEFAULT, SECOND, Schedule, read_retry_after

NOW = 1_800_000_000 * SECOND
HOURS = [0, 5 / 3600, 30 / 3600, 5 / 60, 0.5, 2, 5, 10, 14, 20, 24, 20]


def middle() -> float:
    return 0.5


def waits(random):
    made = [DEFAULT.next_attempt_at(count, NOW, random) for count in range(12)]
    return [(at - NOW) / SECOND for at in made if at is not None]


def test_twelve_attempts_in_about_96_hours():
    """Without jitter the waits are those of the page, and there are twelve of them."""
    assert waits(middle) == pytest.approx([hours * 3600 for hours in HOURS])
    assert 95 < sum(waits(middle)) / 3600 < 97


def test_dead_after_the_twelfth():
    """After twelve attempts there is no thirteenth, whatever the other side asks for."""
    assert DEFAULT.next_attempt_at(11, NOW, middle) is not None
    assert DEFAULT.next_attempt_at(12, NOW, middle) is None
    assert DEFAULT.next_attempt_at(12, NOW, middle, retry_after=60) is None


@pytest.mark.parametrize("random", [0.0, 0.25, 0.999999])
def test_jitter_is_a_fifth_at_most(random):
    """A wait is shorter or longer by no more than 20 %, and reaches both ends."""
    for wait, hours in zip(waits(lambda: random), HOURS, strict=True):
        assert wait == pytest.approx(hours * 3600 * (0.8 + 0.4 * random))


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [(0, 5), (3, 5), (8, 8), (60, 10), (10**9, 10)],
)
def test_retry_after_makes_it_later_within_bounds(retry_after, expected):
    """It never makes an attempt earlier than the schedule, nor later than twice that."""
    at = DEFAULT.next_attempt_at(1, NOW, middle, retry_after)
    assert at == NOW + expected * SECOND


def test_retry_after_does_not_shorten_the_longest_wait():
    """A wait that is a day and more by jitter stays what it is."""
    at = DEFAULT.next_attempt_at(10, NOW, lambda: 1.0, 10**9)
    assert at == NOW + round(1.2 * DAY_SECONDS * SECOND)


def test_retry_after_is_a_day_at_most():
    """Twice fourteen hours would be more."""
    at = DEFAULT.next_attempt_at(8, NOW, middle, 10**9)
    assert at == NOW + DAY_SECONDS * SECOND


def test_another_schedule():
    """A dialect may bring its own."""
    quick = Schedule(delays=(0, 1), jitter=0)
    assert quick.next_attempt_at(1, NOW, middle) == NOW + SECOND
    assert quick.next_attempt_at(2, NOW, middle) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("9" * 400, DAY_SECONDS),
        ("Fri, 15 Jan 2027 08:02:00 GMT", 120),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Fri, 99 Foo 2027", None),
        ("Fri, 15 Jan 99999999 08:02:00 GMT", None),
        ("\x00", None),
    ],
)
def test_reading_retry_after(text, seconds):
    """A number or a date is seconds from now; anything else is as if it were not there."""
    assert read_retry_after(text, NOW) == seconds
