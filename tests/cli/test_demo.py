"""The demonstration as anybody starts it: it agrees, it sees what is wrong, it leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from arifa.cli.demo_report import Comparison, HubSays, Row, compare, lines_of
from arifa.document import JsonObject
from arifa.simulator.merchant import Event, Failure, Kept
from arifa.simulator.traffic import Announced, Book, Meaning

LINES_MAX = 25
COLUMNS_MAX = 80
AGREED = "Everybody's books agree."
SECONDS_MAX = 110
STOP_SECONDS = 30

# A short play: two banks, few payments, a merchant that never fails.
SHORT = """
import sys
from dataclasses import replace
import arifa.cli.demo as demo
demo.CAST = tuple(replace(part, payments=2) for part in demo.CAST if part.name in ("kcb", "cbs"))
demo.RATES = {}
"""
RUN = """
from arifa.cli.main import main
sys.exit(main(["demo", *sys.argv[1:]]))
"""


def command(*plants: str) -> list[str]:
    """The demonstration, with something planted in it."""
    return [sys.executable, "-c", "".join((SHORT, *plants, RUN))]


def environment(folder: Path) -> dict[str, str]:
    """So that what it leaves behind can be found."""
    return {**os.environ, "TMPDIR": str(folder)}


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end, without a terminal."""
    return subprocess.run(
        words,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def test_everybody_agrees(tmp_path: Path):
    """The whole of it: exit 0, at most 25 lines, a report that fits a terminal, nothing left."""
    done = run([sys.executable, "-m", "arifa.cli.main", "demo"], tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert len(lines) <= LINES_MAX
    assert all(len(line) <= COLUMNS_MAX for line in lines[: lines.index(AGREED)])
    assert sum(line.endswith("  ok") for line in lines) == 14
    assert list(tmp_path.iterdir()) == []


def test_as_json(tmp_path: Path):
    """One object with both sides of every comparison."""
    done = run([*command(), "--json", "--seed", "4"], tmp_path)
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["agrees"]
    assert report["seed"] == 4
    assert [feed["bank"] for feed in report["feeds"]] == ["KCB", "CBS"]
    assert all(feed["bank_says"] == feed["hub_says"] for feed in report["feeds"])


MERCHANT_CHANGES_AN_AMOUNT = """
from arifa.simulator.merchant import Merchant
keep = Merchant._keep
def keep_wrongly(self, identity, document):
    document["data"]["amount"]["amount"] = "0.01"
    keep(self, identity, document)
Merchant._keep = keep_wrongly
"""
MERCHANT_GETS_ONE_TWICE = """
from arifa.simulator.merchant import Merchant
keep = Merchant._keep
def keep_twice(self, identity, document):
    keep(self, identity, document)
    keep(self, identity[:-1] + "x", document)
Merchant._keep = keep_twice
"""
BANK_SENDS_ONE_MORE = """
day = demo.spend_day
def spend_day(bank, samples, payments):
    book = day(bank, samples, payments)
    bank.send(bank.signed(bank.renewed(bank.published()).request()))
    return book
demo.spend_day = spend_day
"""
FORGERY_IS_MEANT_TO_PASS = """
from arifa.simulator.bank import Bank
Bank.signed = Bank.forged
"""


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (MERCHANT_CHANGES_AN_AMOUNT, "payment by payment: merchant, hub"),
        (MERCHANT_GETS_ONE_TWICE, "events: held by the merchant, delivered"),
        (BANK_SENDS_ONE_MORE, "NOT in agreement: KCB; CBS"),
        (FORGERY_IS_MEANT_TO_PASS, "answered 401 NOT_GENUINE"),
    ],
)
def test_a_planted_mismatch(tmp_path: Path, plant: str, said: str):
    """Whoever is wrong, it ends with 1 and names what differs; still in 25 lines, and tidy."""
    done = run(command("demo.QUIET_SECONDS = 3.0\n", plant), tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stdout
    assert "DIFFERENT" in done.stdout
    assert AGREED not in done.stdout
    assert len(done.stdout.splitlines()) <= LINES_MAX
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit('arifa: the port is taken')", "the port is taken"),
        ("print('something else')", "it said nothing"),
    ],
)
def test_a_hub_that_does_not_start(tmp_path: Path, program: str, said: str):
    """One sentence, exit 1, nothing left."""
    plant = f"import arifa.cli.demo_process as process\nprocess._PROGRAM = {program!r}\n"
    done = run(command(plant), tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"arifa: the hub did not start: {said}\n"
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------- ending it


@contextlib.contextmanager
def started(words: list[str], folder: Path, until: str) -> Iterator[subprocess.Popen[str]]:
    """It, in a process group of its own, when it has printed a line that begins with `until`."""
    process = subprocess.Popen(
        words,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if not any(line.startswith(until) for line in process.stdout):
            raise AssertionError(process.stderr.read())
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@contextlib.contextmanager
def hub_of(folder: Path) -> Iterator[int]:
    """A descriptor that becomes readable when the hub's process has ended."""
    (serving,) = folder.glob("arifa-demo-*/serving.json")
    descriptor = os.pidfd_open(json.loads(serving.read_text())["pid"])
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def has_ended(descriptor: int) -> bool:
    """Whether the process behind it ends in time."""
    return bool(select.select([descriptor], [], [], STOP_SECONDS)[0])


# While it asks the hub it is stopped, so that it can be ended at a moment that is known.
STOPS_TO_ASK = """
import threading
def settle(self, deadline):
    print("asking", flush=True)
    threading.Event().wait()
import arifa.cli.demo_process as process
process.HubProcess.settle = settle
"""

needs_pidfd = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="this system cannot wait for another's child"
)


@needs_pidfd
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(tmp_path: Path, number: signal.Signals):
    """Ctrl-C or SIGTERM in the middle: the hub ends, the data go, the exit code says so."""
    with started(command(STOPS_TO_ASK), tmp_path, "asking") as process, hub_of(tmp_path) as hub:
        process.send_signal(number)
        assert process.wait(STOP_SECONDS) == 130
        assert has_ended(hub)
    assert list(tmp_path.iterdir()) == []


@needs_pidfd
def test_killed(tmp_path: Path):
    """Killed at once, it can tidy nothing; the hub notices by itself and ends."""
    with started(command(STOPS_TO_ASK), tmp_path, "asking") as process, hub_of(tmp_path) as hub:
        process.kill()
        assert has_ended(hub)


@needs_pidfd
def test_serve_keeps_it_up(tmp_path: Path):
    """With --serve it takes what is triggered, until Ctrl-C; the data stay, and exit is 0."""
    words = [*command(), "--serve"]
    with started(words, tmp_path, "The hub stays up at") as process, hub_of(tmp_path) as hub:
        (folder,) = tmp_path.glob("arifa-demo-*")
        done = run(
            [
                *(sys.executable, "-m", "arifa.cli.main", "trigger", "kcb", "--source", "kcb"),
                *("--repeat", "2", "--data", str(folder), "--json"),
            ],
            tmp_path,
        )
        assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == [200, 200]
        assert not select.select([hub], [], [], 0)[0]
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 0
        assert has_ended(hub)
    assert (folder / "arifa.db").exists()


# ---------------------------------------------------------------------------------- comparing

PAID = Announced("FT1", "payment", "success", "100.00", "KES")
EVENT: JsonObject = {
    "data": {
        "bank_reference": "FT1",
        "kind": "payment",
        "status": "success",
        "amount": {"amount": "100.00", "currency": "KES"},
    }
}
ROW = Row(sent=5, new=1, again=2, held=1, refused=1)
SAYS = HubSays(
    feeds={"kcb": ROW},
    open_cases=1,
    deliveries={"delivered": 1},
    attempts=2,
    payments=Counter([PAID]),
)


def book() -> Book:
    """The bank's."""
    kept = {Meaning.NEW: 1, Meaning.AGAIN: 2, Meaning.HELD: 1, Meaning.FORGED: 1}
    return Book(meanings=Counter(kept), announced=Counter([PAID]))


def kept() -> Kept:
    """The merchant's."""
    return Kept(
        events={"ntf_1": Event("ntf_1", EVENT, times=2)},
        failures=Counter({Failure.DROPPED: 1}),
        attempts=2,
    )


def compared(says: HubSays = SAYS) -> Comparison:
    """What comes of a hub that says so."""
    return compare({"kcb": "KCB"}, {"kcb": book()}, {}, kept(), says)


def test_books_that_agree():
    """Nothing differs."""
    made = compared()
    assert made.agrees
    assert made.differing() == []
    assert "1 dropped; 1 events came again" in lines_of(made, kept())[-1]


@pytest.mark.parametrize(
    ("says", "differing"),
    [
        (replace(SAYS, feeds={"kcb": replace(ROW, refused=2)}), "KCB"),
        (replace(SAYS, feeds={"kcb": replace(ROW, again=1)}), "KCB"),
        (replace(SAYS, open_cases=2), "doubtful messages: sent, open cases"),
        (replace(SAYS, attempts=3), "attempts: seen by the merchant, made"),
        (
            replace(SAYS, deliveries={"delivered": 1, "dead": 1}),
            "events not proven, deliveries not done",
        ),
        (
            replace(SAYS, payments=Counter([PAID._replace(amount="1.00")])),
            "payment by payment: banks, hub",
        ),
    ],
)
def test_one_difference_is_enough(says: HubSays, differing: str):
    """It is named, and marked in its line."""
    made = compared(says)
    assert not made.agrees
    assert made.differing()[0] == differing
    (line,) = [line for line in lines_of(made, kept()) if line.startswith(differing)]
    assert line.endswith("DIFFERENT")


def test_a_surprised_bank_is_no_agreement():
    """Also where all counts are the same."""
    surprised = book()
    surprised.surprises.append("a payment: answered 503 UNAVAILABLE")
    made = compare({"kcb": "KCB"}, {"kcb": surprised}, {}, kept(), SAYS)
    assert not made.agrees
    assert "surprise: KCB: a payment: answered 503 UNAVAILABLE" in lines_of(made, kept())
