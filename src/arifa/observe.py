"""What the running hub says of itself: log lines as JSON on standard error, and figures.

A line carries ids, counts and causes, never a body, a name, a number of a payer, or a secret.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client import Counter as Total
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from arifa.clock import now_us

log: Final = structlog.get_logger("arifa")


def set_up_logging(*, is_json: bool = True, level: int = 20) -> None:
    """Write log lines to standard error: JSON, or aligned text for a person at a terminal."""
    renderer = structlog.processors.JSONRenderer() if is_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


class Figures:
    """Counters of this process. Labels are bounded: never a merchant, a URL or a reference."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Total(
            "arifa_requests_total",
            "Notifications answered, by dialect and HTTP status",
            ("dialect", "status"),
            registry=self._registry,
        )
        self._deliveries = Gauge(
            "arifa_deliveries", "Deliveries by state", ("state",), registry=self._registry
        )
        self._oldest = Gauge(
            "arifa_outbox_oldest_age_seconds",
            "How long the delivery that is due first has been due, of those to active endpoints",
            registry=self._registry,
        )
        self._held = Gauge(
            "arifa_outbox_held_oldest_age_seconds",
            "The same of those whose endpoint is paused or disabled",
            registry=self._registry,
        )
        self._answered: Counter[tuple[str, int]] = Counter()
        self._shown: Counter[tuple[str, int]] = Counter()

    def answered(self, dialect: str, status: int) -> None:
        """Count one answer. In the event loop only, and so without a lock."""
        self._answered[dialect, status] += 1

    def rendered(
        self, deliveries: dict[str, int], next_due: int | None, next_held: int | None
    ) -> tuple[bytes, bytes]:
        """(content type, text) of the figures, with those of the store as of now.

        Args:
            next_due, next_held: microseconds UTC; as in the store's `Due`.
        """
        for (dialect, status), count in list(self._answered.items()):
            child = self._requests.labels(dialect, str(status))
            # A counter of the library's only grows: what was counted since it was last shown.
            child.inc(count - self._shown[dialect, status])
            self._shown[dialect, status] = count
        for state, count in deliveries.items():
            self._deliveries.labels(state).set(count)
        self._oldest.set(_age(next_due))
        self._held.set(_age(next_held))
        return CONTENT_TYPE_LATEST.encode(), generate_latest(self._registry)


def _age(since: int | None) -> float:
    """Seconds from then to now."""
    return 0.0 if since is None else max(0, now_us() - since) / 1_000_000
