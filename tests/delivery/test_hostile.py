"""Receivers that misbehave: each attempt ends in time, with its own cause, and leaves nothing open."""

from __future__ import annotations

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from arifa.delivery import schedule as schedules
from arifa.delivery.attempt import Errand, attempt, prepare
from arifa.delivery.cause import SENTENCE, Cause
from arifa.delivery.transport import Reach, Transports
from arifa.simulator.behaviours import BEHAVIOURS
from arifa.simulator.certificates import Authority
from arifa.simulator.hostile import HostileReceiver
from tests.delivery.hub import SECOND
from tests.delivery.test_attempt import CLAIMED, NOW, endpoint, notification

PRIVATE = rsa.generate_private_key(65537, 2048).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)
# Where it is to pass, long enough for a busy machine to come as far as the behaviour has it.
SHORT, LONG = 5.0, 40.0
TIMED = frozenset({"timeout", "slow_answer", "connect_timeout"})
PATIENCE = 100
PACE = 0.05


@pytest.fixture(scope="module")
def authority():
    return Authority()


def run(loop, main):
    """Run it in the loop that serves, or in Python's own: their errors differ."""
    factory = None
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def _is_timed(behaviour):
    """Whether it is its deadline that ends an attempt there."""
    return bool(TIMED & set(behaviour.cause.split())) or behaviour.name == "handshake-hangs"


async def one(transports, behaviour, url):
    keys = {"private_key": PRIVATE} if behaviour.dialect == "kcb" else {}
    errand = Errand(CLAIMED, endpoint(behaviour.dialect, url=url, **keys), notification())
    return await attempt(
        prepare(errand, NOW),
        transports,
        schedules.DEFAULT,
        lambda: NOW,
        lambda: 0.5,
        deadline=SHORT if _is_timed(behaviour) else LONG,
    )


async def several(behaviour, authority, count):
    """What so many attempts at one receiver came to, and the receiver as it was then."""
    async with HostileReceiver(behaviour, pace=PACE, authority=authority) as receiver:
        reach = Reach(allow_private=True, trust=authority.trust())
        async with Transports(reach) as transports:
            found = []
            for _ in range(count):
                found.append(await one(transports, behaviour, receiver.url))
                # A connection that failed, or whose answer was not read to its end, is closed
                # at once, and not when the client ends.
                await receiver.left_alone()
    return found, receiver


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_each_ends_with_its_own_cause(loop, authority):
    """Whatever they do, all attempts end, are told apart, and leave no connection open."""

    async def all_of(behaviours):
        return await asyncio.gather(
            *(several(item, authority, len(item.cause.split())) for item in behaviours)
        )

    async def main():
        async with asyncio.timeout(PATIENCE):
            # Those that end with their short deadline go by themselves: the others, some of which
            # are a megabyte or a handshake each, take none of its time.
            found = await all_of(item for item in BEHAVIOURS.values() if not _is_timed(item))
            return found + await all_of(item for item in BEHAVIOURS.values() if _is_timed(item))

    found = run(loop, main())
    causes = {
        receiver.behaviour.name: " ".join(result.cause for result in results)
        for results, receiver in found
    }
    assert causes == {name: behaviour.cause for name, behaviour in BEHAVIOURS.items()}
    for results, _ in found:
        for result in results:
            assert result.detail.startswith(SENTENCE[Cause(result.cause)])
            assert "/hook" not in result.detail


def test_every_cause_of_a_receiver_is_tried():
    """There is a receiver for each cause that a receiver can bring about."""
    words = "delivered refused redirected throttled gone client_error server_error timeout reset"
    words += " slow_answer cut_short too_much not_http unreachable connect_timeout"
    words += " tls tls_version tls_handshake"
    tried = {word for behaviour in BEHAVIOURS.values() for word in behaviour.cause.split()}
    assert tried == set(words.split())


def test_a_redirect_is_not_followed(authority):
    """A receiver that sends us to itself is called once an attempt."""
    found, receiver = asyncio.run(several(BEHAVIOURS["redirects-to-itself"], authority, 2))
    assert [result.status for result in found] == [302, 302]
    assert receiver.visits == 2


@pytest.mark.parametrize(
    "name", [name for name, behaviour in BEHAVIOURS.items() if "wait-" in name]
)
def test_what_it_asks_to_wait_is_bounded(name, authority):
    """No `Retry-After`, however absurd, brings the next attempt forward, or beyond a day."""
    (result,), _ = asyncio.run(several(BEHAVIOURS[name], authority, 1))
    assert result.next_attempt_at is not None
    waits = (result.next_attempt_at - NOW) / SECOND
    assert schedules.DEFAULT.delays[1] <= waits <= schedules.DAY_SECONDS


@pytest.mark.parametrize(
    "name", ["alternates", "denies-afterwards", "fails-though-it-has-it", "endless-body"]
)
def test_every_attempt_has_the_same_id(name, authority):
    """Whoever drops duplicates by the id sees one message, however often it was sent."""
    _, receiver = asyncio.run(several(BEHAVIOURS[name], authority, 3))
    assert receiver.ids == ["ntf_1"] * 3
