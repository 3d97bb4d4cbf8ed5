"""The registry: complete, lazy, and open to third parties by entry point."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from arifa import dialects
from arifa.dialects.base import Dialect
from arifa.errors import NotADialect, Refused
from arifa.money import is_currency
from arifa.timestamp import zone
from tests.dialects.toy_bank import ToyBank

FOLDER = Path(dialects.__file__).parent
NOT_DIALECTS = {"__init__", "base", "fields"}


def register(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    points = EntryPoints([EntryPoint(name, value, "arifa.dialects")])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points.select(group=group))


@pytest.fixture
def afresh() -> Iterator[None]:
    """The registry with nothing kept from another test, and nothing left behind."""
    dialects.get.cache_clear()
    yield
    dialects.get.cache_clear()


def test_every_dialect_file_is_registered_and_nothing_else() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - NOT_DIALECTS

    assert set(dialects.names()) == files


@pytest.mark.parametrize("name", dialects.names())
def test_a_dialect_has_one_name_everywhere(name: str) -> None:
    dialect = dialects.get(name)

    assert isinstance(dialect, Dialect)
    assert dialect.name == name
    assert type(dialect).__module__ == f"arifa.dialects.{name}"
    assert dialects.get(name) is dialect


@pytest.mark.parametrize("name", dialects.names())
def test_a_dialect_says_what_it_is(name: str) -> None:
    dialect = dialects.get(name)

    assert dialect.title
    assert dialect.page.startswith("https://")
    assert is_currency(dialect.defaults.currency)
    assert zone(dialect.defaults.timezone).key == dialect.defaults.timezone
    assert all(len(values) >= 2 for values in dialect.options.values())
    assert sys.modules[type(dialect).__module__].__doc__
    for case in dialect.cases.values():
        assert case.title
        dialect.check_options(case.options)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(NotADialect, match="there is no dialect 'kbc'; there are kcb, credit_bank"):
        dialects.get("kbc")


def test_only_the_dialect_that_is_asked_for_is_imported() -> None:
    program = (
        "import sys; from arifa import dialects; dialects.names(); dialects.get('jenga'); "
        "print(*sorted(m for m in sys.modules if m.startswith('arifa.dialects.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == [
        "arifa.dialects.base",
        "arifa.dialects.fields",
        "arifa.dialects.jenga",
    ]


class TestThirdParties:
    def test_an_entry_point_is_a_dialect(self, monkeypatch, afresh) -> None:
        register(monkeypatch, "toy", "tests.dialects.toy_bank:ToyBank")

        assert isinstance(dialects.get("toy"), ToyBank)
        assert dialects.names()[-1] == "toy"

    def test_a_built_in_name_cannot_be_taken(self, monkeypatch, afresh) -> None:
        register(monkeypatch, "kcb", "tests.dialects.toy_bank:ToyBank")

        assert type(dialects.get("kcb")).__name__ == "Kcb"
        assert dialects.names().count("kcb") == 1

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("tests.dialects.no_such_bank:Bank", "cannot be loaded"),
            ("tests.dialects.toy_bank:NoSuchBank", "cannot be loaded"),
            ("builtins:dict", "is not a Dialect"),
        ],
    )
    def test_one_that_cannot_be_loaded_says_why(
        self, value: str, words: str, monkeypatch, afresh
    ) -> None:
        register(monkeypatch, "toy", value)

        with pytest.raises(Refused, match=words):
            dialects.get("toy")


class TestContract:
    def test_a_dialect_without_a_proof_fails_at_import(self) -> None:
        with pytest.raises(TypeError, match=r"declares no proof; say Unproven\(reason\)"):

            class _Careless(ToyBank):
                proofs = ()

    def test_a_dialect_that_lacks_a_verb_cannot_be_made(self) -> None:
        class Silent(Dialect):
            proofs = ToyBank.proofs

        with pytest.raises(TypeError, match="abstract"):
            Silent()  # type: ignore[abstract]

    def test_only_verify_makes_what_parse_accepts(self) -> None:
        from arifa.dialects.base import Verified
        from arifa.wire import WireRequest

        with pytest.raises(TypeError, match=r"made by Dialect\.verify"):
            Verified(WireRequest(body=b"{}"), b"{}", frozenset({"*"}), object())

    @pytest.mark.parametrize(
        ("options", "words"),
        [({"colour": "red"}, "has no option 'colour'"), ({"form": "cheque"}, "not 'cheque'")],
    )
    def test_an_unknown_option_is_refused(self, options: dict[str, str], words: str) -> None:
        with pytest.raises(Refused, match=words):
            dialects.get("kcb").check_options(options)
