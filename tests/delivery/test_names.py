"""Names looked up: within seconds, in two lanes, and refused whole."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import pytest

from arifa.delivery import names as module
from arifa.delivery.addresses import AddressRefused
from arifa.delivery.names import ADDRESSES_MAX, LOOKUPS_MAX, HeldNames, Names, NameUnanswered
from tests.delivery.canary import OUTSIDE, Resolver
from tests.delivery.hub import LoopClock


@contextlib.contextmanager
def hanging(monkeypatch, *, names):
    """The system's resolver, whose look-ups of these names hang until the end."""
    end = threading.Event()
    ask = socket.getaddrinfo

    def looked_up(host, *args, **kwargs):
        if host in names:
            end.wait(60)
        return ask(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    try:
        yield
    finally:
        end.set()


def test_a_look_up_that_hangs_is_given_up(monkeypatch):
    """Nobody waits longer for a name than a few seconds."""

    async def main():
        names = Names()
        with pytest.raises(NameUnanswered):
            await names.addresses("slow.example", 443, seconds=0.05)
        names.close()

    with hanging(monkeypatch, names={"slow.example"}):
        asyncio.run(main())


def test_names_that_hang_hold_up_no_known_one(monkeypatch):
    """Where every thread for new names hangs, a name that was answered before still is."""
    resolver = Resolver(monkeypatch)
    resolver.names["shop.example"] = [[OUTSIDE]]
    slow = {f"slow{number}.example" for number in range(2 * LOOKUPS_MAX)}

    async def main():
        names = Names()
        assert await names.addresses("shop.example", 443)
        waiting = [asyncio.create_task(names.addresses(name, 443, seconds=30)) for name in slow]
        found = []
        for _ in range(3):
            await asyncio.sleep(0)
            found += await names.addresses("shop.example", 443)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        names.close()
        return found

    with hanging(monkeypatch, names=slow):
        found = asyncio.run(main())
    assert [item.host for item in found] == [OUTSIDE] * 3


def test_a_known_name_that_begins_to_hang_leaves_the_lane(monkeypatch):
    """It holds a thread of the known ones once, and not for each attempt."""
    resolver = Resolver(monkeypatch)
    resolver.names["shop.example"] = resolver.names["other.example"] = [[OUTSIDE]]
    lanes: list[str] = []
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    looked_up = module._looked_up

    def noted(host, port, family):
        lanes.append(threading.current_thread().name.rpartition("_")[0])
        for loop, event in begun:
            loop.call_soon_threadsafe(event.set)
        return looked_up(host, port, family)

    monkeypatch.setattr(module, "_looked_up", noted)

    async def main():
        names, clock, has_begun = Names(), LoopClock(), asyncio.Event()
        await names.addresses("shop.example", 443)
        with hanging(monkeypatch, names={"shop.example"}):
            for _ in range(3):
                has_begun.clear()
                begun[:] = [(asyncio.get_running_loop(), has_begun)]
                asking = asyncio.create_task(names.addresses("shop.example", 443, seconds=60))
                await has_begun.wait()
                clock.forward(60)
                with pytest.raises(NameUnanswered):
                    await asking
        await names.addresses("shop.example", 443)
        await names.addresses("shop.example", 443)
        names.close()

    asyncio.run(main())
    new, known = "arifa-new-names", "arifa-names"
    assert lanes == [new, known, new, new, new, known]


def test_an_answer_is_checked_whole_and_tried_in_part(monkeypatch):
    """Of two hundred addresses a few are tried, and one that is inside spoils all of them."""
    resolver = Resolver(monkeypatch)
    resolver.names["many.example"] = [[OUTSIDE] * 200]
    resolver.names["spoilt.example"] = [[OUTSIDE] * 200 + ["10.0.0.1"]]

    async def main():
        names, free = Names(), Names(allow_private=True)
        found = await names.addresses("many.example", 443)
        with pytest.raises(AddressRefused):
            await names.addresses("spoilt.example", 443)
        unchecked = await free.addresses("spoilt.example", 443)
        names.close()
        free.close()
        return found, unchecked

    found, unchecked = asyncio.run(main())
    assert len(found) == len(unchecked) == ADDRESSES_MAX


def test_a_name_that_is_not_there(monkeypatch):
    """It is the resolver's own error, which tells it from one that nobody answers."""
    Resolver(monkeypatch)

    async def main():
        names = Names()
        with pytest.raises(socket.gaierror):
            await names.addresses("nobody.example", 443)
        names.close()

    asyncio.run(main())


def test_many_that_ask_at_once_are_one_look_up(monkeypatch):
    """Connections made together need one answer, which holds until it is forgotten."""
    resolver = Resolver(monkeypatch)
    resolver.names["shop.example"] = [[OUTSIDE]]
    lookups = []
    looked_up = module._looked_up

    def noted(*given):
        lookups.append(given)
        return looked_up(*given)

    monkeypatch.setattr(module, "_looked_up", noted)

    async def main():
        names = HeldNames(Names())
        asking = [names.addresses("shop.example", 443) for _ in range(20)]
        found = await asyncio.gather(*asking)
        await names.addresses("shop.example", 443)
        first = len(lookups)
        names.forget()
        await names.addresses("shop.example", 443)
        names.close()
        return found, first

    found, first = asyncio.run(main())
    assert {tuple(item) for item in found} == {(found[0][0],)}
    assert (first, len(lookups)) == (1, 2)


def test_who_gives_up_does_not_give_up_for_the_others(monkeypatch):
    """A deadline that ends one attempt in a shared look-up leaves the look-up to the rest."""
    Resolver(monkeypatch).names["slow.example"] = [[OUTSIDE]]
    may_answer = threading.Event()
    ask = socket.getaddrinfo

    def slow(*given, **options):
        may_answer.wait(60)
        return ask(*given, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main():
        names = HeldNames(Names())
        first = asyncio.create_task(names.addresses("slow.example", 443))
        second = asyncio.create_task(names.addresses("slow.example", 443))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        may_answer.set()
        found = await second
        names.close()
        return found

    assert [item.host for item in asyncio.run(main())] == [OUTSIDE]


def test_a_failure_is_not_held(monkeypatch):
    """A name that was not found, or led inside, is asked for again."""
    resolver = Resolver(monkeypatch)
    resolver.names["shop.example"] = [["10.0.0.1"], [OUTSIDE]]

    async def main():
        names = HeldNames(Names())
        with pytest.raises(AddressRefused):
            await names.addresses("shop.example", 443)
        found = await names.addresses("shop.example", 443)
        names.close()
        return found

    assert [item.host for item in asyncio.run(main())] == [OUTSIDE]
