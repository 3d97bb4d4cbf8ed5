"""Events from a stream: at least once by the broker, acknowledged only when they are in the books."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from arifa.delivery import nats_events
from arifa.delivery.nats_events import BATCH, Events, Refusals
from arifa.errors import Refused, Unavailable, UnknownCommit
from arifa.signing import Credentials
from arifa.testing.nats import NatsServer, PrivateNats, nats_or_skip
from tests.delivery.brokers import Topic, client, topic_on, user_of

T = TypeVar("T")


@pytest.fixture(scope="module")
def broker() -> Iterator[NatsServer]:
    with nats_or_skip() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to come again comes at once, and nobody waits long for a broker."""
    monkeypatch.setattr(nats_events, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(nats_events, "BACK_OFF_SECONDS", (0.01, 0.05))


class Books:
    """Takes events, and lets a test wait for them. `fails` are raised first, one each time."""

    def __init__(self, fails: Sequence[Exception] = ()) -> None:
        self.calls: list[list[bytes]] = []
        self.entered: list[bytes] = []
        self._fails = list(fails)
        self._came = threading.Condition()

    def __call__(self, bodies: Sequence[bytes]) -> list[str | None]:
        with self._came:
            self.calls.append(list(bodies))
            if self._fails:
                raise self._fails.pop(0)
            self.entered += [body for body in bodies if not body.startswith(b"bad")]
            self._came.notify_all()
        return ["it is bad" if body.startswith(b"bad") else None for body in bodies]

    async def has(self, count: int) -> None:
        """Wait until so many different ones have been entered."""

        def wait() -> bool:
            with self._came:
                return self._came.wait_for(lambda: len(set(self.entered)) >= count, 60)

        assert await asyncio.to_thread(wait)


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(100):
            return await main()

    return asyncio.run(bounded())


async def published(server: NatsServer, topic: Topic, *bodies: bytes) -> None:
    async with client(server) as connected:
        for body in bodies:
            await connected.jetstream().publish(topic.subject, body)


def events_of(server: NatsServer, topic: Topic, books: Books, folder: Path, **given: Any) -> Events:
    url = given.pop("url", f"{server.url}/{topic.subject}")
    given.setdefault("durable", "arifa")
    given.setdefault("credentials", user_of(server))
    return Events(url, take=books, refusals=Refusals(folder), **given)


async def unacknowledged(server: NatsServer, topic: Topic) -> int:
    """What the consumer was given and has not settled, and what it was not given."""
    async with client(server) as connected:
        info = await connected.jetstream().consumer_info(topic.stream, "arifa")
        return info.num_ack_pending + info.num_pending


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


# ---------------------------------------------------------------------------------- taken


@pytest.mark.parametrize("count", [0, 1, BATCH, 3 * BATCH + 7])
def test_all_that_waits_is_taken_once_and_in_order(broker, tmp_path, count):
    """What waits is entered in the stream's order, and a second look finds nothing."""
    books = Books()

    async def main():
        topic = await topic_on(broker)
        await published(broker, topic, *numbered(count))
        for _ in range(2):
            await events_of(broker, topic, books, tmp_path).run(until_empty=True)
        return await unacknowledged(broker, topic)

    assert run(main) == 0
    assert books.entered == numbered(count)


def test_what_comes_later_is_taken_as_it_comes(broker, tmp_path):
    """A listener takes a new event at once, not when a batch is full or a time is over."""
    books = Books()

    async def main():
        topic = await topic_on(broker)
        events = events_of(broker, topic, books, tmp_path)
        listening = asyncio.create_task(events.run())
        for number in range(3):
            await published(broker, topic, b"%d" % number)
            await books.has(number + 1)
        events.stop()
        await listening
        return await unacknowledged(broker, topic)

    assert run(main) == 0
    assert books.entered == numbered(3)


@pytest.mark.parametrize("error", [Unavailable("busy"), UnknownCommit("gone")])
def test_what_the_books_did_not_take_comes_again(broker, tmp_path, error):
    """Nothing is acknowledged while the store fails, or its commit is not known."""
    books = Books([error, error])

    async def main():
        topic = await topic_on(broker)
        await published(broker, topic, *numbered(5))
        events = events_of(broker, topic, books, tmp_path)
        listening = asyncio.create_task(events.run())
        await books.has(5)
        events.stop()
        await listening
        return await unacknowledged(broker, topic)

    assert run(main) == 0
    assert sorted(books.entered) == numbered(5)
    assert len(books.calls) >= 3


def test_what_can_never_be_entered_is_kept_with_its_reason(broker, tmp_path):
    """A refused event lies in a file of ours before the broker may forget it, and comes no more."""
    books, folder = Books(), tmp_path / "refused"

    async def main():
        # This one forgets what is settled.
        topic = await topic_on(broker, retention="workqueue")
        await published(broker, topic, b"1", b"bad one", b"2")
        events = events_of(broker, topic, books, folder)
        await events.run(until_empty=True)
        await events_of(broker, topic, books, folder).run(until_empty=True)
        return topic, events.counted, await unacknowledged(broker, topic)

    topic, counted, left = run(main)
    assert left == 0
    assert (counted.taken, counted.refused) == (3, 1)
    assert books.entered == [b"1", b"2"]
    body, reason = sorted(folder.iterdir())
    assert body.name.startswith(f"{topic.stream}-2-")
    assert (body.read_bytes(), reason.read_text()) == (b"bad one", "it is bad\n")
    assert body.stat().st_mode & 0o077 == 0


def test_a_refused_event_that_cannot_be_kept_stays_with_the_broker(broker, tmp_path):
    """Where the folder cannot be written nothing is thrown away."""
    books = Books()
    (tmp_path / "file").touch()

    async def main():
        topic = await topic_on(broker)
        await published(broker, topic, b"bad")
        events = events_of(broker, topic, books, tmp_path / "file" / "folder")
        await events.run(until_empty=True)
        return await unacknowledged(broker, topic), events.counted.refused

    assert run(main) == (1, 0)


def test_two_share_one_consumer(broker, tmp_path):
    """Of two listeners under one name each event comes to one."""
    books = [Books(), Books()]

    async def main():
        topic = await topic_on(broker)
        events = [events_of(broker, topic, each, tmp_path) for each in books]
        listening = [asyncio.create_task(each.run()) for each in events]
        await published(broker, topic, *numbered(200))
        while sum(len(each.entered) for each in books) < 200:  # noqa: ASYNC110  of two threads
            await asyncio.sleep(0.01)
        for each in events:
            each.stop()
        await asyncio.gather(*listening)
        return await unacknowledged(broker, topic)

    assert run(main) == 0
    assert sorted(books[0].entered + books[1].entered) == sorted(numbered(200))


def test_what_is_in_hand_at_the_end_goes_to_the_next(broker, tmp_path):
    """A listener that is stopped leaves nothing hanging until the broker's patience ends."""
    later = Books()

    async def main():
        topic = await topic_on(broker)
        # Large ones, so that most are still on their way when it is stopped.
        waiting = [body + b" " * 50_000 for body in numbered(2 * BATCH)]
        await published(broker, topic, *waiting)

        class Stopping(Books):
            def __call__(self, bodies: Sequence[bytes]) -> list[str | None]:
                events.stop()
                return super().__call__(bodies)

        first = Stopping()
        events = events_of(broker, topic, first, tmp_path)
        await events.run()
        await events_of(broker, topic, later, tmp_path).run(until_empty=True)
        return first.entered, waiting, await unacknowledged(broker, topic)

    entered, waiting, left = run(main)
    assert left == 0
    assert 0 < len(entered) <= BATCH
    assert sorted(entered + later.entered) == sorted(waiting)


def test_a_broker_that_restarts_is_listened_to_again(tmp_path):
    """A broker killed while we listen is found again, and nothing that it kept is missed."""
    books = Books()
    with nats_or_skip(private=True) as server:
        assert isinstance(server, PrivateNats)

        async def main():
            topic = await topic_on(server)
            events = events_of(server, topic, books, tmp_path)
            listening = asyncio.create_task(events.run())
            for number in range(3):
                await published(server, topic, b"%d" % number)
                await books.has(number + 1)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.restart)
            await published(server, topic, b"3")
            await books.has(4)
            events.stop()
            await listening
            return topic

        run(main)
    # An acknowledgement that the kill swallowed brings its event again: the books know it.
    assert set(books.entered) == set(numbered(4))


def test_wildcards(broker, tmp_path):
    """A subject with wildcards takes all that it covers, and no other."""
    books = Books()

    async def main():
        topic = await topic_on(broker)
        for subject in ("kenya.in", "uganda.in", "kenya.out"):
            await published(
                broker, Topic(topic.stream, f"{topic.stream}.{subject}"), subject.encode()
            )
        url = f"{broker.url}/{topic.stream}.*.in?stream={topic.stream}"
        await events_of(broker, topic, books, tmp_path, url=url).run(until_empty=True)

    run(main)
    assert books.entered == [b"kenya.in", b"uganda.in"]


# ---------------------------------------------------------------------------------- refused


def refused(main: Callable[[], Coroutine[Any, Any, Any]]) -> str:
    with pytest.raises(Refused) as caught:
        run(main)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"url": "nats://127.0.0.1:1/a"}, "nothing accepts connections"),
        ({"subject": "nobody.keeps.this"}, "no stream"),
        ({"more": "?stream=other"}, "no stream"),
        ({"credentials": Credentials(username="x", passwords=("wrong",))}, "does not let us in"),
        ({"durable": "a b"}, "consumer's name"),
        ({"url": "nats://broker.example/a"}, "tls+nats"),
        ({"url": "nats://127.0.0.1/a..b"}, "not a subject"),
    ],
)
def test_what_cannot_be_listened_to_is_said_at_once(broker, tmp_path, change, word):
    """A broker, a subject or a user that is wrong from the first ends with a sentence."""

    async def main():
        topic = await topic_on(broker)
        given = dict(change)
        subject, more = given.pop("subject", topic.subject), given.pop("more", "")
        given.setdefault("url", f"{broker.url}/{subject}{more}")
        await events_of(broker, topic, Books(), tmp_path, **given).run(until_empty=True)

    text = refused(main)
    assert word in text
    assert "wrong" not in text


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (ConsumerConfig(filter_subject="{}.other"), "another subject"),
        (ConsumerConfig(), "another subject"),
        (ConsumerConfig(filter_subject="{}.payments", ack_policy=AckPolicy.ALL), "one by one"),
        (ConsumerConfig(filter_subject="{}.payments", deliver_subject="x.y"), "not pulled from"),
    ],
)
def test_a_consumer_of_somebody_else_is_left_alone(broker, tmp_path, config, word):
    """A consumer of the name that is made for something else is refused, and not changed."""

    async def main():
        topic = await topic_on(broker)
        subject = config.filter_subject and config.filter_subject.format(topic.stream)
        async with client(broker) as connected:
            await connected.jetstream().add_consumer(
                topic.stream, config, durable_name="arifa", filter_subject=subject
            )
        await events_of(broker, topic, Books(), tmp_path).run(until_empty=True)

    assert word in refused(main)


def test_a_user_who_may_not_read_the_stream(tmp_path):
    """Rights that lack are said, instead of waiting for ever."""
    limited = (
        '{ user: "limited", password: "x", permissions: '
        '{ publish: { deny: ["$JS.API.CONSUMER.MSG.NEXT.>"] } } }'
    )
    with nats_or_skip(private=True, users=limited) as server:

        async def main():
            topic = await topic_on(server)
            user = Credentials(username="limited", passwords=("x",))
            started: list[str] = []
            events = events_of(server, topic, Books(), tmp_path, credentials=user)
            listening = asyncio.create_task(events.run(started=started.append))
            while not events_troubled:  # noqa: ASYNC110  a log line has no event
                await asyncio.sleep(0.01)
            events.stop()
            await listening

        events_troubled: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                nats_events.log,
                "warning",
                lambda name, **more: events_troubled.append(more["detail"]),
                raising=False,
            )
            run(main)
    assert "does not let this user read" in events_troubled[0]


def test_the_rights_that_the_page_names_are_enough(tmp_path):
    """A user with the rights in docs/brokers.md, and no other, takes what waits."""
    limited = (
        '{ user: "limited", password: "x", permissions: { '
        'publish: ["$JS.API.CONSUMER.>", "$JS.API.STREAM.NAMES", "$JS.ACK.>"], '
        'subscribe: ["_INBOX.>"] } }'
    )
    books = Books()
    with nats_or_skip(private=True, users=limited) as server:

        async def main():
            topic = await topic_on(server)
            await published(server, topic, b"1", b"2", b"bad")
            user = Credentials(username="limited", passwords=("x",))
            await events_of(server, topic, books, tmp_path, credentials=user).run(until_empty=True)
            return await unacknowledged(server, topic)

        assert run(main) == 0
    assert books.entered == [b"1", b"2"]


def test_what_the_books_refuse_altogether_ends_it(broker, tmp_path):
    """A feed that cannot be entered at all, as for a merchant who is gone, is not drained away."""
    books = Books([Refused("there is no such merchant")])

    async def main():
        topic = await topic_on(broker)
        await published(broker, topic, b"1")
        try:
            await events_of(broker, topic, books, tmp_path).run(until_empty=True)
        finally:
            assert await unacknowledged(broker, topic) == 1

    assert "no such merchant" in refused(main)
