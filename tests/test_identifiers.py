"""Identifiers: unlike each other, and in the order in which one process makes them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from arifa.identifiers import Identifiers, identifier, lower_bound, moment_of, unguessable

MOMENTS = st.integers(0, 2**47 * 1000)


@given(st.lists(MOMENTS, min_size=1, max_size=5), st.data())
def test_what_is_made_later_sorts_later(moments: list[int], data: st.DataObject) -> None:
    """Within a millisecond too, whether made alone or for a group."""
    made: list[str] = []
    for moment in sorted(moments):
        for _ in range(data.draw(st.integers(1, 3))):
            if data.draw(st.booleans()):
                made.append(identifier("ntf", moment))
            else:
                group = Identifiers(moment)
                made += [group.new("ntf") for _ in range(3)]
    assert made == sorted(set(made))


@given(MOMENTS)
def test_a_range_by_time_finds_it(moment: int) -> None:
    """The lower bound of its time is not above it, and that of the next millisecond is."""
    made = identifier("dlv", moment)
    assert len(made) == len("dlv_") + 28
    assert lower_bound("dlv", moment) <= made < lower_bound("dlv", moment + 1000)
    assert lower_bound("dlv", moment) == f"dlv_{moment_of(made)}"


def test_threads_make_no_two_alike() -> None:
    """However many make them at the same moment."""

    def many(_: int) -> list[str]:
        return [identifier("ntf", 5_000_000) for _ in range(500)] + [
            Identifiers(5_000_000).new("ntf") for _ in range(50)
        ]

    with ThreadPoolExecutor(4) as pool:
        made = [one for part in pool.map(many, range(4)) for one in part]
    assert len(set(made)) == len(made)


def test_a_forked_process_makes_others() -> None:
    """A child does not count on from where its parent stands."""
    moment = 7_000_000
    identifier("ntf", moment)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, identifier("ntf", moment).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    ours = {identifier("ntf", moment) for _ in range(10)}
    assert len(theirs) == 32
    assert theirs not in ours


def test_paths_are_unguessable() -> None:
    """32 letters and digits, each time others."""
    paths = {unguessable() for _ in range(100)}
    assert len(paths) == 100
    assert all(len(path) == 32 and path.isalnum() and path.islower() for path in paths)
