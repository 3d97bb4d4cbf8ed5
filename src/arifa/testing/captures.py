"""Captured requests beside what is read from them and what is answered: golden files.

    tests/captures/<dialect>/<case>.http        the raw request, byte for byte
                             <case>.json        what is read: readings, a query, or an error
                             <case>.ack.http    the answer to it
                             credentials.json   keys of the tests, and what the cases need

`<case>.documented.http` is a sample as its page prints it: not always JSON, often without a proof
that could be checked. It has a golden like any other, which then is an error.

    python -m arifa.testing.captures tests/captures            compare; 1 on a difference
    python -m arifa.testing.captures --rewrite tests/captures  write the goldens anew

`credentials.json` has the members of `Credentials`, as texts (`username`, `passwords`, `secrets`,
`addresses`, `public_keys`, `private_key`), and may have `profile` (`currency`, `timezone`,
`options`), `peer`, `now` (RFC 3339), and `cases`, by name, with `options`, `peer` and `now` of
their own.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from arifa import dialects
from arifa.dialects.base import Dialect, Result
from arifa.errors import NotGenuine, Unreadable
from arifa.feed import Profile
from arifa.money import Money
from arifa.notification import Query, QueryAnswer, Reading, reading_as_json
from arifa.outcome import Outcome
from arifa.signing import Credentials
from arifa.testing.genuine import NOW_US, Genuine
from arifa.timestamp import from_rfc3339
from arifa.wire import read_request

TRANSACTION_ID: Final = "ntf_0123456789abcdef0123456789ab"
_REQUEST, _READING, _ANSWER = ".http", ".json", ".ack.http"


class CaseSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What one case needs that the others do not."""

    options: dict[str, str] = {}
    peer: str | None = None
    now: str | None = None


class ProfileSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the source of these captures says, where the dialect's defaults would not do."""

    currency: str | None = None
    timezone: str | None = None
    options: dict[str, str] = {}


class CredentialsFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`credentials.json`."""

    username: str | None = None
    passwords: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    public_keys: tuple[str, ...] = ()
    private_key: str | None = None
    profile: ProfileSettings = ProfileSettings()
    peer: str | None = None
    now: str | None = None
    cases: dict[str, CaseSettings] = {}

    def credentials(self) -> Credentials:
        """The keys, as proofs take them."""
        return Credentials(
            username=self.username,
            passwords=self.passwords,
            secrets=tuple(secret.encode("utf-8") for secret in self.secrets),
            addresses=self.addresses,
            public_keys=tuple(key.encode("ascii") for key in self.public_keys),
            private_key=self.private_key.encode("ascii") if self.private_key else None,
        )


@dataclass(frozen=True)
class Capture:
    """One captured request: `path` is its `.http` file, `message` what a dialect receives."""

    dialect: Dialect
    path: Path
    message: Genuine

    @property
    def case(self) -> str:
        """The name of the case."""
        return self.path.name.removesuffix(_REQUEST)

    def read(self) -> list[Reading] | Query | Outcome:
        """What the dialect makes of it; the outcome that it is refused with is a value here."""
        one = self.message
        try:
            return self.dialect.receive(one.request, one.credentials, one.profile, one.now_us)
        except NotGenuine:
            return Outcome.NOT_GENUINE
        except Unreadable:
            return Outcome.UNREADABLE

    def goldens(self) -> dict[Path, bytes]:
        """What the files beside it ought to hold."""
        found = self.read()
        stem = self.path.name.removesuffix(_REQUEST)
        return {
            self.path.with_name(stem + _READING): _as_text(found),
            self.path.with_name(stem + _ANSWER): self._answer(found),
        }

    def _answer(self, found: list[Reading] | Query | Outcome) -> bytes:
        request, profile = self.message.request, self.message.profile
        if isinstance(found, Query):
            answer = QueryAnswer(
                found=True,
                transaction_id=TRANSACTION_ID,
                name="John Doe",
                amount=Money(100000, profile.currency),
            )
            return self.dialect.answer(request, found, answer, profile).to_bytes()
        outcome = found if isinstance(found, Outcome) else Outcome.ACCEPTED
        # What is refused has no transaction id: there is no notification.
        result = Result(transaction_id=TRANSACTION_ID if outcome is Outcome.ACCEPTED else "")
        return self.dialect.acknowledge(request, outcome, result, profile).to_bytes()


def _as_text(found: list[Reading] | Query | Outcome) -> bytes:
    document: dict[str, Any]
    if isinstance(found, Outcome):
        document = {"error": found.value}
    elif isinstance(found, Query):
        document = {"query": msgspec.to_builtins(found)}
    else:
        rows = [{**reading_as_json(one), "held": one.held} for one in found]
        document = {"readings": rows}
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode("utf-8")


def of_dialect(dialect: Dialect, folder: Path) -> list[Capture]:
    """The captures of one dialect, by name.

    Raises:
        msgspec.ValidationError: `credentials.json` has a member that it should not have.
    """
    held = folder / "credentials.json"
    settings = CredentialsFile()
    if held.exists():
        settings = msgspec.json.decode(held.read_bytes(), type=CredentialsFile)
    return [
        _capture(dialect, settings, path)
        for path in sorted(folder.glob(f"*{_REQUEST}"))
        if not path.name.endswith(_ANSWER)
    ]


def _capture(dialect: Dialect, settings: CredentialsFile, path: Path) -> Capture:
    case = path.name.removesuffix(_REQUEST)
    own = settings.cases.get(case, CaseSettings())
    now = own.now or settings.now
    now_us = NOW_US if now is None else from_rfc3339(now)
    defaults, profile = dialect.defaults, settings.profile
    request = read_request(path.read_bytes(), peer=own.peer or settings.peer, received_at=now_us)
    return Capture(
        dialect,
        path,
        Genuine(
            case,
            request,
            settings.credentials(),
            Profile(
                currency=profile.currency or defaults.currency,
                timezone=profile.timezone or defaults.timezone,
                options={**defaults.options, **profile.options, **own.options},
            ),
            now_us,
        ),
    )


def all_captures(root: Path) -> dict[str, list[Capture]]:
    """The captures under `root` of every dialect that there is, by the dialect's name."""
    return {name: of_dialect(dialects.get(name), root / name) for name in dialects.names()}


def unknown_files(captures: Mapping[str, list[Capture]], root: Path) -> Iterator[Path]:
    """Files under `root` that belong to no capture, and folders that belong to no dialect."""
    known = {root / name / "credentials.json" for name in captures}
    for found in captures.values():
        for capture in found:
            known |= {capture.path, *capture.goldens()}
    yield from (path for path in sorted(root.rglob("*")) if path.is_file() and path not in known)


def differences(captures: Mapping[str, list[Capture]]) -> Iterator[tuple[Path, bytes, bytes]]:
    """(golden file, what it holds, what it ought to hold) wherever the two differ."""
    for found in captures.values():
        for capture in found:
            for path, expected in capture.goldens().items():
                actual = path.read_bytes() if path.exists() else b""
                if actual != expected:
                    yield path, actual, expected


def _rewrite(path: Path, actual: bytes, expected: bytes) -> None:
    path.write_bytes(expected)
    print(f"{'wrote' if not actual else 'rewrote'} {path}")


def _show(path: Path, actual: bytes, expected: bytes) -> None:
    lines = (text.decode("utf-8", "replace").splitlines() for text in (actual, expected))
    before, after = lines
    for line in difflib.unified_diff(before, after, str(path), "what is read now", lineterm=""):
        print(line)


def main(arguments: list[str] | None = None) -> int:
    """Compare the goldens or write them anew; 1 where one differs or belongs to nothing."""
    parser = argparse.ArgumentParser(prog="python -m arifa.testing.captures")
    parser.add_argument("root", type=Path, help="the folder of captures, such as tests/captures")
    parser.add_argument("--rewrite", action="store_true", help="write the golden files anew")
    given = parser.parse_args(arguments)
    found = all_captures(given.root)
    act: Callable[[Path, bytes, bytes], None] = _rewrite if given.rewrite else _show
    different = list(differences(found))
    for path, actual, expected in different:
        act(path, actual, expected)
    strange = list(unknown_files(found, given.root))
    for path in strange:
        print(f"{path} belongs to no capture of a known dialect")
    missing = [name for name, captures in found.items() if not captures]
    for name in missing:
        print(f"there is no capture of {name} in {given.root / name}")
    return 1 if strange or missing or (different and not given.rewrite) else 0


if __name__ == "__main__":
    sys.exit(main())
