"""`arifa doctor`: is this installation fit to be trusted with money, and if not, what to do."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from arifa.cli.arguments import when
from arifa.cli.context import Context, Given
from arifa.clock import now_us
from arifa.errors import ArifaError

if TYPE_CHECKING:
    from arifa.store.database import Connection
    from arifa.store.opened import Store

FREE_FAIL_BYTES: Final = 100 * 1024**2
FREE_WARN_BYTES: Final = 1024**3
CLOCK_WARN_US: Final = 2_000_000
CLOCK_FAIL_US: Final = 300_000_000
OVERDUE_WARN_US: Final = 300_000_000
BUILT_US: Final = 1_767_225_600_000_000  # 2026-01-01: no clock of a running hub is before it

_OTHERS: Final = 0o077
UNTRIED_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `remedy` says what to do where it is not ok."""

    check: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str | None = None


def doctor(*, context: Given) -> int:
    """Check this installation; exit 1 if something has to be done before it can be trusted.

    Every line is ok, warn or fail, with what to do. The whole chain of seals is walked, which takes
    some seconds for each million of requests.
    """
    findings = list(_findings(context))
    context.output.rows(
        (asdict(finding) for finding in findings), ("check", "state", "detail", "remedy")
    )
    return 1 if any(finding.state == "fail" for finding in findings) else 0


def _findings(context: Context) -> Iterator[Finding]:
    folder = context.settings.data.expanduser().absolute()
    try:
        with context.store() as store:
            yield _ok("store", f"schema {_schema()}, all guards in place")
            yield _ok("key", f"fingerprint {store.vault.fingerprint}")
            yield from _of_folder(folder, store)
            yield from _of_store(store)
    except ArifaError as error:
        yield Finding("store", "fail", str(error), "put this right first; nothing else was checked")
    yield from _of_disk(folder)


def _schema() -> str:
    from arifa.store.migrate import HEAD

    return HEAD


def _of_store(store: Store) -> Iterator[Finding]:
    checks: dict[str, Callable[[Connection], Iterator[Finding]]] = {
        "engine": _of_engine,
        "clock": _of_clock,
        "seals": lambda connection: _of_seals(connection, store.folder),
        "deliveries": _of_deliveries,
        "cases": _of_cases,
        "going live": _of_going_live,
    }
    for name, check in checks.items():
        try:
            with store.database.read() as connection:
                yield from check(connection)
        except ArifaError as error:
            yield Finding(name, "fail", str(error), "stop the hub and look at the disk")


# ---------------------------------------------------------------------------------- each check


def _of_engine(connection: Connection) -> Iterator[Finding]:
    from arifa.store import health

    name, settings = health.engine(connection)
    shown = ", ".join(f"{setting}={value}" for setting, value in settings.items())
    yield _ok("engine", f"{name}: {shown}")
    damage = health.damage(connection)
    if damage is not None:
        yield Finding("file", "fail", damage, "stop the hub and restore a backup")


def _of_clock(connection: Connection) -> Iterator[Finding]:
    from arifa.store import health

    now = now_us()
    if now < BUILT_US:
        yield Finding(
            "clock", "fail", f"this machine believes it is {when(now)}", "set its clock: use NTP"
        )
        return
    last = health.last_sealed_at(connection)
    if last is not None and last > now + CLOCK_WARN_US:
        yield Finding(
            "clock",
            "fail",
            f"the last request was stored at {when(last)}, which is not yet: the clock went back",
            "set the clocks of all nodes: use NTP",
        )
        return
    apart = abs(health.clock_us(connection) - now)
    if apart > CLOCK_WARN_US:
        yield Finding(
            "clock",
            "fail" if apart > CLOCK_FAIL_US else "warn",
            f"this machine and the database are {apart / 1e6:.1f} s apart",
            "set both clocks: use NTP",
        )
        return
    yield _ok("clock", f"{when(now)}, in step with the database")


def _of_seals(connection: Connection, folder: Path) -> Iterator[Finding]:
    from arifa.store import seals

    seals.check_heads(connection, folder)
    checked = 0
    for writer in seals.writers(connection):
        number, wrong = seals.verify(connection, writer)
        checked += number
        if wrong is not None:
            yield Finding(
                "seals",
                "fail",
                f"{writer}: {wrong}",
                "what was acknowledged was lost or changed: restore a backup, ask the banks to "
                "send again, and find out who or what did it",
            )
            return
    yield _ok("seals", f"{checked} groups of requests, each as it was acknowledged")


def _of_deliveries(connection: Connection) -> Iterator[Finding]:
    from arifa.store import deliveries

    counted = deliveries.counted(connection)
    shown = ", ".join(f"{number} {state}" for state, number in sorted(counted.items())) or "none"
    due = deliveries.next_due(connection)
    overdue = now_us() - OVERDUE_WARN_US
    if due.active is not None and due.active < overdue:
        yield Finding(
            "deliveries",
            "warn",
            f"{shown}; one has been due since {when(due.active)}",
            "see that arifa serve is running, and look at its log",
        )
    elif counted.get("dead"):
        yield Finding("deliveries", "warn", shown, "see: arifa delivery list --state dead")
    else:
        yield _ok("deliveries", shown)
    if due.held is not None and due.held < overdue:
        # Not a warning: a person paused the endpoint, or was told that it was disabled.
        yield Finding(
            "paused",
            "ok",
            f"one has been held since {when(due.held)}, because its endpoint is paused or disabled",
            "see: arifa endpoint list; and: arifa endpoint resume NAME",
        )


def _of_cases(connection: Connection) -> Iterator[Finding]:
    from arifa.store import cases

    oldest = cases.listed(connection, limit=1)
    if oldest:
        yield Finding(
            "cases",
            "warn",
            f"the oldest that is open waits since {when(oldest[0].opened_at)}",
            "see: arifa case list",
        )
    else:
        yield _ok("cases", "none is open")


def _of_going_live(connection: Connection) -> Iterator[Finding]:
    from arifa.store import health

    untried = health.untried(connection)
    if untried:
        named = ", ".join(untried[:UNTRIED_SHOWN])
        more = f" and {len(untried) - UNTRIED_SHOWN} more" if len(untried) > UNTRIED_SHOWN else ""
        # Not a warning: whoever sets things up live by a script has chosen to.
        yield Finding(
            "going live",
            "ok",
            f"not checked before they went live: {named}{more}",
            "try an endpoint with: arifa endpoint test; set the next one up with --mode test, and "
            "promote it",
        )
    else:
        yield _ok("going live", "all that is live was tried, or promoted with a reason")


def _of_folder(folder: Path, store: Store) -> Iterator[Finding]:
    from arifa.store import health

    if os.name != "posix":
        return
    keys = folder / "keys"
    secret = [folder, *health.files(store.database), *(keys.glob("*.pem") if keys.is_dir() else ())]
    for path in secret:
        if path.stat().st_mode & _OTHERS:
            mode = "700" if path.is_dir() else "600"
            remedy = f"chmod {mode} {shlex.quote(str(path))}"
            yield Finding("modes", "warn", f"others may look into {path}", remedy)
            return
    yield _ok("modes", f"{folder} is for this user only")


def _of_disk(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        return
    free = shutil.disk_usage(folder).free
    shown = f"{free / 1024**3:.1f} GiB free in {folder}"
    if free < FREE_FAIL_BYTES:
        yield Finding("disk", "fail", shown, "free some space: a full disk stops the hub")
    elif free < FREE_WARN_BYTES:
        yield Finding("disk", "warn", shown, "free some space before it runs out")
    else:
        yield _ok("disk", shown)


def _ok(check: str, detail: str) -> Finding:
    return Finding(check, "ok", detail)
