"""Captured requests are read and answered as their goldens say; every dialect has some."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from arifa import dialects
from arifa.document import decode_object
from arifa.errors import NotGenuine
from arifa.signing import HmacFields
from arifa.testing.captures import Capture, all_captures, differences, main, unknown_files
from arifa.testing.genuine import full_credentials, limited, names_in
from arifa.testing.laws import Subject, never_posts_twice, refuses_flipped_bits

ROOT = Path(__file__).parents[1] / "captures"
FOUND = all_captures(ROOT)
CAPTURES = [capture for found in FOUND.values() for capture in found]


def name_of(capture: Capture) -> str:
    return f"{capture.dialect.name}-{capture.case}"


def genuine() -> list[Capture]:
    return [capture for capture in CAPTURES if isinstance(capture.read(), list)]


def subject_of(capture: Capture) -> Subject:
    """The dialect with credentials of the capture's kinds, which tell what signing would add."""
    names = names_in(capture.message.credentials) | {"private_key"}
    return Subject(capture.dialect, limited(full_credentials(), names))


@pytest.mark.parametrize("capture", CAPTURES, ids=name_of)
def test_capture_is_read_and_answered_as_its_golden_says(capture: Capture) -> None:
    for path, expected in capture.goldens().items():
        assert path.exists(), f"write it: python -m arifa.testing.captures --rewrite {ROOT}"
        assert path.read_bytes().decode() == expected.decode()


@pytest.mark.parametrize("name", dialects.names())
def test_dialect_has_captures_and_each_of_its_cases_is_one(name: str) -> None:
    cases = {capture.case: capture for capture in FOUND[name]}

    assert cases
    assert set(dialects.get(name).cases) <= set(cases)


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name in dialects.names() for case in dialects.get(name).cases],
)
def test_capture_of_a_case_has_its_body(name: str, case: str) -> None:
    dialect = dialects.get(name)
    body = dialect.cases[case].body
    [captured] = [one.message.request for one in FOUND[name] if one.case == case]
    proofs = {proof.field for proof in dialect.proofs if isinstance(proof, HmacFields)}

    if proofs:
        said, sent = decode_object(body), captured.document()
        assert {key: sent[key] for key in sent.keys() - proofs} == {
            key: said[key] for key in said.keys() - proofs
        }
    else:
        assert captured.body.strip() == body.strip()


def test_no_file_belongs_to_no_capture() -> None:
    assert list(unknown_files(FOUND, ROOT)) == []


@pytest.mark.parametrize("capture", genuine(), ids=name_of)
def test_flipped_bit_of_a_capture_is_refused(capture: Capture) -> None:
    refuses_flipped_bits(subject_of(capture), capture.message)


@pytest.mark.parametrize("capture", genuine(), ids=name_of)
def test_altered_unproven_field_of_a_capture_never_posts_twice(capture: Capture) -> None:
    never_posts_twice(subject_of(capture), capture.message)


@pytest.mark.parametrize("capture", genuine(), ids=name_of)
def test_capture_is_refused_behind_other_credentials(capture: Capture) -> None:
    others = limited(full_credentials(2), names_in(capture.message.credentials))

    with pytest.raises(NotGenuine):
        capture.dialect.verify(
            capture.message.request, others, capture.message.profile, capture.message.now_us
        )


class TestCommand:
    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        return Path(shutil.copytree(ROOT, tmp_path / "captures"))

    def test_it_agrees_with_what_is_there(self, copy: Path) -> None:
        assert main([str(copy)]) == 0

    def test_a_changed_golden_is_shown_and_written_anew(self, copy: Path, capsys) -> None:
        golden = copy / "kcb" / "account.json"
        before = golden.read_text("utf-8")
        golden.write_text(before.replace('"100.00"', '"900.00"'), "utf-8")

        assert main([str(copy)]) == 1
        assert '+        "amount": "100.00",' in capsys.readouterr().out
        assert main(["--rewrite", str(copy)]) == 0
        assert golden.read_text("utf-8") == before
        assert main([str(copy)]) == 0

    def test_a_capture_without_goldens_differs(self, copy: Path) -> None:
        (copy / "kcb" / "account.json").unlink()
        (copy / "kcb" / "account.ack.http").unlink()

        different = [path.name for path, _, _ in differences(all_captures(copy))]
        assert different == ["account.json", "account.ack.http"]

    def test_a_file_of_no_capture_and_a_dialect_without_any_are_told(
        self, copy: Path, capsys
    ) -> None:
        (copy / "kcb" / "stray.json").write_text("{}")
        shutil.rmtree(copy / "as_received")

        assert main([str(copy)]) == 1
        told = capsys.readouterr().out
        assert f"{copy / 'kcb' / 'stray.json'} belongs to no capture" in told
        assert "there is no capture of as_received" in told

    def test_a_misspelt_member_of_credentials_is_refused(self, copy: Path) -> None:
        (copy / "kcb" / "credentials.json").write_text('{"public_key": []}')

        with pytest.raises(msgspec.ValidationError, match="public_key"):
            all_captures(copy)
