"""Every table, once, for both engines. Migrations must lead to exactly this (a test compares).

Times are microseconds UTC and money minor units, both 64-bit integers; text compares by bytes;
JSON is text; bodies are bytes. Every key begins with `merchant`; what must be found without knowing
the merchant (a path token) has a routing table. Hot tables carry their primary and de-duplication
keys only; what search needs is written behind the commit (`references`).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata: Final = MetaData()

# Byte order on both engines, whatever the locale of the PostgreSQL cluster.
Words: Final = Text().with_variant(Text(collation="C"), "postgresql")


_IS_DUE: Final = "state = 'pending' AND next_attempt_at IS NOT NULL"
_IN_ORDER: Final = "order_key IS NOT NULL AND state IN ('pending', 'sending')"
_IS_REPLAY: Final = "replay_of IS NOT NULL"
_IS_OPEN: Final = "state <> 'complete'"
_IS_REVERSAL: Final = "reverses IS NOT NULL"


def _key(name: str) -> Column[str]:
    return Column(name, Words, primary_key=True)


def _text(name: str, *, null: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Words, nullable=null, server_default=default)


def _number(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _bytes(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=null)


meta: Final = Table("meta", metadata, _key("name"), _text("value"))
"""What this database is: the key's fingerprint, and `configuration`, which counts changes."""

merchants: Final = Table("merchants", metadata, _key("merchant"), _number("created_at"))

sources: Final = Table(
    "sources",
    metadata,
    _key("merchant"),
    _key("id"),
    _text("name"),
    _text("dialect"),
    _text("token"),
    _text("scope"),
    _text("currency"),
    _text("timezone"),
    _text("options"),
    _text("account", null=True),
    _text("routes"),
    _bytes("credentials"),
    _text("state"),
    _number("created_at"),
    _number("removed_at", null=True),
    _text("proof", null=True),
)
"""`state` is active, paused or removed; a removed source keeps its row, for its history.
`proof` is JSON: how it was shown to work before it went live, or who said that it may anyway."""

source_names: Final = Table(
    "source_names", metadata, _key("merchant"), _key("name"), _text("source")
)
source_tokens: Final = Table(
    "source_tokens", metadata, _key("token"), _text("merchant"), _text("source")
)
source_counters: Final = Table(
    "source_counters",
    metadata,
    _key("merchant"),
    _key("source"),
    _key("writer"),
    _number("received"),
    _number("refused"),
    _number("last_received_at", null=True),
)
"""One row a writer, so that nodes never wait for each other to count."""

refusals: Final = Table(
    "refusals",
    metadata,
    _key("id"),
    _text("merchant"),
    _text("source"),
    _number("refused_at"),
    _text("peer", null=True),
    _text("outcome"),
    _number("answer_status"),
    _text("reason"),
    _bytes("body_hash"),
    _number("body_bytes"),
    _text("sample"),
)
"""A bounded ring of refused requests, masked; everything else about them is a counter."""

endpoints: Final = Table(
    "endpoints",
    metadata,
    _key("merchant"),
    _key("id"),
    _text("name"),
    _text("url"),
    _text("dialect"),
    _text("currency"),
    _text("timezone"),
    _text("options"),
    _text("filter"),
    _bytes("credentials"),
    _text("state"),
    _number("created_at"),
    _number("removed_at", null=True),
    _text("settings", default="{}"),
    _text("state_reason", null=True),
    _number("state_at", null=True),
    _bytes("retiring", null=True),
    _number("retires_at", null=True),
    _text("proof", null=True),
)
"""`state` is active, paused, disabled (by what happened, see `state_reason`) or removed.

`settings` is JSON: time-out, concurrency, rate, schedule, headers, order. `retiring` are the sealed
credentials of before a rotation, in use until `retires_at`. `proof` is as in `sources`.
"""
endpoint_urls: Final = Table(
    "endpoint_urls",
    metadata,
    _key("merchant"),
    _key("endpoint"),
    Column("since", BigInteger, primary_key=True),
    _text("url"),
)
"""The URLs that an endpoint has had, so that a replay can go where the first attempts went."""
endpoint_names: Final = Table(
    "endpoint_names", metadata, _key("merchant"), _key("name"), _text("endpoint")
)

inbox: Final = Table(
    "inbox",
    metadata,
    _key("merchant"),
    _key("id"),
    _text("source"),
    _number("received_at"),
    _text("peer", null=True),
    _text("outcome"),
    _text("reason", null=True),
    _bytes("body_hash"),
    _number("answer_status"),
    _bytes("answer"),
    _number("notifications"),
    _text("writer"),
    _number("seal"),
)
"""Append-only: every request that was proven, what became of it, and the answer computed."""

inbox_bodies: Final = Table(
    "inbox_bodies", metadata, _key("merchant"), _key("inbox"), _bytes("head"), _bytes("body")
)
"""The raw bytes, apart, so that retention can purge them. A byte-equal repeat stores none."""

notifications: Final = Table(
    "notifications",
    metadata,
    _key("merchant"),
    _key("id"),
    _text("source"),
    _text("dialect"),
    _text("inbox"),
    _text("inbox_merchant"),
    _number("received_at"),
    _text("state"),
    _bytes("money_hash"),
    _text("reading"),
)

identities: Final = Table(
    "identity_keys",
    metadata,
    _key("merchant"),
    Column("key", LargeBinary, primary_key=True),
    _text("notification"),
    _text("notification_merchant"),
    _bytes("money_hash"),
)
"""What makes one payment one: never expires, outlives its source, is never partitioned.

A key begins with the first bytes of the identity as its dialect wrote it, and ends with its digest:
a bank's references come more or less in order, and so do their rows.
"""

plain_identities: Final = Table(
    "identities",
    metadata,
    _key("merchant"),
    Column("digest", LargeBinary, primary_key=True),
    _text("notification"),
    _text("notification_merchant"),
    _bytes("money_hash"),
)
"""What was claimed before `identity_keys` was there, by digest alone. It is looked into for ever,
and takes no rows any more: a trigger refuses those of an older program."""

references: Final = Table(
    "references_by_term",
    metadata,
    _key("merchant"),
    _key("term"),
    _key("notification"),
)
"""References as written, for search: filled behind the commit, up to `references_cursor`."""

references_cursor: Final = Table(
    "references_cursor", metadata, _key("merchant"), _text("notification")
)

cases: Final = Table(
    "cases",
    metadata,
    _key("merchant"),
    _key("id"),
    _bytes("case_key"),
    _text("kind"),
    _text("reason"),
    _text("notification"),
    _text("notification_merchant"),
    _text("against", null=True),
    _text("against_merchant", null=True),
    _text("source"),
    _text("inbox"),
    _number("opened_at"),
    _text("state"),
    _text("owner", null=True),
    _text("decision", null=True),
    _text("decision_reason", null=True),
    _number("decided_at", null=True),
    Index("cases_by_key", "merchant", "case_key", unique=True),
)

deliveries: Final = Table(
    "deliveries",
    metadata,
    _key("merchant"),
    _key("id"),
    _text("notification"),
    _text("endpoint"),
    _text("state"),
    _number("attempt_count"),
    _number("next_attempt_at", null=True),
    _text("worker", null=True),
    _number("fence"),
    _number("created_at"),
    _number("finished_at", null=True),
    _number("last_status", null=True),
    _text("last_cause", null=True),
    _text("url", null=True),
    _text("replay_of", null=True),
    _text("order_key", null=True),
    _number("sequence", null=True),
    Index(
        "deliveries_due",
        "endpoint",
        "next_attempt_at",
        sqlite_where=text(_IS_DUE),
        postgresql_where=text(_IS_DUE),
    ),
    Index(
        "deliveries_sending",
        "worker",
        sqlite_where=text("state = 'sending'"),
        postgresql_where=text("state = 'sending'"),
    ),
    Index(
        "deliveries_replayed",
        "replay_of",
        sqlite_where=text("replay_of IS NOT NULL"),
        postgresql_where=text("replay_of IS NOT NULL"),
    ),
    Index(
        "deliveries_in_order",
        "merchant",
        "endpoint",
        "order_key",
        "sequence",
        sqlite_where=text(_IN_ORDER),
        postgresql_where=text(_IN_ORDER),
    ),
    Index(
        "deliveries_replays",
        "merchant",
        "notification",
        sqlite_where=text(_IS_REPLAY),
        postgresql_where=text(_IS_REPLAY),
    ),
)
"""The queue is the rows. Its indexes are partial: they hold the work, not the history. That of what
is due begins with the endpoint, so that what waits for one costs nobody else's claim anything.

`url` is where it goes if not to the endpoint's own; `replay_of` the delivery that it repeats. At an
ordered endpoint `sequence` is its place among those of `order_key`: while an earlier one is open it
is pending without a `next_attempt_at`, so that nobody finds it due.
"""

delivery_orders: Final = Table(
    "delivery_orders",
    metadata,
    _key("merchant"),
    _key("endpoint"),
    _key("order_key"),
    _number("last"),
    _text("state"),
    _text("halted_by", null=True),
)
"""The last sequence given out for a key, and whether the key is `flowing`, or `halted` behind the
dead delivery `halted_by`. Its row is locked by whoever queues for the key or ends its head."""

attempts: Final = Table(
    "attempts",
    metadata,
    _key("merchant"),
    _key("delivery"),
    Column("number", BigInteger, primary_key=True),
    _text("worker"),
    _number("fence"),
    _number("started_at"),
    _number("finished_at"),
    _number("status", null=True),
    _text("cause"),
    _text("detail", null=True),
    _text("reference", null=True),
)
"""Each try of a delivery. `reference` is what the receiver calls the notification, from its answer."""

endpoint_troubles: Final = Table(
    "endpoint_troubles",
    metadata,
    _key("merchant"),
    _key("endpoint"),
    _number("since"),
    _text("cause"),
    _number("announced_at", null=True),
)
"""The endpoints whose breaker is open, so that people and other nodes see it."""

alerts: Final = Table(
    "alerts",
    metadata,
    _key("merchant"),
    _key("id"),
    _text("about"),
    _text("kind"),
    _number("at"),
    _text("endpoint", null=True),
    _text("data"),
    _number("mail_at", null=True),
    Index(
        "alerts_to_mail",
        "mail_at",
        sqlite_where=text("mail_at IS NOT NULL"),
        postgresql_where=text("mail_at IS NOT NULL"),
    ),
)
"""What operators are told of. `about` is the merchant whom it concerns: an alert that is delivered
by another's endpoint has a row under that merchant too. `data` is JSON. `mail_at` is when it is
to go into a mail; null where it has, or none is wanted."""

workers: Final = Table(
    "workers", metadata, _key("id"), _number("started_at"), _number("lease_until")
)

seals: Final = Table(
    "seals",
    metadata,
    _key("writer"),
    Column("number", BigInteger, primary_key=True),
    _bytes("previous"),
    _bytes("head"),
    _number("requests"),
    _text("first_request"),
    _text("last_request"),
    _number("sealed_at"),
)
"""One hash chain a writer over what it committed. Append-only."""

audit: Final = Table(
    "audit",
    metadata,
    _key("merchant"),
    _key("id"),
    _number("at"),
    _text("actor"),
    _text("action"),
    _text("subject"),
    _text("detail"),
    Index("audit_by_subject", "merchant", "subject"),
)
"""Append-only: who changed what."""

transactions: Final = Table(
    "transactions",
    metadata,
    _key("merchant"),
    _key("id"),
    _text("origin"),
    _text("reference"),
    _text("state"),
    _text("batch", null=True),
    _text("source_account", null=True),
    _bytes("content_hash"),
    _text("reading"),
    _text("reason", null=True),
    _text("notification", null=True),
    _text("deliveries", default="[]"),
    _text("untold", default="[]"),
    _text("worker", null=True),
    _number("lease_until", null=True),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    _number("created_at"),
    _number("changed_at"),
    Index("transactions_by_reference", "merchant", "reference", "origin", unique=True),
    Index(
        "transactions_open",
        "state",
        "id",
        sqlite_where=text(_IS_OPEN),
        postgresql_where=text(_IS_OPEN),
    ),
)
"""What this hub issues: payments to be approved and processed, and events that have happened.

`reference` is unique within `origin`, for ever. `reading` is what is announced, or will be. `reason`
says why it stands where it stands. `deliveries` and `untold` are JSON: the ids of the deliveries
that were queued when it was announced, and the endpoints that have no words for it. `worker`,
`lease_until` and `fence` belong to whoever processes it.
"""

transaction_keys: Final = Table(
    "transaction_keys",
    metadata,
    _key("merchant"),
    _key("key"),
    _bytes("content_hash"),
    _text("answer"),
    _number("created_at"),
)
"""Idempotency keys: what was submitted under each (a hash), and the ids that were answered."""

transaction_rules: Final = Table(
    "transaction_rules",
    metadata,
    _key("merchant"),
    _key("name"),
    _text("decision"),
    _text("currency", null=True),
    _number("up_to", null=True),
    _text("source_account", null=True),
    _number("created_at"),
)
"""What is approved or declined without a person. `up_to` is minor units of `currency`, inclusive."""

invoices: Final = Table(
    "invoices",
    metadata,
    _key("merchant"),
    _key("id"),
    _text("number"),
    _text("origin"),
    _text("client", null=True),
    _text("reference", null=True),
    _bytes("content_hash"),
    _text("currency"),
    _number("amount"),
    Column("paid", BigInteger, nullable=False, server_default="0"),
    _text("state"),
    _text("callback_url", null=True),
    _text("revenue_head", null=True),
    _text("category", null=True),
    _text("external_reference", null=True),
    _text("description", null=True),
    _text("payer", default="{}"),
    _number("created_at"),
    _number("changed_at"),
    _number("paid_at", null=True),
    Index("invoices_by_number", "merchant", "number", unique=True),
    Index("invoices_by_reference", "merchant", "reference", "client", unique=True),
)
"""Money owed. `number` is what a payer types; `client` the endpoint (its id) whose invoice it is, and
`reference` that client's own, each once. `amount` and `paid` are minor units of `currency`; `paid` is
what was taken less what went back. `origin` is `form` or `operator`, `payer` JSON.
"""

invoice_payments: Final = Table(
    "invoice_payments",
    metadata,
    _key("merchant"),
    _key("id"),
    _text("invoice"),
    _text("kind"),
    _text("provider"),
    _text("reference"),
    _number("amount"),
    _text("channel", null=True),
    _text("bank", default="{}"),
    _number("occurred_at"),
    _number("created_at"),
    _text("reverses", null=True),
    _text("reason", null=True),
    _text("notification", null=True),
    Index(
        "invoice_payments_once",
        "merchant",
        "invoice",
        "provider",
        "reference",
        "kind",
        unique=True,
    ),
    Index(
        "invoice_payments_reversed_once",
        "merchant",
        "reverses",
        unique=True,
        sqlite_where=text(_IS_REVERSAL),
        postgresql_where=text(_IS_REVERSAL),
    ),
)
"""What a payment channel took for an invoice, or gave back: `kind` is payment or reversal, `amount`
positive, `provider` empty where none is named. A reversal `reverses` a payment (its id).
`notification` is the one that announced it; null while a part-payment waits for the rest.
"""

APPEND_ONLY: Final = ("inbox", "seals", "audit")
