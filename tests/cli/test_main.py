"""The frame of the command line: global options, exit codes, and errors as sentences."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import arifa as package
from arifa.cli import main as frame
from arifa.cli.context import Misused
from arifa.cli.main import COMMANDS, main, take_globals
from arifa.store import database
from tests.cli.conftest import CommandLine


@pytest.mark.parametrize(
    ("tokens", "rest"),
    [
        (["--data", "d", "source", "list"], ["source", "list"]),
        (["source", "list", "--data=d"], ["source", "list"]),
        (["source", "--data", "d", "list"], ["source", "list"]),
        (["source", "list", "--data", "d", "--", "--json"], ["source", "list", "--", "--json"]),
    ],
)
def test_global_options_stand_anywhere(tokens: list[str], rest: list[str]) -> None:
    """Before the command, behind it and within it; behind `--` they are arguments."""
    given, left = take_globals(tokens)
    assert (given.data, given.as_json, left) == ("d", False, rest)


@pytest.mark.parametrize("tokens", [["--data"], ["list", "--database"], ["--data", "--", "x"]])
def test_a_global_option_needs_its_value(tokens: list[str]) -> None:
    """Without one it is a wrong use."""
    with pytest.raises(Misused, match="wants a value"):
        take_globals(tokens)


def test_json_before_and_after(arifa: CommandLine) -> None:
    """Both places give the same lines."""
    assert arifa("--json", "dialect", "list").out == arifa("dialect", "list", "--json").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sorce", "list"], "did you mean 'source'?"),
        (["--colour"], "no option '--colour'"),
        (["source", "lst"], 'Did you mean "list"?'),
        (["source", "list", "--limmit", "3"], "--limit"),
        (["source", "add", "x"], "--dialect"),
        (["source", "show"], "NAME"),
        (["source", "show", "a", "b"], "too many: b"),
        (["inbox", "list", "--limit", "0"], "--limit"),
        (["inbox", "list", "--limit", "many"], "--limit"),
        (["inbox", "list", "--since", "yesterday"], "'yesterday' is not a time"),
        (["inbox", "list", "--outcome", "FINE"], "ACCEPTED"),
        (["delivery", "list", "--state", "lost"], "delivered"),
        (["case", "decide", "case_1", "perhaps", "--reason", "x"], "accept"),
        (["source", "add", "x", "--dialect", "kcb", "--mode", "prod"], "live"),
        (["source", "add", "x", "--dialect", "kcb", "--allow-ip", "10.0.0.300"], "10.0.0.300"),
        (["source", "add", "x", "--dialect", "kcb", "--currency", "KSH"], "KSH"),
        (["source", "add", "x", "--dialect", "kcb", "--timezone", "Nairobi"], "Africa/Nairobi"),
        (["source", "add", "x", "--dialect", "kcb", "--option", "form"], "NAME=VALUE"),
        (["source", "add", "x", "--dialect", "kcb", "--route", "=m"], "NAME=VALUE"),
        (["endpoint", "add", "x", "--url", "https://x.example", "--kinds", "gift"], "payment"),
        (["serve", "--port", "70000"], "--port"),
        (["serve", "--workers", "0"], "--workers"),
    ],
)
def test_wrong_use_is_one_sentence(arifa: CommandLine, arguments: list[str], said: str) -> None:
    """It exits 2, says what is wrong on standard error in one line, and prints no data."""
    result = arifa(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("arifa: ")
    assert result.err.count("\n") == 1
    assert said in result.err
    assert not arifa.data.exists()


def test_a_noun_alone_is_a_wrong_use(arifa: CommandLine) -> None:
    """It shows its verbs, but not as data."""
    result = arifa("source")
    assert (result.code, result.out) == (2, "")
    assert "rotate" in result.err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Without a command there is help, and that is no error."""
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Each one explains itself, and needs no store for it."""
    assert main([name, "--help"]) == 0
    assert f"Usage: arifa {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """It is the package's."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"arifa {package.__version__}\n"


def test_an_error_in_json(arifa: CommandLine) -> None:
    """With --json an error is one object on standard error."""
    result = arifa("source", "show", "nope", "--json")
    assert (result.code, result.out) == (3, "")
    error = json.loads(result.err)["error"]
    assert (error["title"], error["status"]) == ("Not found", 404)
    assert "'nope'" in error["detail"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["source", "show", "nope"], 3),
        (["endpoint", "show", "nope"], 3),
        (["merchant", "show", "nope"], 3),
        (["inbox", "show", "inb_0"], 3),
        (["inbox", "show", "ref_0"], 3),
        (["inbox", "raw", "inb_0"], 3),
        (["notification", "show", "ntf_0"], 3),
        (["case", "show", "case_0"], 3),
        (["case", "decide", "case_0", "accept", "--reason", "x"], 3),
        (["delivery", "show", "dlv_0"], 3),
        (["dialect", "show", "nope"], 3),
        (["inbox", "list", "--source", "nope"], 3),
        (["delivery", "list", "--endpoint", "nope"], 3),
        (["source", "add", "x", "--dialect", "nope"], 3),
        (["source", "add", "x", "--dialect", "kcb"], 1),
        (["source", "add", "x", "--dialect", "kcb", "--public-key", "nofile"], 1),
    ],
)
def test_exit_codes(arifa: CommandLine, arguments: list[str], code: int) -> None:
    """3 for what is not there, 1 for what cannot be done; one line each."""
    result = arifa(*arguments)
    assert (result.code, result.out) == (code, "")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["source", "list"],
        ["endpoint", "list"],
        ["inbox", "list"],
        ["notification", "list"],
        ["case", "list"],
        ["delivery", "list"],
    ],
)
def test_an_empty_list(arifa: CommandLine, arguments: list[str]) -> None:
    """It is no error, no line of data, and the store is made on the way."""
    assert arifa.rows(*arguments) == []
    assert "nothing found" in arifa.ok(*arguments).err
    assert (arifa.data / "arifa.db").exists()


def test_an_unforeseen_error_is_a_sentence(
    arifa: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last resort names the error, not its text, which may hold anybody's data."""

    def broken(*_: object) -> None:
        raise RuntimeError("254711000000 paid")

    monkeypatch.setattr(frame, "load", broken)
    result = arifa("source", "list")
    assert result.code == 1
    assert "RuntimeError" in result.err
    assert "254711000000" not in result.err


def test_debug_shows_where(
    arifa: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --debug, or ARIFA_DEBUG, the traceback comes before the sentence."""
    assert main(["--debug", "--data", str(arifa.data), "source", "show", "nope"]) == 3
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("ARIFA_DEBUG", "1")
    assert main(["--data", str(arifa.data), "source", "show", "nope"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_interrupted(arifa: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no error to explain."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(frame, "load", interrupted)
    result = arifa("source", "list")
    assert (result.code, result.out, result.err) == (130, "", "")


def test_a_command_that_is_not_installed(
    arifa: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command whose module is missing says so."""
    monkeypatch.setitem(COMMANDS, "trigger", ("arifa.cli.not_there:trigger", "x"))
    result = arifa("trigger", "kcb")
    assert result.code == 1
    assert "not part of this installation" in result.err


def test_wrong_data_folders(arifa: CommandLine) -> None:
    """A file for a folder, another program's database, a newer one: one sentence and exit 1."""
    arifa.data.write_text("not a folder")
    assert "cannot be made" in arifa("source", "list").err
    arifa.data.unlink()
    arifa.data.mkdir()
    (arifa.data / "arifa.db").write_bytes(b"this is no database at all, but long enough to try")
    result = arifa("source", "list")
    assert result.code == 1
    assert "not an SQLite database" in result.err


def test_databases_that_are_not_ours(arifa: CommandLine) -> None:
    """Another program's, a newer program's and a locked one: one sentence, exit 1, unharmed."""
    other = arifa.folder / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.commit()
    result = arifa("--database", f"sqlite:///{other}", "source", "list")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "belongs to another program" in result.err
    arifa.ok("migrate")
    with closing(sqlite3.connect(arifa.data / "arifa.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    result = arifa("source", "list")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "newer than this program" in result.err


# In a process of its own: within one, two SQLite libraries do not see each other's locks.
_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_locked_database(arifa: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another program keeps the database locked, that is said, and nothing is written."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    arifa.ok("migrate")
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, arifa.data / "arifa.db"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        result = arifa("merchant", "add", "acme")
        holder.communicate(b"")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "locked" in result.err
    assert arifa.rows("merchant", "list") == []


def test_a_missing_or_another_key(arifa: CommandLine) -> None:
    """Without its key the store is not opened, and no new key is made over its secrets."""
    arifa.ok("source", "add", "t", "--dialect", "kcb", "--generate-key")
    kept = (arifa.data / "master.key").read_bytes()
    (arifa.data / "master.key").unlink()
    assert "its key is missing" in arifa("source", "list").err
    assert not (arifa.data / "master.key").exists()
    (arifa.data / "master.key").write_bytes(kept)
    (arifa.data / "master.key").chmod(0o644)
    assert "chmod 600" in arifa("source", "list").err


def test_wrong_urls(arifa: CommandLine) -> None:
    """A database that is neither of the two kinds is refused, without its password."""
    for url in ("mysql://u:hunter2@h/d", "nonsense"):
        result = arifa("--database", url, "source", "list")
        assert result.code == 1
        assert "neither sqlite:///FILE nor postgresql://" in result.err
        assert "hunter2" not in result.err


def test_settings_in_the_data_folder(arifa: CommandLine, tmp_path: Path) -> None:
    """An arifa.toml in the data folder is read, and a wrong one is named."""
    arifa.data.mkdir()
    (arifa.data / "arifa.toml").write_text("port = 9999\n")
    shown = arifa.json("config", "show")
    assert shown["port"] == {
        "value": 9999,
        "origin": "arifa.toml",
        "where": str(arifa.data / "arifa.toml"),
    }
    assert shown["data"]["origin"] == "flag"
    assert shown["host"]["origin"] == "default"
    (arifa.data / "arifa.toml").write_text("prot = 9999\n")
    result = arifa("config", "show")
    assert result.code == 1
    assert "'prot'" in result.err


def test_migrate_says_from_where_to_where(arifa: CommandLine) -> None:
    """The first run makes the schema; the second finds it."""
    first, second = arifa.json("migrate"), arifa.json("migrate")
    assert first["from"] is None
    assert first["to"] == second["from"] == second["to"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["transaction", "approve", "ord_1", "--by", "Amina"], "--reason is missing"),
        (["transaction", "approve"], "IDENTITY is missing"),
        (["endpoint", "add", "shop", "--url"], "--url wants a value"),
        (["endpoint", "add", "shop", "--ulr", "x"], "did you mean --url instead of --ulr?"),
    ],
)
def test_what_is_missing_is_named(arifa: CommandLine, words: list[str], said: str) -> None:
    """An option, its value and an argument that are not there are three things."""
    result = arifa(*words)
    assert result.code == 2
    assert said in result.err
    assert "requires an argument" not in result.err


def test_json_is_never_answered_with_text(arifa: CommandLine) -> None:
    """Neither the version, nor the help of a noun that lacks its verb."""
    assert arifa.json("--version") == {"version": package.__version__}
    result = arifa("endpoint", "--json")
    assert (result.code, result.out) == (2, "")
    assert "command is missing" in json.loads(result.err)["error"]["detail"]
