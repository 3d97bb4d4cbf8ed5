"""The demonstration's hub, from outside: a process of its own, set up and asked by the command line.

Nothing here looks into the store: what the hub says is what any operator would be told.
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
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from arifa.cli.demo_banks import PASSWORD_FILE, SECRET_FILE, USER, Part
from arifa.cli.demo_report import HubSays, Row, announced_by
from arifa.clock import monotonic
from arifa.document import JsonObject, decode_object
from arifa.errors import Refused
from arifa.settings import read_secret_text
from arifa.signing import Credentials

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 12.0
LOOK_AGAIN_SECONDS: Final = 0.2
LOG: Final = "hub.log"
_ALL: Final = ("--limit", "100000")
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


@dataclass(frozen=True, slots=True)
class Feed:
    """A source as its bank was told of it: the path to post to, and the bank's credentials."""

    path: str
    credentials: Credentials


class DemoHub:
    """A hub with its data in `folder`, which is its own: no other database is touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._files = {
            PASSWORD_FILE: self._secret_file("bank-password"),
            SECRET_FILE: self._secret_file("bank-secret"),
        }

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

    def _secret_file(self, name: str) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16))
        return path

    # ------------------------------------------------------------------ set-up

    def add_source(self, part: Part) -> Feed:
        """Make a source, and the bank's side of its credentials."""
        flags = [str(self._files.get(flag, flag)) for flag in part.flags]
        (row,) = self.ask("source", "add", part.name, "--dialect", part.dialect, *flags)
        self._names.append(part.name)
        return Feed(str(row["path"]), self._banks_side(part, row))

    def _banks_side(self, part: Part, row: JsonObject) -> Credentials:
        private_key, public_key = row.get("private_key_path"), row.get("public_key_path")
        by_password, by_secret = PASSWORD_FILE in part.flags, SECRET_FILE in part.flags
        return Credentials(
            private_key=Path(str(private_key)).read_bytes() if private_key else None,
            public_keys=(Path(str(public_key)).read_bytes(),) if public_key else (),
            username=USER if by_password else None,
            passwords=(self._read(PASSWORD_FILE),) if by_password else (),
            secrets=(self._read(SECRET_FILE).encode(),) if by_secret else (),
        )

    def _read(self, which: str) -> str:
        return read_secret_text(self._files[which], which)

    def add_endpoint(self, url: str) -> str:
        """Make the merchant's endpoint; gives the secret of its signatures."""
        (row,) = self.ask("endpoint", "add", "merchant", "--url", url)
        return str(row["secret"])

    # ------------------------------------------------------------------ running

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Run it for as long as the block runs; gives its address.

        Raises:
            Refused: it does not start.
        """
        words = ["serve", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
        with (self.folder / LOG).open("w") as log:
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
        return _last_line((self.folder / LOG).read_text(errors="replace"))

    def wait(self) -> None:
        """Wait until it ends, or until Ctrl-C.

        Raises:
            Refused: it has ended by itself.
        """
        assert self._process is not None
        with contextlib.suppress(KeyboardInterrupt):
            self._process.wait()
            raise Refused(f"the hub has stopped by itself: {self._last_words()}")

    # ------------------------------------------------------------------ what it says

    def settle(self, deadline: float) -> None:
        """Wait until every delivery has ended, or until `deadline` on the monotonic clock."""
        while any(self.ask("delivery", "list", "--state", state) for state in _UNFINISHED):
            if monotonic() > deadline:
                return
            time.sleep(LOOK_AGAIN_SECONDS)

    def says(self) -> HubSays:
        """All its figures."""
        notifications = self.ask("notification", "list", *_ALL)
        deliveries = self.ask("delivery", "list", *_ALL)
        return HubSays(
            feeds={name: self._feed_says(name, notifications) for name in self._names},
            open_cases=len(self.ask("case", "list", *_ALL)),
            deliveries=Counter(str(row["state"]) for row in deliveries),
            attempts=sum(int(str(row["attempt_count"])) for row in deliveries),
            payments=Counter(
                announced_by(row) for row in notifications if row["state"] == "accepted"
            ),
        )

    def _feed_says(self, name: str, notifications: list[JsonObject]) -> Row:
        (source,) = self.ask("source", "show", name)
        received, refused = int(str(source["received"])), int(str(source["refused"]))
        states = Counter(row["state"] for row in notifications if row["source"] == name)
        new, held = states["accepted"], states["held"]
        return Row(
            sent=received + refused,
            new=new,
            again=received - new - held,
            held=held,
            refused=refused,
        )


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
