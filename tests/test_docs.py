"""The documentation: its links lead somewhere, its commands exist, and nothing is left out."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arifa import dialects
from arifa.cli.context import Misused
from arifa.cli.main import COMMANDS, _check_command, _parsed, take_globals
from arifa.notification import reading_as_json
from arifa.signing import Credentials
from arifa.testing.laws import check_dialect

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], key=lambda path: path.relative_to(ROOT)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *(?:> )?```(\w*)\n(.*?)^ *(?:> )?```", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r" {3,}\S.*$")
PLACES = ("/api/v1", "/ipn", "/livez", "/readyz", "/metrics")
# What tells where and with what a page was written; it has no place in it.
PRIVATE = re.compile(
    r"\bses" + r"sions?\b|\bassis" + r"tants?\b|\bpy" + r"pi\b|\bpython" + r"hosted\b",
    re.IGNORECASE,
)
ABSOLUTE = re.compile(r"(?<![\w.:/<\])*-])(/[a-z][\w.-]*/[\w./-]+)")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def private_in(text: str) -> list[str]:
    """Words and paths that tell of the place where a page was written."""
    paths = [found for found in ABSOLUTE.findall(text) if not found.startswith(PLACES)]
    return [match.group() for match in PRIVATE.finditer(text)] + paths


def anchors(path: Path) -> set[str]:
    """What the headings of a page can be linked to by."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> Iterator[tuple[Path, str]]:
    """Every line of a fenced block that calls arifa, up to what explains it or reads from it."""
    for path in PAGES:
        for language, block in FENCE.findall(text_of(path)):
            if language in ("", "sh", "bash", "console"):
                for line in block.replace("\\\n", " ").splitlines():
                    for part in line.removeprefix("$ ").split(" | "):
                        found = part.strip().removeprefix(".venv/bin/")
                        if found.startswith("arifa "):
                            yield path, COMMENT.sub("", found).partition(" > ")[0]


SHOWN = list(commands())


def verbs() -> list[str]:
    """Every command that there is, as `source add`."""
    found = []
    for noun, (place, _) in COMMANDS.items():
        module, _, attribute = place.partition(":")
        app = getattr(importlib.import_module(module), attribute)
        if callable(app) and attribute != "app":
            found.append(noun)
        else:
            found += [f"{noun} {verb}" for verb in app if not verb.startswith("-")]
    return found


def check(line: str) -> None:
    """Refuse a line that the command line would not take.

    Raises:
        Misused: there is no such command, or no such option.
    """
    _, rest = take_globals(shlex.split(line)[1:])
    _check_command(rest[0])
    command, _, _ = _parsed(rest)
    if command.__name__ == "help_print" and "--help" not in rest:
        raise Misused(f"{line} lacks its verb")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link names a file that is there, and a heading that it has."""
    for target in LINK.findall(FENCE.sub("", text_of(path))):
        if "://" in target:
            assert target.startswith("https://")
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{name_of(path)} links to {target}"
        assert found.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(found), f"{name_of(path)} links to {target}"


@pytest.mark.parametrize(
    ("path", "line"), SHOWN, ids=[f"{name_of(path)}: {line}" for path, line in SHOWN]
)
def test_a_command_that_is_shown_exists(path: Path, line: str) -> None:
    """Every line that calls arifa parses: the command, its options, and the words they take."""
    check(line)


@pytest.mark.parametrize(
    "line",
    [
        "arifa sauce add x --dialect kcb",
        "arifa source ad x --dialect kcb",
        "arifa source add x --dialect kcb --no-such-flag 1",
        "arifa case decide case_1 perhaps --reason why",
        "arifa source",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    """The check itself can fail."""
    with pytest.raises(Misused):
        check(line)


@pytest.mark.parametrize("verb", verbs())
def test_every_command_is_documented(verb: str) -> None:
    """Whatever the command line can do is shown somewhere in a block."""
    assert any(f"{line} ".startswith(f"arifa {verb} ") for _, line in bare_lines()), (
        f"docs/commands.md lacks: arifa {verb}"
    )


def bare_lines() -> Iterator[tuple[Path, str]]:
    for path, line in SHOWN:
        _, rest = take_globals(shlex.split(line)[1:])
        yield path, " ".join(["arifa", *rest])


@pytest.mark.parametrize("name", dialects.names())
def test_every_dialect_has_a_page(name: str) -> None:
    """The page names the dialect, and the README and the list of the banks lead to it."""
    page = ROOT / "docs" / "banks" / f"{name}.md"

    assert f"`{name}`" in text_of(page)
    assert f"(docs/banks/{name}.md)" in text_of(ROOT / "README.md")
    assert f"({name}.md)" in text_of(page.parent / "README.md")


@pytest.mark.parametrize("name", dialects.names())
def test_every_option_is_on_its_page(name: str) -> None:
    """A dialect's options, and all of their values, are explained."""
    page = text_of(ROOT / "docs" / "banks" / f"{name}.md")

    for option, allowed in dialects.get(name).options.items():
        assert f"| `{option}` | {', '.join(f'`{value}`' for value in allowed)} |" in page


def test_answers_on_a_page_are_those_of_the_captures() -> None:
    """Each answer of a source's page that names the captures' transaction is one of them, whole."""
    transaction = "ntf_0123456789abcdef0123456789ab"
    for name in dialects.names():
        folder = ROOT / "tests" / "captures" / name
        answers = {
            path.read_bytes().decode().partition("\r\n\r\n")[2]
            for path in folder.glob("*.ack.http")
        }
        page = text_of(ROOT / "docs" / "banks" / f"{name}.md")
        for line in page.splitlines():
            if line.startswith("{") and transaction in line and "Duplicate" not in line:
                assert line in answers, name


def test_the_readme_has_the_two_commands() -> None:
    """Whoever arrives sees how to try it and how to test it, each as a line of its own."""
    blocks = [block for _, block in FENCE.findall(text_of(ROOT / "README.md"))]

    assert "python3 run.py\n" in blocks
    assert "python3 run.py test\n" in blocks


def test_the_tutorials_bank_keeps_the_laws(tmp_path: Path) -> None:
    """The file that CONTRIBUTING.md shows is a dialect, and its sample reads as the golden there."""
    blocks = FENCE.findall(text_of(ROOT / "CONTRIBUTING.md"))
    [source] = [code for language, code in blocks if language == "python" and "class Mto" in code]
    [golden] = [code for language, code in blocks if language == "json"]
    file = tmp_path / "mto.py"
    file.write_text(source, "utf-8")
    spec = importlib.util.spec_from_file_location("mto", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mto"] = module
    try:
        spec.loader.exec_module(module)
        dialect = module.Mto()
        check_dialect(dialect)
    finally:
        del sys.modules["mto"]

    credentials = Credentials(secrets=(b"mto-test-secret",))
    request = dialect.sign(dialect.sample(dialect.cases["credit"]), credentials, 0)
    [reading] = dialect.receive(request, credentials, dialect.defaults, 0)
    said = {**reading_as_json(reading), "held": reading.held}
    assert {"readings": [said]} == json.loads(golden)
    assert list(said) == list(json.loads(golden)["readings"][0])


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_tells_nothing_of_where_it_was_written(path: Path) -> None:
    """No path of a machine, no address of a registry, and nothing about who wrote it with what."""
    assert private_in(text_of(path)) == []


@pytest.mark.parametrize(
    "text", ["see /srv/build/arifa", "in `/opt/x/y.txt`", "from files.python" + "hosted.org"]
)
def test_a_private_word_is_noticed(text: str) -> None:
    """The check itself can fail."""
    assert private_in(text)


def test_there_is_something_to_check() -> None:
    """A check over no page and no command would always pass."""
    assert len(PAGES) > 20
    assert len(SHOWN) > 60
