"""Conditions as the API takes them: rules joined by AND or OR, in groups, numbers compared by value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from .messages import Refused, not_here
from .object_types import ObjectType
from .records import Record, is_number

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": eq,
    "!=": ne,
    "<>": ne,
    ">": gt,
    ">=": ge,
    "<": lt,
    "<=": le,
}
EMPTINESS: Mapping[str, bool] = {
    "IS NULL": True,
    "IS EMPTY": True,
    "IS NOT NULL": False,
    "IS NOT EMPTY": False,
}
"""Whether a field must be empty. The stand-in keeps no difference between an empty text and none."""

DEEPEST = 20


def invalid(why: str) -> Refused:
    return Refused(400, f"Invalid condition. {why}")


def parsed(value: Any) -> list[Any]:
    """Return a condition that is a list, or a list as JSON text. Raises ``Refused``."""
    try:
        condition = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise invalid("It is not JSON.") from None
    if not isinstance(condition, list) or not condition:
        raise invalid("It is a list of rules.")
    return condition


def matches(kind: ObjectType, record: Record, condition: list[Any], depth: int = 0) -> bool:
    """Tell whether a record meets a condition. Raises ``Refused``."""
    if depth > DEEPEST:
        raise invalid("Its groups are nested too deeply.")
    results = [
        matches(kind, record, rule, depth + 1) if isinstance(rule, list) and rule else meets(kind, record, rule)
        for rule in condition[::2]
    ]
    return all(results) if conjunction(condition) == "AND" else any(results)


def conjunction(condition: list[Any]) -> str:
    """Return what joins the rules of a group, which is one of AND and OR. Raises ``Refused``."""
    words = {str(word).upper() for word in condition[1::2]}
    if len(condition) % 2 == 0 or not words <= {"AND", "OR"}:
        raise invalid('Rules are joined by "AND" or "OR".')
    if len(words) > 1:
        raise not_here(
            "order of AND and OR in one list, which Ontraport does not document: put one of them into a group"
        )
    return words.pop() if words else "AND"


def meets(kind: ObjectType, record: Record, rule: Any) -> bool:
    """Tell whether a record meets one rule. Raises ``Refused``."""
    try:
        name, operator, value = rule["field"]["field"], str(rule["op"]).strip().upper(), rule.get("value")
    except (KeyError, TypeError, AttributeError):
        raise invalid('A rule is {"field": {"field": …}, "op": …, "value": {"value": …}}.') from None
    if name not in kind.fields:
        raise not_here(f"field {str(name)[:40]} in {kind.names[1]}")
    ours, numeric = record[name], kind.fields[name].is_number
    if f"{operator} {_word(value)}" in EMPTINESS:
        return EMPTINESS[f"{operator} {_word(value)}"] == (ours == "")
    if operator in {"IN", "NOT IN"}:
        found = any(_compare(eq, ours, theirs, numeric=numeric) for theirs in _members(value))
        return found == (operator == "IN")
    theirs = _single(value)
    if operator == "LIKE":
        return _pattern(theirs).fullmatch(ours) is not None
    if operator not in COMPARISONS:
        raise not_here(f"operator {operator[:20]}")
    return _compare(COMPARISONS[operator], ours, theirs, numeric=numeric)


def _word(value: Any) -> str:
    """Return the word behind IS: ``NULL`` for ``"NULL"`` and for ``{"value": "NULL"}``."""
    inner = value.get("value") if isinstance(value, dict) else value
    return str(inner or "").strip().upper()


def _single(value: Any) -> str:
    inner = value.get("value") if isinstance(value, dict) else None
    if isinstance(inner, bool) or not isinstance(inner, (str, int, float)):
        raise invalid('A value is {"value": a text or a number}.')
    return str(inner)


def _members(value: Any) -> list[str]:
    members = value.get("list") if isinstance(value, dict) else None
    if not isinstance(members, list) or not members:
        raise invalid('IN takes {"list": [{"value": …}, …]}.')
    return [_single(member) for member in members]


def _compare(operator: Callable[[Any, Any], bool], ours: str, theirs: str, *, numeric: bool) -> bool:
    """Compare numbers by value and texts without regard to capitals. An empty field is less than every number, and equals none."""
    if not numeric:
        return operator(ours.casefold(), theirs.casefold())
    if not is_number(theirs):
        raise invalid(f"{theirs[:40]} is not a number.")
    return operator(float(ours) if ours else float("-inf"), float(theirs))


def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern of SQL's LIKE: ``%`` is any text, ``_`` one character, capitals do not matter."""
    parts = (".*" if part == "%" else "." if part == "_" else re.escape(part) for part in re.split("([%_])", text))
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)
