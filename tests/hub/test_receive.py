"""Receiving: committed once, answered in the bank's own words, on both engines."""

from __future__ import annotations

import json
import random
import threading
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from arifa import dialects
from arifa.clock import monotonic, now_us
from arifa.errors import DataRefused, StoreBroken, Unavailable
from arifa.hub.receive import Receiver
from arifa.store import bulk, changes, notifications, refusals, seals, sources
from arifa.store.opened import Store
from arifa.store.schema import deliveries, inbox_bodies
from arifa.store.schema import inbox as inbox_table
from tests.engines import Opener
from tests.hub.bank import BANK, Hub, altered, request


@pytest.fixture
def hub(store: Store) -> Hub:
    """A hub with a source of each bank and one endpoint."""
    return filled(store)


def filled(store: Store) -> Hub:
    hub = Hub(store)
    hub.endpoint()
    for dialect in BANK:
        hub.source(dialect)
    return hub


def transaction_id(answer) -> str:
    return json.loads(answer.body)["transactionID"]


def test_a_yes_means_that_every_row_is_there(hub: Hub, opener: Opener) -> None:
    """After the answer another process finds request, bytes, notification, identity, delivery."""
    sent = request("kcb")

    answer = hub.one("kcb", sent)

    assert answer.status == 200
    found = Hub(opener())
    (notification,) = found.notifications()
    assert transaction_id(answer) == notification.id
    assert found.outcomes() == ["ACCEPTED"]
    assert found.totals() == {"inbox_bodies": 1, "identity_keys": 1, "deliveries": 1}
    with found.store.database.read() as connection:
        (body,) = connection.execute(sa.select(inbox_bodies.c.body)).scalars()
    assert body == sent.body


def test_identical_bytes_get_the_stored_answer_again(hub: Hub) -> None:
    """A byte-equal repeat is answered byte for byte alike, and keeps no second copy."""
    sent = request("kcb")

    first, again = hub.one("kcb", sent), hub.one("kcb", sent)

    assert again == first
    assert hub.outcomes() == ["ACCEPTED", "DUPLICATE"]
    assert hub.totals() == {"inbox_bodies": 1, "identity_keys": 1, "deliveries": 1}


def test_the_same_payment_in_a_new_envelope_is_the_same_payment(hub: Hub) -> None:
    """Another request id for the same payment gets the same transaction id."""
    first = hub.one("kcb", request("kcb"))

    again = hub.one("kcb", request("kcb", requestId="another"))

    assert transaction_id(again) == transaction_id(first)
    assert again.status == 200
    assert len(hub.notifications()) == 1


def test_a_till_answer_echoes_the_ids_of_its_own_envelope(hub: Hub) -> None:
    """A repeat in a new envelope is answered with the new envelope's ids."""
    hub.one("kcb", request("kcb", "till"))

    again = json.loads(hub.one("kcb", request("kcb", "till", header__messageID="77")).body)

    assert again["header"]["messageID"] == "77"
    assert len(hub.notifications()) == 1


def test_the_same_reference_with_other_money_waits_as_one_case(hub: Hub) -> None:
    """A conflict is answered as received, never counts, and opens one case however often it comes."""
    hub.one("kcb", request("kcb"))
    conflicting = request("kcb", transactionAmount="900.00")

    answers = [hub.one("kcb", conflicting) for _ in range(3)]

    assert {answer.status for answer in answers} == {200}
    assert len({transaction_id(answer) for answer in answers}) == 1
    assert [str(item.reading.amount) for item in hub.accepted()] == ["100.00 KES"]
    (case,) = hub.cases()
    assert (case.kind, case.against) == ("conflict", hub.accepted()[0].id)
    assert hub.totals()["deliveries"] == 1


def test_repeats_within_one_group_count_once(hub: Hub) -> None:
    """A storm of one notification and its conflict in one group leaves one payment and one case."""
    genuine, conflicting = request("kcb"), request("kcb", transactionAmount="900.00")

    answers = hub.receive(*[("kcb", genuine)] * 20, *[("kcb", conflicting)] * 5)

    assert len({transaction_id(answer) for answer in answers[:20]}) == 1
    assert (len(hub.accepted()), len(hub.cases())) == (1, 1)
    assert hub.outcomes().count("DUPLICATE") == 19
    assert hub.totals()["inbox_bodies"] == 1 + 5


def test_a_forged_request_leaves_a_count_and_a_masked_sample(hub: Hub) -> None:
    """What is not genuine is refused in the bank's form and never becomes a payment."""
    forged = altered(request("kcb"), b"100.00", b"900.00")

    answer = hub.one("kcb", forged)

    assert (answer.status, json.loads(answer.body)["statusCode"]) == (401, 1)
    assert hub.notifications() == []
    assert hub.outcomes() == []
    with hub.store.database.read() as connection:
        source = sources.get(connection, hub.store.vault, "kcb")
        assert sources.counters(connection, source)["refused"] == 1
        (sample,) = refusals.listed(connection)
    assert sample.body_bytes == len(forged.body)
    for personal in ("John", "25471111111", "100000"):
        assert personal not in sample.sample


def test_the_ring_of_refusals_is_bounded(sqlite_store: Store, monkeypatch) -> None:
    """However many forgeries come, a bounded number of samples is kept and all are counted."""
    hub = filled(sqlite_store)
    monkeypatch.setattr(refusals, "RING_MAX", 10)
    monkeypatch.setattr("arifa.hub.record.SAMPLES_A_SECOND", 10**6)
    forged = altered(request("kcb"), b"100.00", b"900.00")

    for _ in range(5):
        hub.receive(*[("kcb", forged)] * 7)

    with hub.store.database.read() as connection:
        assert len(refusals.listed(connection, limit=1000)) == 10
        source = sources.get(connection, hub.store.vault, "kcb")
        assert sources.counters(connection, source)["refused"] == 35


def test_what_is_genuine_but_unreadable_is_kept(hub: Hub) -> None:
    """A genuine message without an amount is stored with its bytes, and answered as unreadable."""
    answer = hub.one("kcb", request("kcb", transactionAmount=None))

    assert answer.status == 400
    assert hub.outcomes() == ["UNREADABLE"]
    assert hub.totals() == {"inbox_bodies": 1, "identity_keys": 0, "deliveries": 0}


def test_failed_then_success_under_one_reference_are_two(hub: Hub) -> None:
    """Jenga's FAILED and SUCCESS share a reference: neither hides the other."""
    hub.one("jenga", request("jenga", transaction__status="FAILED"))
    hub.one("jenga", request("jenga", transaction__status="SUCCESS"))

    assert [item.reading.status.value for item in hub.accepted()] == ["failed", "success"]


def test_a_reversal_on_an_unproven_word_is_held(hub: Hub) -> None:
    """CBS's IsReversal is not signed: what says so waits for a second proof."""
    answer = hub.one("cbs", request("cbs", "reversal"))

    assert answer.status == 200
    assert hub.accepted() == []
    (case,) = hub.cases()
    assert case.kind == "unproven"
    assert hub.totals()["deliveries"] == 0


def test_another_split_of_a_signed_text_is_a_case(hub: Hub) -> None:
    """The Mac has no separators: the same text cut elsewhere is never a second payment."""
    genuine = request("cbs")
    hub.one("cbs", genuine)
    document = json.loads(genuine.body)
    shifted = {
        **document,
        "InvoiceNumber": document["InvoiceNumber"] + document["PaymentRef"][:1],
        "PaymentRef": document["PaymentRef"][1:],
    }

    answer = hub.one("cbs", replace(genuine, body=json.dumps(shifted).encode()))

    assert answer.status == 200
    assert len(hub.accepted()) == 1
    assert len(hub.cases()) == 1


@pytest.mark.parametrize(
    "field", ["IsReversal", "PaymentDate", "Channel", "ResponseCode", "BankName"]
)
def test_an_altered_unproven_field_never_counts_a_second_time(hub: Hub, field: str) -> None:
    """Whatever is changed outside the Mac, the payment counts once."""
    genuine = request("cbs")
    hub.one("cbs", genuine)
    document = json.loads(genuine.body)
    document[field] = not document[field] if field == "IsReversal" else "changed"

    hub.one("cbs", replace(genuine, body=json.dumps(document).encode()))

    assert len(hub.accepted()) == 1


def test_a_second_notification_of_one_receipt_is_likely_a_duplicate(hub: Hub) -> None:
    """Another reference with the same M-Pesa receipt waits as a case."""
    hub.one("kcb", request("kcb", "till"))
    document = json.loads(dialects.get("kcb").cases["till"].body)
    data = document["requestPayload"]["additionalData"]["notificationData"]
    data["transactionID"] = "FT99999XXXXX"

    hub.one("kcb", request("kcb", "till", requestPayload=document["requestPayload"]))

    assert len(hub.accepted()) == 1
    (case,) = hub.cases()
    assert case.kind == "likely_duplicate"


def test_money_goes_to_the_merchant_of_its_account(hub: Hub, store: Store) -> None:
    """A source that routes gives each notification to the account's merchant, others to its own."""
    from arifa.store import merchants

    with store.database.write() as connection:
        merchants.add(connection, "duka", now_us())
    hub.source("kcb", "shared", scope="kcb:shared", routes={"JD002": "duka"})

    hub.one("shared", request("kcb", transactionReference="FT1", creditAccountIdentifier="JD002"))
    hub.one("shared", request("kcb", transactionReference="FT2"))

    assert [item.merchant for item in hub.notifications()] == ["duka", "default"]


def test_a_notification_for_another_account_is_held(hub: Hub) -> None:
    """A source that is for one account does not count money of another."""
    hub.source("kcb", "one", scope="kcb:one", account="JD777")

    hub.one("one", request("kcb"))

    assert hub.accepted() == []
    assert len(hub.cases()) == 1


def test_a_change_counts_at_the_next_request(hub: Hub, store: Store) -> None:
    """Pausing, resuming and new credentials by another process are seen at once."""
    with store.database.write() as connection:
        sources.set_state(connection, hub.sources["kcb"], sources.PAUSED, now_us())
    paused = hub.one("kcb", request("kcb"))
    with store.database.write() as connection:
        sources.set_state(connection, hub.sources["kcb"], sources.ACTIVE, now_us())
        sources.set_credentials(
            connection, store.vault, hub.sources["cbs"], BANK["jenga"], now_us()
        )
    resumed, rotated = hub.receive(("kcb", request("kcb")), ("cbs", request("cbs")))

    assert (paused.status, resumed.status, rotated.status) == (503, 200, 401)


def test_a_removed_source_is_not_found_and_its_payments_stay_known(hub: Hub, store: Store) -> None:
    """A new source of the same scope does not count again what an earlier one has received."""
    hub.one("kcb", request("kcb"))
    with store.database.write() as connection:
        sources.remove(connection, hub.sources["kcb"], now_us())
    hub.source("kcb", "kcb-anew")

    gone, again = hub.receive(("token-of-kcb", request("kcb")), ("kcb-anew", request("kcb")))

    assert gone is None
    assert again.status == 200
    assert len(hub.notifications()) == 1


def test_what_waited_while_the_configuration_was_loaded_anew_is_judged_by_it(hub: Hub) -> None:
    """A request of before a pause, whose group comes after another has loaded that, is paused."""
    hub.one("cbs", request("cbs"))
    receiver = hub.receiver
    waiting = receiver.prepare(hub.sources["kcb"].token, request("kcb"))
    draft = receiver.draft(waiting)
    with hub.store.database.write() as connection:
        sources.set_state(connection, hub.sources["kcb"], sources.PAUSED, now_us())
    assert hub.one("cbs", request("cbs", PaymentRef="PR-9")).status == 200

    assert receiver.compose([waiting], [draft]) is None
    (answer,) = receiver.receive([waiting])

    assert answer is not None
    assert answer.status == 503
    assert len(hub.notifications()) == 2


def test_a_draft_that_fails_leaves_the_group_to_receive(hub: Hub, monkeypatch) -> None:
    """A dialect's bug costs its own request only, also where its part was made beforehand."""
    hub.one("cbs", request("cbs"))
    group = [hub.receiver.prepare(hub.sources[bank].token, request(bank)) for bank in BANK]
    kcb = type(dialects.get("kcb"))
    monkeypatch.setattr(kcb, "identity", lambda *_: 1 / 0)
    drafts = [hub.receiver.draft(prepared) for prepared in group]

    assert [draft is None for draft in drafts] == [bank == "kcb" for bank in BANK]
    assert hub.receiver.compose(group, drafts) is None
    answers = dict(zip(BANK, hub.receiver.receive(group), strict=True))
    assert {bank: answer and answer.status for bank, answer in answers.items()} == {
        bank: 400 if bank == "kcb" else 200 for bank in BANK
    }


def test_one_bad_row_is_bisected_out(hub: Hub, monkeypatch) -> None:
    """A value that the database refuses costs its own request only, whose bytes are kept."""
    inserted = bulk.start_insert

    def refusing(connection, table, columns, rows, **options):
        if table.name == "notifications" and any("POISON" in str(row) for row in rows):
            raise DataRefused("a planted data error")
        return inserted(connection, table, columns, rows, **options)

    monkeypatch.setattr(bulk, "start_insert", refusing)
    group = [("kcb", request("kcb", transactionReference=f"FT{number}")) for number in range(9)]
    group[4] = ("kcb", request("kcb", transactionReference="POISON"))

    answers = hub.receive(*group)

    assert [answer.status for answer in answers] == [200] * 4 + [400] + [200] * 4
    assert len(hub.accepted()) == 8
    assert sorted(hub.outcomes()) == ["ACCEPTED"] * 8 + ["UNREADABLE"]


@pytest.mark.parametrize("error", [Unavailable("planted"), StoreBroken("planted")])
def test_a_failing_store_is_never_a_yes(hub: Hub, monkeypatch, error) -> None:
    """Trouble with the database is the bank's own failure answer; a resend is then received."""
    inserted = bulk.start_insert

    def failing(connection, table, columns, rows, **options):
        if table.name == "deliveries":
            raise error
        return inserted(connection, table, columns, rows, **options)

    with monkeypatch.context() as patch, capture_logs() as lines:
        seconds = monotonic()
        patch.setattr("arifa.hub.receive.monotonic", lambda: seconds)
        patch.setattr(bulk, "start_insert", failing)
        refused = hub.receive(("kcb", request("kcb")), ("cbs", request("cbs")))
        for _ in range(20):
            hub.one("kcb", request("kcb"))
        seconds += 1.0
        hub.one("kcb", request("kcb"))
    nothing = hub.notifications()
    resent = hub.one("kcb", request("kcb"))

    assert [answer.status for answer in refused] == [503, 503]
    assert {(line["event"], line["detail"]) for line in lines} == {
        ("receive.unavailable", "planted")
    }
    assert [line["requests"] for line in lines] == [2, 21]
    assert json.loads(refused[0].body)["statusCode"] == 1
    assert nothing == []
    assert (resent.status, hub.outcomes()) == (200, ["ACCEPTED"])


def test_nodes_that_race_count_each_payment_once(opener: Opener) -> None:
    """Several nodes that receive the same messages at once never count one twice."""
    first = filled(opener())
    messages = [request("kcb", transactionReference=f"FT{number % 30}") for number in range(120)]
    is_shared = not first.store.database.is_sqlite
    nodes = [first.receiver]
    nodes += [Receiver(opener(worker)) for worker in range(1, 4)] if is_shared else []
    answers: list[tuple[str, int, str]] = []
    start = threading.Barrier(len(nodes))

    def run(node: Receiver, seed: int) -> None:
        shuffled = random.Random(seed).sample(messages, len(messages))
        start.wait()
        for begin in range(0, len(shuffled), 8):
            part = shuffled[begin : begin + 8]
            group = [node.prepare("token-of-kcb", item) for item in part]
            answered: list[Any] = node.receive(group)
            for item, answer in zip(part, answered, strict=True):
                reference = json.loads(item.body)["transactionReference"]
                answers.append((reference, answer.status, transaction_id(answer)))

    threads = [threading.Thread(target=run, args=(node, seed)) for seed, node in enumerate(nodes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {status for _, status, _ in answers} == {200}
    assert len(first.accepted()) == 30
    assert first.count(deliveries) == 30
    assert len({(reference, told) for reference, _, told in answers}) == 30
    with first.store.database.read() as connection:
        for writer in seals.writers(connection):
            assert seals.verify(connection, writer)[1] is None


MESSAGES = [
    request("kcb", transactionReference=f"FT{number}", transactionAmount=amount)
    for number in range(3)
    for amount in ("100.00", "200.00")
]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_order_and_grouping_ends_alike(tmp_path_factory, data) -> None:
    """Per reference one payment counts and each other amount is one case, whatever the order."""
    from arifa.store.opened import open_store

    order = data.draw(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=24))
    cuts = data.draw(st.lists(st.integers(1, 5), min_size=24, max_size=24))
    store = open_store(tmp_path_factory.mktemp("any"))
    hub = Hub(store)
    hub.source("kcb")
    position = 0
    for cut in cuts:
        if position < len(order):
            hub.receive(*[("kcb", item) for item in order[position : position + cut]])
            position += cut
    seen = {(json.loads(item.body)["transactionReference"], item.body) for item in order}
    references = {reference for reference, _ in seen}

    assert len(hub.accepted()) == len(references)
    assert len(hub.cases()) == len(seen) - len(references)
    assert len(hub.outcomes()) == len(order)
    store.close()


def test_the_seals_follow_each_other_and_show_a_change(sqlite_store: Store) -> None:
    """A request changed behind the triggers' back is found by the walk over the chain."""
    hub = filled(sqlite_store)
    for number in range(5):
        hub.receive(
            ("kcb", request("kcb", transactionReference=f"FT{number}")), ("cbs", request("cbs"))
        )
    with sqlite_store.database.read() as connection:
        assert seals.verify(connection, sqlite_store.writer) == (5, None)

    with sqlite_store.database.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER inbox_no_update")
        connection.execute(
            sa.update(inbox_table)
            .where(inbox_table.c.seal == 3, inbox_table.c.outcome == "ACCEPTED")
            .values(outcome="CONFLICT")
        )

    with sqlite_store.database.read() as connection:
        checked, wrong = seals.verify(connection, sqlite_store.writer)
    assert checked == 2
    assert wrong == "a request under seal 3 was changed"


def test_an_unknown_path_writes_nothing(hub: Hub) -> None:
    """A request without a source gets no bank's answer and leaves no row."""
    (answer,) = hub.receive(("nobody", request("kcb")))

    assert answer is None
    assert hub.outcomes() == []


def test_an_address_outside_the_list_has_no_bank_to_speak_to(hub: Hub) -> None:
    """The list of the source is looked at before any proof, and answered plainly."""
    answer = hub.one("xente", replace(request("xente"), peer="10.0.0.1"))

    assert answer.status == 403
    assert hub.outcomes() == []


def test_the_stored_reading_is_what_was_read(hub: Hub) -> None:
    """A notification comes out of the store as the dialect read it."""
    sent = request("jenga")
    hub.one("jenga", sent)
    bank = dialects.get("jenga")

    (stored,) = hub.notifications()

    assert [stored.reading] == bank.receive(sent, BANK["jenga"], bank.defaults, sent.received_at)


def test_a_search_finds_what_has_just_come_and_what_is_indexed(hub: Hub) -> None:
    """References are found before and after the follower has passed, and never twice."""
    from arifa.store import references

    for number in range(4):
        hub.one("kcb", request("kcb", transactionReference=f"FT{number}"))

    def found(reference: str) -> int:
        with hub.store.database.read() as connection:
            return len(notifications.listed(connection, reference=reference))

    before = [found("FT2"), found("INV-0001"), found("FT9")]
    later = now_us() + 2 * references.MARGIN_SECONDS * 1_000_000
    with hub.store.database.write() as connection:
        assert references.follow(connection, later) == 4
    hub.one("kcb", request("kcb", transactionReference="FT8"))

    assert before == [1, 4, 0]
    assert [found("FT2"), found("INV-0001"), found("FT9")] == [1, 5, 0]


def test_changes_are_counted(hub: Hub) -> None:
    """Every change of the configuration moves the number that the intake compares."""
    with hub.store.database.read() as connection:
        before = changes.number(connection)
    hub.source("kcb", "one-more")
    with hub.store.database.read() as connection:
        assert changes.number(connection) == before + 1


def test_a_request_that_waited_through_a_change_is_judged_again(hub: Hub, store: Store) -> None:
    """Another group loads the new configuration while this request waits: it counts all the same."""
    waiting = hub.receiver.prepare("token-of-kcb", request("kcb"))
    with store.database.write() as connection:
        sources.remove(connection, hub.sources["kcb"], now_us())
    hub.one("cbs", request("cbs"))

    assert hub.receiver.receive([waiting]) == [None]
    assert [item.dialect for item in hub.notifications()] == ["cbs"]


def test_a_stored_answer_is_its_sources_own(hub: Hub) -> None:
    """A byte-equal repeat at another source is answered by that source's options."""
    profile = dialects.get("kcb").defaults
    hub.source("kcb", "text", profile=replace(profile, options={"status_code": "text"}))
    sent = request("kcb")

    first, other = json.loads(hub.one("kcb", sent).body), json.loads(hub.one("text", sent).body)

    assert (first["statusCode"], other["statusCode"]) == (0, "0")
    assert first["transactionID"] == other["transactionID"]
    assert len(hub.notifications()) == 1


def test_messages_in_the_query_are_told_apart(hub: Hub) -> None:
    """Where the body is empty the message is the query, and is kept, hashed and sealed as such."""
    query = "transactionId={}&Amount=1000&statusCode=0&status=SUCCESS"
    for number in ("T1", "T2", "T1"):
        target = f"/ipn/?{query.format(number)}"
        bank = request("xente")
        hub.one("xente", replace(bank, body=b"", target=target))

    assert hub.outcomes() == ["ACCEPTED", "ACCEPTED", "DUPLICATE"]
    with hub.store.database.read() as connection:
        hashes = list(connection.execute(sa.select(inbox_table.c.body_hash)).scalars())
    assert len(set(hashes)) == 2


def test_a_clock_set_back_hides_nothing(store: Store) -> None:
    """What comes after the clock was set back is found by its reference, now and later."""
    from arifa.store import references

    clock = [now_us()]
    hub = Hub(store, lambda: clock[0])
    hub.source("kcb")
    hub.one("kcb", request("kcb", transactionReference="FT1"))
    later = clock[0] + 2 * references.MARGIN_SECONDS * 1_000_000
    with store.database.write() as connection:
        references.follow(connection, later)
    clock[0] -= 600 * 1_000_000
    hub.one("kcb", request("kcb", transactionReference="FT2"))
    again = Hub(store, lambda: clock[0])
    again.sources = hub.sources
    again.one("kcb", request("kcb", transactionReference="FT3"))

    for reference in ("FT1", "FT2", "FT3"):
        with store.database.read() as connection:
            assert len(notifications.listed(connection, reference=reference)) == 1, reference


def test_a_reference_that_thousands_share_is_searched_in_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More hits than a statement may have parameters are no hindrance; the newest come first."""
    monkeypatch.setattr(notifications, "_IDS_MAX", 3)
    hub = filled(store)
    for number in range(10):
        hub.one("kcb", request("kcb", transactionReference=f"FT{number}"))

    with store.database.read() as connection:
        found = notifications.listed(connection, reference="INV-0001", limit=5)

    assert [item.reading.bank_reference for item in found] == [f"FT{n}" for n in (9, 8, 7, 6, 5)]


def test_a_reference_that_cannot_be_kept_is_held(hub: Hub) -> None:
    """A NUL in the bank's reference is replaced; so that it hides no other payment, it waits."""
    hub.one("kcb", request("kcb", transactionReference="FT\x001"))

    assert hub.accepted() == []
    assert len(hub.cases()) == 1


def test_two_that_seal_under_one_name_put_off_what_they_collide_on(opener: Opener) -> None:
    """A copy of a data folder, or a second hub on it: nothing genuine is called unreadable."""
    first, second = Hub(opener()), Hub(opener())
    first.source("kcb")
    second.receiver.receive([])
    statuses = []
    for number in range(6):
        for hub in (first, second):
            sent = request("kcb", transactionReference=f"{hub is first}{number}")
            for _ in range(5):
                token = first.sources["kcb"].token
                (answer,) = hub.receive((token, sent))
                statuses.append(answer.status)
                if answer.status == 200:
                    break
    assert statuses.count(200) == 12
    assert set(statuses) <= {200, 503}
    assert first.outcomes() == ["ACCEPTED"] * 12
    with first.store.database.read() as connection:
        assert seals.verify(connection, first.store.writer)[1] is None
