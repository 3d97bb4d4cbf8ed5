"""Reading orders and events: what the published schema takes is taken, and nothing else."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arifa.errors import Refused
from arifa.hub import order as order_module
from arifa.hub.order import read_event, read_order
from arifa.notification import READING_FIELDS
from tests.dialects.json_schema import Schema

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "schemas" / "transaction.v1.json").read_text("utf-8")
)
READ = {"order": read_order, "event": read_event}
MONEY: list[Any] = [
    {"amount": "150.00", "currency": "KES"},
    {"amount": "0.00", "currency": "KES"},
    {"amount": "-1.00", "currency": "KES"},
    {"amount": "1e3", "currency": "KES"},
    {"amount": 150, "currency": "KES"},
    {"amount": "150.00"},
    {"amount": "150.00", "currency": "KES", "more": "x"},
    "150.00",
]
VALUES: list[Any] = [
    *("x", "  padded  ", "", "   ", "a\x00b", "x" * 256, "x" * 257, "x" * 2000, "x" * 2001),
    *("success", "failed", "pending", "credit", "payment", "unknown", "reversal"),
    *("2026-11-20T07:42:38Z", 7, 1.5, True, None, [], ["x"], ["x", 7], ["x"] * 21, {}),
    *({"name": "x"}, {"name": None}, {"nom": "x"}, {"a": "x" * 2001}, {"a": 7}),
    *MONEY,
]
NAMES = [*order_module._EVENT_FIELDS, "ammount", "id", ""]


def defined(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = SCHEMA["$defs"][kind]
    return found


def schema_of(kind: str) -> Schema:
    """The schema of an order or of an event alone."""
    return Schema({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]})


SCHEMAS = {kind: schema_of(kind) for kind in READ}


def accepts(kind: str, document: dict[str, Any]) -> bool:
    try:
        READ[kind](json.dumps(document).encode())
    except Refused:
        return False
    return True


@pytest.mark.parametrize("kind", READ)
def test_the_schema_names_what_is_read(kind: str) -> None:
    """Its fields are the reader's, and those are the notification's but for what a bank doubts."""
    reader = order_module._EVENT_FIELDS if kind == "event" else order_module._ORDER_FIELDS
    assert set(defined(kind)["properties"]) == set(reader)
    own = {"merchant", "reference", "source_account", "extra"}
    assert set(order_module._EVENT_FIELDS) - own == set(READING_FIELDS)


@pytest.mark.parametrize("example", SCHEMA["examples"])
def test_the_examples_are_read(example: dict[str, Any]) -> None:
    """Each example fits the schema and is taken as an order or as an event."""
    fitting = [kind for kind in READ if SCHEMAS[kind].fits(example)]
    assert fitting
    assert fitting == [kind for kind in READ if accepts(kind, example)]
    assert Schema(SCHEMA).fits(example)


@given(
    kind=st.sampled_from(sorted(READ)),
    example=st.sampled_from(SCHEMA["examples"]),
    changes=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=3),
    dropped=st.sets(st.sampled_from(NAMES), max_size=2),
)
def test_the_schema_and_the_reader_agree(
    kind: str, example: dict[str, Any], changes: dict[str, Any], dropped: set[str]
) -> None:
    """Whatever is changed, added or left out, the schema and the reader say the same of it."""
    document = {
        name: value
        for name, value in {**deepcopy(example), **changes}.items()
        if name not in dropped
    }
    assert accepts(kind, document) == SCHEMAS[kind].fits(document)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_have_one_error(body: bytes) -> None:
    """Whatever the bytes are, they are read, or refused: no other error comes of them."""
    for read in READ.values():
        with suppress(Refused):
            read(body)
