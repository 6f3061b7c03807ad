"""A tool of the MCP server: its name, what it says of itself, its arguments, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .messages import Refused, not_here
from .records import Records

Arguments = Mapping[str, Any]
Call = Callable[[Records, Arguments], dict[str, Any]]

TEXT = {"type": "string"}
NUMBER = {"type": ["string", "integer"]}
WHOLE = {"type": "integer", "minimum": 0}
LIST = {"type": "array", "items": {}}
OBJECT = {"type": "object"}
PAGE = {
    "start": {**WHOLE, "default": 0, "description": "How many to leave out."},
    "range": {**WHOLE, "maximum": 50, "default": 50, "description": "How many to return."},
}
PYTHON_TYPES: Mapping[str, type] = {"string": str, "integer": int, "array": list, "object": dict}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """``arguments`` are the JSON Schemas of the arguments; those in ``required`` must be given. The schemas are the stand-in's own."""

    name: str
    about: str
    call: Call
    arguments: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    reads: bool = False
    destroys: bool = False

    def described(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object", "properties": dict(self.arguments)}
        if self.required:
            schema["required"] = list(self.required)
        return {
            "name": self.name,
            "title": self.name.replace("_", " ").capitalize(),
            "description": self.about,
            "inputSchema": schema,
            "annotations": {"readOnlyHint": self.reads, "destructiveHint": self.destroys},
        }

    def run(self, records: Records, arguments: Arguments) -> dict[str, Any]:
        """Raises ``Refused`` for arguments that are missing, that would be ignored, or that their schema does not allow."""
        missing = [name for name in self.required if arguments.get(name) in (None, "", [])]
        if missing:
            raise Refused(422, f"Missing required argument: {missing[0]}")
        unknown = sorted(set(arguments) - set(self.arguments))
        if unknown:
            raise not_here(f"argument {unknown[0][:40]} of {self.name}")
        for name, value in arguments.items():
            if wrong := _problem(value, self.arguments[name]):
                raise Refused(400, f"{name} is {wrong}.")
        with records.lock:
            return self.call(records, arguments)


def _problem(value: Any, schema: Mapping[str, Any]) -> str:
    """Return what a value is that its schema does not allow, or nothing."""
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if isinstance(value, bool) or not isinstance(value, tuple(PYTHON_TYPES[name] for name in types)):
        return f"no {' or '.join(types)}"
    if value not in schema.get("enum", [value]):
        return f"one of: {', '.join(schema['enum'])}"
    if "minimum" in schema and value < schema["minimum"]:
        return f"less than {schema['minimum']}"
    return f"more than {schema['maximum']}" if "maximum" in schema and value > schema["maximum"] else ""
