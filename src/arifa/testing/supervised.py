"""A server's program for tests, which ends with the process that asked for it, even by SIGKILL.

Every process of the server hangs on a supervisor (this file, run as a script), which ends the
server and removes its folder when its parent dies. Linux's PR_SET_PDEATHSIG is not used: it fires
when the *thread* that started the server ends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

ORPHAN_SECONDS = 5.0

User = tuple[int, int]
"""Numbers of the user and group a server runs as."""


def free_port() -> int:
    """A free port below those the system hands out, lest one of them take it during a restart.

    It is this process's until it ends: no other that asks here is given it, also while nothing
    listens there, before a server's start or between a kill and the next one.

    Raises:
        OSError: there is none.
    """
    for _ in range(100):
        # Not from `random`: test runners seed it, and all their workers would try the same ports.
        port = 15_000 + secrets.randbelow(17_000)
        with contextlib.suppress(OSError):
            _reserve(port)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port on 127.0.0.1")


def _reserve(port: int) -> None:
    """Keep it from the others, by a name that is gone with this process, however it ends.

    Raises:
        OSError: another has it.
    """
    if sys.platform != "linux":  # where there are no names without a file
        return
    with socket.socket(socket.AF_UNIX) as name:
        name.bind(f"\0arifa-test-port-{port}")
        name.detach()  # stays open


class Supervised:
    """A program and all its children, run as `user` under a supervisor of its own."""

    def __init__(self, directory: Path, user: User | None, command: list[str]) -> None:
        as_user = "{}:{}".format(*user) if user else ""
        # Isolated and without packages: quick to start, and nothing of ours shadows the library.
        python = [sys.executable, "-I", "-S", __file__]
        with (directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*python, str(os.getpid()), str(directory), as_user, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,  # so that Ctrl-C reaches the tests and not their server
            )
        assert self._process.stdin
        assert self._process.stdout
        self._orders, report = self._process.stdin, self._process.stdout
        with report:
            self.pid = int(report.readline() or 0)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Signal the program; nothing happens if it has ended."""
        if self.has_ended:
            return
        with contextlib.suppress(BrokenPipeError):
            self._orders.write(bytes([number]))

    def wait(self, timeout_seconds: float) -> int:
        """Wait until the program and all its children are gone; return its exit code."""
        code = self._process.wait(timeout_seconds)
        self._orders.close()
        return code


def _supervise(parent: int, directory: str, as_user: str, command: list[str]) -> int:
    """Run a command and signal it as bytes on standard input say; end it when `parent` is gone.

    Each process of the server inherits the writing end of a pipe, so that the end of that pipe is
    the end of the last of them: a postmaster's children outlive it for a while, and until then no
    successor may start.
    """
    lifeline, held_by_all = os.pipe()
    uid, gid = (int(number) for number in as_user.split(":")) if as_user else (None, None)
    try:
        program = subprocess.Popen(
            command,
            user=uid,
            group=gid,
            extra_groups=[] if as_user else None,
            env={"PATH": os.defpath, "LC_ALL": "C"},  # none of the caller's PG… variables
            cwd=directory,  # the caller's may be closed to the server's user
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            pass_fds=[held_by_all],
        )
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error}")
    os.close(held_by_all)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{program.pid}\n")
        sys.stdout.flush()
    if _follow(parent, program, lifeline):
        shutil.rmtree(directory, ignore_errors=True)
    code = program.wait()
    return code if code >= 0 else 128 - code


def _follow(parent: int, program: subprocess.Popen[bytes], lifeline: int) -> bool:
    """Obey orders until the program's last process is gone; return whether the parent is, too."""
    while True:
        # The time limit is for a parent whose forked child still holds the other end of our input.
        readable, _, _ = select.select([0, lifeline], [], [], 1.0)
        if lifeline in readable:
            return _is_orphan(parent)
        order = os.read(0, 1) if 0 in readable else None
        if order:
            _send(program, order[0])
        elif order == b"" or _is_orphan(parent):
            _send(program, signal.SIGQUIT)
            if not select.select([lifeline], [], [], ORPHAN_SECONDS)[0]:
                _send(program, signal.SIGKILL)
                select.select([lifeline], [], [], ORPHAN_SECONDS)
            return True


def _send(program: subprocess.Popen[bytes], number: int) -> None:
    """Signal the program; its children are killed with it, lest they finish what they are at."""
    children: list[str] = []
    if number == signal.SIGKILL:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    program.send_signal(number)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), number)


def _is_orphan(parent: int) -> bool:
    return os.getppid() != parent


if __name__ == "__main__":
    sys.exit(_supervise(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
