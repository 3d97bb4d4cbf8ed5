"""As much of JSON Schema 2020-12 as our schema uses: a keyword not known here is an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from arifa.errors import Refused
from arifa.timestamp import from_rfc3339, to_rfc3339

Check = Callable[["Schema", Any, dict[str, Any], Any], bool]

_SAYS_NOTHING = frozenset({"$schema", "$id", "$defs", "title", "description", "examples"})
_TYPES: dict[type, str] = {
    str: "string",
    type(None): "null",
    list: "array",
    dict: "object",
    bool: "boolean",
    int: "integer",
    float: "number",
}


class Schema:
    """A schema with the definitions that it refers to."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root

    def fits(self, value: Any, rules: dict[str, Any] | None = None) -> bool:
        """Whether `value` keeps every rule."""
        rules = self.root if rules is None else rules
        return all(
            _CHECKS[keyword](self, rule, rules, value)
            for keyword, rule in rules.items()
            if keyword not in _SAYS_NOTHING
        )


def _refers(schema: Schema, rule: Any, rules: dict[str, Any], value: Any) -> bool:
    return schema.fits(value, schema.root["$defs"][rule.removeprefix("#/$defs/")])


def _any_of(schema: Schema, rule: Any, rules: dict[str, Any], value: Any) -> bool:
    return any(schema.fits(value, one) for one in rule)


def _enum(schema: Schema, rule: Any, rules: dict[str, Any], value: Any) -> bool:
    return value in rule


def _type(schema: Schema, rule: Any, rules: dict[str, Any], value: Any) -> bool:
    return _TYPES[type(value)] in ([rule] if isinstance(rule, str) else rule)


def _pattern(schema: Schema, rule: Any, rules: dict[str, Any], value: Any) -> bool:
    return not isinstance(value, str) or re.search(rule, value) is not None


def _format(schema: Schema, rule: Any, rules: dict[str, Any], value: Any) -> bool:
    assert rule == "date-time"
    try:
        return not isinstance(value, str) or to_rfc3339(from_rfc3339(value)) == value
    except Refused:
        return False


def _required(schema: Schema, rule: Any, rules: dict[str, Any], value: Any) -> bool:
    return not isinstance(value, dict) or value.keys() >= set(rule)


def _properties(schema: Schema, rule: Any, rules: dict[str, Any], value: Any) -> bool:
    return not isinstance(value, dict) or all(
        schema.fits(value[name], inner) for name, inner in rule.items() if name in value
    )


def _others(schema: Schema, rule: Any, rules: dict[str, Any], value: Any) -> bool:
    return not isinstance(value, dict) or all(
        schema.fits(value[name], rule) for name in value.keys() - rules.get("properties", {}).keys()
    )


def _items(schema: Schema, rule: Any, rules: dict[str, Any], value: Any) -> bool:
    return not isinstance(value, list) or all(schema.fits(item, rule) for item in value)


_CHECKS: dict[str, Check] = {
    "$ref": _refers,
    "anyOf": _any_of,
    "enum": _enum,
    "type": _type,
    "pattern": _pattern,
    "format": _format,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _others,
    "items": _items,
}
