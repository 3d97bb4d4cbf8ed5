"""What commands print: data on standard output, messages on standard error.

With `--json`, one object, or one object a line for a list; without, details as `key: value` and
lists as an aligned table. An error is one sentence, or with `--json` one object on standard error:
`{"error": {"title", "detail", "status"}}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Row = Mapping[str, Any]

_NOTHING: Final = "-"


class Output:
    """Prints in one of the two forms."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    def one(self, row: Row) -> None:
        """One thing, with everything about it."""
        if self.as_json:
            self.line(row)
            return
        pairs = list(_flattened(row))
        width = max((len(name) for name, _ in pairs), default=0) + 2
        for name, text in pairs:
            _print(f"{name + ':':<{width}}{text}")

    def rows(self, rows: Iterable[Row], columns: Sequence[str]) -> None:
        """A list; `columns` are what a person sees of it, `--json` has all."""
        if self.as_json:
            for row in rows:
                self.line(row)
            return
        table = [[shown(row.get(name)) for name in columns] for row in rows]
        if not table:
            self.note("nothing found")
        elif sys.stdout.isatty():
            _coloured(columns, table)
        else:
            _aligned(columns, table)

    def line(self, row: Row) -> None:
        """One JSON object on a line of its own, whatever the form."""
        raw(as_json(row) + b"\n")

    def note(self, text: str) -> None:
        """A message beside the data."""
        _print(printable(text), to_error=True)

    def error(self, title: str, detail: str, status: int) -> None:
        """Why the command failed."""
        if self.as_json:
            error = {"error": {"title": title, "detail": detail, "status": status}}
            _print(as_json(error).decode(), to_error=True)
        else:
            _print(printable(f"arifa: {detail}"), to_error=True)


def as_json(row: Row) -> bytes:
    """The row as one JSON text in UTF-8; half a character, which UTF-8 has not, is escaped."""
    try:
        return json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(row).encode("ascii")


def raw(content: bytes) -> None:
    """Bytes on standard output, exactly."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def shown(value: object) -> str:
    """A value as a person reads it; money as `100.00 KES`."""
    if value is None or value in ("", [], (), {}):
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        if set(value) == {"amount", "currency"}:
            return f"{value['amount']} {value['currency']}"
        return ", ".join(f"{name}={shown(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    return printable(str(value))


def printable(text: str) -> str:
    """The text without what would steer a terminal: a bank's text may hold anything."""
    if text.isprintable():
        return text
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode("ascii")
        for mark in text
    )


def _flattened(row: Row, prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in row.items():
        if isinstance(value, Mapping) and value and set(value) != {"amount", "currency"}:
            yield from _flattened(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, item in enumerate(value, start=1):
                if set(item) == {"name", "value"}:
                    yield printable(f"{prefix}{name}.{item['name']}"), shown(item["value"])
                else:
                    yield from _flattened(item, f"{prefix}{name}.{number}.")
        else:
            yield printable(f"{prefix}{name}"), shown(value)


def _aligned(columns: Sequence[str], table: list[list[str]]) -> None:
    heads = [name.upper() for name in columns]
    widths = [max(map(len, column)) for column in zip(heads, *table, strict=True)]
    for line in (heads, *table):
        cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        _print("  ".join(cells).rstrip())


def _coloured(columns: Sequence[str], table: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        drawn.add_column(name.upper(), overflow="fold")
    for line in table:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in line))
    Console().print(drawn)


_STYLES: Final = {
    "ACCEPTED": "green",
    "delivered": "green",
    "ok": "green",
    "active": "green",
    "DUPLICATE": "dim",
    "CONFLICT": "yellow",
    "held": "yellow",
    "paused": "yellow",
    "warn": "yellow",
    "NOT_GENUINE": "red",
    "UNREADABLE": "red",
    "dead": "red",
    "fail": "red",
}


def _print(text: str, *, to_error: bool = False) -> None:
    stream = sys.stderr if to_error else sys.stdout
    try:
        print(text, file=stream, flush=to_error)
    except UnicodeEncodeError:
        # A terminal of another encoding still gets the line.
        encoding = stream.encoding or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)
