"""Servers inside, which nobody must reach, and a record of every connection that is begun."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from contextlib import asynccontextmanager

OUTSIDE = "8.8.8.8"


class Canary:
    """A server inside: every connection that it sees is a hole in the wall."""

    def __init__(self) -> None:
        self.connects = 0
        self.port = 0

    async def seen(self, reader, writer):
        self.connects += 1
        writer.close()


@asynccontextmanager
async def canary():
    bird = Canary()
    servers = [await asyncio.start_server(bird.seen, "127.0.0.1", 0)]
    bird.port = servers[0].sockets[0].getsockname()[1]
    # A machine without IPv6 has no hole there either.
    with contextlib.suppress(OSError):
        servers.append(await asyncio.start_server(bird.seen, "::1", bird.port))
    try:
        yield bird
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


class Connects:
    """What every socket of this process was connected to. Only this machine is really called.

    Attributes:
        peers: the addresses, in order.
    """

    def __init__(self, monkeypatch) -> None:
        self.peers: list[str] = []
        really = socket.socket.connect

        def connect(it, address):
            host = str(address[0])
            self.peers.append(host)
            if not host.startswith("127.") and host != "::1":
                raise OSError(errno.ENETUNREACH, "Network is unreachable")
            return really(it, address)

        monkeypatch.setattr(socket.socket, "connect", connect)


class Resolver:
    """The system's resolver: numbers in all their spellings, `localhost`, and the names given.

    Attributes:
        names: by name, the lists of addresses that look-ups find, one after the other; the last
            one for ever.
    """

    def __init__(self, monkeypatch) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self._ask = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._found)

    def _found(self, host, port, *args, **kwargs):
        answers = self.names.get(host.lower().rstrip("."))
        if answers is not None:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            return [_info(address, port) for address in answer]
        if _is_number(host) or host.lower() == "localhost":
            return self._ask(host, port, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def _info(address, port):
    is_6 = ":" in address
    family = socket.AF_INET6 if is_6 else socket.AF_INET
    return family, socket.SOCK_STREAM, 6, "", (address, port, 0, 0) if is_6 else (address, port)


def _is_number(host):
    try:
        socket.inet_aton(host)
    except OSError:
        return ":" in host
    return True
