"""What makes one payment one: keys in order, and those from before they were."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from arifa.errors import AlreadyClaimed, DataRefused, StoreUnfit, Unavailable
from arifa.store import identities
from arifa.store.database import ServingLock, sqlite_path
from arifa.store.opened import Store
from arifa.store.schema import plain_identities
from tests.engines import Opener
from tests.hub.bank import Hub, request

TEXTS = st.text(st.characters(codec=None), max_size=60)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_a_key_is_of_one_identity_in_one_scope(one: str, two: str, three: str, four: str) -> None:
    """Two keys are equal only where scope and identity are, whatever the identities begin with."""
    same = (one, two) == (three, four)
    assert (identities.key_of(one, two) == identities.key_of(three, four)) is same
    assert identities.key_of(one, two) != identities.key_of(one, two + "1")
    assert len(identities.key_of(one, two)) <= 48


@given(st.integers(0, 10**12 - 2))
def test_references_that_count_up_have_keys_that_do(number: int) -> None:
    """The next reference of a bank has the next key, so that rows are appended."""
    keys = [identities.key_of("jenga:", f"success:reference:{it:012d}") for it in (0, number + 1)]
    assert keys == sorted(keys)


def test_one_of_many_that_is_taken_refuses_all(store: Store) -> None:
    """A group of keys of which one is taken is not claimed at all."""
    keys = [identities.key_of("s", str(number)) for number in range(70)]
    claim(store, keys[69])

    with pytest.raises(AlreadyClaimed):
        claim(store, *keys)
    assert find(store, *keys) == [keys[69]]


def test_an_upgrade_keeps_what_was_claimed_before(opener: Opener) -> None:
    """A payment of before the upgrade is found by its digest, and cannot be claimed again."""
    store = opener()
    old, new = identities.key_of("s", "old"), identities.key_of("s", "new")
    claim(store, old)
    take_back_to_0004(store)

    store = opener()

    assert store.migrated_from == "0004"
    assert find(store, old, new) == [old]
    for keys in ([old], [old, new]):
        with pytest.raises(AlreadyClaimed):
            claim(store, *keys)
    claim(store, new)
    assert find(store, old, new) == [new, old]


def test_an_older_program_claims_nothing_after_the_upgrade(store: Store) -> None:
    """Its claim fails, so that no payment is claimed in two tables; on PostgreSQL it says to its
    bank what it says where the database is away."""
    refused = DataRefused if store.database.is_sqlite else Unavailable
    with pytest.raises(refused), store.database.write() as connection:
        connection.execute(
            sa.insert(plain_identities).values(
                merchant="m", digest=b"d" * 16, notification="ntf_2",
                notification_merchant="m", money_hash=b"money",
            )
        )  # fmt: skip


def test_no_upgrade_under_an_older_program_that_serves(opener: Opener) -> None:
    """An SQLite file that is being served is not upgraded, and the sentence says what to do."""
    store = opener()
    if not store.database.is_sqlite:
        return
    take_back_to_0004(store)
    lock = ServingLock(sqlite_path(store.database.url))
    lock.acquire()

    with pytest.raises(StoreUnfit, match="stop that one first"):
        opener()

    lock.release()
    assert opener().migrated_from == "0004"


@pytest.mark.parametrize("asks_first", [False, True])
def test_payments_of_before_the_upgrade_count_once(opener: Opener, asks_first: bool) -> None:
    """Their repeats are repeats and their conflicts conflicts, with the ids that they had."""
    before = Hub(opener())
    before.source("kcb")
    first = before.one("kcb", request("kcb"))
    take_back_to_0004(before.store)

    after = Hub(opener())
    after.sources = before.sources
    after.one("kcb", request("kcb", transactionReference="FT-OTHER"))
    after.receiver._expects_repeats = asks_first
    assert after.one("kcb", request("kcb")).body == first.body
    after.receiver._expects_repeats = asks_first
    after.one("kcb", request("kcb", transactionAmount="900.00"))

    assert after.outcomes()[-2:] == ["DUPLICATE", "CONFLICT"]
    (case,) = after.cases()
    assert case.against == after.notifications()[0].id


def claim(store: Store, *keys: bytes) -> None:
    """Claim keys of the merchant `m`."""
    with store.database.write() as connection:
        identities.claim(connection, [("m", key, "ntf_1", "m", b"money") for key in keys])


def find(store: Store, *keys: bytes) -> list[bytes]:
    """Which of them stand for something, in order."""
    with store.database.read() as connection:
        return sorted(key for _, key in identities.find(connection, [("m", key) for key in keys]))


_MOVE = (
    "INSERT INTO identities SELECT merchant, {}, notification, notification_merchant, money_hash "
    "FROM identity_keys"
)


def take_back_to_0004(store: Store) -> None:
    """Make the database what it was before the upgrade, with all identities by their digests."""
    is_sqlite = store.database.is_sqlite
    digest = "substr(key, -16)" if is_sqlite else "substring(key FROM octet_length(key) - 15)"
    statements = (
        f"DROP TRIGGER identities_no_insert{'' if is_sqlite else ' ON identities'}",
        *(() if is_sqlite else ("DROP FUNCTION identities_refuse()",)),
        _MOVE.format(digest),
        "DROP TABLE identity_keys",
        "UPDATE alembic_version SET version_num = '0004'",
    )
    with store.database.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    store.close()
