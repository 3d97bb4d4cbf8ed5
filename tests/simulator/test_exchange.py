"""One exchange over real sockets: the bytes, the pace, and what is said where nobody answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from arifa.errors import Refused
from arifa.simulator.exchange import Pace, exchange
from arifa.wire import WireRequest, read_request

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-note: a\r\n\r\nok"
REQUEST = WireRequest(b'{"a": 1}', ((b"signature", b"c2ln"), (b"host", b"elsewhere")))


class Server:
    """Takes one connection; keeps what came, and how many pieces it came in."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/ipn/secret-path"
        self.came = b""
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self.listening.accept()
        with connection:
            while not self.came.endswith(REQUEST.body):
                self.came += connection.recv(65536)
            self._answer(connection)

    def close(self) -> None:
        self._thread.join(10)
        self.listening.close()


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], Server]]:
    opened: list[Server] = []

    def start(answer: bytes) -> Server:
        opened.append(Server(lambda connection: connection.sendall(answer)))
        return opened[-1]

    yield start
    for server in opened:
        server.close()


@pytest.mark.parametrize("pace", [Pace(), Pace(pieces=4), Pace(pieces=100, seconds=0.05)])
def test_the_bytes_arrive(serve: Callable[[bytes], Server], pace: Pace):
    """Whatever the pace, the headers and the body are the given ones, and the host is the URL's."""
    server = serve(ANSWER)
    answer = exchange(server.url, REQUEST, pace=pace)
    came = read_request(server.came)
    assert came.body == REQUEST.body
    assert came.target == "/ipn/secret-path"
    assert came.values(b"signature") == [b"c2ln"]
    assert came.values(b"host") == [server.url.split("/")[2].encode()]
    assert (answer.status, answer.body) == (200, b"ok")
    assert (b"x-note", b"a") in answer.headers


@pytest.mark.parametrize("answer", [b"", b"SMTP ready\r\n\r\n"])
def test_no_http_answer(serve: Callable[[bytes], Server], answer: bytes):
    """Hanging up, or something that is not HTTP, is one sentence without the path."""
    server = serve(answer)
    with pytest.raises(Refused, match="does not answer") as raised:
        exchange(server.url, REQUEST)
    assert "secret-path" not in str(raised.value)


def test_nobody_is_there():
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # so that nobody else listens there meanwhile
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(Refused, match="connection refused"):
            exchange(url, REQUEST)


def test_no_answer_in_time():
    """Who takes the request and says nothing is not waited for without end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(Refused, match="in time"):
            exchange(url, REQUEST, timeout=0.05)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "127.0.0.1:8080", "http://", "http://a:b/"])
def test_an_address_that_is_none(url: str):
    """The sentence says how to write one."""
    with pytest.raises(Refused, match="http://HOST:PORT"):
        exchange(url, REQUEST)
