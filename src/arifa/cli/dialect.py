"""`arifa dialect`: the wire formats that are known, and what each can say."""

from __future__ import annotations

from typing import Any

from arifa import dialects
from arifa.cli.arguments import Limit
from arifa.cli.context import Given, noun
from arifa.dialects import Dialect

app = noun("dialect", "The wire formats that are known.")


@app.command(name="list")
def list_(*, limit: Limit = 1000, context: Given) -> None:
    """List the dialects, built in and installed.

    Args:
        limit: how many at most.
    """
    found = (dialects.get(name) for name in list(dialects.names())[:limit])
    rows = (
        {"name": d.name, "title": d.title, "page": d.page, "cases": list(d.cases)} for d in found
    )
    context.output.rows(rows, ("name", "title", "page"))


@app.command
def show(name: str, /, *, context: Given) -> None:
    """Show what a dialect proves, takes and can say, and its sample messages.

    Args:
        name: the dialect.
    """
    described = _described(dialects.get(name))
    if not context.output.as_json:
        # Null and an empty list mean different things, which one dash would hide.
        described["currencies"] = _in_words(described["currencies"])
    context.output.one(described)


def _in_words(currencies: list[str] | None) -> str:
    if currencies is None:
        return "any"
    return ", ".join(currencies) or "the feed's own only"


def _described(dialect: Dialect) -> dict[str, Any]:
    words = dialect.expresses
    return {
        "name": dialect.name,
        "title": dialect.title,
        "page": dialect.page,
        "proofs": [
            {
                "name": type(proof).__name__,
                "covers": sorted(proof.covers),
                "verifies_with": list(proof.verifies_with),
                "signs_with": list(proof.signs_with),
                "optional": proof.is_optional,
            }
            for proof in dialect.proofs
        ],
        "currency": dialect.defaults.currency,
        "timezone": dialect.defaults.timezone,
        "options": {name: list(values) for name, values in dialect.options.items()},
        "kinds": sorted(words.kinds),
        "directions": sorted(words.directions),
        "statuses": sorted(words.statuses),
        "currencies": None if words.currencies is None else sorted(words.currencies),
        "carries": sorted(dialect.carries),
        "cases": [{"name": name, "title": case.title} for name, case in dialect.cases.items()],
    }
