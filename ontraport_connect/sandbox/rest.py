"""The REST API of api.ontraport.com under ``/1/``: which call does what, and the envelope around the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import rest_commerce, rest_objects
from .messages import Refused, Reply, Request, json_reply, not_here, text_reply
from .object_types import TYPES
from .queries import Parameters
from .records import Records
from .rest_objects import Members

PREFIX = "/1/"
NOT_AUTHENTICATED = "Your App ID and API Key do not authenticate."

Call = Callable[[Records, Parameters], Members]

LISTS: Mapping[tuple[str, str], Call] = {
    ("GET", ""): rest_objects.get_list,
    ("POST", ""): rest_objects.create,
    ("PUT", ""): rest_objects.update,
    ("DELETE", ""): rest_objects.delete_list,
    ("GET", "getInfo"): rest_objects.get_info,
    ("GET", "meta"): rest_objects.get_meta,
    ("GET", "getByEmail"): rest_objects.get_by_email,
    ("POST", "saveorupdate"): rest_objects.save_or_update,
    ("GET", "tag"): rest_objects.get_tagged,
    ("PUT", "tag"): rest_objects.tag,
    ("DELETE", "tag"): rest_objects.untag,
    ("PUT", "tagByName"): rest_objects.tag_by_name,
    ("DELETE", "tagByName"): rest_objects.untag_by_name,
}
"""Calls on many records, below ``objects`` and below the name of each kind: ``Contacts``, ``Contacts/getInfo``."""

ONES: Mapping[tuple[str, str], Call] = {
    ("GET", ""): rest_objects.get_one,
    ("DELETE", ""): rest_objects.delete_one,
    ("GET", "getByEmail"): rest_objects.get_by_email,
}

OTHERS: Mapping[tuple[str, str], Call] = {
    ("POST", "transaction/processManual"): rest_commerce.process_manual,
    ("PUT", "transaction/refund"): rest_commerce.refund,
    ("PUT", "transaction/void"): rest_commerce.void,
    ("PUT", "transaction/writeOff"): rest_commerce.write_off,
    ("PUT", "transaction/markPaid"): rest_commerce.mark_paid,
    ("PUT", "transaction/convertToCollections"): rest_commerce.to_collections,
    ("PUT", "transaction/convertToDecline"): rest_commerce.to_decline,
    ("POST", "task/cancel"): rest_commerce.cancel_tasks,
    ("POST", "task/complete"): rest_commerce.complete_tasks,
    ("POST", "task/reschedule"): rest_commerce.reschedule_tasks,
}


def _folders() -> dict[str, tuple[Mapping[tuple[str, str], Call], str | None]]:
    """Return the first part of each path, with its calls and the kind of record that it stands for."""
    folders: dict[str, tuple[Mapping[tuple[str, str], Call], str | None]] = {
        "objects": (LISTS, None),
        "object": (ONES, None),
    }
    for kind in (each for each in TYPES if each.has_path):
        one, many = kind.names
        folders |= {one: (ONES, kind.object_id), many: (LISTS, kind.object_id)}
    return folders


FOLDERS = _folders()


def answer(records: Records, request: Request) -> Reply:
    """Answer a request of an account. A refusal is text, as Ontraport's are."""
    try:
        call, object_id = _find(request.method, request.path.removeprefix(PREFIX).strip("/"))
        parameters = request.parameters()
        if object_id is not None:
            parameters["objectID"] = object_id
        with records.lock:
            members = call(records, parameters)
    except Refused as refused:
        return text_reply(refused.text, refused.status)
    return json_reply({"code": 0, **members, "account_id": records.account.account_id})


def _find(method: str, path: str) -> tuple[Call, str | None]:
    if (method, path) in OTHERS:
        return OTHERS[method, path], None
    first, _, rest = path.partition("/")
    calls, object_id = FOLDERS.get(first, ({}, None))
    if (method, rest) not in calls:
        raise not_here(f"{method} {PREFIX}{path[:80]}")
    return calls[method, rest], object_id


def unauthenticated() -> Reply:
    return text_reply(NOT_AUTHENTICATED, 401, "text/html")
