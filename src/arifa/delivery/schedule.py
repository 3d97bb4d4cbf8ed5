"""When the next attempt is made: pure, the random is an argument.

Twelve attempts in about 96 hours (95.6 without jitter), then the delivery is dead. The steps are
chosen so: close together while it may be a restart, far apart while it may be a
week-end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

SECOND: Final = 1_000_000
DAY_SECONDS: Final = 86_400
_MINUTE: Final = 60
_HOUR: Final = 3600
_DIGITS_MAX: Final = 9


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often, how far apart.

    Attributes:
        delays: seconds before each attempt, counted from the end of the one before it; their
            number is that of the attempts.
        jitter: the part of a delay by which it may be shorter or longer, so that what failed
            together does not come back together.
        wait_max: seconds; what a `Retry-After` may ask for at most. Nor may it ask for more than
            twice the delay, so that no endpoint makes weeks of a schedule of days.
    """

    delays: tuple[int, ...] = (
        0,
        5,
        30,
        5 * _MINUTE,
        30 * _MINUTE,
        2 * _HOUR,
        5 * _HOUR,
        10 * _HOUR,
        14 * _HOUR,
        20 * _HOUR,
        24 * _HOUR,
        20 * _HOUR,
    )
    jitter: float = 0.2
    wait_max: int = DAY_SECONDS

    def next_attempt_at(
        self,
        made: int,
        now_us: int,
        random: Callable[[], float],
        retry_after: float | None = None,
    ) -> int | None:
        """When to try again after `made` attempts, the last of which ended at `now_us`.

        Args:
            random: gives numbers from 0 to 1.
            retry_after: seconds that the other side asks us to wait. It may make the wait longer,
                up to twice the delay and `wait_max`, and never shorter than the schedule has it.

        Returns:
            Microseconds UTC, or None where there is no further attempt: the delivery is dead.
        """
        if made >= len(self.delays):
            return None
        wait = self.delays[made] * (1 - self.jitter + 2 * self.jitter * random())
        if retry_after is not None:
            wait = max(wait, min(retry_after, 2 * self.delays[made], self.wait_max))
        return now_us + round(wait * SECOND)


DEFAULT: Final = Schedule()


def read_retry_after(value: str | None, now_us: int) -> float | None:
    """The seconds that a `Retry-After` asks for (RFC 9110, 10.2.3: a number or a date).

    None where there is none or it cannot be read: what another side writes there breaks nothing.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_DIGITS_MAX]) if len(text) <= _DIGITS_MAX else float(DAY_SECONDS)
    try:
        date = parsedate_to_datetime(text)
        seconds = date.timestamp() - now_us / SECOND
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(seconds, 0.0)
