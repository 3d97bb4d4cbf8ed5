"""Making merchants, sources and endpoints: what can work is stored, the rest is refused at once."""

from __future__ import annotations

import stat
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from arifa import dialects
from arifa.clock import now_us
from arifa.errors import AlreadyExists, NotADialect, NotFound, NotGenuine, Refused
from arifa.feed import Endpoint, Source
from arifa.hub import key_files
from arifa.hub.checks import check_url
from arifa.hub.configure import (
    NewEndpoint,
    NewSource,
    add_endpoint,
    add_merchant,
    add_source,
    remove_source,
    set_paused,
)
from arifa.hub.rotate import Haste, rotate_source
from arifa.notification import Direction, Kind, Status
from arifa.signing import Credentials
from arifa.signing.keys import new_rsa_key, public_half, rsa_public_key
from arifa.store import changes, configuration, endpoints, sources
from arifa.store.opened import Store
from arifa.wire import WireRequest
from tests.hub.bank import PRIVATE, PUBLIC, request

KCB = Credentials(public_keys=(PUBLIC,))
OURS = Credentials(private_key=PRIVATE)
SECRET = Credentials(secrets=(b"shared",))
HTTPS = "https://shop.example/hook"
DAY_US = 86_400_000_000


def source(store: Store, **wanted: Any) -> Source:
    given = {"name": "kcb", "dialect": "kcb", "credentials": KCB, **wanted}
    return add_source(store, NewSource(**given), now_us()).source


def endpoint(store: Store, **wanted: Any) -> Endpoint:
    given = {"name": "shop", "url": HTTPS, **wanted}
    return add_endpoint(store, NewEndpoint(**given), now_us()).endpoint


def found(store: Store, name: str, merchant: str | None = None) -> Source:
    with store.database.read() as connection:
        return sources.get(connection, store.vault, name, merchant)


# ---------------------------------------------------------------------------------- sources


def test_a_source_is_stored_as_it_was_made(store: Store) -> None:
    """What comes back from the store is what was made, on both engines."""
    add_merchant(store, "acme", now_us())
    made = source(
        store,
        merchant="acme",
        account="123",
        currency="USD",
        timezone="Africa/Kampala",
        routes={"150150": "default"},
        options={"status_code": "text"},
        credentials=Credentials(public_keys=(PUBLIC,), addresses=("10.0.0.0/8",)),
    )
    assert found(store, "kcb") == made
    assert (made.merchant, made.scope) == ("acme", "kcb:")
    assert made.profile.options == {"status_code": "text"}


def test_defaults_are_the_dialects(store: Store) -> None:
    """Currency and zone that are not said are the dialect's; the scope is the dialect."""
    made = source(store)
    assert made.profile == dialects.get("kcb").defaults
    assert (made.merchant, made.scope) == ("default", "kcb:")


def test_paths_are_unguessable(store: Store) -> None:
    """Every source has a path of its own, of 160 bits."""
    paths = {source(store, name=f"k{number}").token for number in range(5)}
    assert len(paths) == 5
    assert all(len(path) == 32 for path in paths)


def test_test_mode_is_the_twins(store: Store) -> None:
    """A test source belongs to the merchant's twin, and so do all it routes to."""
    add_merchant(store, "acme", now_us())
    made = source(store, mode="test", routes={"1": "acme"})
    assert made.merchant == "default:test"
    assert made.routes == {"1": "acme:test"}


def test_live_never_routes_to_test(store: Store) -> None:
    """No route leads from live money into a test merchant's books."""
    add_merchant(store, "acme", now_us())
    with pytest.raises(Refused, match="live source cannot route"):
        source(store, routes={"1": "acme:test"})


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        ({"dialect": "kcbb"}, NotADialect, "there are kcb"),
        ({"dialect": "as_received"}, Refused, "for endpoints only"),
        ({"merchant": "acme"}, NotFound, "arifa merchant add acme"),
        ({"routes": {"1": "acme"}}, NotFound, "arifa merchant add acme"),
        ({"credentials": Credentials()}, Refused, "--public-key"),
        ({"credentials": Credentials(public_keys=(b"x",))}, Refused, "PEM"),
        ({"credentials": Credentials(public_keys=(PRIVATE,))}, Refused, "private key"),
        ({"currency": "KSH"}, Refused, "ISO 4217"),
        ({"timezone": "Nairobi"}, Refused, "Africa/Nairobi"),
        ({"options": {"status_code": "roman"}}, Refused, "integer, text"),
        ({"options": {"colour": "red"}}, Refused, "no option 'colour'"),
        ({"name": ""}, Refused, "name"),
        ({"name": "a b"}, Refused, "name"),
        ({"name": "src_1"}, Refused, "name"),
        ({"name": "x" * 64}, Refused, "name"),
        ({"mode": "prod"}, Refused, "live or test"),
        ({"dialect": "cbs"}, Refused, "--secret-file"),
        ({"dialect": "cbs", "credentials": Credentials(secrets=(b"",))}, Refused, "empty"),
        ({"dialect": "jenga", "credentials": Credentials(username="u")}, Refused, "together"),
        ({"dialect": "jenga", "credentials": Credentials(passwords=("p",))}, Refused, "together"),
        (
            {"dialect": "jenga", "credentials": Credentials(username="a:b", passwords=("p",))},
            Refused,
            "colon",
        ),
        ({"dialect": "credit_bank", "credentials": Credentials()}, Refused, "--allow-ip"),
        ({"dialect": "xente", "credentials": Credentials()}, Refused, "--allow-ip"),
        (
            {"dialect": "xente", "credentials": Credentials(addresses=("10.0.0.300",))},
            Refused,
            "not an address",
        ),
        (
            {"dialect": "standard_webhooks", "credentials": Credentials(secrets=(b"plain",))},
            Refused,
            "whsec_",
        ),
        ({"generate_key": True}, Refused, "no key to generate"),
        ({"dialect": "cbs", "credentials": SECRET, "generate_key": True}, Refused, "no key"),
    ],
)
def test_a_source_that_cannot_work_is_refused(
    sqlite_store: Store, wanted: dict[str, Any], error: type[Exception], said: str
) -> None:
    """Each wrong thing is one sentence that says what to do, and nothing is stored."""
    with pytest.raises(error, match=said):
        source(sqlite_store, **wanted)
    with sqlite_store.database.read() as connection:
        assert sources.all_active(connection, sqlite_store.vault) == []
    assert not list((sqlite_store.folder / key_files.FOLDER).glob("*"))


def test_a_name_is_taken_once_a_merchant(store: Store) -> None:
    """Two merchants may use one name; one merchant may not use it twice."""
    add_merchant(store, "acme", now_us())
    source(store)
    source(store, merchant="acme")
    with pytest.raises(AlreadyExists, match="has a source 'kcb' already"):
        source(store)
    with pytest.raises(Refused, match="say --merchant"):
        found(store, "kcb")
    assert found(store, "kcb", "acme").merchant == "acme"


def test_idle_credentials_are_noted(sqlite_store: Store) -> None:
    """A secret that proves nothing is said to prove nothing."""
    wanted = NewSource(
        name="kcb", dialect="kcb", credentials=Credentials(public_keys=(PUBLIC,), secrets=(b"s",))
    )
    notes = add_source(sqlite_store, wanted, now_us()).notes
    assert notes == ["kcb makes no use of --secret-file here: it proves nothing"]


def test_all_sources_of_one_bank_share_a_scope(store: Store) -> None:
    """A payment that two feeds of a bank announce is one, whatever accounts they are for."""

    def scope(name: str, account: str | None, **wanted: Any) -> str:
        given = {"name": name, "dialect": "kcb", "credentials": KCB, "account": account, **wanted}
        return add_source(store, NewSource(**given), now_us()).source.scope

    scopes = {scope("one", "1"), scope("two", "2"), scope("all", None)}
    remove_source(store, found(store, "all"), now_us())

    assert scopes == {scope("three", "3")}
    assert scope("cbs", None, dialect="cbs", credentials=SECRET) not in scopes


def test_a_generated_key_can_be_tried(sqlite_store: Store) -> None:
    """The bank's private half lies in a file of ours only, and signs what the source accepts."""
    wanted = NewSource(name="trial", dialect="kcb", generate_key=True)
    added = add_source(sqlite_store, wanted, now_us())
    assert added.private_key_path == key_files.their_private_key(
        sqlite_store.folder, added.source.id
    )
    assert added.private_key_path is not None
    assert stat.S_IMODE(added.private_key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(added.private_key_path.parent.stat().st_mode) == 0o700
    kcb, made = dialects.get("kcb"), found(sqlite_store, "trial")
    bank = Credentials(private_key=added.private_key_path.read_bytes())
    signed = kcb.sign(WireRequest(body=request("kcb").body), bank, now_us())
    assert kcb.receive(signed, made.credentials, made.profile, now_us())
    assert made.credentials.private_key is None
    assert any("sign as the bank" in note for note in added.notes)


def test_our_own_generated_key_stays_in_the_store(sqlite_store: Store) -> None:
    """Where our key is needed it is sealed, and its public half is in a file for the other side."""
    theirs = Credentials(public_keys=(PUBLIC,), addresses=("127.0.0.1",))
    wanted = NewSource(name="x", dialect="xente", credentials=theirs, generate_key=True)
    added = add_source(sqlite_store, wanted, now_us())
    assert added.private_key_path is None
    assert added.public_key_path is not None
    rsa_public_key(added.public_key_path.read_bytes())
    assert found(sqlite_store, "x").credentials.private_key is not None
    assert b"PRIVATE" not in added.public_key_path.read_bytes()


def test_a_refused_source_leaves_no_key_behind(sqlite_store: Store) -> None:
    """Where the name is taken, the key made for it is gone too."""
    wanted = NewSource(name="trial", dialect="kcb", generate_key=True)
    add_source(sqlite_store, wanted, now_us())
    with pytest.raises(AlreadyExists):
        add_source(sqlite_store, wanted, now_us())
    assert len(list((sqlite_store.folder / key_files.FOLDER).iterdir())) == 1


def test_keys_that_cannot_all_be_written(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the second key file fails, neither the first nor the source stays."""
    write = key_files.write
    paths: list[Path] = []

    def second_fails(path: Path, pem: bytes) -> None:
        if paths:
            raise Refused("the disk is full")
        paths.append(path)
        write(path, pem)

    monkeypatch.setattr(key_files, "write", second_fails)
    addresses = Credentials(addresses=("127.0.0.1",))
    with pytest.raises(Refused, match="full"):
        source(sqlite_store, name="x", dialect="xente", credentials=addresses, generate_key=True)
    assert len(paths) == 1
    assert not paths[0].exists()
    with pytest.raises(NotFound):
        found(sqlite_store, "x")


def test_pause_and_resume(store: Store) -> None:
    """A paused source is one, until it is resumed; whoever serves sees both at once."""
    made = source(store)
    with store.database.read() as connection:
        before = changes.number(connection)
    set_paused(store, made, now_us(), paused=True)
    assert found(store, "kcb").paused
    set_paused(store, made, now_us(), paused=False)
    assert not found(store, "kcb").paused
    with store.database.read() as connection:
        assert changes.number(connection) == before + 2


def test_remove(store: Store) -> None:
    """A removed source is found no more by name, its path is gone, and its name is free."""
    made = source(store)
    remove_source(store, made, now_us())
    with pytest.raises(NotFound):
        found(store, "kcb")
    with store.database.read() as connection:
        assert configuration.load(connection, store.vault).sources == {}
        assert sources.names(connection) == {made.id: "kcb"}
        assert sources.find_id(connection, made.id) == made.id
    assert source(store).id != made.id


def test_rotation_takes_old_and_new(store: Store) -> None:
    """Both keys are taken, the newest first, for a day at least; then retiring drops the old."""
    made, start = source(store), now_us()
    _, public = new_rsa_key()
    both = rotate_source(store, made, Credentials(public_keys=(public,)), start).source
    assert found(store, "kcb").credentials.public_keys == (public, PUBLIC)
    with pytest.raises(Refused, match="24 hours"):
        rotate_source(store, both, Credentials(), start + DAY_US - 1, retire=True)
    rotate_source(store, both, Credentials(), start + DAY_US, retire=True)
    assert found(store, "kcb").credentials.public_keys == (public,)


def test_an_old_key_ends_at_once_with_a_reason(sqlite_store: Store) -> None:
    """A key that was lost ends now; the reason is in the audit log, and an empty one is none."""
    made = source(sqlite_store)
    new = Credentials(public_keys=(new_rsa_key()[1],))
    with pytest.raises(Refused, match="24 hours"):
        rotate_source(sqlite_store, made, new, now_us(), retire=True)
    with pytest.raises(Refused, match="reason"):
        rotate_source(sqlite_store, made, new, now_us(), retire=True, haste=Haste(" "))
    rotate_source(sqlite_store, made, new, now_us(), retire=True, haste=Haste("the key was lost"))
    assert found(sqlite_store, "kcb").credentials == new
    with sqlite_store.database.read() as connection:
        *_, last = changes.acts_on(connection, "default", made.id)
    assert (last.action, last.detail) == ("source.rotate", "at once: the key was lost")


def test_rotation_needs_something(sqlite_store: Store) -> None:
    """A rotation without anything new, and of a key that cannot be read, is refused."""
    made = source(sqlite_store)
    with pytest.raises(Refused, match="nothing to rotate"):
        rotate_source(sqlite_store, made, Credentials(), now_us())
    with pytest.raises(Refused, match="PEM"):
        rotate_source(sqlite_store, made, Credentials(public_keys=(b"x",)), now_us())
    assert found(sqlite_store, "kcb").credentials == made.credentials


def test_our_own_key_is_made_anew(sqlite_store: Store) -> None:
    """Where keys are exchanged, a generated one is ours: the bank's key stays the only one."""
    theirs = Credentials(public_keys=(PUBLIC,), addresses=("127.0.0.1",))
    wanted = NewSource(name="x", dialect="xente", credentials=theirs, generate_key=True)
    made = add_source(sqlite_store, wanted, now_us()).source
    added = rotate_source(sqlite_store, made, Credentials(), now_us(), generate_key=True)
    assert added.private_key_path is None
    now = found(sqlite_store, "x").credentials
    assert now.public_keys == (PUBLIC,)
    assert now.private_key not in (None, made.credentials.private_key)
    assert now.old_private_keys == (made.credentials.private_key,)


def test_what_is_sealed_to_the_old_key_is_opened(sqlite_store: Store) -> None:
    """Until the old key is retired the bank may encrypt to either, so nothing is refused."""
    theirs = Credentials(public_keys=(PUBLIC,), addresses=("127.0.0.1",))
    wanted = NewSource(name="x", dialect="xente", credentials=theirs, generate_key=True)
    made, start = add_source(sqlite_store, wanted, now_us()).source, now_us()
    both = rotate_source(sqlite_store, made, Credentials(), start, generate_key=True).source

    def sealed_to(key: bytes | None) -> WireRequest:
        assert key is not None
        bank = Credentials(private_key=PRIVATE, public_keys=(public_half(key),))
        return dialects.get("xente").sign(request("xente"), bank, start)

    old, new = sealed_to(made.credentials.private_key), sealed_to(both.credentials.private_key)
    for message in (old, new):
        dialects.get("xente").verify(message, both.credentials, both.profile, start)
    rotate_source(sqlite_store, both, Credentials(), start + DAY_US, retire=True)
    after = found(sqlite_store, "x").credentials
    assert after.old_private_keys == ()
    dialects.get("xente").verify(new, after, both.profile, start)
    with pytest.raises(NotGenuine):
        dialects.get("xente").verify(old, after, both.profile, start)


def test_another_user_replaces(sqlite_store: Store) -> None:
    """Two users cannot be taken at once; with --retire the new pair replaces the old."""
    pair = Credentials(username="old", passwords=("1",))
    made = source(sqlite_store, name="j", dialect="jenga", credentials=pair)
    new = Credentials(username="new", passwords=("2",))
    with pytest.raises(Refused, match="--retire"):
        rotate_source(sqlite_store, made, new, now_us())
    rotate_source(sqlite_store, made, new, now_us(), retire=True, haste=Haste("agreed"))
    assert found(sqlite_store, "j").credentials == new


# ---------------------------------------------------------------------------------- endpoints


def test_an_endpoint_is_stored_as_it_was_made(store: Store) -> None:
    """What comes back from the store is what was made, on both engines."""
    feed = source(store)
    made = endpoint(
        store,
        statuses=frozenset({Status.SUCCESS}),
        kinds=frozenset({Kind.PAYMENT, Kind.REVERSAL}),
        directions=frozenset({Direction.CREDIT}),
        sources=("kcb",),
        show_phone=True,
    )
    assert made.sources == {feed.id}
    assert made.profile.options == {"phone": "full"}
    with store.database.read() as connection:
        assert endpoints.get(connection, store.vault, "shop") == made


def test_a_secret_is_made_and_shown_once(sqlite_store: Store) -> None:
    """A Standard Webhooks endpoint gets 32 random bytes; a given secret is not shown again."""
    added = add_endpoint(sqlite_store, NewEndpoint(name="shop", url=HTTPS), now_us())
    assert added.secret is not None
    assert len(b64decode(added.secret.removeprefix("whsec_"), validate=True)) == 32
    assert added.endpoint.credentials.secrets == (added.secret.encode(),)
    given = Credentials(secrets=(added.secret.encode(),))
    other = NewEndpoint(name="other", url=HTTPS, credentials=given)
    assert add_endpoint(sqlite_store, other, now_us()).secret is None


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, "--success-only --kinds payment$"),
        ({"statuses": frozenset({Status.SUCCESS})}, "with --kinds payment$"),
        ({"kinds": frozenset({Kind.PAYMENT})}, "with --success-only$"),
        (
            {
                "kinds": frozenset({Kind.PAYMENT}),
                "statuses": frozenset({Status.SUCCESS}),
                "directions": frozenset({Direction.DEBIT}),
            },
            "with --directions credit$",
        ),
    ],
)
def test_what_kcb_cannot_say_is_refused(
    sqlite_store: Store, wanted: dict[str, Any], said: str
) -> None:
    """KCB's form has no status and knows payments only: the filter must say so."""
    with pytest.raises(Refused, match=said):
        endpoint(sqlite_store, dialect="kcb", credentials=OURS, **wanted)


def test_a_kcb_endpoint_hears_credits_only(sqlite_store: Store) -> None:
    """Without a word about directions it hears of those that its dialect can say."""
    made = endpoint(
        sqlite_store,
        dialect="kcb",
        credentials=OURS,
        kinds=frozenset({Kind.PAYMENT}),
        statuses=frozenset({Status.SUCCESS}),
    )
    credit = {"source": "src_1", "kind": "payment", "status": "success"}
    assert made.wants(**credit, direction="credit")
    assert not made.wants(**credit, direction="debit")


def test_statuses_are_named_where_success_is_not_all(sqlite_store: Store) -> None:
    """Jenga says failures too, but nothing that is pending."""
    pair = Credentials(username="u", passwords=("p",))
    with pytest.raises(Refused, match="--statuses failed success"):
        endpoint(sqlite_store, dialect="jenga", credentials=pair, kinds=frozenset({Kind.PAYMENT}))


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        ({"dialect": "nope"}, NotADialect, "no dialect"),
        ({"merchant": "acme"}, NotFound, "arifa merchant add"),
        ({"sources": ("nope",)}, NotFound, "no source 'nope'"),
        (
            {
                "dialect": "kcb",
                "kinds": frozenset({Kind.PAYMENT}),
                "statuses": frozenset({Status.SUCCESS}),
            },
            Refused,
            "--private-key",
        ),
        ({"credentials": Credentials(secrets=(b"short",))}, Refused, "whsec_"),
        ({"name": "end_1"}, Refused, "name"),
    ],
)
def test_an_endpoint_that_cannot_work_is_refused(
    sqlite_store: Store, wanted: dict[str, Any], error: type[Exception], said: str
) -> None:
    """Each wrong thing is one sentence that says what to do."""
    with pytest.raises(error, match=said):
        endpoint(sqlite_store, **wanted)


def test_a_source_of_another_merchant_is_not_heard(sqlite_store: Store) -> None:
    """An endpoint may name its own merchant's sources, and those that route to it."""
    add_merchant(sqlite_store, "acme", now_us())
    add_merchant(sqlite_store, "other", now_us())
    source(sqlite_store, name="own", merchant="other")
    routing = source(sqlite_store, name="shared", routes={"1": "acme"})
    with pytest.raises(NotFound):
        endpoint(sqlite_store, merchant="acme", sources=("own",))
    assert endpoint(sqlite_store, merchant="acme", sources=("shared",)).sources == {routing.id}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example/hook",
        "ftp://shop.example/",
        "javascript:alert(1)",
        "https://",
        "https:///hook",
        "https://user:password@shop.example/",
        "https://user@shop.example/",
        "https://shop.example/#top",
        "https://shop.example:0/",
        "https://shop.example:99999/",
        "https://shop.example/a b",
        "https://shop.example/\n",
        "https://shop.example\\@evil.example/",
        "https://[::1/",
        "https://şop.example/",
        "https://shop.example/" + "x" * 2100,
        "http://shop.example/",
        "http://8.8.8.8/",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    """No other scheme, no user, no fragment, nothing unprintable, and no open internet in clear."""
    with pytest.raises(Refused):
        check_url(url)


@pytest.mark.parametrize(
    ("url", "is_noted"),
    [
        ("https://shop.example/hook?x=1", False),
        ("https://shop.example:8443", False),
        ("https://8.8.8.8/", False),
        ("http://127.0.0.1:9000/hook", True),
        ("http://localhost:9000/hook", True),
        ("http://[::1]:9000/", True),
        ("http://10.0.0.5/", True),
        ("http://erp/hook", True),
        ("https://erp.internal/", True),
    ],
)
def test_addresses_that_are_taken(url: str, is_noted: bool) -> None:
    """Inner addresses are taken with a note: they need --allow-private when it serves."""
    assert bool(check_url(url)) is is_noted
