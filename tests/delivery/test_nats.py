"""Endpoints on NATS JetStream, against a real broker: delivered is what a stream has acknowledged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from socket import AF_INET, socket
from typing import Any, TypeVar

import pytest
from standardwebhooks import Webhook

from arifa.clock import now_us
from arifa.delivery import names as names_module
from arifa.delivery.cause import Cause, NoAnswer
from arifa.delivery.message import USER_AGENT
from arifa.delivery.names import Address, Names
from arifa.delivery.nats import Nats
from arifa.delivery.nats_target import check, target
from arifa.delivery.schedule import Schedule
from arifa.delivery.transport import Reach, Receipt, Transports, probe
from arifa.errors import Refused
from arifa.identifiers import identifier
from arifa.signing import Credentials
from arifa.store import deliveries
from arifa.testing.nats import NatsServer, PrivateNats, nats_or_skip
from arifa.wire import WireRequest
from tests.delivery.brokers import (
    Topic,
    certificate,
    client,
    fake,
    greets,
    kept,
    topic_on,
    user_of,
)
from tests.delivery.hub import SECOND, SECRET, Clock, Hub, Watch, ok, running, shop

T = TypeVar("T")

INSIDE = Reach(allow_private=True)
ID = "ntf_1"
REQUEST = WireRequest(
    b'{"type":"payment.success"}',
    (
        (b"content-type", b"application/json"),
        (b"webhook-id", ID.encode()),
        (b"authorization", b"Basic c2VjcmV0"),
    ),
)


@pytest.fixture(scope="module")
def broker() -> Iterator[NatsServer]:
    with nats_or_skip() as server:
        yield server


@pytest.fixture
def own_broker() -> Iterator[PrivateNats]:
    """One that a test may kill."""
    with nats_or_skip(private=True) as server:
        assert isinstance(server, PrivateNats)
        yield server


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(100):
            return await main()

    return asyncio.run(bounded())


def url_of(server: NatsServer, topic: Topic, more: str = "") -> str:
    return f"{server.url}/{topic.subject}{more}"


async def sent(
    server: NatsServer, topic: Topic, *, identity: str = ID, more: str = "", **given: Any
) -> Receipt:
    """Sent by a transport of its own."""
    given.setdefault("credentials", user_of(server))
    async with Nats(INSIDE) as transport:
        return await transport.send(
            url_of(server, topic, more), REQUEST, identity=identity, **given
        )


def refused(main: Callable[[], Coroutine[Any, Any, Any]]) -> NoAnswer:
    with pytest.raises(NoAnswer) as caught:
        run(main)
    return caught.value


# ---------------------------------------------------------------------------------- delivered


def test_what_a_stream_acknowledged_is_in_it(broker):
    """The receipt names the stream and the place, and there the message is, byte for byte."""

    async def main():
        topic = await topic_on(broker)
        return topic, await sent(broker, topic), await kept(broker, topic)

    topic, receipt, messages = run(main)
    assert receipt.text == f"stream {topic.stream}, sequence 1"
    assert [message.data for message in messages] == [REQUEST.body]
    assert messages[0].subject == topic.subject
    assert messages[0].headers == {
        "Nats-Msg-Id": ID,
        "content-type": "application/json",
        "webhook-id": ID,
    }


def test_the_same_id_is_kept_once(broker):
    """A second attempt of a notification is acknowledged, and leaves the stream as it was."""

    async def main():
        topic = await topic_on(broker)
        receipts = [await sent(broker, topic) for _ in range(2)]
        await sent(broker, topic, identity="ntf_2")
        return receipts, await kept(broker, topic)

    receipts, messages = run(main)
    assert receipts[1].text.endswith("sequence 1, which had it already")
    assert [message.headers["Nats-Msg-Id"] for message in messages] == [ID, "ntf_2"]


def test_the_event_is_the_one_that_http_endpoints_get(broker, sqlite_hub):
    """One notification goes both ways with the same body, the same id and a signature that holds."""

    async def main():
        topic = await topic_on(broker)
        async with shop(ok) as merchant:
            there = sqlite_hub.endpoint(merchant.url)
            here = sqlite_hub.endpoint(
                url_of(broker, topic), name="stream", credentials=user_of(broker, (SECRET,))
            )
            ids = sqlite_hub.queue(there)
            ids.append(also_to(sqlite_hub, ids[0], here.id))
            async with running(sqlite_hub.worker()) as worker:
                await Watch(worker).until(lambda: sqlite_hub.states(ids) == ["delivered"] * 2)
            return merchant.requests, await kept(broker, topic)

    [(headers, body)], [message] = run(main)
    assert message.data == body
    assert message.headers["Nats-Msg-Id"] == headers["webhook-id"]
    assert message.headers["content-type"] == headers["content-type"]
    assert "authorization" not in {name.lower() for name in message.headers}
    Webhook(SECRET.decode()).verify(message.data, message.headers)


def also_to(hub: Hub, delivery: str, endpoint: str) -> str:
    """A delivery of the same notification to another endpoint."""
    now, made = now_us(), identifier("dlv", now_us())
    entry = deliveries.Entry(
        "default", made, hub.row(delivery).notification, endpoint, now - SECOND, now
    )
    with hub.store.database.write() as connection:
        deliveries.insert(connection, [entry])
    return made


def test_many_at_once_share_a_connection(broker, monkeypatch):
    """One broker and one user make one connection, however many messages are out; another user another."""
    looked_up = []
    real = names_module._looked_up

    def watched(*given):
        looked_up.append(given)
        return real(*given)

    monkeypatch.setattr(names_module, "_looked_up", watched)

    async def main():
        topic = await topic_on(broker)
        async with Nats(INSIDE) as transport:

            async def send(number: int) -> None:
                await transport.send(
                    url_of(broker, topic),
                    REQUEST,
                    identity=f"ntf_{number}",
                    credentials=user_of(broker),
                )

            await asyncio.gather(*(send(number) for number in range(50)))
            await send(50)
            shared = len(looked_up)
            with pytest.raises(NoAnswer):
                await transport.send(
                    url_of(broker, topic),
                    REQUEST,
                    identity=ID,
                    credentials=Credentials(username="other", passwords=("x",)),
                )
        return shared, await kept(broker, topic)

    shared, messages = run(main)
    assert shared == 1
    assert len(looked_up) == 2
    assert len({message.headers["Nats-Msg-Id"] for message in messages}) == 51


def test_nothing_runs_on_after_close(broker):
    """Closing ends every task, also those that wait for a broker that says nothing."""

    async def silent(*_: Any) -> None:
        await asyncio.sleep(3600)

    async def main():
        topic = await topic_on(broker)
        async with fake(silent) as dumb:
            transport = Nats(INSIDE)
            await transport.send(
                url_of(broker, topic), REQUEST, identity=ID, credentials=user_of(broker)
            )
            before = asyncio.all_tasks()
            waiting = asyncio.create_task(
                transport.send(f"nats://127.0.0.1:{dumb.port}/a", REQUEST, identity=ID)
            )
            await dumb.called.wait()
            await transport.close()
            with pytest.raises(NoAnswer):
                await waiting
            return before & asyncio.all_tasks() - {asyncio.current_task()}

    assert run(main) == set()


# ---------------------------------------------------------------------------------- not delivered


def test_without_a_stream_it_is_not_delivered(broker):
    """A subject that no stream keeps is a cause of its own, and not silence."""

    async def main():
        await sent(broker, Topic("none", "nobody.listens.here"))

    assert refused(main).cause is Cause.NO_STREAM


def test_another_stream_than_the_urls_does_not_count(broker):
    """With ?stream=NAME a message goes into that stream or into none."""

    async def main():
        topic = await topic_on(broker)
        await sent(broker, topic, more=f"?stream={topic.stream}")
        try:
            await sent(broker, topic, identity="ntf_2", more="?stream=other")
        finally:
            assert len(await kept(broker, topic)) == 1

    assert refused(main).cause is Cause.NO_STREAM


def test_a_full_stream_says_so(broker):
    """What JetStream refuses is not delivered, and its word is in the cause."""

    async def main():
        topic = await topic_on(broker, max_msgs=1, discard="new")
        await sent(broker, topic)
        await sent(broker, topic, identity="ntf_2")

    error = refused(main)
    assert error.cause is Cause.SERVER_ERROR
    assert "maximum messages exceeded" in str(error)


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_login_that_is_refused(own_broker, password):
    """A wrong password, or none, has its own cause; the password is not in the text."""

    async def main():
        topic = await topic_on(own_broker)
        user = Credentials(username=own_broker.username, passwords=(password,) if password else ())
        await sent(own_broker, topic, credentials=user)

    error = refused(main)
    assert error.cause is Cause.LOGIN
    assert "wrong" not in str(error)


def test_a_password_is_rotated_on_either_side_first(broker):
    """While two passwords are held, whichever of them the broker knows lets us in."""

    async def main():
        topic = await topic_on(broker)
        for number, passwords in enumerate([(broker.password, "x"), ("x", broker.password)]):
            user = Credentials(username=broker.username, passwords=passwords)
            await sent(broker, topic, identity=f"ntf_{number}", credentials=user)
        return await kept(broker, topic)

    assert len(run(main)) == 2


@pytest.mark.parametrize(
    "permissions",
    ['publish: { deny: ["*.payments"] }', 'subscribe: { deny: ["_INBOX.>"] }'],
)
def test_a_permission_that_lacks_is_said_at_once(permissions):
    """A user who may not publish there, or not hear the answer, is told before the deadline."""
    limited = f'{{ user: "limited", password: "x", permissions: {{ {permissions} }} }}'
    with nats_or_skip(private=True, users=limited) as server:

        async def main():
            topic = await topic_on(server)
            user = Credentials(username="limited", passwords=("x",))
            await sent(server, topic, credentials=user, deadline=30.0)

        assert refused(main).cause is Cause.LOGIN


def test_a_message_that_is_too_large_costs_nobody_else_the_connection():
    """What is beyond the broker's max_payload is not sent; others go on over the connection."""
    with nats_or_skip(private=True, settings="max_payload: 1024") as server:

        async def main():
            topic = await topic_on(server)
            url, user = url_of(server, topic), user_of(server)
            causes: list[Cause | None] = []
            async with Nats(INSIDE) as transport:
                # The headers count too.
                for size in (10, 1024 - 40, 5000, 10):
                    large = WireRequest(b"x" * size, REQUEST.headers)
                    try:
                        await transport.send(
                            url, large, identity=f"ntf_{len(causes)}", credentials=user
                        )
                        causes.append(None)
                    except NoAnswer as error:
                        causes.append(error.cause)
            return causes

        assert run(main) == [None, Cause.TOO_LARGE, Cause.TOO_LARGE, None]


def test_nobody_there():
    """A port that nothing listens on is unreachable."""

    async def main():
        # Taken, so that nobody else listens there meanwhile.
        with socket() as taken:
            taken.bind(("127.0.0.1", 0))
            async with Nats(INSIDE) as transport:
                url = f"nats://127.0.0.1:{taken.getsockname()[1]}/a.b"
                await transport.send(url, REQUEST, identity=ID)

    assert refused(main).cause is Cause.UNREACHABLE


def test_a_broker_that_hangs_is_left_at_the_deadline(own_broker):
    """A broker that stops answering costs the deadline; the next attempt connects anew."""

    async def main():
        topic = await topic_on(own_broker)
        async with Nats(INSIDE) as transport:

            async def send(identity: str, deadline: float) -> Receipt:
                return await transport.send(
                    url_of(own_broker, topic),
                    REQUEST,
                    identity=identity,
                    deadline=deadline,
                    credentials=user_of(own_broker),
                )

            await send("ntf_0", 20)
            own_broker.pause()
            with pytest.raises(NoAnswer) as caught:
                await send(ID, 0.3)
            own_broker.go_on()
            await send(ID, 20)
        return caught.value.cause, await kept(own_broker, topic)

    cause, messages = run(main)
    assert cause is Cause.BROKER_SILENT
    assert [message.headers["Nats-Msg-Id"] for message in messages] == ["ntf_0", ID]


def test_killed_in_the_middle(own_broker):
    """A broker killed while a message is out ends the attempt at once; again, it is kept once."""

    async def main():
        topic = await topic_on(own_broker)
        async with Nats(INSIDE) as transport:

            async def send(identity: str) -> Receipt:
                return await transport.send(
                    url_of(own_broker, topic),
                    REQUEST,
                    identity=identity,
                    deadline=30,
                    credentials=user_of(own_broker),
                )

            await send("ntf_0")
            own_broker.pause()
            out = asyncio.create_task(send(ID))
            for _ in range(20):
                await asyncio.sleep(0)
            await asyncio.to_thread(own_broker.kill)
            with pytest.raises(NoAnswer) as caught:
                await out
            await asyncio.to_thread(own_broker.restart)
            await send(ID)
            await send(ID)
        return caught.value.cause, await kept(own_broker, topic)

    cause, messages = run(main)
    # On the kept connection it was reset; the second try in the same attempt found nobody.
    assert cause in {Cause.RESET, Cause.UNREACHABLE}
    assert [message.headers["Nats-Msg-Id"] for message in messages] == ["ntf_0", ID]


def test_a_restarted_broker_is_found_again_in_the_same_attempt(own_broker):
    """A kept connection that the broker had closed meanwhile fails no delivery."""

    async def main():
        topic = await topic_on(own_broker)
        async with Nats(INSIDE) as transport:
            for number in range(3):
                await transport.send(
                    url_of(own_broker, topic),
                    REQUEST,
                    identity=f"ntf_{number}",
                    credentials=user_of(own_broker),
                )
                await asyncio.to_thread(own_broker.kill)
                await asyncio.to_thread(own_broker.restart)
        return await kept(own_broker, topic)

    assert len(run(main)) == 3


def test_a_kept_connection_that_breaks_under_a_message_is_replaced(broker):
    """What a kept connection loses is sent again in the same attempt, and kept once."""

    async def main():
        topic = await topic_on(broker)
        calls = []

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            calls.append(1)
            there_reader, there_writer = await asyncio.open_connection(broker.host, broker.port)

            async def back() -> None:
                while data := await there_reader.read(65_536):
                    writer.write(data)

            backwards = asyncio.create_task(back())
            try:
                while data := await reader.read(65_536):
                    there_writer.write(data)
                    if b"ntf_2" in data and len(calls) == 1:
                        # The broker has it; its answer does not come.
                        await there_writer.drain()
                        break
            finally:
                backwards.cancel()
                writer.transport.abort()
                there_writer.close()

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            async with Nats(INSIDE) as transport:
                for number in (1, 2):
                    await transport.send(
                        f"nats://127.0.0.1:{port}/{topic.subject}",
                        REQUEST,
                        identity=f"ntf_{number}",
                        credentials=user_of(broker),
                    )
        finally:
            server.close()
        return len(calls), await kept(broker, topic)

    calls, messages = run(main)
    assert calls == 2
    assert [message.headers["Nats-Msg-Id"] for message in messages] == ["ntf_1", "ntf_2"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"+OK",
        b"{}",
        b"[]",
        b"7",
        b'{"stream": 5, "seq": 1}',
        b'{"stream": "s", "seq": "1"}',
        b'{"stream": "s"}',
        b'{"error": {}}',
        b'{"error": "no"}',
        b'{"error": {"code": 400, "unheard_of": 1}}',
        b"\xff\xfe",
    ],
)
def test_an_answer_that_is_no_acknowledgement(broker, answer):
    """Whoever answers on the subject, only a stream's acknowledgement makes it delivered."""

    async def main():
        async with client(broker) as other:

            async def reply(message: Any) -> None:
                await message.respond(answer)

            await other.subscribe("impostor.payments", cb=reply)
            await other.flush()
            await sent(broker, Topic("none", "impostor.payments"))

    assert refused(main).cause is Cause.NOT_NATS


# ---------------------------------------------------------------------------------- hostile brokers

WITHOUT_TLS = b'{"server_id":"x","version":"2.15.0","headers":true,"max_payload":1048576}'


@pytest.mark.parametrize(
    "talk",
    [
        greets(b"no json"),
        greets(b"{}" * 30_000),
        greets(b"[]"),
        greets(b'"text"'),
        greets(b'{"max_payload":"many"}'),
        greets(b'{"connect_urls":[5]}'),
        greets(WITHOUT_TLS, b""),
        greets(WITHOUT_TLS, b"HTTP/1.1 200 OK\r\n\r\n"),
        greets(WITHOUT_TLS, b"-ERR 'maximum connections exceeded'\r\n"),
        greets(WITHOUT_TLS, b"PONG\r\nMSG x x\r\n"),
        greets(WITHOUT_TLS, b"PONG\r\nMSG a 1 999999999999\r\n" + b"x" * 3_000_000),
        greets(WITHOUT_TLS, b"PONG\r\n" + b"PING\r\n" * 200_000),
        greets(WITHOUT_TLS, b"PONG\r\nINFO {\r\n"),
        greets(WITHOUT_TLS, b"PONG\r\n-ERR 'who are you'\r\n"),
    ],
)
def test_whatever_a_server_says_there_is_a_cause(talk):
    """No server, whatever it sends, makes anything but NoAnswer, and none outlasts the deadline."""

    async def main():
        async with fake(talk) as server, Nats(INSIDE) as transport:
            await transport.send(
                f"nats://127.0.0.1:{server.port}/a.b", REQUEST, identity=ID, deadline=1.5
            )

    assert refused(main).cause not in {Cause.INTERNAL, Cause.DELIVERED}


def test_a_server_that_floods_is_left():
    """What comes without an end is not read to its end, nor until the deadline."""

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + WITHOUT_TLS + b"\r\n")
        await asyncio.sleep(0)
        writer.write(b"PONG\r\nMSG a 1 999999999999\r\n")
        while True:
            writer.write(bytes(65_536))
            await writer.drain()

    async def main():
        async with fake(flood) as server, Nats(INSIDE) as transport:
            await transport.send(
                f"nats://127.0.0.1:{server.port}/a.b", REQUEST, identity=ID, deadline=30
            )

    assert refused(main).cause is Cause.RESET


def test_a_web_server_is_no_broker():
    """HTTP on that port is told apart from a broker that is down."""

    async def main():
        async with shop(ok) as merchant, Nats(INSIDE) as transport:
            url = merchant.url.replace("http://", "nats://")
            await transport.send(url.replace("/hook", "/a"), REQUEST, identity=ID, deadline=2)

    assert refused(main).cause in {Cause.NOT_NATS, Cause.BROKER_SILENT}


def test_tls_that_is_denied_gets_not_a_byte():
    """A server that says it has no TLS is told nothing over tls+nats: no name, no password."""

    async def main():
        async with fake(greets(WITHOUT_TLS)) as server, Nats(INSIDE) as transport:
            with pytest.raises(NoAnswer) as caught:
                await transport.send(
                    f"tls+nats://127.0.0.1:{server.port}/a.b",
                    REQUEST,
                    identity=ID,
                    credentials=Credentials(username="u", passwords=("p",)),
                )
            return caught.value.cause, bytes(server.said)

    assert run(main) == (Cause.TLS_HANDSHAKE, b"")


def test_no_other_server_is_called():
    """Servers that a broker names are not called: nobody has looked at their addresses."""

    async def main():
        async with fake(greets(b"{}")) as other:
            named = json.dumps(
                {**json.loads(WITHOUT_TLS), "connect_urls": [f"127.0.0.1:{other.port}"]}
            )
            async with fake(greets(named.encode(), b"PONG\r\n-ERR 'stale connection'\r\n")) as one:
                async with Nats(INSIDE) as transport:
                    for number in range(3):
                        with pytest.raises(NoAnswer):
                            await transport.send(
                                f"nats://127.0.0.1:{one.port}/a.b",
                                REQUEST,
                                identity=str(number),
                                deadline=30,
                            )
                return one.calls, other.calls

    calls, others = run(main)
    assert calls > 0
    assert others == 0


# ---------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def tls_broker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    pem, key, trust = certificate(folder)
    settings = f'tls {{ cert_file: "{pem}", key_file: "{key}" }}'
    with nats_or_skip(private=True, settings=settings) as server:
        yield server, trust


def test_over_tls(tls_broker):
    """tls+nats with a certificate that is trusted delivers."""
    server, trust = tls_broker

    async def main():
        async with Nats(Reach(allow_private=True, trust=trust)) as transport:
            url = server.url.replace("nats://", "tls+nats://") + "/nobody.listens"
            await transport.send(url, REQUEST, identity=ID, credentials=user_of(server))

    # So far it comes with TLS only: logged in, published, and no stream there.
    assert refused(main).cause is Cause.NO_STREAM


@pytest.mark.parametrize("scheme", ["nats", "tls+nats"])
def test_a_certificate_that_is_not_trusted(tls_broker, scheme):
    """An untrusted certificate ends the attempt, also where only the broker asked for TLS."""
    server, _ = tls_broker

    async def main():
        async with Nats(INSIDE) as transport:
            url = server.url.replace("nats://", f"{scheme}://") + "/a"
            await transport.send(url, REQUEST, identity=ID, credentials=user_of(server))

    assert refused(main).cause is Cause.TLS


# ---------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("host", "cause"),
    [
        ("127.0.0.1", Cause.ADDRESS),
        ("[::1]", Cause.ADDRESS),
        ("[::ffff:127.0.0.1]", Cause.ADDRESS),
        ("broker.example", Cause.ADDRESS),
        ("2130706433", Cause.ADDRESS),
        ("0x7f.1", Cause.ADDRESS),
    ],
)
def test_no_connection_inside(broker, monkeypatch, host, cause):
    """Without leave no address of the house is connected to, however it is written or found."""
    monkeypatch.setattr(
        names_module,
        "_looked_up",
        lambda _host, port, _family: [
            Address(AF_INET, 6, "8.8.8.8", port),
            Address(AF_INET, 6, "127.0.0.1", port),
        ],
    )

    async def main():
        async with fake(greets(WITHOUT_TLS)) as inner:
            reach = Reach(ports=frozenset({inner.port}))
            async with Nats(reach) as transport:
                with pytest.raises(NoAnswer) as caught:
                    await transport.send(
                        f"tls+nats://{host}:{inner.port}/a.b", REQUEST, identity=ID
                    )
            return caught.value.cause, inner.calls

    assert run(main) == (cause, 0)


def test_the_wall_is_where_it_connects(broker):
    """An address that slipped through the look-up is still not connected to."""

    class Careless(Names):
        async def addresses(self, host: str, port: int, **_: Any) -> list[Address]:
            return [Address(AF_INET, 6, "127.0.0.1", port)]

    async def main():
        async with fake(greets(WITHOUT_TLS)) as inner:
            reach = Reach(ports=frozenset({inner.port}))
            async with Nats(reach, names=Careless()) as transport:
                with pytest.raises(NoAnswer) as caught:
                    await transport.send(
                        f"tls+nats://broker.example:{inner.port}/a", REQUEST, identity=ID
                    )
            return caught.value.cause, inner.calls

    assert run(main) == (Cause.ADDRESS, 0)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\nvia: x\r\n\r\n", b"HTTP/1.1 403 No\r\n\r\n", b"what?"]
)
def test_through_the_egress_proxy(tls_broker, answer):
    """Where a proxy is set, a broker under TLS is reached through it alone, by name, or not at all."""
    server, trust = tls_broker

    async def main():
        asked = []

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            there_reader, there_writer = await asyncio.open_connection(server.host, server.port)

            async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
                while data := await source.read(65_536):
                    to.write(data)
                to.close()

            try:
                if b" 200 " in answer:
                    ways = (pass_on(reader, there_writer), pass_on(there_reader, writer))
                    await asyncio.gather(*ways)
            except ConnectionError:
                pass
            finally:
                writer.close()
                there_writer.transport.abort()

        proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        reach = Reach(allow_private=True, trust=trust, proxy=f"http://user:word@127.0.0.1:{port}")
        url = server.url.replace("nats://", "tls+nats://") + "/nobody.listens"
        try:
            async with Nats(reach) as transport:
                with pytest.raises(NoAnswer) as caught:
                    await transport.send(
                        url, REQUEST, identity=ID, credentials=user_of(server), deadline=30
                    )
            return caught.value, asked
        finally:
            proxy.close()

    error, asked = run(main)
    assert asked == [
        f"CONNECT {server.host}:{server.port} HTTP/1.1\r\n"
        f"host: {server.host}:{server.port}\r\nuser-agent: {USER_AGENT}\r\n"
        "proxy-authorization: Basic dXNlcjp3b3Jk\r\n\r\n".encode()
    ]
    # Through it the broker is spoken with, who has no such stream.
    assert error.cause is (Cause.NO_STREAM if b" 200 " in answer else Cause.PROXY)
    assert ("403" in str(error)) == (b"403" in answer)


@pytest.mark.parametrize("host", ["127.0.0.1", "broker.example"])
def test_before_the_egress_proxy(monkeypatch, host):
    """What we can see leading inside does not even get as far as the proxy."""
    monkeypatch.setattr(
        names_module,
        "_looked_up",
        lambda _host, port, _family: [Address(AF_INET, 6, "10.0.0.1", port)],
    )

    async def main():
        async with fake(greets(b"{}")) as proxy:
            async with Nats(Reach(proxy=f"http://127.0.0.1:{proxy.port}")) as transport:
                with pytest.raises(NoAnswer) as caught:
                    await transport.send(f"tls+nats://{host}/a.b", REQUEST, identity=ID)
            return caught.value.cause, proxy.calls

    assert run(main) == (Cause.ADDRESS, 0)


# ---------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("nats://h", "no subject"),
        ("nats://h/", "no subject"),
        ("nats://h/a.*", "wildcards"),
        ("nats://h/a.>", "wildcards"),
        ("nats://h/a..b", "not a subject"),
        ("nats://h/.a", "not a subject"),
        ("nats://h/a.", "not a subject"),
        ("nats://h/a/b", "not a subject"),
        ("nats://h/$JS.API.STREAM.DELETE.x", "not a subject"),
        ("nats://h/a%20b", "not a subject"),
        ("nats://h/a%0d%0aPUB", "not a subject"),
        ("nats://h/a b", "space"),
        ("nats://h/a\r\nPUB x", "space"),
        ("nats://u:p@h/a", "--username"),
        ("nats://u@h/a", "--username"),
        ("nats:///a", "no host"),
        ("nats://h:0/a", "port 0"),
        ("nats://h:99999/a", "cannot be read"),
        ("nats://h/a#b", "#"),
        ("nats://h/a?stream=", "name of a stream"),
        ("nats://h/a?stream=x.y", "name of a stream"),
        ("nats://h/a?stream=x&stream=y", "once"),
        ("nats://h/a?tls=no", "nothing else"),
        ("ws://h/a", "begins with"),
        ("nats://h/" + "a" * 3000, "characters"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(url, word):
    """What cannot be a broker and a subject is refused with a sentence, without a call."""
    with pytest.raises(Refused) as caught:
        check(url)
    assert word in str(caught.value)
    assert "u:p" not in str(caught.value)


def test_a_url_that_leads_somewhere():
    """Host, port, subject and stream are read as they are written."""
    assert target("tls+nats://broker.example/bank.payments_in?stream=PAY") == (
        "broker.example",
        4222,
        True,
        "bank.payments_in",
        "PAY",
    )
    assert target("nats://[::1]:4333/a", allow_private=True)[:3] == ("::1", 4333, False)


def test_payments_do_not_go_in_the_clear():
    """Plain nats:// is for a network of one's own, and is said to need leave."""
    with pytest.raises(Refused, match="in the clear"):
        target("nats://broker.example/a")
    with pytest.raises(Refused, match="tls"):
        check("nats://broker.example/a")
    assert check("tls+nats://broker.example/a") == []
    assert "--allow-private" in check("nats://nats/a")[0]
    assert "--allow-port 4333" in check("tls+nats://broker.example:4333/a")[0]
    with pytest.raises(Refused, match="4333"):
        target("tls+nats://broker.example:4333/a")
    assert target("tls+nats://b.example:4333/a", ports=frozenset({4333})).port == 4333


# ---------------------------------------------------------------------------------- entering


def test_a_broker_that_would_keep_it_is_named(broker):
    """Entering an endpoint finds the stream that keeps its subject, and publishes nothing."""
    topic = run(lambda: topic_on(broker))
    assert probe(url_of(broker, topic), user_of(broker)) == [
        f"the stream {topic.stream} keeps the subject"
    ]
    assert run(lambda: kept(broker, topic)) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"subject": "nobody.listens.here"}, "no stream"),
        ({"more": "?stream=other"}, "no stream"),
        ({"password": "wrong"}, "does not let us in"),
        ({"port": 1}, "nothing accepts connections"),
    ],
)
def test_a_broker_that_would_not_is_refused_when_it_is_entered(broker, change, word):
    """A broker that is not there, or would keep nothing, is refused with its reason and the way round."""
    topic = run(lambda: topic_on(broker))
    port = change.get("port", broker.port)
    subject = change.get("subject", topic.subject)
    url = f"nats://{broker.host}:{port}/{subject}{change.get('more', '')}"
    user = Credentials(
        username=broker.username, passwords=(change.get("password", broker.password),)
    )
    with pytest.raises(Refused) as caught:
        probe(url, user)
    assert word in str(caught.value)
    assert "--unchecked" in str(caught.value)


def test_a_user_who_may_only_publish_is_let_pass():
    """Where the broker does not let this user ask, a note says so: it may well deliver."""
    limited = '{ user: "limited", password: "x", permissions: { publish: ["*.payments"] } }'
    with nats_or_skip(private=True, users=limited) as server:
        topic = run(lambda: topic_on(server))
        user = Credentials(username="limited", passwords=("x",))
        assert "does not say" in probe(url_of(server, topic), user)[0]
        assert "sequence 1" in run(lambda: sent(server, topic, credentials=user)).text


# ---------------------------------------------------------------------------------- the worker


def test_a_broker_that_comes_back_gets_what_was_queued(own_broker, sqlite_hub):
    """Deliveries to a killed broker wait and are tried again; each is in the stream once."""

    async def main():
        topic = await topic_on(own_broker)
        endpoint = sqlite_hub.endpoint(
            url_of(own_broker, topic), credentials=user_of(own_broker, (SECRET,))
        )
        await asyncio.to_thread(own_broker.kill)
        ids = sqlite_hub.queue(endpoint, 5)
        clock = Clock()
        async with running(sqlite_hub.worker(clock=clock, schedule=Schedule((0, 5)))) as worker:
            watch = Watch(worker)
            await watch.until(lambda: all(sqlite_hub.attempts(item) for item in ids))
            causes = {sqlite_hub.attempts(item)[0].cause for item in ids}
            await asyncio.to_thread(own_broker.restart)
            clock.forward(60)
            worker.wake()
            await watch.until(lambda: sqlite_hub.states(ids) == ["delivered"] * 5)
        return causes, await kept(own_broker, topic), [sqlite_hub.attempts(i)[-1] for i in ids]

    causes, messages, attempts = run(main)
    assert causes == {"unreachable"}
    assert len(messages) == 5
    assert all("sequence" in attempt.detail for attempt in attempts)


def test_the_scheme_chooses_the_transport(broker):
    """The seam takes a nats:// endpoint to the broker."""

    async def main():
        topic = await topic_on(broker)
        async with Transports(INSIDE) as transports:
            return await transports.send(
                url_of(broker, topic), REQUEST, identity=ID, credentials=user_of(broker)
            )

    assert isinstance(run(main), Receipt)
