"""The MCP tools for tasks and notes."""

from __future__ import annotations

from typing import Any

from . import queries
from .messages import Refused
from .object_types import CONTACT, NOTE, TASK
from .records import Records
from .tool import NUMBER, PAGE, TEXT, WHOLE, Arguments, Tool

STATUS = {"type": "string", "enum": ["open", "completed", "cancelled"]}


def get_recent_notes(records: Records, arguments: Arguments) -> dict[str, Any]:
    asked = {"sort": "date", "sortDir": "desc", **arguments}
    return {"data": queries.arranged(NOTE, records.all(NOTE), asked)}


def get_recent_tasks(records: Records, arguments: Arguments) -> dict[str, Any]:
    status = arguments.get("status")
    found = [task for task in records.all(TASK) if status in (None, task["stand_in_status"])]
    paging = {name: value for name, value in arguments.items() if name != "status"}
    return {"data": queries.arranged(TASK, found, {"sort": "date_due", **paging})}


def assign_task(records: Records, arguments: Arguments) -> dict[str, Any]:
    if records.find(CONTACT, arguments["contact_id"]) is None:
        raise Refused(404, "Invalid Contact ID")
    task = records.create(TASK, {"object_type_id": CONTACT.object_id, "owner": "1", **arguments})
    return {"data": dict(records.note(TASK, task["id"], stand_in_status="open"))}


def complete_task(records: Records, arguments: Arguments) -> dict[str, Any]:
    return {
        "data": dict(
            records.note(TASK, arguments["id"], stand_in_status="completed", date_complete=records.now),
        )
    }


def cancel_task(records: Records, arguments: Arguments) -> dict[str, Any]:
    return {"data": dict(records.note(TASK, arguments["id"], stand_in_status="cancelled"))}


def reschedule_task(records: Records, arguments: Arguments) -> dict[str, Any]:
    due = queries.number_in(arguments, "date_due", 0)
    return {"data": dict(records.note(TASK, arguments["id"], date_due=str(due)))}


TOOLS = (
    Tool(
        name="get_recent_notes",
        about="The latest notes.",
        call=get_recent_notes,
        arguments=PAGE,
        reads=True,
    ),
    Tool(
        name="get_recent_tasks",
        about="Tasks by status.",
        call=get_recent_tasks,
        arguments={"status": STATUS, **PAGE},
        reads=True,
    ),
    Tool(
        name="assign_task",
        about="Make a task about a contact.",
        call=assign_task,
        arguments={"contact_id": NUMBER, "subject": TEXT, "details": TEXT, "owner": NUMBER, "date_due": WHOLE},
        required=("contact_id", "subject"),
    ),
    Tool(
        name="complete_task", about="Complete a task.", call=complete_task, arguments={"id": NUMBER}, required=("id",)
    ),
    Tool(name="cancel_task", about="Cancel a task.", call=cancel_task, arguments={"id": NUMBER}, required=("id",)),
    Tool(
        name="reschedule_task",
        about="Give a task a new date, in Unix seconds.",
        call=reschedule_task,
        arguments={"id": NUMBER, "date_due": WHOLE},
        required=("id", "date_due"),
    ),
)
