"""The examples beside the schema of the event: what an endpoint receives of each bank's sample.

schemas/examples/<dialect>.json      of the first case that the bank's page has
schemas/examples/endpoint.test.json  what `arifa endpoint test` sends

python -m arifa.testing.examples tests/captures schemas/examples            compare
python -m arifa.testing.examples --rewrite tests/captures schemas/examples  write them anew
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from arifa import dialects
from arifa.document import decode_object
from arifa.notification import Notification, Reading, State
from arifa.testing.captures import TRANSACTION_ID, Capture, all_captures
from arifa.testing.genuine import NOW_US

EVENT: Final = "standard_webhooks"
_SOURCE: Final = "src_0123456789abcdef0123456789ab"
_TEST: Final = "tst_0123456789abcdef0123456789ab"


def examples(captures: Path) -> dict[str, bytes]:
    """File name → what it ought to hold, from the captured requests in `captures`."""
    found = {"endpoint.test.json": _test()}
    for name, of_dialect in all_captures(captures).items():
        reading = _first(of_dialect)
        # Our own event is what they are all examples of.
        if reading is not None and name != EVENT and not dialects.get(name).passes_on:
            found[f"{name}.json"] = _event(name, reading)
    return found


def _first(captures: list[Capture]) -> Reading | None:
    """The reading of the dialect's first case."""
    for case in captures[0].dialect.cases if captures else ():
        for capture in captures:
            readings = capture.read() if capture.case == case else None
            if isinstance(readings, list) and readings:
                return readings[0]
    return None


def _event(name: str, reading: Reading) -> bytes:
    notification = Notification(
        id=TRANSACTION_ID,
        merchant="default",
        source=_SOURCE,
        dialect=name,
        received_at=NOW_US,
        state=State.ACCEPTED if reading.held is None else State.HELD,
        reading=reading,
    )
    dialect = dialects.get(EVENT)
    return _as_text(dialect.render(notification, dialect.defaults).body)


def _test() -> bytes:
    request = dialects.get(EVENT).test_message(_TEST, NOW_US, merchant="default", endpoint="shop")
    assert request is not None
    return _as_text(request.body)


def _as_text(body: bytes) -> bytes:
    document: Any = decode_object(body)
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode("utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Compare the examples or write them anew; 1 where one differs or belongs to nothing."""
    parser = argparse.ArgumentParser(prog="python -m arifa.testing.examples")
    parser.add_argument("captures", type=Path, help="the folder of captures")
    parser.add_argument("examples", type=Path, help="the folder of examples")
    parser.add_argument("--rewrite", action="store_true", help="write the examples anew")
    given = parser.parse_args(arguments)
    wanted = examples(given.captures)
    wrong = [path for path in sorted(given.examples.glob("*")) if path.name not in wanted]
    for path in wrong:
        print(f"{path} is an example of no dialect")
    for name, expected in wanted.items():
        path = given.examples / name
        if path.is_file() and path.read_bytes() == expected:
            continue
        if given.rewrite:
            given.examples.mkdir(exist_ok=True)
            path.write_bytes(expected)
            print(f"wrote {path}")
        else:
            wrong.append(path)
            print(f"{path} is not what is rendered now")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
