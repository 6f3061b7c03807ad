"""What the JSON for front ends consists of: bodies, accounts, errors"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from ontraport_connect.models import OntraportAccount, aware, full_name_of, name_of

from . import state_texts


class BodyError(ValueError):
    """The body is not a JSON object."""


class TextError(ValueError):
    """A member that has to be a text is none, or one that cannot be stored or sent: JSON can write half of a surrogate pair, and UTF-8
    cannot. ``name`` is the member's.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Body:
    """The members of a JSON object that came as the body of a request. Its ``repr`` shows none: they may be an API key."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def text(self, name: str) -> str:
        """Return the member as text; an empty text where there is none, or null. Raises ``TextError``."""
        value = self._members.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise TextError(name)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise TextError(name) from None
        return value

    def says_otherwise(self, name: str, expected: str) -> bool:
        """Tell whether the member is there, and is anything but ``expected``. An empty text and null say nothing."""
        return self._members.get(name) not in (None, "", expected)

    def texts(self, *names: str) -> dict[str, str]:
        return {name: self.text(name) for name in names}


def read_body(request: HttpRequest) -> Body:
    """Return the body of a request, JSON or a form, empty where there is none. Raises ``BodyError``."""
    if request.content_type != "application/json":
        return Body(request.POST.dict())
    if not request.body:
        return Body({})
    try:
        members = json.loads(request.body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise BodyError
    return Body(members)


def as_json(account: OntraportAccount) -> dict[str, Any]:
    """Return an account for its owner: no credentials. Texts are in the language of the request."""
    state = state_texts.state_of(account)
    events = getattr(account, "history", None)
    return {
        "uid": str(account.uid),
        "name": str(account),
        "label": account.label,
        "ontraport_id": account.ontraport_id,
        "method": str(account.method),
        "is_default": account.is_default,
        "state": state.name,
        "state_title": str(state.title),
        "state_text": str(state.text),
        "linked_at": aware(account.linked_at).isoformat(),
        "refreshed_at": _moment(account.refreshed_at),
        "last_used_at": _moment(account.last_used_at),
        "linked_by": _name_of(account.user) if account.tenant else None,
        **({} if events is None else {"history": [_event(event) for event in events]}),
    }


def _name_of(user: Any) -> str | None:
    """Return what a person is called: by the full name, which a site's user model need not have, or else by the user name."""
    return None if user is None else full_name_of(user) or name_of(user)


def _moment(at: datetime | None) -> str | None:
    return None if at is None else aware(at).isoformat()


def _event(event: Any) -> dict[str, str]:
    return {
        "at": aware(event.at).isoformat(),
        "kind": str(event.kind),
        "text": str(state_texts.happened(event)),
        "reason": str(state_texts.reason_for(event.detail)),
    }


def failure(
    error: str, status: int, message: object = "", *, fields: Mapping[str, Sequence[str]] | None = None
) -> HttpResponse:
    """Return an error. ``error`` is stable; ``message``, and the texts of ``fields``, may be shown to the person."""
    members = {
        "error": error,
        **({"message": str(message)} if message else {}),
        **({"fields": fields} if fields else {}),
    }
    return JsonResponse(members, status=status)
