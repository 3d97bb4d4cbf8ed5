"""`arifa transaction listen`: events of a core banking system, from a NATS JetStream stream."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from arifa.cli.arguments import Mode
from arifa.cli.context import Given, Misused
from arifa.cli.output import Output
from arifa.errors import Refused
from arifa.settings import read_secret_text
from arifa.signing import Credentials

if TYPE_CHECKING:
    from arifa.delivery.nats_events import Events
    from arifa.store.opened import Store

FOLDER: Final = "refused-events"


def listen(
    url: str,
    /,
    *,
    durable: str = "arifa",
    origin: str = "core",
    merchant: str = "default",
    mode: Mode = "live",
    username: str | None = None,
    password_file: Path | None = None,
    until_empty: bool = False,
    context: Given,
) -> int:
    """Enter the events of a NATS JetStream stream, and announce each that is new, until stopped.

    arifa transaction listen "nats://127.0.0.1/core.events" --username arifa --password-file nats.pw

    The broker is told that an event was taken only when it is in the books; one that comes again is
    known by its reference. What cannot be entered is kept in the data folder, under refused-events,
    with the reason beside it; then the exit code is 1.

    Args:
        url: nats://HOST[:4222]/SUBJECT[?stream=NAME], or tls+nats://; the subject may have * and >.
        durable: the consumer's name at the broker, which remembers by it how far we are.
        origin: the system that the events come from; a reference is unique within it.
        merchant: whose those are that name no merchant.
        mode: live, or test for the merchants' twins.
        username: the user at the broker.
        password_file: FILE with the user's password.
        until_empty: end when nothing waits.
    """
    from arifa.observe import set_up_logging
    from arifa.store.merchants import with_mode

    if (username is None) != (password_file is None):
        raise Misused("--username and --password-file go together")
    credentials = Credentials(
        username=username,
        passwords=()
        if password_file is None
        else (read_secret_text(password_file, "--password-file"),),
    )
    set_up_logging(is_json=context.output.as_json)
    with context.store() as store:
        entering = _Entering(store, with_mode(merchant, mode), origin)
        events = _events(url, durable, credentials, entering, store)
        begun = partial(_begun, context.output, durable)
        asyncio.run(_listened(events, begun, until_empty=until_empty))
        refused = events.counted.refused
    context.output.one({"entered": entering.entered, "known": entering.known, "refused": refused})
    return 1 if refused else 0


class _Entering:
    """Enters what came, and counts what became of it."""

    def __init__(self, store: Store, merchant: str, origin: str) -> None:
        from arifa.hub.announce import Announcer

        self.entered = 0
        self.known = 0
        self._store = store
        self._merchant = merchant
        self._origin = origin
        self._announcer = Announcer(store)

    def __call__(self, bodies: Sequence[bytes]) -> list[str | None]:
        from arifa.clock import now_us
        from arifa.hub.issue import EventOutcome, accept_events

        verdicts = accept_events(
            self._store,
            bodies,
            merchant=self._merchant,
            origin=self._origin,
            now_us=now_us(),
            announcer=self._announcer,
        )
        outcomes = [verdict.outcome for verdict in verdicts]
        self.entered += outcomes.count(EventOutcome.ENTERED)
        self.known += outcomes.count(EventOutcome.KNOWN)
        return [
            verdict.reason or "it was refused" if verdict.outcome is EventOutcome.REFUSED else None
            for verdict in verdicts
        ]


def _events(
    url: str, durable: str, credentials: Credentials, entering: _Entering, store: Store
) -> Events:
    try:
        from arifa.delivery.nats_events import Events, Refusals
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "nats":
            raise
        raise Refused("what speaks to NATS is not installed: install arifa[nats]") from error
    return Events(
        url,
        durable=durable,
        credentials=credentials,
        take=entering,
        refusals=Refusals(store.folder / FOLDER),
    )


def _begun(output: Output, durable: str, stream: str) -> None:
    output.one({"listening": stream, "consumer": durable})
    sys.stdout.flush()


async def _listened(events: Events, begun: Callable[[str], None], *, until_empty: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, events.stop)
    await events.run(until_empty=until_empty, started=begun)
