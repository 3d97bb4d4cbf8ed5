"""The examples beside the schema are what is rendered now, and a real validator takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arifa import dialects
from arifa.testing.examples import EVENT, examples, main
from tests.dialects.json_schema import Schema

ROOT = Path(__file__).parents[2]
CAPTURES, EXAMPLES = ROOT / "tests" / "captures", ROOT / "schemas" / "examples"
FITTING = Schema(json.loads((ROOT / "schemas" / "notification.v1.json").read_text("utf-8")))
FILES = sorted(EXAMPLES.glob("*.json"))


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_fits_the_schema(path: Path) -> None:
    """Each file is one event as an endpoint receives it."""
    assert FITTING.complaints(json.loads(path.read_text("utf-8"))) == []


def test_the_examples_are_what_is_rendered_now() -> None:
    """`python3 run.py golden` writes them anew."""
    assert {path.name: path.read_bytes() for path in FILES} == examples(CAPTURES)


def test_there_is_one_of_every_bank() -> None:
    """And one of the message that is no money."""
    banks = {name for name in dialects.names() if not dialects.get(name).passes_on} - {EVENT}
    assert {path.stem for path in FILES} == banks | {"endpoint.test"}


def test_no_example_shows_a_phone() -> None:
    """They are as an endpoint gets them that has not asked for numbers."""
    for path in FILES:
        payer = json.loads(path.read_text("utf-8"))["data"].get("payer") or {}
        assert "*" in (payer.get("phone") or "*")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("endpoint.test", {"amount": {"amount": "1.00", "currency": "KES"}}),
        ("endpoint.test", {"status": "success"}),
        ("endpoint.test", {"kind": "payment"}),
        ("endpoint.test", {"id": "ntf_0123456789abcdef0123456789ab"}),
        ("kcb", {"id": "tst_0123456789abcdef0123456789ab"}),
        ("kcb", {"amount": {"amount": 1, "currency": "KES"}}),
        ("kcb", {"status": "done"}),
        ("kcb", {"received_at": "yesterday"}),
    ],
)
def test_what_does_not_fit(name: str, change: dict[str, Any]) -> None:
    """A test with money in it, money under a test's id, and wrong words and forms are no events."""
    event = example(name)
    event["data"].update(change)
    assert not FITTING.fits(event)


def test_a_payment_is_no_test_and_a_test_no_payment() -> None:
    """The type alone decides which of the two forms the data must have."""
    payment, test = example("kcb"), example("endpoint.test")
    assert not FITTING.fits({**payment, "type": "endpoint.test"})
    assert not FITTING.fits({**test, "type": "payment.success"})


def test_a_difference_is_seen_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command names each file that is not as it should be, and writes it anew when asked."""
    assert main([str(CAPTURES), str(tmp_path)]) == 1
    assert main(["--rewrite", str(CAPTURES), str(tmp_path)]) == 0
    assert main([str(CAPTURES), str(tmp_path)]) == 0
    (tmp_path / "kcb.json").write_text("{}")
    (tmp_path / "nobody.json").write_text("{}")
    assert main([str(CAPTURES), str(tmp_path)]) == 1
    assert "nobody.json is an example of no dialect" in capsys.readouterr().out
