"""The watched folder: every file is entered once, whole, and put away where a person finds it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arifa.errors import Refused, Unavailable
from arifa.hub import lines
from arifa.hub.folder import CUT_SECONDS, QUIET_SECONDS, Folder
from arifa.hub.issue import accept_events
from arifa.hub.lines import enter, numbered
from arifa.hub.order import BYTES_MAX
from arifa.store.opened import Store
from tests.hub.issuing import Bank, event, raw


class Killed(BaseException):
    """The process is gone."""


class Watched:
    """A watched folder whose time passes when the test says so."""

    def __init__(self, store: Store, path: Path) -> None:
        path.mkdir()
        self.bank = Bank(store)
        self.bank.endpoint()
        self.path = path
        self.seconds = 0.0
        self.folder = self.again()

    def again(self) -> Folder:
        """The folder of a process that has just started."""
        self.folder = Folder(self.bank.store, self.path, seconds=lambda: self.seconds)
        self.folder.prepare()
        return self.folder

    def put(self, name: str, *documents: bytes, end: bytes = b"\n") -> Path:
        """Put a file of these lines down, in place."""
        path = self.path / name
        path.write_bytes(b"\n".join(documents) + end)
        return path

    def settle(self, seconds: float = QUIET_SECONDS) -> int:
        """Look, let time pass, look again; gives how many files were taken."""
        before = self.folder.step()
        self.seconds += seconds
        return before + self.folder.step()

    def names(self, folder: str) -> list[str]:
        """What lies in `done` or `failed`."""
        return sorted(item.name for item in (self.path / folder).iterdir())


@pytest.fixture
def watched(store: Store, tmp_path: Path) -> Watched:
    """A folder on one of the engines."""
    return Watched(store, tmp_path / "drop")


@pytest.fixture
def on_sqlite(sqlite_store: Store, tmp_path: Path) -> Watched:
    """A folder on SQLite, where the engine makes no difference."""
    return Watched(sqlite_store, tmp_path / "drop")


def test_a_file_is_entered_and_put_away(watched: Watched) -> None:
    """Every event is announced, and the file lies under `done`."""
    watched.put("a.jsonl", *(raw(event(f"FT{number}")) for number in range(120)))
    assert watched.settle() == 1
    assert watched.names("done") == ["a.jsonl"]
    assert watched.names("failed") == []
    assert len(watched.bank.deliveries()) == len(watched.bank.rows()) == 120


def test_a_bad_line_fails_the_file(watched: Watched) -> None:
    """The good lines are entered; the file lies under `failed`, with the number of each bad line."""
    watched.put("a.jsonl", raw(event("FT1")), b"", b"{}", raw(event("FT2", acount="1")))
    watched.settle()
    assert watched.names("failed") == ["a.jsonl", "a.jsonl.reason"]
    said = (watched.path / "failed" / "a.jsonl.reason").read_text().splitlines()
    assert said[0].startswith("2 of 3 lines were refused; 1 were entered")
    assert said[1].startswith("line 3: bank_reference is missing")
    assert said[2].startswith("line 4: there is no field 'acount'")
    assert [row.reference for row in watched.bank.rows()] == ["FT1"]


def test_the_mended_file_again(watched: Watched) -> None:
    """Put down again after it was mended, what was entered stays known; no file is overwritten."""
    watched.put("a.jsonl", raw(event("FT1")), b"{}")
    watched.settle()
    for _ in range(2):
        watched.put("a.jsonl", raw(event("FT1")), raw(event("FT2")))
        watched.settle()
    assert watched.names("done") == ["a.jsonl", "a.jsonl.2"]
    assert len(watched.bank.notifications()) == 2


def test_a_file_that_is_being_written_waits(on_sqlite: Watched) -> None:
    """Neither a name for parts, nor half a line, nor what still grows is taken."""
    bank, body = on_sqlite.bank, raw(event("FT1"))
    on_sqlite.put("a.jsonl.part", body)
    on_sqlite.put(".b.jsonl", body)
    path = on_sqlite.put("c.jsonl", body[:20], end=b"")
    assert on_sqlite.settle() == 0
    path.write_bytes(body + b"\n")
    assert on_sqlite.folder.step() == 0
    on_sqlite.seconds += QUIET_SECONDS / 2
    path.write_bytes(body + b"\n" + raw(event("FT2")) + b"\n")
    assert on_sqlite.settle(QUIET_SECONDS / 2) == 0
    assert bank.rows() == []
    assert on_sqlite.settle() == 1
    assert len(bank.rows()) == 2


def test_a_file_without_a_last_end_of_line(on_sqlite: Watched) -> None:
    """It is waited for longer, and then taken as it is."""
    on_sqlite.put("a.json", raw(event("FT1")), end=b"")
    assert on_sqlite.settle() == 0
    assert on_sqlite.settle(CUT_SECONDS) == 1
    assert on_sqlite.names("done") == ["a.json"]


def test_a_renamed_file_is_taken(on_sqlite: Watched) -> None:
    """One that is written under another name and renamed is taken under its new name."""
    on_sqlite.put("a.jsonl.part", raw(event("FT1"))).rename(on_sqlite.path / "a.jsonl")
    assert on_sqlite.settle() == 1


def test_what_is_no_file_of_events(on_sqlite: Watched, tmp_path: Path) -> None:
    """Links, folders and other names stay where they are; an empty file fails with a reason."""
    secret = tmp_path / "secret.txt"
    secret.write_text("not for anybody\n")
    (on_sqlite.path / "link.jsonl").symlink_to(secret)
    (on_sqlite.path / "folder.jsonl").mkdir()
    on_sqlite.put("readme.txt", b"hello")
    on_sqlite.put("empty.jsonl")
    on_sqlite.settle(CUT_SECONDS)
    assert on_sqlite.names("failed") == ["empty.jsonl", "empty.jsonl.reason"]
    assert on_sqlite.names("done") == []
    left = {item.name for item in on_sqlite.path.iterdir()}
    assert left == {"link.jsonl", "folder.jsonl", "readme.txt", "done", "failed"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_cannot_be_read(on_sqlite: Watched) -> None:
    """It fails with the reason, and does not hold up the others."""
    on_sqlite.put("a.jsonl", raw(event("FT1"))).chmod(0)
    on_sqlite.put("b.jsonl", raw(event("FT2")))
    assert on_sqlite.settle() == 2
    assert on_sqlite.names("done") == ["b.jsonl"]


def test_a_crash_at_every_step(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any commit or move, the next process ends the file; nothing is announced twice."""
    counts = {"step": 0, "kill_at": 0}

    def fused(call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            done = call(*args, **kwargs)
            counts["step"] += 1
            if counts["step"] == counts["kill_at"]:
                raise Killed
            return done

        return wrapped

    monkeypatch.setattr(lines, "CHUNK", 2)
    monkeypatch.setattr(lines, "accept_events", fused(accept_events))
    monkeypatch.setattr(Path, "rename", fused(Path.rename))
    monkeypatch.setattr(Path, "replace", fused(Path.replace))
    total = 0
    for kill_at in range(1, 8):
        counts.update(step=0, kill_at=kill_at)
        references = [f"{kill_at}-{number}" for number in range(5)]
        watched.put(f"{kill_at}.jsonl", *(raw(event(name)) for name in references), b"{}")
        try:
            watched.settle()
        except Killed:
            total += 1
        watched.again()
        watched.settle()
        assert f"{kill_at}.jsonl" in watched.names("failed")
        assert f"{kill_at}.jsonl.reason" in watched.names("failed")
    assert total >= 5
    assert len(watched.bank.rows()) == len(watched.bank.deliveries()) == 7 * 5


def test_two_nodes_watch_one_folder(watched: Watched) -> None:
    """Whoever comes second finds the events known and the file gone, and goes on."""
    other = Folder(watched.bank.store, watched.path, seconds=lambda: watched.seconds)
    watched.put("a.jsonl", raw(event("FT1")))
    other.step()
    assert watched.settle() == 1
    assert other.step() == 0
    assert len(watched.bank.notifications()) == 1


def test_stopping_leaves_the_file(on_sqlite: Watched) -> None:
    """A process that is told to stop in the middle of a file leaves it to the next."""
    on_sqlite.put("a.jsonl", *(raw(event(f"FT{number}")) for number in range(200)))
    on_sqlite.folder.step()
    on_sqlite.seconds += QUIET_SECONDS
    on_sqlite.folder.is_stopping = lambda: bool(on_sqlite.bank.rows())
    assert on_sqlite.folder.step() == 0
    assert 0 < len(on_sqlite.bank.rows()) < 200
    on_sqlite.again()
    assert on_sqlite.settle() == 1
    assert len(on_sqlite.bank.notifications()) == 200


def test_a_folder_that_is_not_there(sqlite_store: Store, tmp_path: Path) -> None:
    """It is refused with a sentence, not made by mistake."""
    with pytest.raises(Refused, match="make it first"):
        Folder(sqlite_store, tmp_path / "none").prepare()


# ---------------------------------------------------------------------------------- lines


def test_lines_are_counted_as_an_editor_does() -> None:
    """Blank lines count but are passed over; a mark at the beginning, and CR LF, are no part."""
    file = io.BytesIO(b"\xef\xbb\xbfone\r\n\r\n  \ntwo\n" + b"x" * 200_000 + b"\nlast")
    found = list(numbered(file))
    assert [number for number, _ in found] == [1, 4, 5, 6]
    assert [found[0][1], found[1][1], found[3][1]] == [b"one", b"two", b"last"]
    assert BYTES_MAX < len(found[2][1]) <= BYTES_MAX + 2


def test_a_busy_store_is_asked_again(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that the store could not take now is said again; at last the error is told."""
    bank, left = Bank(sqlite_store), {"errors": 2}

    def busy(*args: Any, **kwargs: Any) -> Any:
        if left["errors"]:
            left["errors"] -= 1
            raise Unavailable("busy")
        return accept_events(*args, **kwargs)

    monkeypatch.setattr(lines, "accept_events", busy)
    assert enter(sqlite_store, [(1, raw(event()))], merchant="default").entered == 1
    left["errors"] = 3
    with pytest.raises(Unavailable):
        enter(sqlite_store, [(1, raw(event("FT2")))], merchant="default")
    assert len(bank.rows()) == 1
