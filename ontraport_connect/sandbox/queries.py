"""Selects records as Ontraport does: by numbers, condition or search, sorted, a page at a time, with the fields that are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import conditions
from .messages import Refused, not_here
from .object_types import ObjectType, type_of
from .records import Record, Records

PAGE_SIZE = 50
CRITERIA = frozenset({"objectID", "id", "ids", "condition", "search"})
PAGING = frozenset({"start", "range", "sort", "sortDir", "listFields"})

Parameters = Mapping[str, Any]


def kind_of(parameters: Parameters) -> ObjectType:
    """Return the object type that is asked for. Raises ``Refused``."""
    if parameters.get("objectID") in (None, ""):
        raise Refused(422, "Missing required parameter: objectID")
    return type_of(parameters["objectID"])


def number_in(parameters: Parameters, name: str, default: int) -> int:
    """Return a number that is 0 or more. Raises ``Refused``."""
    value = parameters.get(name)
    if value in (None, ""):
        return default
    if isinstance(value, bool) or not str(value).strip().isdecimal():
        raise Refused(400, f"{name} is a number, 0 or more.")
    return int(str(value))


def is_true(parameters: Parameters, name: str) -> bool:
    return str(parameters.get(name, "")).strip().lower() in {"1", "true"}


def members(value: Any, name: str) -> list[str]:
    """Return the members of a list: a list, JSON text of one, or texts joined by commas. Raises ``Refused``."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip().startswith(("[", "{")) else value.split(",")
        except (ValueError, RecursionError):
            raise Refused(400, f"{name} must be a list.") from None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, list) or any(isinstance(each, (dict, list)) for each in value):
        raise Refused(400, f"{name} must be a list.")
    return [str(each).strip() for each in value]


def numbers_in(parameters: Parameters) -> list[str] | None:
    """Return the numbers of the records that are asked for, or ``None``. Raises ``Refused``."""
    given = [name for name in ("id", "ids") if parameters.get(name) not in (None, "", [])]
    if len(given) > 1:
        raise not_here("id together with ids")
    return members(parameters[given[0]], given[0]) if given else None


def select(records: Records, kind: ObjectType, parameters: Parameters) -> list[Record]:
    """Return all records that meet the criteria. Raises ``Refused``."""
    found = records.all(kind)
    if (numbers := numbers_in(parameters)) is not None:
        found = [record for record in found if record[kind.key] in set(numbers)]
    if parameters.get("condition") not in (None, "", []):
        condition = conditions.parsed(parameters["condition"])
        found = [record for record in found if conditions.matches(kind, record, condition)]
    if parameters.get("search"):
        if isinstance(parameters["search"], (dict, list)):
            raise Refused(400, "search is a text.")
        wanted = str(parameters["search"]).casefold()
        found = [record for record in found if any(wanted in value.casefold() for value in record.values())]
    return found


def arranged(kind: ObjectType, found: Sequence[Record], parameters: Parameters) -> list[Record]:
    """Return the page that is asked for: sorted, 50 records at most, with their numbers and the fields in ``listFields``.

    Raises ``Refused``.
    """
    direction = str(parameters.get("sortDir") or "asc").lower()
    if direction not in {"asc", "desc"}:
        raise Refused(400, "sortDir is asc or desc.")
    name = parameters.get("sort")
    if name:
        require_fields(kind, [str(name)], "sort")
        found = sorted(found, key=lambda record: _sort_key(kind, record, str(name)), reverse=direction == "desc")
    start = number_in(parameters, "start", 0)
    shown = found[start : start + min(PAGE_SIZE, number_in(parameters, "range", PAGE_SIZE))]
    wanted = fields_in(kind, parameters)
    return [{name: value for name, value in record.items() if name in wanted} for record in shown]


def _sort_key(kind: ObjectType, record: Record, name: str) -> tuple[float, str]:
    value = record[name]
    return (float(value or "-inf"), "") if kind.fields[name].is_number else (0, value.casefold())


def fields_in(kind: ObjectType, parameters: Parameters) -> set[str]:
    """Return the names of the fields to give: those in ``listFields`` with the number, or all. Raises ``Refused``."""
    if parameters.get("listFields") in (None, "", []):
        return {*kind.fields}
    names = members(parameters["listFields"], "listFields")
    require_fields(kind, names, "listFields")
    return {kind.key, *names}


def require_fields(kind: ObjectType, names: Sequence[str], where: str) -> None:
    """Raise ``Refused`` for a field that there is not."""
    unknown = [name for name in names if name not in kind.fields]
    if unknown:
        raise Refused(400, f"{where}: {kind.names[1]} have no field {unknown[0][:40]} in this stand-in for Ontraport.")
