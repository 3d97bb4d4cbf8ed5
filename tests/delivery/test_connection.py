"""One connection to an endpoint: what is an answer, however its bytes come in, and what is none."""

from __future__ import annotations

import asyncio
import ssl
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arifa.delivery.bounds import AROUND_MAX, BODY_MAX, HEAD_MAX, HEADERS_MAX, INTERIM_MAX
from arifa.delivery.connection import Connection, Ended, NotHttp, TooMuch

STATUS = b"HTTP/1.1 200 OK\r\n"
CHUNKED = STATUS + b"transfer-encoding: chunked\r\n\r\n"
OK = STATUS + b"content-length: 2\r\n\r\nok"


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and whose end is the connection's at once."""

    def __init__(self, connection):
        super().__init__()
        self.written = []
        self.is_aborted = False
        self._connection = connection
        connection.connection_made(self)

    def write(self, data):
        self.written.append(data)

    def abort(self):
        if not self.is_aborted:
            self.is_aborted = True
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)


async def heard(*pieces, end=True, error=None):
    """What a request comes to whose answer comes in these pieces: (answer or error, connection)."""
    loop = asyncio.get_running_loop()
    connection = Connection(loop)
    wire = Wire(connection)
    waiter = connection.ask(b"POST", loop.time() + 60)
    for piece in pieces:
        connection.data_received(piece)
    if end and not wire.is_aborted:
        connection.connection_lost(error)
    try:
        return await waiter, connection
    except (Ended, NotHttp, TooMuch) as failure:
        return failure, connection


def answer(*pieces, **how):
    found, connection = asyncio.run(heard(*pieces, **how))
    assert not isinstance(found, Exception), repr(found)
    return found, connection


def failure(*pieces, **how):
    found, connection = asyncio.run(heard(*pieces, **how))
    assert isinstance(found, Exception), found
    assert not connection.is_open
    return found


ANSWERS = [
    OK,
    OK.replace(b"\r\n", b"\n"),
    STATUS + b"x-empty:\r\nx-last: a\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" * 3 + OK,
    CHUNKED + b"2;a=b\r\nok\r\n3\r\n!!!\r\n0\r\nx-trailer: a\r\n\r\n",
    STATUS + b"content-length: 2000\r\n\r\n" + b"y" * 2000,
    b"HTTP/1.1 204\r\n\r\n",
    b"HTTP/1.1 304 Same\r\ncontent-length: 5\r\n\r\n",
    STATUS + b"upgrade: h2,h2c\r\nconnection: Upgrade\r\ncontent-length: 2\r\n\r\nok",
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ANSWERS), st.sets(st.integers(1, 2200), max_size=12))
def test_pieces_make_no_difference(message, cuts):
    """However an answer is cut on its way, it is the same answer, and its connection is kept."""
    places = [0, *sorted(cut for cut in cuts if cut < len(message)), len(message)]
    pieces = [message[a:b] for a, b in pairwise(places)]
    whole, _ = answer(message, end=False)
    found, connection = answer(*pieces, end=False)
    assert found == whole
    assert connection.is_open


def test_what_an_answer_says():
    """Its status, its headers in their order and case, and its body without chunks or trailers."""
    found, _ = answer(b"HTTP/1.1 103 Hints\r\nlink: a\r\n\r\n" + ANSWERS[4], end=False)
    assert found.status == 200
    assert found.headers == ((b"transfer-encoding", b"chunked"),)
    assert found.body == b"ok!!!"
    found, _ = answer(
        STATUS + b"X-Twice: a \r\nx-twice:\tb\r\ncontent-length: 0\r\n\r\n", end=False
    )
    assert found.headers[:2] == ((b"X-Twice", b"a"), (b"x-twice", b"b"))


@pytest.mark.parametrize(
    "message",
    [
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        STATUS + b"connection: close\r\ncontent-length: 2\r\n\r\nok",
        STATUS + b"\r\nok",
        OK + OK,
    ],
)
def test_answers_after_which_it_is_closed(message):
    """Old HTTP, one that says so, one that ends with the connection, one with another behind it."""
    found, connection = answer(message)
    assert found.body == b"ok"
    assert not connection.is_open


@pytest.mark.parametrize(
    "message",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"<html>It works!</html>\n",
        b"RTSP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"ICE/1.0 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        STATUS + b"content-length: 2\r\ncontent-length: 2\r\n\r\nok",
        STATUS + b"content-length: 2, 2\r\n\r\nok",
        STATUS + b"content-length: +2\r\n\r\nok",
        STATUS + b"content-length: -2\r\n\r\nok",
        STATUS + b"content-length: \r\n\r\nok",
        STATUS + b"content-length: " + b"9" * 40 + b"\r\n\r\nok",
        STATUS + b"content-length : 2\r\n\r\nok",
        STATUS + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        STATUS + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\nok\r\n",
        CHUNKED + b"-1\r\nok\r\n",
        CHUNKED + b"f" * 40 + b"\r\nok\r\n",
        CHUNKED + b"2\r\nokay\r\n0\r\n\r\n",
        STATUS + b"x-a: b\r\n folded\r\ncontent-length: 0\r\n\r\n",
        STATUS + b"x-a: b\x00c\r\ncontent-length: 0\r\n\r\n",
        STATUS + b"x-a: b\rc\r\ncontent-length: 0\r\n\r\n",
        STATUS + b"x a: b\r\ncontent-length: 0\r\n\r\n",
        STATUS + b": b\r\ncontent-length: 0\r\n\r\n",
        OK + b" and more",
    ],
)
def test_what_is_no_answer(message):
    """Other protocols and versions, lengths in doubt, what could be read in two ways."""
    assert isinstance(failure(message), NotHttp)


@pytest.mark.parametrize(
    "message",
    [
        b"HTTP/1.1 200 " + b"y" * (HEAD_MAX + 2048),
        STATUS + b"x-a: " + b"y" * (HEAD_MAX + 2048),
        STATUS + b"x: y\r\n" * (HEADERS_MAX + 2),
        b"HTTP/1.1 103 Hints\r\n\r\n" * (INTERIM_MAX + 1),
        CHUNKED + b"1;" + b"y" * (AROUND_MAX + 2048),
        CHUNKED + b"1\r\ny\r\n" * AROUND_MAX,
        CHUNKED + b"0\r\n" + b"x: y\r\n" * AROUND_MAX,
    ],
)
def test_what_is_without_measure(message):
    """Each part that HTTP does not bound is bounded, also where all of it comes in one reading."""
    assert isinstance(failure(message), TooMuch)
    assert isinstance(failure(*(message[at : at + 7] for at in range(0, len(message), 7))), TooMuch)


@pytest.mark.parametrize(
    "message",
    [b"", STATUS, STATUS + b"x-a", OK[:-1], CHUNKED + b"2\r\nok\r\n", CHUNKED],
)
def test_an_end_before_the_end(message):
    """What breaks off is no answer, nor is one whose end a reset cut off."""
    assert isinstance(failure(*filter(None, [message])), Ended)
    broken = failure(STATUS + b"\r\nhalf", error=ConnectionResetError())
    assert isinstance(broken.__cause__, ConnectionResetError)


def test_a_refusal_behind_the_handshake_is_kept():
    """What ended the connection is the cause of its end, also where nothing had been asked yet."""
    assert isinstance(failure(error=ssl.SSLError()).__cause__, ssl.SSLError)

    async def main():
        loop = asyncio.get_running_loop()
        connection = Connection(loop)
        Wire(connection)
        connection.connection_lost(ssl.SSLError())
        with pytest.raises(Ended) as caught:
            await connection.ask(b"POST", loop.time() + 60)
        return caught.value.__cause__

    assert isinstance(asyncio.run(main()), ssl.SSLError)


@pytest.mark.parametrize("head", [STATUS + b"\r\n", STATUS + b"content-length: 999999\r\n\r\n"])
def test_more_body_than_is_read(head):
    """It is an answer when enough of it has come, and the connection ends there."""
    found, connection = answer(head, b"y" * (BODY_MAX + 5000), b"more", end=False)
    assert len(found.body) == BODY_MAX
    assert not connection.is_open


def test_what_comes_unasked():
    """Before a request or after its answer: the connection is closed, and the next one fails."""

    async def main():
        loop = asyncio.get_running_loop()
        fresh = Connection(loop)
        Wire(fresh)
        fresh.data_received(OK)
        _, used = await heard(OK, end=False)
        used.data_received(OK)
        for connection in (fresh, used):
            assert not connection.is_open
            with pytest.raises(NotHttp):
                await connection.ask(b"POST", loop.time() + 60)

    asyncio.run(main())


def test_one_answer_after_the_other():
    """A kept connection asks again, and nothing of the answer before is in the next one."""

    async def main():
        loop = asyncio.get_running_loop()
        connection = Connection(loop)
        wire = Wire(connection)
        said = []
        for message in ANSWERS:
            waiter = connection.ask(b"POST", loop.time() + 60)
            assert connection.received == 0
            connection.data_received(message)
            said.append(await waiter)
        return said, len(wire.written)

    said, written = asyncio.run(main())
    assert written == len(ANSWERS)
    assert said == [answer(message, end=False)[0] for message in ANSWERS]


def test_a_deadline_closes_it():
    """Who has not answered by then is not listened to any longer."""

    async def main():
        loop = asyncio.get_running_loop()
        connection = Connection(loop)
        wire = Wire(connection)
        with pytest.raises(TimeoutError):
            await connection.ask(b"POST", loop.time())
        return wire.is_aborted, connection.is_open

    assert asyncio.run(main()) == (True, False)
