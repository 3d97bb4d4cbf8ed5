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


def _key(name: str) -> Column[str]:
    return Column(name, Words, primary_key=True)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Words, nullable=null)


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
)
"""`state` is active, paused or removed; a removed source keeps its row, for its history."""

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
)
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
    "identities",
    metadata,
    _key("merchant"),
    Column("digest", LargeBinary, primary_key=True),
    _text("notification"),
    _text("notification_merchant"),
    _bytes("money_hash"),
)
"""What makes one payment one: never expires, outlives its source, is never partitioned."""

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
    Index(
        "deliveries_due",
        "next_attempt_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "deliveries_sending",
        "worker",
        sqlite_where=text("state = 'sending'"),
        postgresql_where=text("state = 'sending'"),
    ),
)
"""The queue is the rows. Both indexes are partial: they hold the work, not the history."""

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
)

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
)
"""Append-only: who changed what."""

APPEND_ONLY: Final = ("inbox", "seals", "audit")
