"""A hub of the demonstration, from outside: a process of its own, set up and asked by commands.

Nothing here looks into the store: what a hub says is what any operator would be told.
"""

from __future__ import annotations

import contextlib
import io
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from arifa.clock import monotonic
from arifa.document import JsonObject, decode_object
from arifa.errors import Refused
from arifa.settings import read_secret_text

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 12.0
LOOK_AGAIN_SECONDS: Final = 0.2
ALL: Final = ("--limit", "100000")
_LOG: Final = "hub.log"
_UNFINISHED: Final = ("pending", "sending")
_INTERRUPTED: Final = 130

# The hub as anybody would start it. If we are killed, the end of our pipe stops it.
_PROGRAM: Final = """
import os, signal, sys, threading
def stop_with_the_demonstration():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=stop_with_the_demonstration, daemon=True).start()
from arifa.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


class Patience:
    """Waits for as long as something still happens: how fast it does, the machine decides."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._standing: object = None
        self._until = 0.0

    def seconds_left(self, standing: object) -> float:
        """How long to go on where things stand so; 0 where they have stood so for too long."""
        now = monotonic()
        if standing != self._standing:
            self._standing, self._until = standing, now + self._seconds
        return max(0.0, self._until - now)


class HubProcess:
    """A hub with its data in `folder`, which is its own: no other database is touched."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None

    # ------------------------------------------------------------------ the command line

    def ask(self, *words: str) -> list[JsonObject]:
        """The rows that a command prints with `--json`; run in this process, to be quick.

        Raises:
            Refused: the command failed; with its own sentence.
        """
        from arifa.cli.main import main

        said, complained = _Captured(), _Captured()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            code = main([*self._place(), *words, "--json"])
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        if code != 0:
            raise Refused(f"arifa {' '.join(words[:2])} failed: {_last_line(complained.text())}")
        return [decode_object(line.encode()) for line in said.text().splitlines()]

    def _place(self) -> Sequence[str]:
        # Both are given: neither a variable nor a settings file may lead us to another database.
        return "--data", str(self.folder), "--database", f"sqlite:///{self.folder / 'arifa.db'}"

    def secret_file(self, name: str) -> Path:
        """A file in the folder with a secret that was made just now."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16))
        return path

    def read(self, path: Path) -> str:
        """The secret in a file."""
        return read_secret_text(path, path.name)

    # ------------------------------------------------------------------ running

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Run it for as long as the block runs; gives its address.

        Raises:
            Refused: it does not start.
        """
        words = ["serve", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
        with (self.folder / _LOG).open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *self._place(), *words, "--allow-private"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._process = process
        try:
            assert process.stdout is not None
            yield self._address(process.stdout)
        finally:
            _end(process)

    def _address(self, said: IO[str]) -> str:
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_read_lines, args=(said, lines), daemon=True).start()
        with contextlib.suppress(queue.Empty):
            line = lines.get(timeout=START_SECONDS)
            if line.startswith("listening on "):
                return line.split()[-1]
        raise Refused(f"the hub did not start: {self._last_words()}")

    def _last_words(self) -> str:
        return _last_line((self.folder / _LOG).read_text(errors="replace"))

    def wait(self) -> None:
        """Wait until it ends, or until Ctrl-C.

        Raises:
            Refused: it has ended by itself.
        """
        assert self._process is not None
        with contextlib.suppress(KeyboardInterrupt):
            self._process.wait()
            self.see_it_runs()

    def see_it_runs(self) -> None:
        """See that it has not ended.

        Raises:
            Refused: it has, by itself; with its last words.
        """
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise Refused(f"the hub has stopped by itself ({code}): {self._last_words()}")

    # ------------------------------------------------------------------ what it says

    def settle(self, patience: Patience) -> None:
        """Wait until every delivery has ended, for as long as one does now and then."""
        while left := [row for state in _UNFINISHED for row in self._deliveries(state)]:
            if not patience.seconds_left(sorted(str(row["id"]) for row in left)):
                return
            self.pause(LOOK_AGAIN_SECONDS)

    def _deliveries(self, state: str) -> list[JsonObject]:
        return self.ask("delivery", "list", "--state", state, *ALL)

    def pause(self, seconds: float) -> None:
        """Let it work; what a command line knows it has to ask for."""
        time.sleep(seconds)


class _Captured(io.TextIOWrapper):
    """A text stream in memory, with the bytes underneath that some output is written to."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self) -> str:
        """All that was written."""
        self.flush()
        found = self.buffer
        assert isinstance(found, io.BytesIO)
        return found.getvalue().decode()


def _read_lines(said: IO[str], lines: queue.Queue[str]) -> None:
    for line in said:
        lines.put(line)
    lines.put("")


def _end(process: subprocess.Popen[str]) -> None:
    """Ask it to drain, and insist if it does not; its pipes are closed either way."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("arifa: ") if lines else "it said nothing"
