"""`arifa config`: the settings and where they come from."""

from __future__ import annotations

from arifa.cli.context import Given, noun

app = noun("config", "The settings and where they come from.")


@app.command
def show(*, context: Given) -> None:
    """Show each setting with its origin: flag, environment, arifa.toml or default.

    Passwords and keys are masked.
    """
    shown = context.settings.shown()
    if context.output.as_json:
        context.output.one(shown)
        return
    rows = [{"name": name, **row} for name, row in shown.items()]
    context.output.rows(rows, ("name", "value", "origin", "where"))
