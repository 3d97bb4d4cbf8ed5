"""run.py: it starts on anything, knows when nothing is to be done, and names no place."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import run

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
SOURCE = (ROOT / "run.py").read_text("utf-8")


def entries(lock: Path) -> list[str]:
    """The requirements of a lock file, each with its hashes on one line."""
    text = re.sub(r"^\s*#.*\n", "", lock.read_text("utf-8"), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def pins(lock: Path) -> dict[str, set[str]]:
    """Versions by name; a package may have one for each of several Pythons."""
    result: dict[str, set[str]] = {}
    for entry in entries(lock):
        requirement = Requirement(entry.partition("--hash")[0])
        result.setdefault(requirement.name, set()).add(str(requirement.specifier)[2:])
    return result


class TestPins:
    @pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
    def test_every_requirement_is_pinned_and_hashed(self, lock):
        assert entries(lock)
        for entry in entries(lock):
            assert re.match(r"[a-z0-9._-]+==[^ ]+ .*--hash=sha256:[0-9a-f]{64}", entry), entry

    @pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
    def test_no_address_and_no_option(self, lock):
        text = lock.read_text("utf-8")
        assert "://" not in text
        assert not [entry for entry in entries(lock) if entry.startswith(("-", "/", "."))]

    def test_what_pyproject_asks_for_is_pinned(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
        for lock, asked in (
            ("run", project["project"]["dependencies"]),
            ("dev", project["dependency-groups"]["dev"]),
        ):
            pinned = pins(ROOT / "requirements" / f"{lock}.txt")
            for requirement in map(Requirement, asked):
                versions = pinned[requirement.name]
                assert any(requirement.specifier.contains(v) for v in versions), requirement

    def test_the_tests_run_against_what_is_shipped(self):
        shipped, tested = pins(ROOT / "requirements/run.txt"), pins(ROOT / "requirements/dev.txt")
        assert {name: tested[name] for name in shipped} == shipped


class TestSource:
    def test_an_old_python_can_read_it_and_so_say_that_it_is_too_old(self):
        ast.parse(SOURCE, feature_version=(3, 7))

    def test_it_needs_the_standard_library_only(self):
        imported = {
            name.partition(".")[0]
            for node in ast.walk(ast.parse(SOURCE))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert imported <= sys.stdlib_module_names

    def test_everyone_tests_with_the_command_of_the_readme(self):
        command = "python3 run.py test"
        assert command in (ROOT / ".ci/run").read_text("utf-8")
        assert command in SOURCE
        readme = ROOT / "README.md"
        if readme.exists():
            assert command in readme.read_text("utf-8")

    def test_make_offers_what_run_offers(self):
        rules = re.findall(r"^(\w[\w ]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert set(" ".join(rules).split()) == {"run", *run.JOBS}

    def test_an_unknown_job_is_a_usage_error(self, capsys):
        assert run.main(["tset"]) == 2
        assert "tset" in capsys.readouterr().out


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """run.py as it would be in another checkout, whose path is awkward."""
    root = tmp_path / "it's a checkout"
    for name in ("requirements", ".cache", "src/arifa/cli"):
        (root / name).mkdir(parents=True)
    for name in ("pyproject.toml", "requirements/run.txt", "requirements/dev.txt"):
        (root / name).write_text(name)
    scripts = root / ".venv" / ("Scripts" if os.name == "nt" else "bin")
    for name, place in {
        "ROOT": root,
        "VENV": root / ".venv",
        "CACHE": root / ".cache",
        "STAMP": root / ".venv" / run.STAMP.name,
        "LOG": root / ".cache" / "setup.log",
        "REQUIREMENTS": root / "requirements",
        "BIN": scripts,
        "PYTHON": scripts / run.PYTHON.name,
        "ARIFA": scripts / run.ARIFA.name,
    }.items():
        monkeypatch.setattr(run, name, place)
    return root


@pytest.fixture
def installed(checkout, monkeypatch):
    """The groups installed, in order; nothing is really installed."""
    groups: list[str] = []

    def install(group, fresh):
        groups.append(f"{group}{' afresh' if fresh else ''}")
        run.BIN.mkdir(parents=True, exist_ok=True)
        run.PYTHON.touch()

    monkeypatch.setattr(run, "install", install)
    monkeypatch.setattr(run, "place_arifa", run.ARIFA.touch)
    return groups


class TestStamp:
    def test_a_second_start_does_nothing(self, installed):
        run.set_up("run")
        run.set_up("run")
        assert installed == ["run afresh"]

    def test_the_developers_set_holds_the_other(self, installed):
        run.set_up("dev")
        run.set_up("run")
        assert installed == ["dev afresh"]

    def test_the_developers_set_is_added_to_the_other(self, installed):
        run.set_up("run")
        run.set_up("dev")
        assert installed == ["run afresh", "dev"]

    @pytest.mark.parametrize("name", ["pyproject.toml", "requirements/run.txt"])
    def test_a_change_is_noticed_and_nothing_taken_away(self, checkout, installed, name):
        run.set_up("dev")
        (checkout / name).write_text("changed")
        run.set_up("run")
        assert installed == ["dev afresh", "dev"]

    def test_another_python_starts_afresh(self, installed, monkeypatch):
        run.set_up("run")
        monkeypatch.setattr(run, "BASE_PYTHON", "/another/python3")
        run.set_up("run")
        assert installed == ["run afresh", "run afresh"]

    @pytest.mark.parametrize("lost", ["PYTHON", "ARIFA"])
    def test_a_lost_file_is_noticed(self, installed, lost):
        run.set_up("run")
        getattr(run, lost).unlink()
        run.set_up("run")
        assert len(installed) == 2

    @pytest.mark.parametrize("damage", [b"", b"[1]", b"\xff"])
    def test_a_damaged_stamp_counts_for_nothing(self, installed, damage):
        run.set_up("run")
        run.STAMP.write_bytes(damage)
        run.set_up("run")
        assert installed == ["run afresh", "run afresh"]

    @pytest.mark.parametrize("group", ["run", "dev"])
    def test_an_interrupted_set_up_starts_afresh(self, checkout, installed, monkeypatch, group):
        run.set_up("run")
        (checkout / "pyproject.toml").write_text("changed")
        with monkeypatch.context() as patch:
            patch.setattr(run, "install", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run.set_up(group)
        leftover = run.VENV / "lib" / "half"
        leftover.mkdir(parents=True)
        run.set_up(group)
        assert installed[1:] == [f"{group} afresh"]
        assert not leftover.exists()

    def test_an_environment_made_by_hand_is_kept(self, checkout, installed):
        run.VENV.mkdir()
        (run.VENV / "mine").touch()
        run.set_up("run")
        assert [path.parent.name[:6] for path in checkout.glob(".venv.*/mine")] == [".venv."]
        assert run.is_ready("run")


def interrupted(*_positional, **_named):
    raise KeyboardInterrupt


def test_only_one_sets_up_at_a_time(checkout):
    with run.only_one_at_a_time(), (run.CACHE / "setup.lock").open("a+b") as other:
        assert not run.locked(other, wait=False)
    with (run.CACHE / "setup.lock").open("a+b") as other:
        assert run.locked(other, wait=False)


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_the_command_starts_from_an_awkward_path(checkout):
    venv.create(run.VENV, symlinks=True)
    (checkout / "src/arifa/__init__.py").touch()
    (checkout / "src/arifa/cli/main.py").write_text(
        "import sys\ndef main():\n    print(sys.argv[1:])\n    return 3\n"
    )
    run.place_arifa()
    link = checkout / "a link"
    link.symlink_to(run.ARIFA)
    for command in (run.ARIFA, link):
        answer = subprocess.run(
            [command, "a b", "c"],
            cwd="/",
            # Whoever runs these tests may have named another place to import from.
            env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (answer.stdout, answer.returncode) == ("['a b', 'c']\n", 3), answer.stderr


class TestSettings:
    def test_pips_settings_are_said_in_uvs_words(self, tmp_path):
        settings = {
            "index-url": "https://mirror.example/simple",
            "extra-index-url": "\\nhttps://one.example\\nhttps://two.example",
            "cert": "/etc/ca.pem",
            "find-links": f"{tmp_path} /not/there",
            "timeout": "60",
        }
        assert run.translated(settings) == {
            "UV_DEFAULT_INDEX": "https://mirror.example/simple",
            "UV_INDEX": "https://one.example https://two.example",
            "SSL_CERT_FILE": "/etc/ca.pem",
            "UV_FIND_LINKS": str(tmp_path),
        }

    def test_what_is_said_to_uv_goes_before(self, monkeypatch):
        monkeypatch.setattr(run, "pip_settings", lambda: {"index-url": "https://pip.example"})
        monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example")
        assert run.uv_environment()["UV_DEFAULT_INDEX"] == "https://uv.example"

    def test_pip_installs_where_we_say(self, monkeypatch):
        for name, value in (("PIP_USER", "1"), ("PIP_TARGET", "/x"), ("PIP_PREFIX", "/x")):
            monkeypatch.setenv(name, value)
        environment = run.pip_environment()
        assert environment["PIP_USER"] == "0"
        assert not environment.keys() & {"PIP_TARGET", "PIP_PREFIX"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", run.DISK_FULL),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS", run.WRONG_HASH),
        ("Failed to establish a new connection: [Errno 111] Connection refused", run.NO_NETWORK),
        ("error: Permission denied (os error 13)", run.NO_RIGHT),
        ("something else", ""),
    ],
)
def test_common_troubles_are_one_sentence(words, sentence):
    assert run.why(words) == sentence
