"""Reading a file of lines, with a bar on standard error where a person watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from arifa.errors import Refused

STANDARD_INPUT: Final = "-"
LINE_BYTES_MAX: Final = 262_144
"""As long as the intake lets a body be."""


@contextmanager
def lines_of(
    file: str, *, is_quiet: bool = False
) -> Iterator[tuple[Iterator[bytes], Callable[[int], None]]]:
    """The lines of a file or of `-`, and what to call with the number of those that are done.

    Raises:
        Refused: the file cannot be read, or a line is longer than `LINE_BYTES_MAX` bytes.
    """
    with ExitStack() as stack:
        stream, size = _opened(file, stack)
        if is_quiet or not sys.stderr.isatty():
            yield _bounded(stream, lambda _: None), lambda _: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar = stack.enter_context(
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[done]} lines"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
        )
        task = bar.add_task("importing", total=size, done=0)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            bar.update(task, done=done)

        yield _bounded(stream, lambda count: bar.advance(task, count)), advance


def _opened(file: str, stack: ExitStack) -> tuple[BinaryIO, int | None]:
    if file == STANDARD_INPUT:
        return sys.stdin.buffer, None
    path = Path(file).expanduser()
    try:
        stream = stack.enter_context(path.open("rb"))
        return stream, path.stat().st_size
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from None


def _bounded(stream: BinaryIO, read: Callable[[int], None]) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise Refused(f"line {number} is longer than {LINE_BYTES_MAX} bytes; nothing has that")
        read(len(line))
        yield line
