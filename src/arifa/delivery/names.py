"""Names looked up, within seconds, and what they lead to checked as a whole.

The system's resolver blocks, so it is asked in threads of our own. Whoever owns a name can make its
look-up hang; such a one waits in another lane than the names that are known to be answered.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from arifa.delivery.addresses import AddressRefused, is_address, is_public

LOOKUP_SECONDS: Final = 5.0
LOOKUPS_MAX: Final = 32
"""Names looked up at once in each lane: a look-up that hangs holds its thread until it gives up."""
ADDRESSES_MAX: Final = 8
"""How many of a name's addresses are tried; all of them are checked."""
KNOWN_MAX: Final = 4_096
HELD_SECONDS: Final = 10.0
"""How long connections to one host are made by one look-up."""


class Address(NamedTuple):
    """Where a name leads."""

    family: socket.AddressFamily
    protocol: int
    host: str
    port: int


class NameUnanswered(OSError):
    """Nobody said, within `LOOKUP_SECONDS`, what the name leads to."""

    def __init__(self) -> None:
        super().__init__(errno.ETIMEDOUT, "the name's servers do not answer")


class Names:
    """Looks names up for one process, and lets no answer through that leads inside."""

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._known = ThreadPoolExecutor(LOOKUPS_MAX, "arifa-names")
        self._others = ThreadPoolExecutor(LOOKUPS_MAX, "arifa-new-names")

    async def addresses(
        self,
        host: str,
        port: int,
        *,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        seconds: float = LOOKUP_SECONDS,
    ) -> list[Address]:
        """Where `host` leads, `ADDRESSES_MAX` at most.

        Raises:
            AddressRefused: one of all its addresses is not public: none of them is believed.
            NameUnanswered: nobody answers. socket.gaierror: it is not found.
        """
        lane = self._known if host in self._answered else self._others
        # Until it has answered again: a name that begins to hang leaves the lane at once.
        self._answered.pop(host, None)
        asked = asyncio.get_running_loop().run_in_executor(lane, _looked_up, host, port, family)
        try:
            found = await asyncio.wait_for(asked, seconds)
        except TimeoutError:
            raise NameUnanswered from None
        self._remember(host)
        if not self._allow_private and not all(is_public(item.host) for item in found):
            raise AddressRefused
        return found[:ADDRESSES_MAX]

    def _remember(self, host: str) -> None:
        self._answered[host] = None
        if len(self._answered) > KNOWN_MAX:
            self._answered.popitem(last=False)

    def close(self) -> None:
        """Take no more. A look-up that hangs ends by itself; nobody waits for it."""
        for lane in (self._known, self._others):
            lane.shutdown(wait=False, cancel_futures=True)


class HeldNames:
    """Names whose answers hold for some seconds: many connections at once need one look-up.

    What is held was checked whole; what is connected to is checked again when it is. An address
    is no name, and asks nobody.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._held: OrderedDict[tuple[str, int], tuple[float, list[Address]]] = OrderedDict()
        self._asked: dict[tuple[str, int], asyncio.Task[list[Address]]] = {}

    async def addresses(
        self, host: str, port: int, *, seconds: float = LOOKUP_SECONDS
    ) -> list[Address]:
        """As `Names.addresses`; who asks while another does waits for the same answer."""
        if is_address(host):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return [Address(family, socket.IPPROTO_TCP, host, port)]
        key = (host, port)
        until, found = self._held.get(key, (0.0, []))
        if asyncio.get_running_loop().time() < until:
            return found
        task = self._asked.get(key)
        if task is None:
            task = asyncio.create_task(self._looked_up(key, seconds))
            self._asked[key] = task
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        # Whoever gives up does not give up for the others.
        return await asyncio.shield(task)

    async def _looked_up(self, key: tuple[str, int], seconds: float) -> list[Address]:
        found = await self._names.addresses(*key, seconds=seconds)
        self._held[key] = (asyncio.get_running_loop().time() + HELD_SECONDS, found)
        self._held.move_to_end(key)
        if len(self._held) > KNOWN_MAX:
            self._held.popitem(last=False)
        return found

    def forget(self) -> None:
        """Let the next be a look-up."""
        self._held.clear()

    def close(self) -> None:
        """Take no more."""
        for task in self._asked.values():
            task.cancel()
        self._names.close()


def _looked_up(host: str, port: int, family: socket.AddressFamily) -> list[Address]:
    infos = socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [
        Address(found, protocol, str(address[0]), int(address[1]))
        for found, _, protocol, _, address in infos
    ]
