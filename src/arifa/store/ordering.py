"""The order of deliveries to one endpoint: for each key they go out one after the other.

Only the first open delivery of a key has a `next_attempt_at`; those behind it wait without one, so
that no claim finds them. Whoever queues for a key, or ends its first one, holds the key's row in
`delivery_orders`. Several keys are always locked in sorted order, so that two nodes cannot wait for
each other; and behind the rows of the deliveries that ended, never before them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy.engine import Connection

from arifa.store import bulk

if TYPE_CHECKING:
    from arifa.store.deliveries import Entry

FLOWING, HALTED = "flowing", "halted"
_KEYS_MAX: Final = 64
"""Keys in one statement."""


class Key(NamedTuple):
    """One order."""

    merchant: str
    endpoint: str
    order_key: str


BEFORE_ALL: Final = Key("", "", "")


def placed(connection: Connection, entries: Sequence[Entry]) -> list[Entry]:
    """These entries, all of them with an `order_key`, each with its place in its key's order.

    The first of a key is due when it says, if no other is open and the key is not halted; the rest
    wait.
    """
    by_key: dict[Key, list[Entry]] = {}
    for entry in entries:
        by_key.setdefault(_key_of(entry), []).append(entry)
    found = []
    for part in _parts(by_key):
        counts = [(*key, len(by_key[key]), FLOWING) for key in part]
        taken = bulk.execute(connection, _take(len(part)), _flat(counts)).fetchall()
        waiting = {Key(*row) for row in _having_open(connection, part)}
        for *names, last, state in taken:
            key = Key(*names)
            mine = by_key[key]
            is_behind = state == HALTED or key in waiting
            for number, entry in enumerate(mine, last - len(mine) + 1):
                due_at = None if is_behind else entry.next_attempt_at
                found.append(entry._replace(sequence=number, next_attempt_at=due_at))
                is_behind = True
    return found


def _having_open(connection: Connection, keys: Sequence[Key]) -> Iterable[Sequence[str]]:
    rows: Iterable[Sequence[str]] = bulk.execute(
        connection, _open(len(keys)), _flat(keys)
    ).fetchall()
    return rows


def release(
    connection: Connection, keys: Collection[Key], now_us: int, *, past_dead: bool = False
) -> list[str]:
    """Let each key go on with the first delivery that is still open.

    To be called in the transaction that ends, skips or reopens a delivery of the key. A key that is
    halted goes on once the dead delivery that halts it is no longer dead; until then only what
    stands before that one goes out.

    Args:
        past_dead: also past the dead one: its endpoint does not halt any more.

    Returns:
        The endpoints that have one more delivery due.
    """
    released: list[str] = []
    for part in _parts(keys):
        halted = {} if past_dead else _halted(connection, part)
        free = [key for key in part if key not in halted]
        rows: list[Sequence[str]] = []
        if free:
            marks = [(*key, 0, FLOWING, None) for key in free]
            bulk.execute(connection, _mark(len(free)), _flat(marks))
            rows += bulk.execute(connection, _due(len(free)), [now_us, *_flat(free)]).fetchall()
        for key, sequence in halted.items():
            values = (now_us, key.merchant, *key, sequence)
            rows += bulk.execute(connection, _DUE_BEFORE, values).fetchall()
        released += [row[0] for row in rows]
    return released


def _halted(connection: Connection, keys: Sequence[Key]) -> dict[Key, int]:
    """Those of these keys that a delivery which is still dead halts: its sequence."""
    found = {}
    wanted = [(*key, 0, FLOWING) for key in keys]
    rows = bulk.execute(connection, _lock(len(keys)), _flat(wanted)).fetchall()
    for *names, state, halted_by in rows:
        if state == HALTED and halted_by is not None:
            dead = bulk.execute(connection, _DEAD, (names[0], halted_by)).fetchone()
            if dead is not None:
                found[Key(*names)] = int(dead[0])
    return found


def halt(connection: Connection, heads: Mapping[Key, str]) -> None:
    """Stop each key behind its dead delivery (its id), until a person retries or skips that.

    One that halts the key already, and is still dead, stays the one.
    """
    for part in _parts(heads):
        rows = [(*key, 0, HALTED, heads[key]) for key in part]
        bulk.execute(connection, _mark(len(part)), _flat(rows))


def hold_back(connection: Connection, keys: Collection[Key]) -> None:
    """Take the time from whatever of these keys is due, but for the first that is open.

    Where one that stands before them has been reopened, they must not overtake it.
    """
    for part in _parts(keys):
        bulk.execute(connection, _hold_back(len(part)), _flat([*part, *part]))


def lost(
    connection: Connection, after: Key, limit: int, halting: Collection[str]
) -> tuple[list[Key], Key]:
    """Which of the next `limit` keys wait although nothing is before them; and where to go on.

    No known way leads there: it is the net under the law that nothing is forgotten.

    Args:
        halting: the endpoints whose keys may wait behind a dead delivery.
    """
    found: list[Key] = []
    key = after
    for _ in range(limit):
        row = bulk.execute(connection, _NEXT, key).fetchone()
        if row is None:
            return found, BEFORE_ALL
        key = Key(*row[:3])
        if row[3] == "pending" and row[4] is None:
            state = bulk.execute(connection, _STATE, key).fetchone()
            if state is None or state[0] != HALTED or key.endpoint not in halting:
                found.append(key)
    return found, key


def _key_of(entry: Entry) -> Key:
    assert entry.order_key is not None
    return Key(entry.merchant, entry.endpoint, entry.order_key)


def _parts(keys: Iterable[Key]) -> Iterator[tuple[Key, ...]]:
    ordered = sorted(keys)
    for begin in range(0, len(ordered), _KEYS_MAX):
        yield tuple(ordered[begin : begin + _KEYS_MAX])


def _flat(rows: Iterable[Sequence[object]]) -> list[object]:
    return list(chain.from_iterable(rows))


# ---------------------------------------------------------------------------------- statements

_IS_OPEN: Final = "order_key IS NOT NULL AND state IN ('pending', 'sending')"
_IS_KEYS: Final = (
    "d.merchant = k.column1 AND d.endpoint = k.column2 AND d.order_key = k.column3 "
    "AND d.order_key IS NOT NULL AND d.state IN ('pending', 'sending')"
)
_FIRST: Final = f"SELECT d.id FROM deliveries AS d WHERE {_IS_KEYS} ORDER BY d.sequence LIMIT 1"  # noqa: S608
_NEXT: Final = (
    "SELECT merchant, endpoint, order_key, state, next_attempt_at FROM deliveries "  # noqa: S608
    f"WHERE {_IS_OPEN} AND (merchant, endpoint, order_key) > (?, ?, ?) "
    "ORDER BY merchant, endpoint, order_key, sequence LIMIT 1"
)
_DEAD: Final = "SELECT sequence FROM deliveries WHERE merchant = ? AND id = ? AND state = 'dead'"
_DUE_BEFORE: Final = (
    "UPDATE deliveries SET next_attempt_at = ? WHERE state = 'pending' "  # noqa: S608
    "AND next_attempt_at IS NULL AND merchant = ? AND id = (SELECT id FROM deliveries "
    f"WHERE merchant = ? AND endpoint = ? AND order_key = ? AND {_IS_OPEN} "
    "ORDER BY sequence LIMIT 1) AND sequence < ? RETURNING endpoint"
)
_STATE: Final = (
    "SELECT state FROM delivery_orders WHERE merchant = ? AND endpoint = ? AND order_key = ?"
)


def _values(size: int, columns: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * size)


@cache
def _take(size: int) -> str:
    return (
        "INSERT INTO delivery_orders (merchant, endpoint, order_key, last, state) "  # noqa: S608
        f"VALUES {_values(size, 5)} ON CONFLICT (merchant, endpoint, order_key) "
        "DO UPDATE SET last = delivery_orders.last + excluded.last "
        "RETURNING merchant, endpoint, order_key, last, state"
    )


@cache
def _mark(size: int) -> str:
    return (
        "INSERT INTO delivery_orders (merchant, endpoint, order_key, last, state, halted_by) "  # noqa: S608
        f"VALUES {_values(size, 6)} ON CONFLICT (merchant, endpoint, order_key) "
        "DO UPDATE SET state = excluded.state, halted_by = CASE WHEN excluded.halted_by IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM deliveries AS d WHERE d.merchant = delivery_orders.merchant "
        "AND d.id = delivery_orders.halted_by AND d.state = 'dead') "
        "THEN delivery_orders.halted_by ELSE excluded.halted_by END"
    )


@cache
def _lock(size: int) -> str:
    # An insert takes its rows in the order in which they are given, which an update does not.
    return (
        "INSERT INTO delivery_orders (merchant, endpoint, order_key, last, state) "  # noqa: S608
        f"VALUES {_values(size, 5)} ON CONFLICT (merchant, endpoint, order_key) "
        "DO UPDATE SET last = delivery_orders.last "
        "RETURNING merchant, endpoint, order_key, state, halted_by"
    )


@cache
def _hold_back(size: int) -> str:
    return (
        "UPDATE deliveries SET next_attempt_at = NULL "  # noqa: S608
        f"WHERE {_IS_OPEN} AND state = 'pending' AND next_attempt_at IS NOT NULL "
        f"AND (merchant, endpoint, order_key) IN (VALUES {_values(size, 3)}) "
        f"AND (merchant, id) NOT IN (SELECT column1, ({_FIRST}) FROM "
        f"(VALUES {_values(size, 3)}) AS k)"
    )


@cache
def _open(size: int) -> str:
    # With a limit, so that PostgreSQL steps through the index for each key, whatever it believes
    # about the table.
    return (
        f"SELECT column1, column2, column3 FROM (VALUES {_values(size, 3)}) AS k "  # noqa: S608
        f"WHERE ({_FIRST}) IS NOT NULL"
    )


@cache
def _due(size: int) -> str:
    return (
        "UPDATE deliveries SET next_attempt_at = ? "  # noqa: S608
        "WHERE state = 'pending' AND next_attempt_at IS NULL AND (merchant, id) IN "
        f"(SELECT column1, ({_FIRST}) FROM (VALUES {_values(size, 3)}) AS k) RETURNING endpoint"
    )
