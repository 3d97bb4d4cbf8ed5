"""The clerk: what it writes is what the hub would have written, and its end costs nobody a payment."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arifa import errors
from arifa.errors import DataRefused, StoreBroken, StoreError, UnknownCommit
from arifa.hub.receive import Composed
from arifa.store import clerk as channel
from arifa.store import merchants
from arifa.store.database import Urgency
from arifa.store.group import Outdated
from arifa.store.opened import Store
from arifa.store.seals import Seal
from arifa.web.clerk import Clerk
from arifa.web.committer import Committer
from arifa.wire import WireRequest, WireResponse
from tests.engines import *  # noqa: F403
from tests.hub.bank import Hub, request

SECONDS = 60  # for what must happen, however busy the machine is

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, StoreError) and kind is not StoreError
]


@asynccontextmanager
async def clerk_of(store: Store) -> AsyncIterator[Clerk]:
    """A clerk that is ready."""
    clerk = Clerk(store.database, asyncio.get_running_loop())
    clerk.start()
    try:
        await until(lambda: clerk.is_ready)
        yield clerk
    finally:
        await clerk.stop()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what it asks is another process's
            await asyncio.sleep(0.01)


async def written(clerk: Clerk, composed: Composed) -> Seal | Exception:
    """Have it written, and give what became of it."""
    done: asyncio.Future[Seal | Exception] = asyncio.get_running_loop().create_future()
    clerk.write(composed.rows, done.set_result)
    async with asyncio.timeout(SECONDS):
        return await done


def composed(hub: Hub, *requests: WireRequest, source: str = "kcb") -> Composed:
    """A group, as the loop makes it."""
    prepared = [hub.receiver.prepare(hub.sources[source].token, one) for one in requests]
    made = hub.receiver.compose(prepared)
    assert made is not None
    return made


def payment(number: int) -> WireRequest:
    return request("kcb", transactionReference=f"REF{number}")


@pytest.fixture
def hub(store: Store) -> Hub:
    """A hub on one of the engines."""
    return made(store)


def made(store: Store) -> Hub:
    """A hub that knows its last seal, as after a first group."""
    hub = Hub(store)
    hub.source("kcb")
    hub.endpoint()
    hub.one("kcb", payment(0))
    return hub


def run(drive: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(drive())  # type: ignore[arg-type]


def process_of(clerk: Clerk) -> int:
    assert clerk._process is not None
    return clerk._process.pid


# ------------------------------------------------------------------ what it is told, and says


@given(st.lists(st.binary(max_size=40), max_size=6), st.data())
def test_messages_come_out_as_they_went_in(messages: list[bytes], data: st.DataObject) -> None:
    """However the channel cuts them."""
    sent = b"".join(map(channel.framed, messages))
    received, found = bytearray(), []
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        received += sent[:size]
        sent = sent[size:]
        while (message := channel.unframed(received)) is not None:
            found.append(message)
    assert found == messages
    assert not received


@pytest.mark.parametrize("kind", [*KINDS, Outdated], ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_on_both_sides(kind: type[Exception]) -> None:
    """By its class and its sentence: what the hub does about it depends on it."""
    failure = channel.Answer(None, kind.__name__, "why").written()
    assert type(failure) is kind
    assert str(failure) == "why"


def test_only_a_seal_is_a_commit() -> None:
    """An empty answer is none, nor is a word that nobody knows."""
    assert channel.Answer(Seal(1, b"head")).written() == Seal(1, b"head")
    for word in ("", "KeyError", "ArifaError", "os", "place_of"):
        assert isinstance(channel.Answer(None, word, "why").written(), UnknownCommit)


# ------------------------------------------------------------------ what it does


def test_what_it_writes_is_in_the_books(hub: Hub) -> None:
    """A group that it has written is answered like any, and repeats are known."""
    before = hub.totals()

    async def drive() -> None:
        async with clerk_of(hub.store) as clerk:
            for number in (1, 3):
                group = composed(hub, payment(number), payment(number + 1))
                answers = hub.receiver.committed(group, await written(clerk, group))
                assert answers is not None
                assert [answer.status for answer in answers if answer is not None] == [200, 200]

    run(drive)

    references = [item.reading.bank_reference for item in hub.notifications()]
    assert references == [f"REF{number}" for number in range(5)]
    assert hub.totals() == {name: count + 4 for name, count in before.items()}
    hub.one("kcb", payment(3))
    assert hub.outcomes()[-1] == "DUPLICATE"


def test_what_is_not_new_is_left_to_the_books(hub: Hub) -> None:
    """Nothing of such a group is written; asking the books then settles it."""

    async def drive() -> None:
        async with clerk_of(hub.store) as clerk:
            group = composed(hub, payment(1), payment(0))
            failure = await written(clerk, group)
            assert isinstance(failure, DataRefused)
            assert hub.outcomes() == ["ACCEPTED"]
            assert hub.receiver.committed(group, failure) is None
            assert len(hub.receiver.receive(group.prepared)) == 2

    run(drive)
    assert hub.outcomes() == ["ACCEPTED", "ACCEPTED", "DUPLICATE"]


def test_a_configuration_that_has_moved_is_noticed(hub: Hub) -> None:
    """A group that was composed before is not written by it."""

    async def drive() -> None:
        async with clerk_of(hub.store) as clerk:
            group = composed(hub, payment(1))
            with hub.store.database.write() as connection:
                merchants.add(connection, "another", 1)
            failure = await written(clerk, group)
            assert isinstance(failure, Outdated)
            assert hub.receiver.committed(group, failure) is None
            assert hub.receiver.receive(group.prepared) != [None]

    run(drive)
    assert hub.outcomes() == ["ACCEPTED", "ACCEPTED"]


def test_a_text_that_cannot_be_stored_is_refused_at_once(hub: Hub) -> None:
    """It does not reach the clerk, which goes on."""

    async def drive() -> None:
        async with clerk_of(hub.store) as clerk:
            group = composed(hub, payment(1))
            first = group.rows.inbox[0]
            group.rows.inbox[0] = (*first[:6], "\ud800", *first[7:])
            assert isinstance(await written(clerk, group), DataRefused)
            assert hub.receiver.committed(group, DataRefused("")) is None
            hub.receiver.receive([])
            hub.receiver._seal = None
            hub.one("kcb", payment(2))
            assert isinstance(await written(clerk, composed(hub, payment(3))), Seal)

    run(drive)
    assert len(hub.notifications()) == 3


def test_it_waits_for_its_turn(sqlite_store: Store) -> None:
    """While this process writes, the clerk does not, nor finds the file locked; then it does."""
    hub = made(sqlite_store)
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with hub.store.database.write(Urgency.BACKGROUND):
            begun.set()
            go_on.wait(SECONDS)

    async def drive() -> None:
        async with clerk_of(hub.store) as clerk:
            holding = threading.Thread(target=hold)
            holding.start()
            await asyncio.to_thread(begun.wait)
            done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            clerk.write(composed(hub, payment(1)).rows, done.set_result)
            await asyncio.sleep(0.05)
            assert not done.done()
            go_on.set()
            async with asyncio.timeout(SECONDS):
                assert isinstance(await done, Seal)
            holding.join()
            # And gives it back.
            with hub.store.database.write():
                pass

    run(drive)
    assert len(hub.notifications()) == 2


# ------------------------------------------------------------------ its end


@pytest.mark.parametrize("is_stopped_before", [False, True])
def test_its_end_is_an_unknown_commit_and_another_comes(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, *, is_stopped_before: bool
) -> None:
    """What it had may be in the books or not; our turn is given back; the next one writes."""
    monkeypatch.setattr("arifa.web.clerk._AGAIN_SECONDS", (0.01,))

    async def drive() -> None:
        async with clerk_of(hub.store) as clerk:
            group = composed(hub, payment(1))
            first = process_of(clerk)
            if is_stopped_before:
                os.kill(first, signal.SIGSTOP)
                done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                clerk.write(group.rows, done.set_result)
                os.kill(first, signal.SIGKILL)
                async with asyncio.timeout(SECONDS):
                    failure = await done
            else:
                os.kill(first, signal.SIGKILL)
                failure = await written(clerk, group)
            assert isinstance(failure, UnknownCommit)
            (answer,) = hub.receiver.committed(group, failure) or [None]
            assert isinstance(answer, WireResponse)
            assert answer.status == 503
            with hub.store.database.write():
                pass
            await until(lambda: clerk.is_ready)
            assert process_of(clerk) != first
            hub.one("kcb", payment(2))
            assert isinstance(await written(clerk, composed(hub, payment(3))), Seal)

    run(drive)
    references = [item.reading.bank_reference for item in hub.notifications()]
    assert references == ["REF0", "REF2", "REF3"]


def test_one_that_hears_nothing_is_ended(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to let go of a commit twice, and still silent: the hub goes on without it."""
    monkeypatch.setattr("arifa.web.committer._SWEEP_SECONDS", 0.01)
    answers: list[WireResponse | None] = []

    async def drive() -> None:
        loop = asyncio.get_running_loop()
        clerk = Clerk(hub.store.database, loop)
        committer = Committer(hub.receiver, loop, lambda _: None, answer_seconds=0.2, clerk=clerk)
        committer.start()
        await until(lambda: clerk.is_ready)
        os.kill(process_of(clerk), signal.SIGSTOP)
        committer.submit([(hub.receiver.prepare("token-of-kcb", payment(1)), answers.append)])
        await until(lambda: not clerk.is_ready)
        committer._answer_seconds = SECONDS
        committer.submit([(hub.receiver.prepare("token-of-kcb", payment(2)), answers.append)])
        await until(lambda: len(answers) == 2)
        await committer.stop()

    run(drive)
    assert [answer.status for answer in answers if answer is not None] == [503, 200]
    assert [item.reading.bank_reference for item in hub.notifications()] == ["REF0", "REF2"]


def test_signals_to_all_do_not_end_it(hub: Hub) -> None:
    """A terminal's Ctrl-C, or a supervisor's signal to the group: what is under way is written."""

    async def drive() -> None:
        async with clerk_of(hub.store) as clerk:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(process_of(clerk), number)
            assert isinstance(await written(clerk, composed(hub, payment(1))), Seal)

    run(drive)
    assert len(hub.notifications()) == 2


def test_one_that_is_stopped_at_work_gives_everything_back(hub: Hub) -> None:
    """Who waits is told, and whoever writes next finds the turn free."""
    told: list[Seal | Exception] = []

    async def drive() -> None:
        async with clerk_of(hub.store) as clerk:
            os.kill(process_of(clerk), signal.SIGSTOP)
            clerk.write(composed(hub, payment(1)).rows, told.append)

    run(drive)
    assert [type(one) for one in told] == [UnknownCommit]
    hub.one("kcb", payment(2))
    assert [item.reading.bank_reference for item in hub.notifications()] == ["REF0", "REF2"]


def told_to(process: int, place: str) -> bytes:
    return Path(f"/proc/{process}/{place}").read_bytes()


def test_it_knows_no_settings(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a mail server's password, say, which is in the hub's environment."""
    monkeypatch.setenv("ARIFA_SMTP_URL", "smtp://user:word@mail.example")

    async def drive() -> None:
        async with clerk_of(hub.store) as clerk:
            for place in ("environ", "cmdline"):
                said = told_to(process_of(clerk), place)
                assert said
                assert b"ARIFA_" not in said
                assert b"word" not in said
                assert b"postgresql" not in said

    run(drive)


def test_it_ends_with_its_hub(hub: Hub) -> None:
    """No process is left behind."""

    async def drive() -> int:
        async with clerk_of(hub.store) as clerk:
            return process_of(clerk)

    identity = asyncio.run(drive())
    with pytest.raises(ProcessLookupError):
        os.kill(identity, 0)


def no_files(*_: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    ("name", "value"), [("sys.executable", "/nowhere/python"), ("socket.socketpair", no_files)]
)
def test_one_that_cannot_be_started_is_done_without(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    """The committer writes by itself, and it is tried again."""
    answers: list[WireResponse | None] = []

    async def drive() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr("arifa.web.clerk._AGAIN_SECONDS", (0.01,))
        monkeypatch.setattr(f"arifa.web.clerk.{name}", value)
        clerk = Clerk(hub.store.database, loop)
        committer = Committer(hub.receiver, loop, lambda _: None, clerk=clerk)
        committer.start()
        committer.submit([(hub.receiver.prepare("token-of-kcb", payment(1)), answers.append)])
        await until(lambda: answers)
        monkeypatch.undo()
        await until(lambda: clerk.is_ready)
        committer.submit([(hub.receiver.prepare("token-of-kcb", payment(2)), answers.append)])
        await until(lambda: len(answers) == 2)
        await committer.stop()

    run(drive)
    assert [answer.status for answer in answers if answer is not None] == [200, 200]
    assert len(hub.notifications()) == 3


def test_a_broken_disk_stops_the_hub(hub: Hub) -> None:
    """What the clerk says of the disk is what the hub says, and it takes nothing more."""
    said: list[str] = []
    answers: list[WireResponse | None] = []

    class Broken:
        """A clerk whose disk has failed."""

        is_ready = True

        def start(self) -> None:
            """Come up."""

        def write(self, _rows: Any, done: Callable[[Seal | Exception], None]) -> None:
            done(StoreBroken("the disk is full"))

        async def stop(self) -> None:
            """End."""

    async def drive() -> None:
        loop = asyncio.get_running_loop()
        committer = Committer(hub.receiver, loop, said.append, clerk=Broken())  # type: ignore[arg-type]
        committer.start()
        committer.submit([(hub.receiver.prepare("token-of-kcb", payment(1)), answers.append)])
        await until(lambda: answers)
        await committer.stop()

    run(drive)
    assert [answer.status for answer in answers if answer is not None] == [503]
    assert said == ["the disk is full"]
    with pytest.raises(StoreBroken), hub.store.database.write():
        pass
