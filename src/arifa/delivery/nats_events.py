"""Events taken from a JetStream stream, each acknowledged only after it is in our books.

A durable pull consumer: the broker remembers how far it has come, and several processes may share
one. What was committed and not yet acknowledged, as by a crash between the two, comes again and is
known by its reference; so an event comes at least once, and enters at most once.

    in the books, or known       ack
    never to be entered          kept in a file with the reason, and then term
    not now (the store fails)    nak: the broker gives it again, after some seconds
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo
from nats.js.errors import NotFoundError

from arifa.delivery import nats_target
from arifa.delivery.cause import Cause, NoAnswer
from arifa.delivery.nats import Nats
from arifa.delivery.nats_link import Denied, Ended, Link
from arifa.delivery.transport import Reach
from arifa.errors import Refused, StoreBroken, StoreError, StoreUnfit
from arifa.signing import Credentials

log: Final = structlog.get_logger("arifa")

BATCH: Final = 50
"""Messages in one commit."""
PULL_SECONDS: Final = 30.0
GRACE_SECONDS: Final = 5.0
ACK_WAIT_SECONDS: Final = 60.0
AGAIN_SECONDS: Final = 5.0
BACK_OFF_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
ASK_SECONDS: Final = 10.0

CONSUMER_NOT_FOUND: Final = 10014
NOTHING_MORE: Final = frozenset({"404", "408"})
"""How the broker ends a request in good order: nothing waits, or its time is over."""

_DURABLE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

Take = Callable[[Sequence[bytes]], Sequence[str | None]]
"""Enters these bodies in one commit, each for itself: None for one that is in the books now, else
the sentence why it never will be. Called in a thread.

Raises:
    StoreError: nothing is known to be entered; they come again.
"""


@dataclass(slots=True)
class Counted:
    """What was taken so far, in messages."""

    taken: int = 0
    refused: int = 0


class Refusals:
    """A folder for what cannot be entered: a stream may forget what was taken from it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, body: bytes, reason: str) -> Path:
        """Keep the body, to be mended and imported, and the reason beside it.

        Raises:
            OSError: it cannot be kept.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _written(self._folder / f"{name}.reason", (reason + "\n").encode())
        return _written(self._folder / f"{name}.json", body)


class Events:
    """Takes the events of one subject, until `stop`.

    Args:
        url: `nats://HOST/SUBJECT?stream=NAME` or `tls+nats://…`; the subject may have wildcards.
        durable: the consumer's name at the broker; it is made where it is not there.
        take: enters what came.
        refusals: where what cannot be entered is kept.
    """

    def __init__(
        self,
        url: str,
        *,
        durable: str,
        credentials: Credentials,
        take: Take,
        refusals: Refusals,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._place = nats_target.target(url, allow_private=True, is_listening=True)
        nats_target.check_way(self._place)
        if not _DURABLE.fullmatch(durable):
            raise Refused(
                f"{durable!r} cannot be a consumer's name: use letters, digits, '-' and '_', 64 at "
                "most"
            )
        self._durable = durable
        self._credentials = credentials
        self._take = take
        self._refusals = refusals
        self._trust = trust
        self._stopping = asyncio.Event()
        self._has_begun = False
        self.counted = Counted()

    def stop(self) -> None:
        """Take no more; `run` ends when what is in hand is in the books, and acknowledged."""
        self._stopping.set()

    async def run(
        self, *, until_empty: bool = False, started: Callable[[str], None] = lambda _: None
    ) -> None:
        """Take until `stop`, or until nothing waits.

        Args:
            started: called once with the stream's name, when the consumer stands.

        Raises:
            Refused: the first connection did not come about, or the consumer cannot be used.
                Later troubles of the broker are waited out.
            StoreBroken, StoreUnfit: a person has to look.
        """
        tries = 0
        async with Nats(Reach(allow_private=True, trust=self._trust)) as broker:
            while not self._stopping.is_set():
                try:
                    link = await broker.connected(self._place, self._credentials)
                    try:
                        pull = await self._pull(link)
                        tries = 0
                        if not self._has_begun:
                            self._has_begun = True
                            started(pull.stream)
                        await self._all(pull, until_empty=until_empty)
                        return
                    finally:
                        await link.drop()
                except Denied:
                    lacks = NoAnswer(Cause.LOGIN, "it does not let this user read the stream")
                    await self._trouble(lacks, tries)
                except (NoAnswer, Ended, nats.errors.Error) as error:
                    await self._trouble(error, tries)
                tries += 1

    async def _trouble(self, error: Exception, tries: int) -> None:
        text = str(error) if isinstance(error, NoAnswer) else "the connection to the broker ended"
        if not self._has_begun:
            raise Refused(text) from error
        log.warning("events.broker", detail=text)
        await self._rest(BACK_OFF_SECONDS[min(tries, len(BACK_OFF_SECONDS) - 1)])

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    # ------------------------------------------------------------------ the consumer

    async def _pull(self, link: Link) -> _Pull:
        link.keep()
        subject, stream = self._place.subject, self._place.stream
        context = link.client.jetstream(timeout=ASK_SECONDS)
        if stream is None:
            asked = context.find_stream_name_by_subject(subject)
            stream = await link.answered(asked, "$JS.API.STREAM")
        made = _found_or_made(context, stream, self._durable, subject)
        self._check(await link.answered(made, "$JS.API.CONSUMER"))
        pull = _Pull(link, stream, self._durable)
        await pull.begin()
        return pull

    def _check(self, found: ConsumerInfo) -> None:
        """See that a consumer of this name, whoever made it, is one for us."""
        config = found.config
        subjects = config.filter_subjects or [config.filter_subject or ""]
        if config.deliver_subject is not None or config.ack_policy != AckPolicy.EXPLICIT:
            raise Refused(
                f"the broker has a consumer {self._durable!r} that is not pulled from, or not "
                "acknowledged one by one; choose another name with --durable"
            )
        if subjects != [self._place.subject]:
            raise Refused(
                f"the broker has a consumer {self._durable!r} that takes another subject; choose "
                "another name with --durable"
            )

    # ------------------------------------------------------------------ what came

    async def _all(self, pull: _Pull, *, until_empty: bool) -> None:
        """Take what comes, until it is over."""
        try:
            while not self._stopping.is_set():
                messages = await pull.batch(self._stopping, may_wait=not until_empty)
                if messages:
                    await self._entered(messages)
                elif until_empty:
                    break
        except (Refused, StoreError):
            await pull.give_back()
            raise
        await pull.give_back()

    async def _entered(self, messages: Sequence[Msg]) -> None:
        try:
            reasons = await asyncio.to_thread(self._take, [item.data for item in messages])
        except (Refused, StoreBroken, StoreUnfit):
            # Not these events are wrong: whoever looks after the feed, or another node, has them.
            for message in messages:
                await message.nak()
            raise
        except StoreError as error:
            log.warning("events.waiting", detail=str(error), messages=len(messages))
            for message in messages:
                await message.nak(AGAIN_SECONDS)
            await self._rest(AGAIN_SECONDS)
            return
        for message, reason in zip(messages, reasons, strict=True):
            if reason is None:
                await message.ack()
            else:
                await self._refused(message, reason)
        self.counted.taken += len(messages)

    async def _refused(self, message: Msg, reason: str) -> None:
        """Kept where a person finds it, and only then never given again."""
        place = message.metadata
        # With a digest, since a stream that is made anew counts from 1 again.
        digest = sha256(message.data).hexdigest()[:8]
        name = f"{place.stream}-{place.sequence.stream}-{digest}"
        try:
            kept = await asyncio.to_thread(self._refusals.keep, name, message.data, reason)
        except OSError as error:
            log.error("event.unkept", message=name, detail=error.strerror)
            await message.nak(AGAIN_SECONDS)
            return
        self.counted.refused += 1
        log.warning(
            "event.refused",
            message=name,
            reason=reason,
            file=str(kept),
            refused=self.counted.refused,
        )
        await message.term()


class _Pull:
    """Asks for messages, a batch at a time."""

    def __init__(self, link: Link, stream: str, durable: str) -> None:
        self.stream = stream
        self._link = link
        self._client = link.client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = self._client.new_inbox()
        self._came: asyncio.Queue[Msg] = asyncio.Queue()
        self._subscription: Subscription
        self._open = 0
        """How many of those asked for may still come."""

    async def begin(self) -> None:
        """Be ready to receive."""
        self._link.expect(BATCH * self._client.max_payload)
        self._subscription = await self._client.subscribe(self._inbox, cb=self._received)

    async def _received(self, message: Msg) -> None:
        self._came.put_nowait(message)

    async def batch(self, stopping: asyncio.Event, *, may_wait: bool) -> list[Msg]:
        """What there is, `BATCH` at most.

        Args:
            may_wait: where there is nothing, wait for it; else give nothing.

        Returns:
            Nothing also where `stopping` is set, or nothing came for long.

        Raises:
            Ended: the connection or the consumer went away. Denied: it is not permitted.
        """
        if self._open <= 0:
            await self._ask(may_wait=may_wait)
        found: list[Msg] = []
        message = await self._next(stopping)
        while message is not None:
            if _status(message) is None:
                self._open -= 1
                found.append(message)
            else:
                self._see(message)
            is_full = len(found) == BATCH or self._came.empty()
            message = None if is_full else self._came.get_nowait()
        return found

    async def _ask(self, *, may_wait: bool) -> None:
        asked: dict[str, object] = {"batch": BATCH}
        if may_wait:
            asked["expires"] = round(PULL_SECONDS * 1_000_000_000)
        else:
            asked["no_wait"] = True
        self._open = BATCH
        await self._client.publish(self._subject, json.dumps(asked).encode(), self._inbox)

    async def _next(self, stopping: asyncio.Event) -> Msg | None:
        coming = asyncio.ensure_future(self._link.answered(self._came.get(), self._subject))
        stopped = asyncio.ensure_future(stopping.wait())
        both: tuple[asyncio.Future[Any], ...] = (coming, stopped)
        try:
            await asyncio.wait(
                both, timeout=PULL_SECONDS + GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if coming.done():
                return coming.result()
            # Asked again, should the broker have forgotten.
            self._open = 0
            return None
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    def _see(self, message: Msg) -> None:
        """The end of a request, or of the consumer."""
        self._open = 0
        if _status(message) not in NOTHING_MORE:
            raise Ended

    async def give_back(self) -> None:
        """What came and is not taken may go to others at once, also what is still on its way."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._subscription.drain()  # type: ignore[no-untyped-call]
        while not self._came.empty():
            message = self._came.get_nowait()
            if _status(message) is None:
                await message.nak()


def _status(message: Msg) -> str | None:
    """The broker's own word, where it is no message of the stream."""
    headers = message.headers
    return None if headers is None or message.reply else headers.get("Status")


async def _found_or_made(
    context: JetStreamContext, stream: str, durable: str, subject: str
) -> ConsumerInfo:
    try:
        found: ConsumerInfo = await context.consumer_info(stream, durable)
        return found
    except NotFoundError as error:
        if error.err_code != CONSUMER_NOT_FOUND:
            raise
    config = ConsumerConfig(
        name=durable,
        durable_name=durable,
        description="Events for Arifa",
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_deliver=-1,
        filter_subject=subject,
    )
    return await context.add_consumer(stream, config)


def _written(path: Path, content: bytes) -> Path:
    """Whole or not at all, on the disk, and for nobody else to read."""
    fresh = path.with_name(f".{path.name}.part")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path
