"""What this machine must have: `--require pg` makes a skip for want of PostgreSQL a failure.

A test that lacks something skips with a reason that names it, so that a run without it passes
visibly incomplete. Where it has to be there, as in continuous integration, say so with `--require`
or in the environment variable ARIFA_TEST_REQUIRE.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from arifa.testing.strategies import HEAVY

# Fixtures that several folders use.
pytest_plugins = ["tests.engines"]

# What holds of the laws holds of every other test: an ordinary run makes the same examples every
# time, and how long one takes says nothing, for a build must not fail by luck. A heavy one
# (`ARIFA_HYPOTHESIS=heavy`) looks for news.
settings.register_profile(
    "arifa",
    derandomize=not HEAVY,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("arifa")

# What may be required, and how a skip's reason names it.
REQUIRABLE = {
    "pg": re.compile("postgres", re.IGNORECASE),
    "nats": re.compile(r"\bNATS\b"),
}

required_key = pytest.StashKey[frozenset[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="NAMES",
        help=f"fail instead of skipping for want of: {', '.join(REQUIRABLE)} (comma separated)",
    )


def pytest_configure(config: pytest.Config) -> None:
    texts = [*config.getoption("--require"), os.environ.get("ARIFA_TEST_REQUIRE", "")]
    names = frozenset(name.strip() for text in texts for name in text.split(",")) - {""}
    unknown = names - REQUIRABLE.keys()
    if unknown:
        raise pytest.UsageError(f"cannot require {', '.join(sorted(unknown))}")
    config.stash[required_key] = names
    # A shell lets what it starts in the background ignore Ctrl-C, and every child inherits that:
    # tests that interrupt one would wait for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    return insist(report, item.config.stash[required_key])


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report = yield
    return insist(report, collector.config.stash[required_key])


def insist(report, required):
    """The report, turned into a failure if it is a skip for want of something required."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    for name in sorted(required):
        if REQUIRABLE[name].search(reason):
            report.outcome = "failed"
            report.longrepr = f"{reason}\n(--require {name}: this machine must have it)"
    return report
