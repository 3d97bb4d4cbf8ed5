"""The published schemas, by a real validator of JSON Schema 2020-12."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from arifa.errors import Refused
from arifa.timestamp import from_rfc3339, to_rfc3339

FORMATS = FormatChecker(formats=())


def is_our_time(value: object) -> bool:
    """RFC 3339 UTC, as we always write it; what is no text is another rule's business."""
    try:
        return not isinstance(value, str) or to_rfc3339(from_rfc3339(value)) == value
    except Refused:
        return False


FORMATS.checks("date-time")(is_our_time)


class Schema:
    """A schema, itself checked against the rules for schemas."""

    def __init__(self, root: dict[str, Any]) -> None:
        Draft202012Validator.check_schema(root)
        self._validator = Draft202012Validator(root, format_checker=FORMATS)

    def fits(self, value: Any) -> bool:
        """Whether `value` keeps every rule."""
        found: bool = self._validator.is_valid(value)
        return found

    def complaints(self, value: Any) -> list[str]:
        """What is wrong with `value`, for a test that failed."""
        return [
            f"{error.json_path}: {error.message}" for error in self._validator.iter_errors(value)
        ]
