"""The watched folder: files of events that a core banking system puts down are entered.

    FOLDER/x.jsonl ──► entered ──► FOLDER/done/x.jsonl
                        or, where a line was refused ──► FOLDER/failed/x.jsonl and x.jsonl.reason

A file is best written under another name (`x.jsonl.part`, or with a leading dot) and then renamed.
One that is written in place is taken when it ends with a whole line and has not changed for some
seconds. A crash at any point costs nothing: the file is still there, or has been moved; what is
entered again is known by its reference.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from arifa.clock import monotonic, now_us
from arifa.errors import Refused
from arifa.hub.lines import Entered, enter, numbered
from arifa.store.merchants import DEFAULT
from arifa.store.opened import Store
from arifa.store.transactions import CORE

log: Final = structlog.get_logger("arifa")

ENDINGS: Final = (".jsonl", ".ndjson", ".json")
QUIET_SECONDS: Final = 2.0
CUT_SECONDS: Final = 60.0
"""How long one that does not end with a whole line is waited for."""
DONE, FAILED = "done", "failed"


class _Look(NamedTuple):
    """How a file was when it was looked at, and since when it has been so."""

    size: int
    changed_at: int
    inode: int
    since: float


class Folder:
    """One watched folder, for one thread at a time.

    Args:
        seconds: a clock that only goes on, for how long a file has been still.
    """

    def __init__(
        self,
        store: Store,
        path: Path,
        *,
        merchant: str = DEFAULT,
        origin: str = CORE,
        clock: Callable[[], int] = now_us,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self.path = path.expanduser().absolute()
        self.is_stopping: Callable[[], bool] = lambda: False
        self._store = store
        self._merchant = merchant
        self._origin = origin
        self._clock = clock
        self._seconds = seconds
        self._looks: dict[str, _Look] = {}

    def prepare(self) -> None:
        """Make the folders for what is done and what failed.

        Raises:
            Refused: the folder is not there, or cannot be written.
        """
        if not self.path.is_dir():
            raise Refused(f"there is no folder {self.path} to watch; make it first")
        try:
            for name in (DONE, FAILED):
                (self.path / name).mkdir(exist_ok=True)
        except OSError as error:
            raise Refused(
                f"the watched folder {self.path} cannot be written ({error.strerror}): files that "
                f"are done are moved within it"
            ) from error
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise Refused(f"the watched folder {self.path} cannot be read and written")

    def step(self) -> int:
        """Take the files that are complete, in the order of their names; gives how many.

        Raises:
            StoreError: the file that was being entered stays, and is taken again.
        """
        taken = 0
        for name in self._complete():
            if self.is_stopping():
                break
            taken += self._take(self.path / name)
        return taken

    # ------------------------------------------------------------------ complete or not

    def _complete(self) -> list[str]:
        looks, found = {}, []
        for name in sorted(_candidates(self.path)):
            look = self._look(name)
            if look is None:
                continue
            looks[name] = look
            still = self._seconds() - look.since
            if still >= CUT_SECONDS or (still >= QUIET_SECONDS and self._ends_well(name)):
                found.append(name)
        self._looks = looks
        return found

    def _look(self, name: str) -> _Look | None:
        try:
            status = (self.path / name).lstat()
        except OSError:  # somebody has taken it
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        look = _Look(status.st_size, status.st_mtime_ns, status.st_ino, self._seconds())
        before = self._looks.get(name)
        return before if before is not None and before[:3] == look[:3] else look

    def _ends_well(self, name: str) -> bool:
        """Whether the last line is whole."""
        try:
            with (self.path / name).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if not size:
                    return False
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except OSError:
            return True  # `_take` says why it cannot be read

    # ------------------------------------------------------------------ one file

    def _take(self, path: Path) -> bool:
        look = self._looks[path.name]
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            with os.fdopen(descriptor, "rb") as file:
                done = enter(
                    self._store,
                    numbered(file),
                    merchant=self._merchant,
                    origin=self._origin,
                    clock=self._clock,
                    after_chunk=lambda _: not self.is_stopping(),
                )
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:  # another node has taken it
            return False
        except OSError as error:
            self._fail(path, [f"the file cannot be read: {error.strerror}"])
            return True
        except Refused as error:
            self._fail(path, [str(error)])
            return True
        if self.is_stopping() or size != look.size:
            # Not to its end, or it has grown: what was entered is known the next time.
            return False
        self._put_away(path, done)
        return True

    def _put_away(self, path: Path, done: Entered) -> None:
        log.info(
            "folder.taken",
            file=path.name,
            entered=done.entered,
            known=done.known,
            refused=done.refused,
        )
        if not done.lines:
            self._fail(path, ["the file has no line in it"])
        elif done.refused:
            self._fail(path, [_summary(done), *done.sentences()])
        else:
            _move(path, _free(self.path / DONE, path.name))

    def _fail(self, path: Path, sentences: list[str]) -> None:
        """The reason first, so that no file ever lies there without one."""
        target = _free(self.path / FAILED, path.name)
        reason = target.with_name(f"{target.name}.reason")
        fresh = reason.with_name(f".{reason.name}")
        fresh.write_text("\n".join(sentences) + "\n", "utf-8")
        fresh.replace(reason)
        _move(path, target)
        log.warning("folder.failed", file=path.name, reason=str(reason))


def _candidates(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if entry.name.endswith(ENDINGS) and not entry.name.startswith(".")
        ]


def _free(folder: Path, name: str) -> Path:
    """Where nothing lies yet: nothing that was put away is ever overwritten."""
    target, number = folder / name, 1
    while target.exists():
        number += 1
        target = folder / f"{name}.{number}"
    return target


def _move(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except FileNotFoundError:
        log.info("folder.gone", file=path.name)


def _summary(done: Entered) -> str:
    return (
        f"{done.refused} of {done.lines} lines were refused; {done.entered} were entered and "
        f"{done.known} known before. Mend the lines below and put the file down again: what is "
        f"entered stays known."
    )
