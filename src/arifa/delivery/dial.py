"""Sockets: connected to an address that was checked, or through the egress proxy.

What counts is the address that is connected to, never the text: a resolver, a spelling or a second
look-up may say anything. Behind an egress proxy the proxy decides, and we refuse before it what we
can see leading inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from yarl import URL

from arifa.delivery.addresses import AddressRefused, is_address, is_public
from arifa.delivery.cause import Cause, NoAnswer
from arifa.delivery.diagnosis import Phase, Way, broken
from arifa.delivery.message import USER_AGENT
from arifa.delivery.names import LOOKUP_SECONDS, Address, Names, NameUnanswered
from arifa.delivery.transport import Reach

PROXIED_LOOKUP_SECONDS: Final = 2.0
"""How long our own look-up may take before a name is left to the egress proxy."""
CONNECT_SECONDS: Final = 4.0
"""For a broker's socket, whichever of its addresses answers."""
NEXT_SECONDS: Final = 0.25
"""How long an address may be silent before the next one is tried beside it (RFC 8305, 8)."""
PROXY_ANSWER_MAX: Final = 8_192

_NUMBER_LAST: Final = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?$")


class ProxyRefused(OSError):
    """The egress proxy did not lead there; `said` is what it answered, for the operator."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


class Lookup(Protocol):
    """Who knows where names lead: `Names`, or what is put before it."""

    async def addresses(
        self, host: str, port: int, *, seconds: float = LOOKUP_SECONDS
    ) -> list[Address]:
        """As `Names.addresses`."""
        ...

    def close(self) -> None:
        """Take no more."""
        ...


class Dialer:
    """Connects for one transport. Made inside a running event loop."""

    def __init__(self, reach: Reach, names: Lookup | None = None) -> None:
        self._reach = reach
        self._names = names or Names(allow_private=reach.allow_private)
        self._proxys = Names(allow_private=True)
        self._proxy = None if reach.proxy is None else URL(reach.proxy)

    async def connected(self, host: str, port: int, *, is_secure: bool) -> socket.socket:
        """A socket connected there, for a broker's client, which knows no causes.

        Raises:
            NoAnswer: there is no connection.
        """
        way = Way(Phase.LOOKING_UP)
        try:
            async with asyncio.timeout(LOOKUP_SECONDS + CONNECT_SECONDS):
                return await self.dialled(host, port, is_secure=is_secure, way=way)
        except ProxyRefused as error:
            raise NoAnswer(Cause.PROXY, error.said) from error
        except TimeoutError as error:
            raise NoAnswer(Cause.PROXY if way.is_proxied else Cause.CONNECT_TIMEOUT) from error
        except OSError as error:
            raise broken(error, way) from error

    async def dialled(self, host: str, port: int, *, is_secure: bool, way: Way) -> socket.socket:
        """A socket connected there; what is not under TLS goes through no proxy.

        Args:
            way: is kept up to date with how far it came.

        Raises:
            AddressRefused: it leads inside. NameUnanswered, socket.gaierror: nobody knows where.
            ProxyRefused: the proxy leads nowhere. OSError: nothing answers.
        """
        way.phase = Phase.LOOKING_UP
        if not self._reach.allow_private and _is_odd_address(host):
            raise AddressRefused
        if self._proxy is not None and is_secure:
            await self._see_before_the_proxy(host, port)
            way.is_proxied = True
            return await self._tunnelled(self._proxy, host, port, way)
        found = await self._names.addresses(host, port)
        way.phase = Phase.CONNECTING
        return await _reached(found, allow_private=self._reach.allow_private)

    def close(self) -> None:
        """Take no more."""
        self._names.close()
        self._proxys.close()

    async def _see_before_the_proxy(self, host: str, port: int) -> None:
        """Refuse what our own resolver knows to lead inside; what it does not know is the proxy's."""
        if self._reach.allow_private or is_address(host):
            return
        with contextlib.suppress(socket.gaierror, NameUnanswered):
            await self._names.addresses(host, port, seconds=PROXIED_LOOKUP_SECONDS)

    async def _tunnelled(self, proxy: URL, host: str, port: int, way: Way) -> socket.socket:
        found = await self._proxys.addresses(proxy.raw_host or "", proxy.port or 80)
        way.phase = Phase.CONNECTING
        to_proxy = await _reached(found, allow_private=True)
        way.phase = Phase.TUNNELLING
        try:
            await _led_to(to_proxy, proxy, host, port)
        except BaseException:
            to_proxy.close()
            raise
        return to_proxy


def _is_odd_address(host: str) -> bool:
    """Whether it is an IPv4 address in another spelling than the ordinary, on which readers differ:
    010.0.0.1 is 8.0.0.1 to some and 10.0.0.1 to others. No name ends in a number."""
    return _NUMBER_LAST.search(host) is not None and not is_address(host)


async def _reached(addresses: Sequence[Address], *, allow_private: bool) -> socket.socket:
    """A socket connected to the first that answers; who is silent holds nobody up.

    Raises:
        AddressRefused: one of them is not public. OSError: none answers.
    """
    waiting = deque(addresses)
    trying: set[asyncio.Task[socket.socket]] = set()
    failure = OSError("no address")
    try:
        while waiting or trying:
            if waiting:
                trying.add(asyncio.create_task(_connected(waiting.popleft(), allow_private)))
            ended, _ = await asyncio.wait(
                trying,
                timeout=NEXT_SECONDS if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in ended:
                trying.discard(task)
                error = task.exception()
                if error is None:
                    return task.result()
                if isinstance(error, AddressRefused) or not isinstance(error, OSError):
                    raise error
                failure = error
        raise failure
    finally:
        for task in trying:
            task.cancel()
            task.add_done_callback(_dropped)


async def _connected(address: Address, allow_private: bool) -> socket.socket:
    # The wall: what is connected to is what is looked at, before and after.
    if not allow_private and not is_public(address.host):
        raise AddressRefused
    made = socket.socket(address.family, socket.SOCK_STREAM)
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address.host, address.port))
    except BaseException:
        made.close()
        raise
    if not allow_private and not _ends_outside(made):
        made.close()
        raise AddressRefused
    return made


def _ends_outside(made: socket.socket) -> bool:
    try:
        peer = made.getpeername()
    except OSError:
        # It has ended already, and fails when it is used.
        return True
    return is_public(str(peer[0]))


def _dropped(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _led_to(to_proxy: socket.socket, proxy: URL, host: str, port: int) -> None:
    """Ask an HTTP proxy to lead there (CONNECT, RFC 9110, 9.3.6).

    Raises:
        ProxyRefused: it does not. OSError: the connection to it broke.
    """
    loop = asyncio.get_running_loop()
    answer = bytearray()
    await loop.sock_sendall(to_proxy, _asked(proxy, host, port))
    while not answer.endswith(b"\r\n\r\n") and len(answer) < PROXY_ANSWER_MAX:
        # One at a time: right behind the answer may come the endpoint's greeting.
        byte = await loop.sock_recv(to_proxy, 1)
        if not byte:
            break
        answer += byte
    status = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    if status is None or status[1] != b"200":
        said = f"it answered {status[1].decode()}" if status else "it does not speak HTTP"
        raise ProxyRefused(said)


def _asked(proxy: URL, host: str, port: int) -> bytes:
    there = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {there} HTTP/1.1", f"host: {there}", f"user-agent: {USER_AGENT}"]
    if proxy.user is not None:
        given = f"{proxy.user}:{proxy.password or ''}".encode()
        lines.append(f"proxy-authorization: Basic {b64encode(given).decode('ascii')}")
    return "\r\n".join([*lines, "", ""]).encode()
