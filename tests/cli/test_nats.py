"""Brokers from the shell: endpoints are tried as they are entered, and events enter once."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from arifa.testing.nats import NatsServer, nats_or_skip
from tests.cli.conftest import CommandLine, Installed
from tests.delivery.brokers import Topic, client, kept, topic_on
from tests.hub.issuing import event, raw


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """The command sets its process's log up, and here that is ours."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def broker() -> Iterator[NatsServer]:
    with nats_or_skip() as server:
        yield server


@pytest.fixture
def topic(broker: NatsServer) -> Topic:
    return asyncio.run(topic_on(broker))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Everything here is the same on both engines."""
    if request.param == "sqlite":
        yield None
        return
    server, template = request.getfixturevalue("postgres_template")
    url = server.create_database(template)
    yield url
    server.drop_database(url)


def login(broker: NatsServer, folder: Path) -> tuple[str, ...]:
    """Who we are at the broker, as flags."""
    password = folder / "nats.password"
    password.write_text(broker.password)
    return ("--username", broker.username, "--password-file", str(password))


def publish(broker: NatsServer, topic: Topic, *bodies: bytes) -> None:
    async def main() -> None:
        async with client(broker) as connected:
            stream = connected.jetstream()
            await asyncio.gather(*(stream.publish(topic.subject, body) for body in bodies))

    asyncio.run(main())


# ---------------------------------------------------------------------------------- endpoints


@pytest.mark.parametrize("database_url", [None])
def test_an_endpoint_on_a_broker(arifa: CommandLine, broker: NatsServer, topic: Topic) -> None:
    """A broker that keeps the subject is entered, with a note of the stream, and sent nothing."""
    url = f"{broker.url}/{topic.subject}"
    added = arifa.ok(
        "endpoint", "add", "stream", "--url", url, *login(broker, arifa.folder), "--json"
    )
    assert added.one()["url"] == url
    assert f"the stream {topic.stream} keeps the subject" in added.err
    assert "--allow-private" in added.err
    assert asyncio.run(kept(broker, topic)) == []


@pytest.mark.parametrize("database_url", [None])
@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("nats://127.0.0.1:1/a", "nothing accepts connections"),
        ("{}/nobody.keeps.this", "no stream"),
        ("{}/a.*", "wildcards"),
        ("nats://u:p@127.0.0.1/a", "--username"),
    ],
)
def test_a_broker_that_would_keep_nothing_is_refused(
    arifa: CommandLine, broker: NatsServer, url: str, word: str
) -> None:
    """What cannot be delivered to is refused with a sentence, and nothing is stored."""
    url = url.format(broker.url)
    result = arifa("endpoint", "add", "stream", "--url", url, *login(broker, arifa.folder))
    assert result.code == 1
    assert word in result.err
    assert broker.password not in result.err
    assert arifa.rows("endpoint", "list") == []


@pytest.mark.parametrize("database_url", [None])
def test_a_broker_that_is_to_come_later(
    arifa: CommandLine, broker: NatsServer, topic: Topic
) -> None:
    """With --unchecked a broker is entered as it is; an edit of its URL is tried again."""
    arifa.ok("endpoint", "add", "later", "--url", "nats://127.0.0.1:1/a", "--unchecked")
    edited = arifa("endpoint", "edit", "later", "--url", "nats://127.0.0.1:2/a")
    assert edited.code == 1
    assert "--unchecked" in edited.err
    arifa.ok("endpoint", "edit", "later", "--url", "nats://127.0.0.1:2/a", "--unchecked")
    (row,) = arifa.rows("endpoint", "list")
    assert row["url"] == "nats://127.0.0.1:2/a"


@pytest.mark.parametrize("database_url", [None])
def test_a_test_message_goes_to_the_stream(
    arifa: CommandLine, broker: NatsServer, topic: Topic
) -> None:
    """`endpoint test` is acknowledged by the stream, as a delivery would be."""
    url = f"{broker.url}/{topic.subject}"
    arifa.ok("endpoint", "add", "stream", "--url", url, *login(broker, arifa.folder))
    tried = arifa.json("endpoint", "test", "stream", "--allow-private")
    assert tried["acknowledged"] is True
    (message,) = asyncio.run(kept(broker, topic))
    assert message.headers is not None
    assert message.headers["Nats-Msg-Id"] == tried["message"]


@pytest.mark.parametrize("database_url", [None])
def test_without_the_extra(arifa: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nats-py is not installed, the sentence says what to install."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "nats"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("nats", "nats_link", "nats_events"):
        monkeypatch.delitem(sys.modules, f"arifa.delivery.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "nats", None)
    listened = arifa("transaction", "listen", "nats://127.0.0.1/a")
    assert listened.code == 1
    assert "arifa[nats]" in listened.err


# ---------------------------------------------------------------------------------- events


def listen(broker: NatsServer, topic: Topic, folder: Path) -> tuple[str, ...]:
    url = f"{broker.url}/{topic.subject}"
    return ("transaction", "listen", url, *login(broker, folder))


def test_events_enter_once(arifa: CommandLine, broker: NatsServer, topic: Topic) -> None:
    """Each event is entered and announced once, however often it comes and whichever way."""
    arifa.ok("endpoint", "add", "shop", "--url", "https://shop.example/")
    bodies = [raw(event(f"FT{number}")) for number in range(120)]
    publish(broker, topic, *bodies, *bodies[:30])
    command = (*listen(broker, topic, arifa.folder), "--until-empty")
    begun, done = arifa.rows(*command)
    assert begun == {"listening": topic.stream, "consumer": "arifa"}
    assert done == {"entered": 120, "known": 30, "refused": 0}
    assert arifa.rows(*command)[1] == {"entered": 0, "known": 0, "refused": 0}
    assert arifa.rows(*command, "--durable", "other")[1]["known"] == 150
    file = arifa.file("events.jsonl", b"\n".join(bodies))
    assert arifa.json("transaction", "import", file)["known"] == 120
    rows = arifa.rows("transaction", "list", "--limit", "1000")
    assert len(rows) == len({row["bank_reference"] for row in rows}) == 120
    assert len(arifa.rows("delivery", "list", "--limit", "1000")) == 120


def test_a_bad_event_is_kept_to_be_mended(
    arifa: CommandLine, broker: NatsServer, topic: Topic
) -> None:
    """What is refused lies in the data folder with its reason, and can be imported when mended."""
    bad = event("FT2") | {"amount": {"amount": "1.005", "currency": "KES"}}
    publish(broker, topic, raw(event("FT1")), raw(bad), b"\xff", raw(event("FT1", account="9")))
    result = arifa(*listen(broker, topic, arifa.folder), "--until-empty", "--json")
    assert result.code == 1
    assert json.loads(result.out.splitlines()[-1]) == {"entered": 1, "known": 0, "refused": 3}
    assert "1.005" not in result.err
    folder = arifa.data / "refused-events"
    bodies = {path: path.read_bytes() for path in folder.glob("*.json")}
    assert len(bodies) == 3
    (one,) = [path for path, body in bodies.items() if b"FT2" in body]
    assert "amount" in Path(f"{one.with_suffix('')}.reason").read_text()
    mended = arifa.file("mended.jsonl", raw(event("FT2")))
    assert arifa.json("transaction", "import", mended)["entered"] == 1


@pytest.mark.parametrize("database_url", [None])
@pytest.mark.parametrize(
    ("flags", "code"),
    [(("--merchant", "nobody"), 3), (("--origin", "submit"), 1), (("--username", "u"), 2)],
)
def test_a_feed_that_cannot_be_entered_takes_nothing(
    arifa: CommandLine, broker: NatsServer, topic: Topic, flags: tuple[str, ...], code: int
) -> None:
    """With a wrong merchant, origin or user nothing is acknowledged."""
    publish(broker, topic, raw(event("FT1")))
    command = listen(broker, topic, arifa.folder)
    command = command[:3] if "--username" in flags else command
    result = arifa(*command, "--until-empty", *flags)
    assert result.code == code, result.err
    assert arifa.rows(*listen(broker, topic, arifa.folder), "--until-empty")[1]["entered"] == 1


def test_killed_again_and_again(
    installed: Installed, broker: NatsServer, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the listener is killed, every event is in the books in the end, and none twice."""
    count = 600
    publish(broker, topic, *(raw(event(f"FT{number}")) for number in range(count)))
    data = ("--data", str(installed.folder / "data"))
    command = [*data, *listen(broker, topic, installed.folder), "--json"]
    for round_ in range(6):
        with subprocess.Popen(
            [installed.program, *command],
            cwd=installed.folder,
            env=installed.environment,
            stdout=subprocess.PIPE,
        ) as listening:
            assert listening.stdout is not None
            # Then it is taking: each round is killed at another of its reads and writes.
            assert b"listening" in listening.stdout.readline()
            try:
                listening.wait(0.004 * round_)
            except subprocess.TimeoutExpired:
                listening.kill()
    # What was in the hands of the dead comes again only after the broker's patience; it is made
    # short here by asking as somebody else, who gets all of them.
    last = installed(*command, "--until-empty", "--durable", "other")
    assert last.returncode == 0, last.stderr
    done = json.loads(last.stdout.splitlines()[-1])
    assert done["entered"] + done["known"] == count
    listed = installed(*data, "transaction", "list", "--limit", "10000", "--json")
    rows = [json.loads(line)["bank_reference"] for line in listed.stdout.splitlines()]
    assert sorted(rows) == sorted(f"FT{number}" for number in range(count))


def test_told_to_stop(installed: Installed, broker: NatsServer, topic: Topic) -> None:
    """SIGTERM ends a listener in good order, with its sum."""
    command = ["--data", "data", *listen(broker, topic, installed.folder), "--json"]
    with subprocess.Popen(
        [installed.program, *command],
        cwd=installed.folder,
        env=installed.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as listening:
        assert listening.stdout is not None
        listening.stdout.readline()
        listening.send_signal(signal.SIGTERM)
        out, _ = listening.communicate(timeout=60)
    assert listening.returncode == 0
    assert json.loads(out) == {"entered": 0, "known": 0, "refused": 0}
