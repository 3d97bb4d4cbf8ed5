"""The breaker of one endpoint: when it opens, how it probes, when it closes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arifa.delivery.breaker import (
    IN_A_ROW,
    JITTER,
    PAUSE_MAX_SECONDS,
    PAUSE_SECONDS,
    WINDOW_SECONDS,
    Breaker,
)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(lambda: 0.5)
    for _ in range(IN_A_ROW):
        breaker.failed(at)
    assert breaker.is_open
    return breaker


def test_ten_in_a_row_open_it() -> None:
    """However long that takes; the tenth says so, and no other."""
    breaker = Breaker(lambda: 0.5)
    said = [breaker.failed(3600.0 * hour) for hour in range(IN_A_ROW + 2)]
    assert said == [False] * (IN_A_ROW - 1) + [True] + [False] * 2


def test_most_of_ten_in_five_minutes_open_it() -> None:
    """Three yeses among ten do not save it; four do, and so does time."""
    for yeses, between, is_open in ((3, 1.0, True), (4, 1.0, False), (3, 60.0, False)):
        breaker = Breaker(lambda: 0.5)
        for number in range(10):
            now = between * number
            if number in range(0, 2 * yeses, 2):
                breaker.succeeded(now)
            else:
                breaker.failed(now)
        assert breaker.is_open is is_open


def test_a_probe_that_fails_doubles_the_pause() -> None:
    """Up to five minutes; what was out when it opened changes nothing."""
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(10):
        pauses.append(breaker.until - now)
        breaker.failed(now + 0.001)
        assert breaker.until == now + pauses[-1]
        now = breaker.until
        breaker.failed(now)
    assert pauses[:3] == [PAUSE_SECONDS, 2 * PAUSE_SECONDS, 4 * PAUSE_SECONDS]
    assert pauses[-1] == PAUSE_MAX_SECONDS


def test_a_yes_closes_it_and_forgets() -> None:
    """After it the endpoint has its ten again."""
    breaker = opened()
    assert breaker.succeeded(10.0)
    assert not breaker.is_open
    assert not any(breaker.failed(11.0) for _ in range(IN_A_ROW - 1))
    assert breaker.failed(11.0)
    assert breaker.until == 11.0 + PAUSE_SECONDS


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 400)), max_size=60), st.floats(0, 1))
def test_it_never_waits_for_ever(results: list[tuple[bool, float]], random: float) -> None:
    """Whatever came, the next probe is at most five minutes and a fifth away."""
    breaker, now = Breaker(lambda: random), 0.0
    for is_yes, wait in results:
        now += wait
        (breaker.succeeded if is_yes else breaker.failed)(now)
        if breaker.is_open:
            assert breaker.until <= now + PAUSE_MAX_SECONDS * (1 + JITTER)
    assert WINDOW_SECONDS == PAUSE_MAX_SECONDS
