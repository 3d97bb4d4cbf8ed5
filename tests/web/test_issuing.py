"""`arifa serve` as a bank: what was approved and what a folder brings reaches the merchant, over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from arifa.clock import now_us
from arifa.hub import acknowledged
from arifa.hub.approval import Decision, NewRule, add_rule
from arifa.hub.callback import NewCallback, new_callback
from arifa.hub.issue import submit
from arifa.money import Money
from arifa.signing import Credentials
from arifa.store import deliveries, merchants, notifications
from arifa.store.opened import Store, open_store
from arifa.store.transactions import TransactionState
from tests.engines import KEY
from tests.hub.issuing import event, order, raw, read
from tests.web.serving import NotServing, serving, wait_until


class Shop:
    """A merchant's listener. It answers `status`, and keeps what came."""

    def __init__(self) -> None:
        self.status = 200
        self.came: list[dict[str, Any]] = []
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                shop.came.append(json.loads(self.rfile.read(length)))
                self.send_response(shop.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/paid"

    @contextmanager
    def open(self) -> Iterator[Shop]:
        """Listening, for as long as the block runs."""
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A merchant's listener."""
    with Shop().open() as made:
        yield made


@pytest.fixture
def bank(tmp_path: Path, shop: Shop) -> Iterator[Store]:
    """The bank's store, with one merchant's callback and a rule that approves."""
    store = open_store(tmp_path / "data", None, KEY)
    with store.database.write() as connection:
        merchants.add(connection, "duka", now_us())
    new_callback(
        store,
        NewCallback(
            name="till",
            url=shop.url,
            dialect="jenga",
            merchant="duka",
            accounts=frozenset({"0021024000039"}),
            credentials=Credentials(username="shop", passwords=("sesame",)),
        ),
        now_us(),
    )
    rule = NewRule("small", Decision.APPROVE, "duka", up_to=Money(100_000, "KES"))
    add_rule(store, rule, now_us())
    yield store
    store.close()


def stand(store: Store, state: TransactionState) -> list[Any]:
    """The transactions that stand there, as they are written down."""
    with store.database.read() as connection:
        found = acknowledged.listed(connection, state=state, limit=1000)
    return [row for row, _ in found if row.state == state]


def test_a_bank_serves(bank: Store, shop: Shop, tmp_path: Path) -> None:
    """An order and a file of events are told in the merchant's form, and are complete on its OK."""
    drop = tmp_path / "drop"
    drop.mkdir()
    with serving(bank.folder, "--allow-private", "--watch", str(drop)) as hub:
        submit(bank, read(order()), merchant="duka", now_us=now_us())
        part = drop / "a.jsonl.part"
        part.write_bytes(
            raw(event("FT1", merchant="duka"))
            + b"\n"
            + raw(event("FT2", merchant="duka", status="failed"))
            + b"\n"
        )
        part.rename(drop / "a.jsonl")
        wait_until(lambda: len(stand(bank, TransactionState.COMPLETE)) == 3)
        wait_until((drop / "done" / "a.jsonl").exists)
        assert hub.stop() == 0
    said = {item["bank"]["reference"]: item["transaction"]["status"] for item in shop.came}
    assert {"FT1": "SUCCESS", "FT2": "FAILED"}.items() <= said.items()
    assert len(shop.came) == 3


def test_unacknowledged_until_the_shop_says_ok(bank: Store, shop: Shop) -> None:
    """While the shop answers 500 the transaction is not complete, and says why."""
    shop.status = 500
    with serving(bank.folder, "--allow-private") as hub:
        submit(bank, read(order()), merchant="duka", now_us=now_us())
        wait_until(lambda: bool(shop.came))
        (row,) = stand(bank, TransactionState.UNACKNOWLEDGED)
        assert row.notification is not None
        shop.status = 200
        wait_until(lambda: len(stand(bank, TransactionState.COMPLETE)) == 1)
        assert hub.stop() == 0


def test_killed_again_and_again(bank: Store, shop: Shop, tmp_path: Path) -> None:
    """However often the hub is killed, every order and event is settled, told and complete, once."""
    drop, count = tmp_path / "drop", 60
    drop.mkdir()
    for batch in range(3):
        orders = [order(f"{batch}-{number}") for number in range(count // 3)]
        submit(bank, read(*orders), merchant="duka", now_us=now_us())
        lines = [raw(event(f"FT{batch}-{number}", merchant="duka")) for number in range(count // 3)]
        (drop / f"{batch}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    for _ in range(6):
        with serving(bank.folder, "--allow-private", "--watch", str(drop)) as hub:
            wait_until(partial(has_heard, shop, len(shop.came), bank, count))
            hub.process.kill()
            hub.process.wait()
    with serving(bank.folder, "--allow-private", "--watch", str(drop)) as hub:
        wait_until(lambda: everything(bank, count))
        wait_until(lambda: len(list((drop / "done").iterdir())) == 3)
        assert hub.stop() == 0
    with bank.database.read() as connection:
        told = notifications.listed(connection, limit=1000)
        rows = deliveries.listed(connection, limit=1000)
    assert len(told) == len(rows) == 2 * count
    assert {item["bank"]["reference"] for item in shop.came} == {
        item.reading.bank_reference for item in told
    }


def has_heard(shop: Shop, before: int, bank: Store, count: int) -> bool:
    """Whether the shop has heard more than `before`, or there is nothing more to hear."""
    return len(shop.came) > before or everything(bank, count)


def everything(bank: Store, count: int) -> bool:
    """Whether all that was submitted and put down is complete."""
    return len(stand(bank, TransactionState.COMPLETE)) == 2 * count


def test_a_folder_or_a_processor_that_is_not_there(bank: Store, tmp_path: Path) -> None:
    """It does not begin to serve: a sentence says which is missing."""
    for words, sentence in (
        (("--watch", str(tmp_path / "none")), "make it first"),
        (("--processor", "none"), "there is no processor 'none'"),
    ):
        with pytest.raises(NotServing, match=sentence), serving(bank.folder, *words):
            pass
