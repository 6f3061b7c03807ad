"""Who really acts: the person who is signed in, or whoever has signed in as them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user_model
from django.http import HttpRequest

from .people import database, name_of

SOMEBODY_ELSE = "somebody else"


def actor_of(request: HttpRequest) -> str:
    """Return the name for the history of who makes this request: ``"maya"``, or ``"support as maya"`` when support has signed in as her.

    That is known where the site has set ``request.ontraport_actor`` to a name, from the sessions of django-hijack, django-loginas and
    django-su, and where a middleware has put somebody else in place of the session's user, such as django-impersonate's. A mark in the
    session that leads to nobody is "somebody else".
    """
    name = name_of(request.user)
    really = getattr(request, "ontraport_actor", "") or next(_marked(request), "")
    return f"{really} as {name}" if really and really != name else name


def _marked(request: HttpRequest) -> Iterator[str]:
    session: Any = getattr(request, "session", {})
    for key, read in _marks().items():
        if mark := session.get(key):
            yield _name(mark, read)
    signed_in, user = session.get(SESSION_KEY), cast("Any", request.user)
    if signed_in and signed_in != user._meta.pk.value_to_string(user):
        yield _name(signed_in, lambda mark: mark)


def _marks() -> dict[str, Callable[[Any], Any]]:
    """Return how each package marks a session, and how its mark is read as a user's key. The first of several is who began."""
    return {
        "hijack_history": _first,
        "exit_users_pk": lambda mark: _first(_first(mark)),  # django-su: key and backend
        getattr(settings, "LOGINAS_FROM_USER_SESSION_FLAG", "loginas_from_user"): lambda mark: mark.rsplit(":", 2)[0],
    }


def _first(items: Any) -> Any:
    return items[0] if isinstance(items, (list, tuple)) else None


def _name(mark: Any, read: Callable[[Any], Any]) -> str:
    try:
        person = get_user_model()._default_manager.using(database()).filter(pk=read(mark)).first()
    except Exception:  # noqa: BLE001  # the mark of somebody else, whatever it is: nobody's link fails for it
        person = None
    return SOMEBODY_ELSE if person is None else name_of(person)
