"""Where the serving hub of a data folder is, for programs on the same machine: `serving.json`.

It is written when the ports listen, and removed at the end; a hub that was killed leaves it behind,
so that it is believed only while the process that wrote it is there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import msgspec

SERVING_FILE: Final = "serving.json"


class _Said(msgspec.Struct, frozen=True):
    pid: int
    url: str


def write(folder: Path, url: str, admin_url: str) -> None:
    """Say that this process serves there."""
    path = folder / SERVING_FILE
    fresh = path.with_name(f"{SERVING_FILE}.{os.getpid()}")
    fresh.write_text(json.dumps({"pid": os.getpid(), "url": url, "admin_url": admin_url}))
    fresh.replace(path)


def remove(folder: Path) -> None:
    """Take back what this process has said, and nothing that another has."""
    if _read(folder)[0] == os.getpid():
        (folder / SERVING_FILE).unlink(missing_ok=True)


def serving_url(folder: Path) -> str | None:
    """Where the hub of this folder listens for banks; None where none runs on this machine."""
    pid, url = _read(folder)
    return url if pid is not None and _is_alive(pid) else None


def _read(folder: Path) -> tuple[int | None, str | None]:
    try:
        said = msgspec.json.decode((folder / SERVING_FILE).read_bytes(), type=_Said)
    except (OSError, msgspec.MsgspecError):
        return None, None
    return (said.pid if said.pid > 0 else None), said.url


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        # It is there, and somebody else's.
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
