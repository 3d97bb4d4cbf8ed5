"""Who may know whom: the import contracts of pyproject.toml hold, and each is able to catch.

A contract that names a module wrongly passes for ever. So for each of them a copy of the source
gets an import that it forbids, and the linter must name that import.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "arifa"
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
}

# (contract, the module that does it, what it imports)
PLANTED = [
    ("layers", "arifa.money", "arifa.wire"),
    ("layers", "arifa.wire", "arifa.signing"),
    ("layers", "arifa.signing.planted", "arifa.feed"),
    ("layers", "arifa.feed", "arifa.dialects"),
    ("layers", "arifa.billing", "arifa.dialects"),
    ("layers", "arifa.billing", "arifa.store"),
    ("layers", "arifa.dialects.planted", "arifa.books"),
    ("layers", "arifa.dialects.planted", "arifa.store"),
    ("layers", "arifa.statement_formats.planted", "arifa.dialects"),
    ("layers", "arifa.books.planted", "arifa.statement_formats"),
    ("layers", "arifa.books.planted", "arifa.store"),
    ("layers", "arifa.store.planted", "arifa.hub"),
    ("layers", "arifa.store.planted", "arifa.delivery"),
    ("layers", "arifa.store.planted", "arifa.web"),
    ("layers", "arifa.store.planted", "arifa.settings"),
    ("layers", "arifa.hub.planted", "arifa.delivery"),
    ("layers", "arifa.delivery.planted", "arifa.hub"),
    ("layers", "arifa.hub.planted", "arifa.simulator"),
    ("layers", "arifa.delivery.planted", "arifa.web"),
    ("layers", "arifa.web.planted", "arifa.cli"),
    ("layers", "arifa.cli.planted", "arifa.testing"),
    ("pure", "arifa.dialects.planted", "arifa.clock"),
    ("pure", "arifa.dialects.planted", "sqlalchemy"),
    ("pure", "arifa.dialects.planted", "socket"),
    ("pure", "arifa.dialects.planted", "time"),
    ("pure", "arifa.dialects.planted", "os"),
    ("pure", "arifa.signing.planted", "http.client"),
    ("pure", "arifa.money", "sqlite3"),
    ("store-knows-no-bank", "arifa.store.planted", "arifa.dialects"),
    ("store-knows-no-bank", "arifa.store.planted", "arifa.statement_formats"),
    ("store-knows-no-bank", "arifa.store.planted", "arifa.billing"),
    ("sql-in-store", "arifa.hub.planted", "sqlalchemy"),
    ("sql-in-store", "arifa.web.planted", "psycopg"),
    ("http-client", "arifa.hub.planted", "aiohttp"),
    ("http-client", "arifa.web.planted", "httpx"),
    ("http-client", "arifa.hub.planted", "nats"),
    ("dialects-apart", "arifa.dialects.planted", "arifa.dialects.kcb"),
    ("dialects-below-registry", "arifa.dialects.planted", "arifa.dialects"),
    ("dialects-by-name", "arifa.hub.planted", "arifa.dialects.kcb"),
    ("dialects-by-name", "arifa.simulator.planted", "arifa.dialects.standard_webhooks"),
    ("dialects-by-name", "arifa.dialects", "arifa.dialects.kcb"),
]

# Without I/O and without a clock, wherever they exist.
PURE = {
    "billing",
    "books",
    "dialects",
    "document",
    "errors",
    "feed",
    "host",
    "money",
    "notification",
    "outcome",
}
PURE |= {"signing", "statement", "statement_formats", "timestamp", "wire", "word"}


def lint(config: Path, source: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command as run; run()"
    arguments = ["--config", str(config), "--no-cache", "--no-logo", *options]
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=source,  # which the linter searches first
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def plant(source: Path, importer: str, imported: str) -> None:
    """Make `importer` import `imported`, adding either where it does not exist yet."""
    if imported.startswith("arifa."):
        module_file(source, imported)
    with module_file(source, importer).open("a", encoding="utf-8") as file:
        file.write(f"\n\ndef planted():\n    import {imported}\n")


def module_file(source: Path, name: str) -> Path:
    place = source.joinpath(*name.split("."))
    if (place / "__init__.py").exists():
        return place / "__init__.py"
    for package in list(place.relative_to(source).parents)[-2::-1]:
        (source / package).mkdir(exist_ok=True)
        (source / package / "__init__.py").touch()
    file = place.with_suffix(".py")
    file.touch()
    return file


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE, tmp_path / "arifa", ignore=ignore)
    return tmp_path


def test_the_contracts_hold() -> None:
    result = lint(ROOT / "pyproject.toml", ROOT / "src")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_planted_import_is_caught(copy: Path, contract: str) -> None:
    planted = [pair for name, *pair in PLANTED if name == contract]
    assert planted, "a contract that was never seen to catch anything may be unable to"
    for importer, imported in planted:
        plant(copy, importer, imported)
    result = lint(ROOT / "pyproject.toml", copy, "--contract", contract)
    assert result.returncode == 1, result.stdout + result.stderr
    caught = set(re.findall(r"(\S+) -> (\S+) \(l", result.stdout))
    missed = [pair for pair in planted if (pair[0], known_as(pair[1])) not in caught]
    assert not missed, result.stdout


def known_as(imported: str) -> str:
    """Of a package that is not ours the linter sees only its first name."""
    return imported if imported.startswith("arifa") else imported.partition(".")[0]


def test_a_module_without_a_place_in_the_map_is_caught(copy: Path) -> None:
    (copy / "arifa" / "misc.py").touch()
    result = lint(ROOT / "pyproject.toml", copy, "--contract", "layers")
    assert result.returncode == 1
    assert "misc" in result.stdout


def test_every_pure_part_that_exists_is_held_to_it() -> None:
    existing = {
        name
        for name in PURE
        if (SOURCE / f"{name}.py").exists() or (SOURCE / name / "__init__.py").exists()
    }
    listed = {name.removeprefix("arifa.") for name in CONTRACTS["pure"]["source_modules"]}
    assert listed == existing


def test_nobody_names_a_concrete_dialect_in_a_text() -> None:
    """What the linter cannot see: importlib.import_module("arifa.dialects.kcb")."""
    concrete = {
        f"arifa.dialects.{path.stem}"
        for path in (SOURCE / "dialects").glob("*.py")
        if path.stem not in {"__init__", "base", "fields"}
    }
    offenders = [
        f"{path.relative_to(SOURCE)}: {node.value}"
        for path in SOURCE.rglob("*.py")
        if path.parent != SOURCE / "dialects"
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.partition(":")[0] in concrete
    ]
    assert not offenders
