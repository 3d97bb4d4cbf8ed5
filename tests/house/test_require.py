"""`--require pg`: where PostgreSQL has to be there, its absence is a failure and not a skip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"

TESTS = {
    "in_a_fixture": """
import pytest
@pytest.fixture
def database():
    pytest.skip("no PostgreSQL here")
def test_it(database): ...
""",
    "in_a_module": """
import pytest
pytest.skip("no PostgreSQL here", allow_module_level=True)
""",
    "by_a_mark": """
import pytest
@pytest.mark.skipif(True, reason="no PostgreSQL here")
def test_it(): ...
""",
    "otherwise": """
import pytest
def test_it():
    pytest.skip("no browser here")
""",
}


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    # Without the fixtures of our own tests, which are not there.
    text = CONFTEST.read_text("utf-8").replace("pytest_plugins", "_plugins")
    (tmp_path / "conftest.py").write_text(text, "utf-8")
    (tmp_path / "pytest.ini").touch()

    def run_tests(text, *options, required=""):
        (tmp_path / "test_it.py").write_text(text)
        monkeypatch.setenv("ARIFA_TEST_REQUIRE", required)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run_tests


@pytest.mark.parametrize("name", ["in_a_fixture", "in_a_module", "by_a_mark"])
def test_a_skip_for_want_of_it_fails(outcome, name):
    result = outcome(TESTS[name], "--require", "pg")
    assert result.returncode not in (0, 5)
    assert "no PostgreSQL here" in result.stdout


def test_each_thing_is_required_by_its_own_name(outcome):
    text = TESTS["in_a_fixture"].replace("PostgreSQL", "NATS")
    assert outcome(text, required="pg,nats").returncode == 1
    assert outcome(text, required="pg").returncode == 0


def test_the_environment_may_say_so_too(outcome):
    assert outcome(TESTS["in_a_fixture"], required="pg").returncode == 1


def test_other_skips_stay_skips(outcome):
    assert outcome(TESTS["otherwise"], "--require", "pg").returncode == 0


def test_without_it_a_skip_is_a_skip(outcome):
    assert outcome(TESTS["in_a_fixture"]).returncode == 0


def test_what_cannot_be_required_is_a_usage_error(outcome):
    result = outcome(TESTS["otherwise"], "--require", "pgg")
    assert result.returncode == 4
    assert "pgg" in result.stderr
