"""Lanes: who may be called now, and how much, so that a bad endpoint delays nobody else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from arifa.delivery.cause import Cause
from arifa.delivery.lanes import LINGER_SECONDS, SLOW_SECONDS, Lanes, Out, Pace
from arifa.feed import Endpoint, Manner, Profile
from arifa.signing import Credentials
from arifa.store.deliveries import AttemptResult, Claimed, DeliveryState

NOW = 1_800_000_000_000_000
PACE = Pace(overall=16, lingering=64, per_endpoint=8)


def endpoint(name: str, **manner) -> Endpoint:
    return Endpoint(
        id=name,
        name=name,
        merchant="default",
        url=f"https://{name}.example/",
        dialect="standard_webhooks",
        profile=Profile(currency="KES", timezone="UTC"),
        credentials=Credentials(),
        manner=Manner(**manner),
    )


class World:
    """Lanes, and a queue without end for each endpoint that was told of."""

    def __init__(self, *endpoints: Endpoint, pace: Pace = PACE) -> None:
        self.now = 1000.0
        self.lanes = Lanes(
            pace,
            clock=lambda: NOW + round(self.now * 1_000_000),
            ticks=lambda: self.now,
            random=lambda: 0.5,
        )
        self.lanes.configure({item.id: item for item in endpoints})
        self.out: dict[str, list[Out]] = {item.id: [] for item in endpoints}

    def tell(self, names: Iterable[str]) -> None:
        self.lanes.told(names)

    def begin(self) -> dict[str, int]:
        """Claim all that is wanted; gives how many of each."""
        wanted = dict(self.lanes.wanted())
        for name, count in wanted.items():
            for _ in range(count):
                self.out.setdefault(name, []).append(self.lanes.begun(name))
        self.lanes.taken(wanted.items(), wanted)
        return wanted

    def end(self, name: str, cause: Cause, *, status: int | None = None, **more) -> None:
        """The oldest attempt to this endpoint comes to this."""
        out = self.out[name].pop(0)
        result = AttemptResult(
            claimed=Claimed("default", "dlv", "ntf", name, 0, 1, NOW),
            started_at=NOW,
            finished_at=NOW,
            status=status,
            cause=cause.value,
            detail=None,
            state=DeliveryState.DELIVERED if cause is Cause.DELIVERED else DeliveryState.PENDING,
            next_attempt_at=None if cause is Cause.DELIVERED else NOW + 10**15,
            **more,
        )
        self.lanes.judged(out, result)
        self.lanes.back(out)

    def end_all(self, name: str, cause: Cause, **more) -> None:
        while self.out[name]:
            self.end(name, cause, **more)

    def round(self, name: str, cause: Cause, **more) -> int:
        """Begin, end all of this endpoint; gives how many there were."""
        count = self.begin().get(name, 0)
        self.end_all(name, cause, **more)
        return count


def test_a_lane_widens_with_each_yes() -> None:
    """From one to its concurrency, and never beyond."""
    world = World(endpoint("a"))
    world.tell(["a"])
    assert [world.round("a", Cause.DELIVERED) for _ in range(5)] == [1, 2, 4, 8, 8]
    narrow = World(endpoint("a", concurrency=3))
    narrow.tell(["a"])
    assert [narrow.round("a", Cause.DELIVERED) for _ in range(4)] == [1, 2, 3, 3]


def test_too_much_halves_it_once_a_round_and_it_recovers_slowly() -> None:
    """Eight that are told 429 at once count as one; afterwards it grows by one a round."""
    world = World(endpoint("a"))
    world.tell(["a"])
    for _ in range(4):
        world.round("a", Cause.DELIVERED)
    assert world.round("a", Cause.THROTTLED, status=429) == 8
    assert world.begin() == {}
    world.now += 1.0
    assert [world.round("a", Cause.DELIVERED) for _ in range(3)] == [4, 4, 5]


def test_retry_after_is_for_the_whole_endpoint() -> None:
    """None of its deliveries goes out before; at most an hour."""
    for asked, wait in ((90.0, 90.0), (10**9, 3600.0)):
        world = World(endpoint("a"))
        world.tell(["a"])
        world.round("a", Cause.THROTTLED, status=429, retry_after=asked)
        world.now += wait - 0.01
        assert world.begin() == {}
        assert world.lanes.due_in() is not None
        world.now += 0.02
        assert world.begin() == {"a": 1}


def test_an_open_breaker_lets_one_probe_out_at_a_time() -> None:
    """And says so, once when it opens and once when it closes."""
    world = World(endpoint("a"))
    world.tell(["a"])
    while not (turned := world.lanes.turned()):
        world.now += 0.1
        world.round("a", Cause.UNREACHABLE)
    assert [(item.endpoint, item.is_open, item.cause) for item in turned] == [
        ("a", True, "unreachable")
    ]
    assert world.begin() == {}
    world.now += 10.0
    assert world.begin() == {"a": 1}
    world.now += 100.0
    assert world.begin() == {}
    world.end("a", Cause.DELIVERED)
    assert [item.is_open for item in world.lanes.turned()] == [False]
    assert world.begin() == {"a": 2}


def test_our_own_faults_say_nothing_about_the_endpoint() -> None:
    """What has no words, or is misconfigured, opens no breaker; nor does a URL of its own."""
    world = World(endpoint("a"))
    world.tell(["a"])
    for _ in range(30):
        assert world.round("a", Cause.INEXPRESSIBLE) == 1
    assert world.lanes.turned() == []


def test_a_rate_is_kept() -> None:
    """At ten a second, in five seconds fifty and a burst go out, in whatever steps time goes."""
    world = World(endpoint("a", rate=10.0))
    world.tell(["a"])
    begun = 0
    for _ in range(500):
        begun += world.round("a", Cause.DELIVERED)
        world.now += 0.01
    assert 48 <= begun <= 53


def test_a_paused_lane_is_closed_and_opens_again() -> None:
    """What is due to it stays due."""
    world = World(endpoint("a"))
    world.tell(["a"])
    paused = replace(endpoint("a"), state="paused")
    world.lanes.configure({"a": paused})
    assert world.begin() == {}
    world.lanes.configure({"a": endpoint("a")})
    assert world.begin() == {"a": 1}


def test_a_new_url_begins_anew() -> None:
    """An endpoint that was put right is called at once, whatever its breaker was waiting for."""
    world = World(endpoint("a"))
    world.tell(["a"])
    while not world.lanes.turned():
        world.now += 0.1
        world.round("a", Cause.DNS)
    assert world.begin() == {}
    world.lanes.configure({"a": replace(endpoint("a"), url="https://other.example/")})
    assert world.begin() == {"a": 1}


def test_what_hangs_leaves_its_slot() -> None:
    """A hundred endpoints that answer nobody take the slots for a moment, not for good."""
    dead = [f"dead {number}" for number in range(60)]
    world = World(*map(endpoint, [*dead, "a"]))
    world.tell(dead)
    rounds = 0
    while sum(map(len, world.out.values())) < 60:
        world.begin()
        world.now += LINGER_SECONDS
        rounds += 1
    assert rounds <= 6
    world.tell(["a"])
    assert world.begin() == {"a": 1}


def test_who_failed_has_a_quarter_of_the_slots() -> None:
    """With a hundred suspects due, one that answers still has room at once."""
    bad = [f"bad {number}" for number in range(100)]
    world = World(*map(endpoint, [*bad, "good"]))
    world.tell(["good"])
    for _ in range(4):
        world.round("good", Cause.DELIVERED)
    world.tell(bad)
    for _ in range(20):
        for name in world.begin():
            world.end_all(name, Cause.DELIVERED if name == "good" else Cause.RESET)
        world.tell([*bad, "good"])
        world.now += 0.01
    begun = world.begin()
    assert begun.pop("good") == 8
    assert sum(begun.values()) <= 4


def test_a_lane_in_which_something_hangs_stops_at_one() -> None:
    """After two seconds without an answer no more go there, until one is given."""
    world = World(endpoint("a"))
    world.tell(["a"])
    for _ in range(3):
        world.round("a", Cause.DELIVERED)
    world.begin()
    world.now += LINGER_SECONDS
    world.begin()
    world.now += SLOW_SECONDS + LINGER_SECONDS
    out = len(world.out["a"])
    world.end("a", Cause.TIMEOUT)
    assert world.begin() == {}
    assert len(world.out["a"]) == out - 1


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(Cause), st.floats(0, 3)), max_size=80))
def test_nothing_is_forgotten_and_nothing_too_much(acts: list[tuple[int, Cause, float]]) -> None:
    """Whatever comes back: the slots hold, and every endpoint is called again in the end."""
    names = [f"e{number}" for number in range(6)]
    world = World(*map(endpoint, names))
    world.tell(names)
    for number, cause, wait in acts:
        world.begin()
        name = names[number]
        if world.out[name] and cause is not Cause.GONE:
            world.end(name, cause)
        assert all(len(out) <= PACE.per_endpoint for out in world.out.values())
        assert sum(map(len, world.out.values())) <= PACE.overall + PACE.lingering
        world.now += wait
        world.tell(names)
    for name in names:
        world.end_all(name, Cause.DELIVERED)
    called: set[str] = set()
    for _ in range(100):
        begun = world.begin()
        called |= set(begun)
        for name in begun:
            world.end_all(name, Cause.DELIVERED)
        world.now += 30.0
        world.tell(names)
    assert called == set(names)
