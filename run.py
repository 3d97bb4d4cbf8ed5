#!/usr/bin/env python3
"""Sets Arifa up in .venv and runs it. Needs Python 3.11 or later and nothing else.

    python3 run.py [ARGUMENTS]    set up, then `arifa demo ARGUMENTS`
    python3 run.py test [...]     set up, then lint, types, import contracts and pytest [...]
    python3 run.py lint           the same without pytest
    python3 run.py golden         write the expected readings and answers in tests/captures anew,
                                  and the examples in schemas/examples
    python3 run.py bench [NAME]   run the benchmarks
    python3 run.py lock           resolve pyproject.toml into requirements/*.txt anew (needs uv)
    python3 run.py setup          only set up

Set-up installs the pinned, hashed packages of requirements/*.txt, with uv if it can be had and
with pip if not, and leaves a stamp: as long as nothing changed, the next start skips it all.
After any of these commands .venv/bin/arifa exists.
"""

# The text down to the version check must parse on any Python 3, else an old one answers with a
# SyntaxError where a sentence would help. So: no match, no walrus, no `with (a, b)` in this file.

import contextlib
import functools
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

if sys.version_info < (3, 11):  # noqa: UP036  (pyproject.toml asks the same, but is read later)
    sys.exit(
        f"Arifa needs Python 3.11 or later; this is Python {platform.python_version()}."
        " Start run.py with a newer one."
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
STAMP = VENV / "arifa-setup.json"
LOG = CACHE / "setup.log"
REQUIREMENTS = ROOT / "requirements"

WINDOWS = os.name == "nt"
BIN = VENV / ("Scripts" if WINDOWS else "bin")
PYTHON = BIN / ("python.exe" if WINDOWS else "python")
ARIFA = BIN / ("arifa.cmd" if WINDOWS else "arifa")

# The interpreter itself, also when run.py was started by that of a virtual environment: ours may
# be about to be deleted.
BASE_PYTHON = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)

# Raise this when the layout of what set-up leaves behind changes.
LAYOUT = "1"

# What `bench` runs if it is given no name; the other files in bench/ are their tools.
BENCHMARKS = ("intake", "delivery", "matching")

CONTRACTS = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(cache_dir=".cache/import-linter", no_logo=True))
"""

CHECKS = (
    ("ruff check", ("-m", "ruff", "check", ".")),
    ("ruff format", ("-m", "ruff", "format", "--check", ".")),
    ("mypy", ("-m", "mypy")),
    ("import contracts", ("-c", CONTRACTS)),
)


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in JOBS:
        group, job = JOBS[arguments[0]]
        arguments = arguments[1:]
    elif arguments[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    elif arguments and not arguments[0].startswith("-"):
        print(f"run.py knows no {arguments[0]!r}. python3 run.py --help lists what it knows.")
        return 2
    else:
        group, job = "run", demo
    os.chdir(ROOT)
    try:
        set_up(group)
        return job(arguments)
    except Trouble as trouble:
        print(f"[setup] {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


# ------------------------------------------------------------------------------------- jobs


def demo(arguments: list[str]) -> int:
    command = [str(ARIFA), "demo", *arguments]
    if WINDOWS:  # where exec starts a second process and returns to the prompt at once
        return subprocess.call(command)
    sys.stdout.flush()
    os.execv(command[0], command)


def test(arguments: list[str]) -> int:
    if lint([]):
        print("\nThe tests were not run.", flush=True)
        return 1
    heading("pytest")
    # The whole suite runs on all cores; with arguments of one's own it is pytest as one knows it.
    # Its closing line must stay the last one: it is read by machines.
    spread = [] if arguments else ["-q", "-n", str(min(os.cpu_count() or 1, 8))]
    return subprocess.call([str(PYTHON), "-m", "pytest", *spread, *arguments])


def lint(_arguments: list[str]) -> int:
    failed = []
    for name, command in CHECKS:
        heading(name)
        if subprocess.call([str(PYTHON), *command]):
            failed.append(name)
    if failed:
        print(f"\nFailed: {', '.join(failed)}.", flush=True)
    return 1 if failed else 0


def golden(arguments: list[str]) -> int:
    command = ["-m", "arifa.testing.captures", "--rewrite", "tests/captures", *arguments]
    written = subprocess.call([str(PYTHON), *command])
    shown = ["-m", "arifa.testing.examples", "--rewrite", "tests/captures", "schemas/examples"]
    return written or subprocess.call([str(PYTHON), *shown])


def bench(arguments: list[str]) -> int:
    there = {path.stem: str(path) for path in sorted(ROOT.glob("bench/*.py"))}
    wished = [name for name in BENCHMARKS if name in there]
    if arguments and not arguments[0].startswith("-"):
        wished = [name for name in arguments[:1] if name in there]
        arguments = arguments[1:]
    if not wished:
        print(f"There is no such benchmark. There are: {', '.join(there) or 'none yet'}.")
        return 2
    worst = 0
    for name in wished:
        heading(name)
        worst = max(worst, abs(subprocess.call([str(PYTHON), there[name], *arguments])))
    return worst


def lock(arguments: list[str]) -> int:
    """Newest versions that pyproject.toml allows: `lock --upgrade`. Without it the pins that
    still satisfy pyproject.toml stay.
    """
    uv = find_uv()
    if uv is None:
        raise Trouble("Locking needs uv, and it could not be installed.")
    for group, extra in (("run", []), ("dev", ["--group", "dev", "-c", "requirements/run.txt"])):
        command = [uv, "pip", "compile", "-q", "pyproject.toml", *extra, *arguments]
        # Addresses and paths of the machine that locked are no business of those who install.
        command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header"]
        command += ["--no-emit-index-url", "--no-emit-find-links"]
        command += ["-o", f"requirements/{group}.txt"]
        code = subprocess.call(command, env=uv_environment())
        if code:
            return code
    return 0


def setup(_arguments: list[str]) -> int:
    print(f"Ready: {shlex.quote(os.path.relpath(ARIFA, ROOT))}")
    return 0


JOBS = {
    "test": ("dev", test),
    "lint": ("dev", lint),
    "golden": ("dev", golden),
    "bench": ("dev", bench),
    "lock": ("run", lock),
    "setup": ("run", setup),
}


def heading(name: str) -> None:
    print(f"\n== {name} ==", flush=True)


# ----------------------------------------------------------------------------------- set-up


class Trouble(Exception):
    """Set-up cannot go on; the text is the sentence for the person who started it."""


def set_up(group: str) -> None:
    """Make .venv hold at least `group` ("run", or "dev" which includes it)."""
    if is_ready(group):
        return
    try:
        CACHE.mkdir(exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n", "ascii")  # also hides it from tools that search
        with only_one_at_a_time():
            if not is_ready(group):  # the one we waited for may have done it
                build(group)
    except OSError as error:
        raise Trouble(why(str(error)) or f"Set-up failed: {error}.") from error


def is_ready(group: str) -> bool:
    return read_stamp().get(group) == key(group) and PYTHON.exists() and ARIFA.exists()


def key(group: str) -> str:
    """What the environment depends on: a change of any of it makes the stamp stale."""
    digest = hashlib.sha256()
    for part in (LAYOUT, sys.version, platform.machine(), BASE_PYTHON, str(ROOT)):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    for path in (REQUIREMENTS / f"{group}.txt", ROOT / "pyproject.toml"):
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def read_stamp() -> dict[str, object]:
    try:
        stamp = json.loads(STAMP.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(stamp: dict[str, object]) -> None:
    new = STAMP.with_suffix(".new")
    new.write_text(json.dumps(stamp), "utf-8")
    new.replace(STAMP)


def build(group: str) -> None:
    stamp = read_stamp()
    if "dev" in stamp:
        group = "dev"  # never take the tools away from someone who had them
    # Only an environment that was finished, by this interpreter and in this place, is brought up
    # to date; anything else may be half of one.
    finished = stamp.get("base") == base() and PYTHON.exists()
    LOG.write_bytes(b"")
    started = time.monotonic()
    say(f"{'Bringing .venv up to date' if finished else 'Setting up .venv (first run only)'} ...")
    if finished:
        write_stamp({})
    else:
        start_over()
    install(group, fresh=not finished)
    place_arifa()
    groups = ("run", "dev") if group == "dev" else ("run",)
    write_stamp({"base": base(), **{name: key(name) for name in groups}})
    say(f"Done in {time.monotonic() - started:.1f} s.")


def base() -> list[str]:
    return [LAYOUT, sys.version, platform.machine(), BASE_PYTHON, str(ROOT)]


def start_over() -> None:
    """Leave an empty .venv that carries our stamp, so that we know it again if we are stopped."""
    if VENV.is_symlink() or (VENV.exists() and not STAMP.exists()):
        # Not ours: someone made it by hand, and may miss it.
        aside = ROOT / f".venv.{time.strftime('%Y%m%d-%H%M%S')}"
        VENV.rename(aside)
        say(f".venv was not made by run.py; it is now {aside.name}.")
    elif VENV.exists():
        # The stamp goes last: until then a next run still knows whose this is.
        for path in VENV.iterdir():
            if path == STAMP:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    VENV.mkdir(exist_ok=True)
    write_stamp({})


def install(group: str, fresh: bool) -> None:
    wanted = str(REQUIREMENTS / f"{group}.txt")
    uv = find_uv()
    if uv is not None:
        try:
            if fresh:
                run(uv_venv(uv), uv_environment())
            run(
                [uv, "pip", "sync", "-q", "--python", str(PYTHON), "--require-hashes", wanted],
                uv_environment(),
            )
            return
        except Failed as failed:
            if failed.final:
                raise Trouble(str(failed)) from failed
            say("uv could not do it; trying pip, which takes longer ...")
            if fresh:
                start_over()
    try:
        if fresh:
            pip_venv()
        run([*pip(), "install", *PIP_FLAGS, "--no-compile", "-r", wanted], pip_environment())
    except Failed as failed:
        raise Trouble(str(failed)) from failed


def uv_venv(uv: str) -> list[str]:
    # --allow-existing, because the folder is there already, with our stamp in it.
    return [uv, "venv", "-q", "--allow-existing", "--python", BASE_PYTHON, str(VENV)]


def pip_venv() -> None:
    command = [BASE_PYTHON, "-m", "venv"]
    if has_module("pip"):
        # Debian's Python has venv but, without a package more, not the ensurepip that it calls.
        command.append("--without-pip")
    elif not has_module("ensurepip"):
        raise Trouble(
            "This Python has neither pip nor ensurepip. Install one of them (on Debian and Ubuntu"
            " the package python3-venv or python3-pip) or uv, and start again."
        )
    run([*command, str(VENV)], pip_environment())


def pip() -> list[str]:
    if has_module("pip"):
        return [BASE_PYTHON, "-m", "pip", "--python", str(PYTHON)]
    return [str(PYTHON), "-m", "pip"]


PIP_FLAGS = ("-q", "--require-hashes", "--disable-pip-version-check", "--root-user-action=ignore")


@functools.cache
def has_module(name: str) -> bool:
    return not subprocess.call(
        [BASE_PYTHON, "-c", f"import {name}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def find_uv() -> str | None:
    """The uv on PATH, else the pinned one, installed by pip into .cache; None if neither can be."""
    on_path = shutil.which("uv")
    if on_path:
        return on_path
    pins = REQUIREMENTS / "tools.txt"
    tools = CACHE / f"tools-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    uv = tools / "bin" / ("uv.exe" if WINDOWS else "uv")
    if uv.exists():
        return str(uv)
    if not has_module("pip"):
        return None
    unfinished = tools.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    # --target is allowed where the system's Python refuses other installations (PEP 668).
    command = [BASE_PYTHON, "-m", "pip", "install", *PIP_FLAGS, "--only-binary", ":all:"]
    try:
        run([*command, "--target", str(unfinished), "-r", str(pins)], pip_environment())
    except Failed as failed:
        if failed.final:
            raise Trouble(str(failed)) from failed
        return None  # such as a platform without a wheel of uv; pip alone will do
    shutil.rmtree(tools, ignore_errors=True)
    unfinished.rename(tools)
    return str(uv) if uv.exists() else None


def place_arifa() -> None:
    """Make `import arifa` and the command `arifa` work in .venv, from the source in src.

    Written here and not by an editable installation, which would need a build tool, and so the
    network, on a machine that may have only what is pinned for running.
    """
    probe = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(
        subprocess.check_output([str(PYTHON), "-c", probe], text=True, encoding="utf-8").strip()
    )
    # Relative, because such files are read in the locale's encoding and a checkout may lie anywhere.
    (site / "arifa.pth").write_text(os.path.relpath(ROOT / "src", site) + "\n", "ascii")
    if WINDOWS:
        ARIFA.write_text('@"%~dp0python.exe" -m arifa.cli.main %*\n', "utf-8")
        return
    new = ARIFA.with_suffix(".new")
    # First a shell reads it and then Python, because a `#!` line can hold neither a space nor a
    # long path.
    shell = f"#!/bin/sh\n'''exec' {shlex.quote(str(PYTHON))} \"$0\" \"$@\"\n' '''\n"
    new.write_text(shell + START + "\n", "utf-8")
    new.chmod(0o755)
    new.replace(ARIFA)


# Behind the guard, since a process that `serve --workers` starts reads this file again.
START = """import sys
from arifa.cli.main import main
if __name__ == "__main__":
    sys.exit(main())"""


# ----------------------------------------------------------------------- package index settings


def pip_environment() -> dict[str, str]:
    """Ours, without what would send packages elsewhere than we say."""
    environment = dict(os.environ, PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0")
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_CONSTRAINT"):
        environment.pop(name, None)
    environment.setdefault("PIP_RETRIES", "2")  # the default of five takes a minute to give up
    return environment


def uv_environment() -> dict[str, str]:
    """Ours, and pip's settings in uv's words, because uv reads none of pip's.

    A firm's own index and certificate are usually told to pip alone. What is said to uv itself
    goes before it.
    """
    environment = dict(os.environ)
    for name in ("UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_CONSTRAINT", "UV_OVERRIDE", "VIRTUAL_ENV"):
        environment.pop(name, None)
    environment["UV_PYTHON_DOWNLOADS"] = "never"
    if not shutil.which("uv"):
        # Our own uv leaves nothing outside the checkout; the user's keeps the user's cache.
        environment.setdefault("UV_CACHE_DIR", str(CACHE / "uv"))
    for name, value in translated(pip_settings()).items():
        environment.setdefault(name, value)
    return environment


def pip_settings() -> dict[str, str]:
    """pip's effective settings, such as {"index-url": ..., "cert": ...}."""
    if not has_module("pip"):
        return {}
    answer = subprocess.run(
        [BASE_PYTHON, "-m", "pip", "config", "list", "--disable-pip-version-check"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=pip_environment(),
        check=False,
    )
    settings: dict[str, str] = {}
    # Later ones go before earlier ones: files, then files for `install`, then the environment.
    for section in ("global", "install", ":env:"):
        for line in answer.stdout.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(section + "."):
                settings[name[len(section) + 1 :]] = value.strip().strip("'\"")
    return settings


def translated(settings: dict[str, str]) -> dict[str, str]:
    result = {}
    for ours, theirs in (
        ("index-url", "UV_DEFAULT_INDEX"),
        ("extra-index-url", "UV_INDEX"),
        ("trusted-host", "UV_INSECURE_HOST"),
        ("cert", "SSL_CERT_FILE"),
        ("proxy", "ALL_PROXY"),
    ):
        # pip's config parts lists by line ends, which `config list` shows as \n.
        value = " ".join(settings.get(ours, "").replace("\\n", " ").split())
        if value:
            result[theirs] = value
    places = settings.get("find-links", "").replace("\\n", " ").split()
    # uv fails on a folder that is not there, where pip shrugs.
    places = [place for place in places if "://" in place or os.path.isdir(place)]
    if places:
        result["UV_FIND_LINKS"] = ",".join(places)
    return result


# ------------------------------------------------------------------------------ running things


class Failed(Exception):
    """A command of set-up failed; `final` if another way would fail the same."""

    def __init__(self, command: list[str], output: str) -> None:
        reason = why(output)
        last = output.strip().splitlines()[-1:] or ["without a word"]
        super().__init__(
            reason or f"{Path(command[0]).name} failed: {last[0].strip()} (all of it: {LOG})"
        )
        self.final = reason in (DISK_FULL, WRONG_HASH)


DISK_FULL = "The disk is full: set-up needs about 400 MB. Make room and start again."
WRONG_HASH = (
    "A downloaded package is not the one pinned in requirements/ (its hash differs);"
    f" nothing of it was installed. Details: {LOG}"
)
NO_NETWORK = (
    "The package index cannot be reached, and set-up needs it the first time. Check the network"
    f" and pip's index and proxy settings (pip config list). Details: {LOG}"
)
NO_RIGHT = f"Set-up may not write below {ROOT}: that folder must belong to whoever starts run.py."

SIGNS = (
    (DISK_FULL, ("no space left on device", "disk quota exceeded", "not enough space")),
    (WRONG_HASH, ("do not match the hashes", "hash mismatch")),
    (NO_RIGHT, ("permission denied", "read-only file system", "access is denied")),
    (
        NO_NETWORK,
        (
            "failed to establish a new connection",
            "error sending request",
            "failed to fetch",
            "dns error",
            "name or service not known",
            "name resolution",
            "connection refused",
            "network is unreachable",
            "timed out",
            "max retries exceeded",
        ),
    ),
)


def why(output: str) -> str:
    """The sentence for the commonest troubles, recognised by their usual words, or nothing."""
    text = output.lower()
    for sentence, signs in SIGNS:
        if any(sign in text for sign in signs):
            return sentence
    return ""


def run(command: list[str], environment: dict[str, str]) -> None:
    answer = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,  # nobody is there to answer a question about a password
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
        close_fds=False,  # if we are killed, an installer that goes on writing keeps the lock
    )
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {shlex.join(command)}\n{answer.stdout}\n")
    if answer.returncode:
        raise Failed(command, answer.stdout)


def say(text: str) -> None:
    print(f"[setup] {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Hold .cache/setup.lock; the system lets go of it however we end."""
    with (CACHE / "setup.lock").open("a+b") as file:
        os.set_inheritable(file.fileno(), True)
        if not locked(file, wait=False):
            say("Another run.py is setting up; waiting for it ...")
            locked(file, wait=True)
        yield


def locked(file: IO[bytes], wait: bool) -> bool:
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
                time.sleep(0.2)
            else:
                return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
