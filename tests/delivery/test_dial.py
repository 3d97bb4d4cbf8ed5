"""Sockets to one of several addresses: the first that answers, and none is left open."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from arifa.delivery import dial as module
from arifa.delivery.addresses import AddressRefused
from arifa.delivery.dial import _reached
from arifa.delivery.names import Address


class Sockets:
    """Every socket that is made, and how each address answers: connected, refused, or not at all."""

    def __init__(self, monkeypatch, loop, answers):
        self.made: list[socket.socket] = []
        self.asked = []
        self._answers = answers
        self._all_asked = asyncio.Event()
        made = self.made

        class Watched(socket.socket):
            def __init__(self, *given):
                super().__init__(*given)
                made.append(self)

        monkeypatch.setattr(socket, "socket", Watched)
        monkeypatch.setattr(loop, "sock_connect", self._connect)
        monkeypatch.setattr(module, "_ends_outside", lambda _: True)

    async def _connect(self, _, address):
        self.asked.append(address[0])
        answer = self._answers[address[0]]
        if len(self.asked) == len(self._answers):
            self._all_asked.set()
        if answer == "late":
            await self._all_asked.wait()
        if answer == "silent":
            await asyncio.Event().wait()
        if answer == "refused":
            raise OSError(errno.ECONNREFUSED, "refused")

    @property
    def open(self):
        return [item for item in self.made if item.fileno() != -1]


def _found(*hosts):
    return [Address(socket.AF_INET, 6, host, 443) for host in hosts]


def _dialled(monkeypatch, answers):
    async def main():
        sockets = Sockets(monkeypatch, asyncio.get_running_loop(), answers)
        found: socket.socket | OSError
        try:
            found = await _reached(_found(*answers), allow_private=False)
        except OSError as error:
            found = error
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        left = [item for item in sockets.open if item is not found]
        if isinstance(found, socket.socket):
            found.close()
        return found, sockets.asked, left

    return asyncio.run(main())


@pytest.mark.parametrize("first", ["silent", "refused"])
def test_one_that_does_not_answer_holds_nobody_up(monkeypatch, first):
    """Where the first address is silent or refuses, the next is tried; the first is let go."""
    monkeypatch.setattr(module, "NEXT_SECONDS", 0.01)
    found, asked, left = _dialled(monkeypatch, {"8.8.8.8": first, "8.8.4.4": "answers"})
    assert isinstance(found, socket.socket)
    assert asked == ["8.8.8.8", "8.8.4.4"]
    assert left == []


def test_two_answer_at_once(monkeypatch):
    """One of them is taken, and the other one is not left open."""
    monkeypatch.setattr(module, "NEXT_SECONDS", 0.01)
    found, asked, left = _dialled(monkeypatch, {"8.8.8.8": "late", "8.8.4.4": "late"})
    assert isinstance(found, socket.socket)
    assert len(asked) == 2
    assert left == []


def test_none_answers(monkeypatch):
    """When all have refused, it is over, and the last one's error says why."""
    found, asked, left = _dialled(monkeypatch, {"8.8.8.8": "refused", "8.8.4.4": "refused"})
    assert isinstance(found, OSError)
    assert found.errno == errno.ECONNREFUSED
    assert len(asked) == 2
    assert left == []


def test_one_that_is_inside_ends_it(monkeypatch):
    """However it came among the addresses, it is not connected to, and nothing else is tried."""
    monkeypatch.setattr(module, "NEXT_SECONDS", 0.01)
    answers = {"8.8.8.8": "silent", "10.0.0.1": "answers", "8.8.4.4": "answers"}
    found, asked, left = _dialled(monkeypatch, answers)
    assert isinstance(found, AddressRefused)
    assert asked == ["8.8.8.8"]
    assert left == []
