"""Receivers that misbehave, over real TCP and TLS: what a delivery has to survive.

    python -m arifa.simulator.hostile                   every behaviour, each on a port of its own
    python -m arifa.simulator.hostile drips-body gone   these only
    python -m arifa.simulator.hostile --list            what there is

In a test: `async with HostileReceiver(BEHAVIOURS["drips-body"]) as receiver: … receiver.url`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import ssl
import sys
from types import TracebackType
from typing import Final, Self

from arifa.simulator.behaviours import BEHAVIOURS, Behaviour, Visit
from arifa.simulator.certificates import Authority

PACE_SECONDS: Final = 1.0
_BACKLOG: Final = 1024
_FILLERS: Final = 4
_UNREAD_MAX: Final = 65_536


class HostileReceiver:
    """One behaviour behind one port of this machine; an asynchronous context manager.

    Args:
        pace: seconds between two bytes, where bytes drip.
        authority: whose certificates are shown; a new one by default. `authority.trust()` makes a
            client believe it.

    Attributes:
        url: where to send to.
        visits: how many connections came.
        ids: the `webhook-id` of each request that was read whole, in order.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        pace: float = PACE_SECONDS,
        authority: Authority | None = None,
    ) -> None:
        self.behaviour = behaviour
        self.url = ""
        self.visits = 0
        self.ids: list[str] = []
        self._place = (host, port)
        self._pace = pace
        self._authority = authority
        self._tls: ssl.SSLContext | None = None
        self._listener: socket.socket | None = None
        self._fillers: list[socket.socket] = []
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def __aenter__(self) -> Self:
        host, port = self._place
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        port = self._listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        behaviour = self.behaviour
        is_https = behaviour.is_https or behaviour.tls is not None
        self.url = f"{'https' if is_https else 'http'}://{shown}:{port}/hook"
        if behaviour.tls is not None:
            self._tls = behaviour.tls(self._authority or Authority(), host)
        if behaviour.act is not None:
            self._server = await asyncio.start_server(
                self._came,
                sock=self._listener,
                ssl=None if behaviour.is_https else self._tls,
                backlog=_BACKLOG,
            )
        elif behaviour.is_silent:
            self._fall_silent()
        # Else the port is taken and nobody listens: connections are refused.
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        for filler in self._fillers:
            filler.close()
        if self._listener is not None:
            self._listener.close()

    async def left_alone(self) -> None:
        """Wait until no connection is open."""
        await self._quiet.wait()

    def _fall_silent(self) -> None:
        """Fill the queue of connections that nobody accepts: the system drops what comes then."""
        assert self._listener is not None
        self._listener.listen(0)
        for _ in range(_FILLERS):
            filler = socket.socket(self._listener.family, socket.SOCK_STREAM)
            filler.setblocking(False)
            filler.connect_ex(self._listener.getsockname())
            self._fillers.append(filler)

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert self.behaviour.act is not None
        self._open.add(task)
        self._quiet.clear()
        # What is sent to somebody who is gone must not be much.
        peer: socket.socket = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_MAX)
        visit = Visit(reader, writer, self.visits, self._pace, self._tls)
        self.visits += 1
        try:
            # Cancelled is what a receiver is that ends: there is nobody to tell.
            with contextlib.suppress(
                OSError, EOFError, ValueError, asyncio.LimitOverrunError, asyncio.CancelledError
            ):
                await self.behaviour.act(visit)
                writer.close()
                await writer.wait_closed()
        finally:
            if visit.id is not None:
                self.ids.append(visit.id)
            # One whose end has been seen has no loop any more to be aborted in.
            with contextlib.suppress(AttributeError):
                writer.transport.abort()
            self._open.discard(task)
            if not self._open:
                self._quiet.set()


# ---------------------------------------------------------------------------------- the command


def main(arguments: list[str] | None = None) -> int:
    """Serve the behaviours that are named, or all, until interrupted; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m arifa.simulator.hostile",
        description="Receivers that misbehave. Send to their addresses, and see what comes of it.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all by default")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        help="the first port, counted up; any that is free by default",
    )
    parser.add_argument(
        "--pace", type=float, default=PACE_SECONDS, help="seconds between bytes that drip"
    )
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in BEHAVIOURS]
    if unknown:
        parser.error(f"there is no behaviour {unknown[0]!r}; see --list")
    chosen = [BEHAVIOURS[name] for name in given.names or BEHAVIOURS]
    if given.list:
        for behaviour in chosen:
            _say(f"{behaviour.name:32} {behaviour.what} -> {behaviour.cause}")
        return 0
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(chosen, given.host, given.port, given.pace))
    return 0


async def _serve(chosen: list[Behaviour], host: str, port: int, pace: float) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for number, behaviour in enumerate(chosen):
            receiver = HostileReceiver(behaviour, host=host, port=port and port + number, pace=pace)
            try:
                await stack.enter_async_context(receiver)
            except OSError as error:
                raise SystemExit(f"cannot listen on {host}: {error.strerror}") from None
            _say(f"{receiver.url:32} {behaviour.name}: {behaviour.what} -> {behaviour.cause}")
        await asyncio.Event().wait()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _run() -> int:
    try:
        return main()
    except BrokenPipeError:
        # Whoever read us has enough. Nothing more may be written, not even by Python at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(_run())
