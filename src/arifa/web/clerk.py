"""The serving process's end of the clerk (`store.clerk`): started, asked, started anew.

All of it belongs to the event loop, and nothing here waits. Where there is no clerk, for it has not
come up yet or has gone, the committer writes by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from arifa.errors import DataRefused, UnknownCommit
from arifa.observe import log
from arifa.store import clerk
from arifa.store.database import Database, Urgency
from arifa.store.group import GroupRows
from arifa.store.seals import Seal

Done = Callable[[Seal | Exception], None]

_AGAIN_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
_END_SECONDS: Final = 2.0
_BUFFER_BYTES: Final = 1 << 20
_READ_BYTES: Final = 1 << 16
_SETTINGS: Final = "ARIFA_"
"""What begins so in the environment is not passed on: what the clerk need not know cannot leak from it."""


class _Asked(NamedTuple):
    """A group that is to be written."""

    message: bytes
    done: Done


class Clerk:
    """Writes one group at a time, in a process of its own.

    `keeps` are file descriptors that it holds on to, so that what they lock stays locked for as
    long as it may still be writing.
    """

    def __init__(
        self, database: Database, loop: asyncio.AbstractEventLoop, keeps: Sequence[int] = ()
    ) -> None:
        self._database = database
        self._loop = loop
        self._keeps = keeps
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._control: socket.socket | None = None
        self._received = bytearray()
        self._unsent = memoryview(b"")
        self._asked: _Asked | None = None
        self._abandoned: _Asked | None = None
        self._has_turn = False
        self._losses = 0
        self._again: asyncio.TimerHandle | None = None
        self.is_ready = False

    def start(self) -> None:
        """Start the process; `is_ready` says when it can be given something."""
        self._again = None
        with contextlib.ExitStack() as stack:
            try:
                (channel, its_channel), (control, its_control) = (
                    [stack.enter_context(end) for end in socket.socketpair()] for _ in range(2)
                )
                for end in (channel, its_channel):
                    # Most groups fit whole.
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
                self._process = self._started(its_channel.fileno(), its_control.fileno())
            except OSError as error:
                self._lost(f"it cannot be started: {error.strerror}")
                return
            stack.pop_all()
        its_channel.close()
        its_control.close()
        channel.setblocking(False)
        self._channel, self._control = channel, control
        self._loop.add_reader(channel.fileno(), self._readable)
        address = self._database.url.render_as_string(hide_password=False)
        self._send(clerk.framed(address.encode()))

    def _started(self, channel: int, control: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "arifa.store.clerk", str(channel), str(control)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(channel, control, *self._keeps),
            env={k: v for k, v in os.environ.items() if not k.startswith(_SETTINGS)},
        )

    def write(self, rows: GroupRows, done: Done) -> None:
        """Have a group written; `done` is called with its seal when it is on disk, or what went wrong.

        One at a time, and only while `is_ready`.
        """
        try:
            message = clerk.packed(rows)
        except Exception:  # noqa: BLE001 - whatever it is, the books are asked, one by one
            done(DataRefused("a value of it cannot be stored"))
            return
        asked = self._asked = _Asked(message, done)
        here = threading.get_ident()

        def taken() -> None:
            if threading.get_ident() == here:
                self._go_on(asked)
            else:
                try:
                    self._loop.call_soon_threadsafe(self._go_on, asked)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    self._database.give_turn()

        self._database.take_turn(Urgency.INTAKE, taken)

    def abandon(self) -> None:
        """Have it drop the connection on which PostgreSQL leaves a commit waiting.

        Called again for the same group, it ends the process: it does not hear, or cannot act.
        """
        if self._has_turn and self._abandoned is self._asked and self._process is not None:
            self._process.kill()
        elif self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(b"!")
        self._abandoned = self._asked

    async def stop(self) -> None:
        """End the process; what it has not written by now is not known to be written."""
        if self._again is not None:
            self._again.cancel()
        process, self._process = self._process, None
        self._close()
        if process is not None:
            await asyncio.to_thread(_wait_for, process)
        self._ended(UnknownCommit("the hub stopped during a commit"))

    # ------------------------------------------------------------------ the channel

    def _go_on(self, asked: _Asked) -> None:
        """It is our turn at writing."""
        if self._asked is not asked or self._channel is None:  # the clerk was lost meanwhile
            self._database.give_turn()
            return
        self._has_turn = True
        self._send(asked.message)

    def _ended(self, written: Seal | Exception) -> None:
        """What was asked for is done, or failed."""
        asked, self._asked = self._asked, None
        if self._has_turn:
            self._has_turn = False
            self._database.give_turn()
        if asked is not None:
            asked.done(written)

    def _send(self, message: bytes) -> None:
        self._unsent = memoryview(message)
        self._writable()

    def _writable(self) -> None:
        assert self._channel is not None
        try:
            sent = self._channel.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return  # it is gone; reading tells
        had_more = len(self._unsent) > sent
        self._unsent = self._unsent[sent:]
        if had_more:
            self._loop.add_writer(self._channel.fileno(), self._writable)
        else:
            self._loop.remove_writer(self._channel.fileno())

    def _readable(self) -> None:
        assert self._channel is not None
        try:
            received = self._channel.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            received = b""
        if not received:
            self._close()
            self._lost("it has ended by itself")
            return
        self._received += received
        while (message := clerk.unframed(self._received)) is not None:
            self._answered(clerk.read_answer(message))

    def _answered(self, answer: clerk.Answer) -> None:
        if not self.is_ready:
            self.is_ready, self._losses = True, 0
            return
        self._ended(answer.written())

    def _close(self) -> None:
        self.is_ready = False
        self._received.clear()
        for end in (self._channel, self._control):
            if end is not None:
                self._loop.remove_reader(end.fileno())
                self._loop.remove_writer(end.fileno())
                end.close()
        self._channel = self._control = None

    def _lost(self, why: str) -> None:
        """It is gone: what it had was or was not committed. Another comes after a while."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._loop.run_in_executor(None, process.wait)
        wait = _AGAIN_SECONDS[min(self._losses, len(_AGAIN_SECONDS) - 1)]
        self._losses += 1
        log.warning("clerk.lost", detail=why, again_seconds=wait)
        self._again = self._loop.call_later(wait, self.start)
        self._ended(UnknownCommit("the process that writes the books ended during a commit"))


def _wait_for(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
        return
    process.kill()
    process.wait()
