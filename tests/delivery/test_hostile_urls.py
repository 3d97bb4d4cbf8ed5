"""No callback reaches an inner address: every inner address, in every spelling, and no connection."""

from __future__ import annotations

import asyncio

import pytest

from arifa.delivery.cause import SENTENCE, Cause, NoAnswer
from arifa.delivery.outbound import Outbound
from arifa.delivery.transport import Reach
from arifa.wire import WireRequest
from tests.delivery.canary import Connects, Resolver, canary
from tests.delivery.spellings import OUTSIDE_4, OUTSIDE_6, SPELLINGS, Inner
from tests.delivery.test_addresses import INNER

REQUEST = WireRequest(b"{}")
# Without those that hold a public address or are one but for their zone: a spelling may set it free.
ADDRESSES = [
    text for text in INNER if not text.endswith(("8.8.8.8", "%eth0")) and "808:808" not in text
]
LOOKS = 3
"""How often each URL is tried: a name may lead elsewhere the second time."""


def run(loop, main):
    factory = None
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def refused(client, url):
    with pytest.raises(NoAnswer) as caught:
        await client.send(url, REQUEST, identity="ntf_1", deadline=20)
    # So that the next look-up is a look-up.
    client._names.forget()
    return caught.value


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_spelling_of_no_address_leads_inside(loop, monkeypatch):
    """Sixty addresses in sixty spellings: nothing inside is connected to, and nothing answers."""
    connects, resolver = Connects(monkeypatch), Resolver(monkeypatch)
    causes: dict[str, set[Cause]] = {spelling: set() for spelling in SPELLINGS}

    async def main():
        async with canary() as bird:
            reach = Reach(ports=frozenset({443, bird.port}))
            async with Outbound(reach) as client:
                for number, text in enumerate(ADDRESSES):
                    for spelling, spell in SPELLINGS.items():
                        name = f"n{number}-{len(resolver.names)}.shop.example"
                        tried = spell(Inner(text), bird.port, name)
                        if tried.answers:
                            resolver.names[name] = tried.answers
                        for _ in range(LOOKS if len(tried.answers) > 1 else 1):
                            error = await refused(client, tried.url)
                            causes[spelling].add(error.cause)
            return bird.connects

    reached = run(loop, main())
    assert len(ADDRESSES) >= 60
    assert len(SPELLINGS) >= 60
    assert reached == 0
    assert set(connects.peers) <= {OUTSIDE_4, OUTSIDE_6}
    for spelling, found in causes.items():
        # Only what leads outside, by itself or the first time, may be called.
        leads_outside = spelling == "fragment before" or "rebinding" in spelling
        allowed = {Cause.ADDRESS, Cause.URL, Cause.DNS}
        assert found <= allowed | ({Cause.UNREACHABLE} if leads_outside else set()), spelling


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("spelling", ["plain", "name", "name, mixed, inner first"])
def test_the_canary_sings(loop, spelling, monkeypatch):
    """The same ways lead to the canary once private addresses are allowed: it could be reached."""
    connects, resolver = Connects(monkeypatch), Resolver(monkeypatch)
    resolver.names["shop.example"] = [["127.0.0.1"]]

    async def main():
        async with canary() as bird, Outbound(Reach(allow_private=True)) as client:
            tried = SPELLINGS[spelling](Inner("127.0.0.1"), bird.port, "shop.example")
            await refused(client, tried.url)
            return bird.connects

    assert run(loop, main()) >= 1
    assert "127.0.0.1" in connects.peers


def test_a_name_that_changes_its_mind(monkeypatch):
    """A thousand attempts at a name that leads outside and inside in turn: none goes inside."""
    connects, resolver = Connects(monkeypatch), Resolver(monkeypatch)
    resolver.names["shop.example"] = [
        [OUTSIDE_4] if number % 2 else ["127.0.0.1"] for number in range(1000)
    ]

    async def main():
        causes = []
        async with canary() as bird:
            async with Outbound(Reach(ports=frozenset({bird.port}))) as client:
                for _ in range(1000):
                    error = await refused(client, f"https://shop.example:{bird.port}/")
                    causes.append(error.cause)
            return causes, bird.connects

    causes, reached = asyncio.run(main())
    assert reached == 0
    assert set(connects.peers) == {OUTSIDE_4}
    assert causes == [Cause.ADDRESS, Cause.UNREACHABLE] * 500


def test_what_is_inside_looks_the_same(monkeypatch):
    """Open, closed or filtered, by address or by name: one cause, one sentence, and no connection."""
    connects, resolver = Connects(monkeypatch), Resolver(monkeypatch)
    resolver.names |= {
        "open.example": [["127.0.0.1"]],
        "closed.example": [["127.0.0.2"]],
        "filtered.example": [["10.255.255.1"]],
    }
    hosts = ["127.0.0.1", "127.0.0.2", "10.255.255.1", *resolver.names]

    async def main():
        async with canary() as bird:
            async with Outbound(Reach(ports=frozenset({bird.port}))) as client:
                found = [await refused(client, f"https://{host}:{bird.port}/") for host in hosts]
            return found, bird.connects

    found, reached = asyncio.run(main())
    assert {(error.cause, str(error)) for error in found} == {
        (Cause.ADDRESS, SENTENCE[Cause.ADDRESS])
    }
    assert (connects.peers, reached) == ([], 0)
